"""Names of ablations, for whoever checks one before anything heavy is imported; what they do is in `ablations`."""

from __future__ import annotations

ABLATIONS = (
    "zero",
    "mean",
    "mean_position",
    "resample_joint",
    "resample_independent",
    "counterfactual",
    "noise",
    "optimal",
)
DEFAULT_ABLATIONS = ("mean", "resample_joint")
RANDOM = frozenset({"resample_joint", "resample_independent", "noise"})  # those that have draws
FROM_MEANS = frozenset({"mean", "mean_position", "noise", "optimal"})  # those that begin with the reference's means
