"""Dictionaries: what is said at a site is a sum of a few features of many."""
