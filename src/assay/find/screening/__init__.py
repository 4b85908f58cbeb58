"""Screening: which few places, or directions of the stream, determine what a network does behind a cut."""
