"""Searches for circuits: what is asked, the data split in two, scores, frontiers, and the run folder."""
