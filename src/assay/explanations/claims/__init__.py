"""Claim files: read, checked by names alone, and held against a loaded model."""
