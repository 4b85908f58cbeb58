"""Dictionaries found: one harvest, a sweep that trains on it, and the controls that decide what they mean."""
