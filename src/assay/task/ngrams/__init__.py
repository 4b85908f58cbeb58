"""N-gram models: counted on the reference, pruned, stored, mixed with a recency cache."""
