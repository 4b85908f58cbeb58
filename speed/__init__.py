"""Timings: `make speed`. Each module times one thing beside what it is compared with, in the same run."""
