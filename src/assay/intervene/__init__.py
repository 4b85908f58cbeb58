"""What is run and edited: plans, ablations, donors, the runner. Nothing else decides what runs."""
