"""Recovered performance as training compute, on a family of models trained alike."""
