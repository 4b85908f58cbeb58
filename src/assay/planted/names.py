"""The names of the built-in programs, without importing them."""

PREFIX = "planted:"
NAMES = ("reversal", "proportion", "sort", "induction", "and_gate", "or_gate", "cancelling", "backup")
