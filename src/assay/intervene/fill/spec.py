"""Names of ablations, for whoever checks one before anything heavy is imported; what they do is in `ablations`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from assay import plugins
from assay.errors import PluginError, TaskError, nearest
from assay.promises import held

ABLATIONS = (
    "zero",
    "mean",
    "mean_position",
    "resample_joint",
    "resample_independent",
    "counterfactual",
    "noise",
    "optimal",
    "shared_adversarial",
)
FITTED = frozenset({"optimal", "shared_adversarial"})  # those whose constants are fitted by gradient
DEFAULT_ABLATIONS = ("mean", "resample_joint")
STRENGTHS = ("mean", "resample_independent", "shared_adversarial")  # how hard the rest is ablated, in this order
RANDOM = frozenset({"resample_joint", "resample_independent", "noise"})  # those that have draws
_FROM_MEANS = frozenset({"mean", "mean_position", "noise", "optimal"})  # those that begin with the reference's means
_FROM_RUNS = RANDOM | {"counterfactual"}  # those whose values are made by running the model


@dataclass(frozen=True)
class Ablation:
    """An ablation that another package adds, under an entry point of the group `assay.ablations`.

    Attributes:
        name: as in claim files.
        source: (workbench, site, draw) -> what the site takes: a `Value`; `From("donor", rows)` or
            `From("counterfactual")`; or a `Call` that reads no site. It is asked site by site.
        random: whether it has draws, which the same seed gives again.
        from_means: whether it begins with the reference's means, which are then gathered for all sites at once.
        constant: whether what a site takes is the same in every row, so that none of its weights is read.
    """

    name: str
    source: Callable[[Any, Any, int], object]
    random: bool = False
    from_means: bool = False
    constant: bool = False


def ablation_problem(name: str) -> str | None:
    """One clause on a name that is no ablation's, or more than one's; None where there is one such ablation."""
    known = (*ABLATIONS, *plugins.names(plugins.ABLATIONS, ABLATIONS))
    unknown = None if name in known else f"unknown ablation {name!r}" + nearest(name, known)
    return unknown or plugins.problem(plugins.ABLATIONS, name, ABLATIONS)


def plugged(name: str) -> Ablation:
    """An ablation that another package adds.

    Raises:
        TaskError: for a name that no ablation has.
        PluginError: for one that cannot be loaded, or is none.
    """
    if clause := ablation_problem(name):
        raise TaskError(clause)
    who = f"the plug-in {name!r} of {plugins.ABLATIONS}"
    found: Ablation = held(plugins.load(plugins.ABLATIONS, name), Ablation, who)
    if found.name != name:
        raise PluginError(f"{who} is an ablation that calls itself {found.name!r}; records must know it by one name")
    return found


def is_random(name: str) -> bool:
    """Whether an ablation has draws."""
    return name in RANDOM or (name not in ABLATIONS and plugged(name).random)


def from_means(name: str) -> bool:
    """Whether an ablation begins with the reference's means."""
    return name in _FROM_MEANS or (name not in ABLATIONS and plugged(name).from_means)


def from_runs(name: str) -> bool:
    """Whether an ablation's values are made by running the model on other examples, which reads its weights."""
    return name in _FROM_RUNS or (name not in ABLATIONS and not plugged(name).constant)
