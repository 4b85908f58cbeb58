"""Sparse codes: what a dictionary computes, how it is trained, and many of them from one pass over activations."""
