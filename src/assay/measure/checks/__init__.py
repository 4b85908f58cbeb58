"""Verdicts on what a number may hide."""
