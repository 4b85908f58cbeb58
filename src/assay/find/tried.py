"""Places for the hypothesis that `assay init` writes: a few swaps of each on prompts that the claim is not scored on.

First the streams of the last column, which say from which layer on the variable is there; then the parts of the layers
from there on, each alone and the best of them together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from assay.explanations.hypothesis.hypothesis import Hypothesis
from assay.find.hypothesis.places import PlacePlan, smallest
from assay.find.hypothesis.search import PlaceSearch, Together
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.plan import Plan
from assay.intervene.runner import Runner
from assay.model.meter import metered
from assay.model.transformer import Model
from assay.names import parse_site
from assay.task.prompt_rows import read_rows
from assay.task.prompts import prompts_task
from assay.task.task import Task

LAST = "@-1"
STREAMS, PARTS, TOGETHER = 12, 48, 12  # tried at most: streams, parts alone, and the best parts at once
KNOWS = 0.5  # share of prompts that a model gets right, below which there is nothing to find
THERE = 0.1  # of the best stream's share: below this a stream does not have the variable yet


@dataclass(frozen=True)
class TriedPlaces:
    """What the swaps gave.

    Attributes:
        right: share of prompts that the model answers as the hypothesis says, as it is.
        streams: stream -> share of swaps after which the answer is the right one, the rest left.
        parts: (part, nats by which a swap of it alone moves the answer), the largest first; together: the best at once.
        chosen: the places; none where the model does not get the prompts right.
        prompts: how many; passes: forward passes over them.
    """

    right: float
    streams: Mapping[str, float]
    parts: Sequence[tuple[str, float]]
    together: Sequence[Together]
    chosen: tuple[str, ...]
    prompts: int
    passes: float


def try_places(
    model: Model,
    rows: Sequence[Mapping[str, str]],
    claim: Hypothesis,
    heads: Sequence[str],
    seed: int = 0,
    progress: Callable[[str, int, int | None], None] = lambda stage, done, total: None,
) -> TriedPlaces:
    """Tries places of the claim's first variable.

    Args:
        rows: all of the prompts; only those are looked at that the task makes the reference.
        claim: gives the high-level model; heads: every head, the likeliest first.
    """
    task = reference_rows(model, rows)
    bench = PlanContext(Runner(model, task), seed)
    variable = next(iter(claim.high_level.variables))
    with metered() as meter:
        search = PlaceSearch(bench, claim, variable, seed)
        right = float((search.answers.logits(bench, Plan()).argmax(1) == search.before).mean())
        streams: dict[str, float] = {}
        parts: list[tuple[str, float]] = []
        together: list[Together] = []
        chosen: tuple[str, ...] = ()
        if right >= KNOWS:
            at = np.linspace(1, model.config.layers, min(STREAMS, model.config.layers)).round().astype(int)
            progress("swapping streams", 0, None)
            streams = {f"r{layer}{LAST}": search.answered([f"r{layer}{LAST}"]) for layer in np.unique(at)}
            names = _from(model, claim, variable, streams, heads)
            ranked = search.rank(names, lambda done, of: progress("swapping each place", done, of))
            parts = [(one.name, one.shift.value or 0.0) for one in ranked]
            best = [name for name, _ in parts]
            sizes = PlacePlan(variable, most=TOGETHER).sizes(len(best))
            progress("swapping the best together", 0, None)
            together = [search.together(best[:size]) for size in sizes]
            chosen = together[smallest(together)].names
    bench.runner.close()
    return TriedPlaces(right, streams, parts, together, chosen, len(task), meter.work / task.tokens.numel())


def reference_rows(model: Model, rows: Sequence[Mapping[str, str]]) -> Task:
    """The prompts that are the reference of a task of all of these, scored; its own reference are the others."""
    whole = prompts_task(Task, model, list(rows), metric="logit_diff", reference=None, bos="auto")
    scored = {document.name for document in whole.documents}
    held = [where.where not in scored for where in read_rows(list(rows))[0]]
    some, others = ([row for row, held_out in zip(rows, held, strict=True) if held_out is which]
                    for which in (True, False))  # fmt: skip
    return prompts_task(Task, model, some, metric="logit_diff", reference=others, bos="auto")


def _from(
    model: Model, claim: Hypothesis, variable: str, streams: Mapping[str, float], heads: Sequence[str]
) -> list[str]:
    """Heads and MLPs from the layer on in which the variable comes into the last column, `PARTS` at most: MLPs and the
    likeliest heads."""
    without = [parse_site(name).layer or 0 for name, share in streams.items() if share < THERE * max(streams.values())]
    first = max(without, default=0)
    every = PlacePlan(variable, columns=("-1",)).candidates(
        Hypothesis(claim.high_level, {variable: [f"r1{LAST}"]}), model
    )
    late = [name for name in every if (parse_site(name).layer or 0) >= first]
    likely = {f"{name}{LAST}": place for place, name in enumerate(heads)}
    kept = sorted(late, key=lambda name: likely.get(name, -1))[:PARTS]
    return [name for name in late if name in set(kept)]
