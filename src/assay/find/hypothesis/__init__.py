"""Searches for the places that carry a variable of a high-level model."""
