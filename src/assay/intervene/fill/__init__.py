"""What a part takes that is not explained: ablations, donors, statistics of the reference, fitted constants."""
