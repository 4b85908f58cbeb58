"""Estimates with intervals, resampling over documents, fits: numpy in, frozen results out."""
