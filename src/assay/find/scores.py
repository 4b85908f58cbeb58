"""Heads ranked by how they attend; the scores themselves are a method that measurements re-run on random weights."""

from assay.methods.head_scores import KINDS, HeadScores, head_scores

__all__ = ["KINDS", "HeadScores", "head_scores"]
