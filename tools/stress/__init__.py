"""Hostile input for every reader, by seeded mutation: `make stress`. See `run.py`; `catalogue.py` lists the readers."""
