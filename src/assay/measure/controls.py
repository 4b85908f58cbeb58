"""Controls: explanations that should not score well, scored as the claim is, on its own scope rule (DEFINITIONS §8).

Takes a claim, a workbench and some rows; gives the record's `controls` block: groups of random, shuffled and searched
controls with the claim's rank among them, and the search re-run on a copy of the model with random weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from assay.errors import ModelError
from assay.explanations.base import Assignment, Explanation, Label
from assay.explanations.circuit import Circuit
from assay.explanations.fits import KEPT, raw
from assay.intervene.ablations import Workbench
from assay.intervene.plan import Plan
from assay.measure.circuit_controls import circuit_controls
from assay.measure.control_draws import Draws, exchangeable, other_sets
from assay.measure.control_figures import Group, Sample, row_of
from assay.measure.control_sizes import largest, needed, sizes
from assay.measure.nearest import nearest, shares_near
from assay.measure.random_weights import How, beside, findable, randomised, search
from assay.measure.rivals import Rival
from assay.measure.score import System, score
from assay.measure.settings import Settings
from assay.measure.thresholds import THRESHOLDS
from assay.model.transformer import Model
from assay.names import Site
from assay.task.task import Task

FITTED_SHARE = 10  # controls of which each needs fits by gradient are this many times fewer
SEARCHES = 5  # on a shuffled task
ROWS, EXAMPLES = 32, 512  # rows that controls are scored on; of a classifier, whose rows are scored once each
HOWS: tuple[How, ...] = ("permuted", "drawn")


def control_rows(task: Task, most: int | None = None) -> Int[np.ndarray, "rows"]:
    """Rows that controls are scored on: one of each document in turn, documents spread evenly over the task."""
    if most is None:
        most = EXAMPLES if task.kind == "classify" else ROWS
    document = np.asarray(task.document)
    turn = np.zeros(len(document), dtype=np.int64)
    for d in np.unique(document):
        mine = np.flatnonzero(document == d)
        turn[mine] = np.arange(len(mine))
    order = np.lexsort((document, turn))
    if len(order) <= most:
        return np.sort(order)
    first = order[turn[order] == 0]
    pool = first if len(first) >= most else order[:most]
    return np.sort(pool[np.linspace(0, len(pool) - 1, most).round().astype(int)])


def controls(
    bench: Workbench,
    explanation: Explanation,
    settings: Settings,
    *,
    ablation: str,
    rows: Int[np.ndarray, "rows"] | None = None,
    rivals: Sequence[Rival] = (),
    random_weights: bool = True,
    advance: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Scores controls beside the claim, on the same rows.

    Args:
        ablation: what fills ablated parts: the headline's; of a random one a single draw.
        rows: which rows are scored; None for `control_rows(bench.task)`.
        rivals: distributions of their own (n-grams, smaller models) that may be as near to the explained run.
        random_weights: whether the search is re-run on randomised copies of the model.
        advance: as in `score`.

    Returns:
        The record's `controls` block; `reason` and `random_weights_reason` say why there are none. A group's `values`
        are R_D over the control's own floor (None where that floor is within 10⁻⁶ nats of the model), its `nats` what
        is closed of the floor's KL; for Remove both are KL(M‖E). `p` ranks the claim by `values`, `p_nats` by `nats`.
        `nearest` is the rival or control that is nearest to the explained run, near misses left out; of Keep and
        circuits the floor, at which nothing is kept, is one of them.
    """
    rows = control_rows(bench.task) if rows is None else np.asarray(rows)
    out: dict[str, Any] = {"groups": [], "random_weights": None, "random_weights_reason": None}
    out |= {"nearest": None, "ablation": ablation, "draws": 1}
    out |= {"rows": len(rows), "documents": len(np.unique(np.asarray(bench.task.document)[rows]))}
    if isinstance(explanation, Circuit):
        block = circuit_controls(
            bench,
            explanation,
            settings,
            ablation=ablation,
            rows=rows,
            rivals=rivals,
            random_weights=random_weights,
            advance=advance,
        )
        return {**out, **block}
    claim = explanation.assignment(bench.model)
    if claim is not None and not claim:
        return {**out, "reason": "the claim names no part", "random_weights_reason": "the claim names no part"}
    aside = _Aside(bench)
    groups, own = _groups(aside, explanation, claim, settings, ablation)
    if not groups and settings.controls:
        out["reason"] = f"no controls are known for claims of kind {explanation.kind!r}"
    systems: dict[str, System | Sequence[System]] = {"claim": own[0], "claim floor": own[1]}
    shared = explanation.floor_takes != "parts"
    for g, group in enumerate(groups):
        for i, (_, plan, floor) in enumerate(group.plans):
            systems[f"{g}.{i}"] = plan
            if not shared and floor is not own[1]:
                systems[f"{g}.{i} floor"] = floor
    others = {rival.name: rival.system for rival in rivals if callable(rival.system)}
    scored = score(bench, {**systems, **others}, rows=rows, beside="claim", advance=advance)
    looked = {f"{group.name} ({name})": f"{g}.{i}" for g, group in enumerate(groups) if group.competes
              for i, (name, _, _) in enumerate(group.plans)} | {name: name for name in others}  # fmt: skip
    if explanation.floor_takes == "everything":  # the claim that says nothing: there may be no other set of its kinds
        looked["the floor, nothing kept"] = "claim floor"
    shares = shares_near(scored, looked, THRESHOLDS.vacuous_epsilon)
    found = nearest(shares, THRESHOLDS.vacuous_epsilon, int(scored.count.sum()))
    out["nearest"] = None if found is None else found.to_json()
    out["tokens"] = int(scored.count.sum())
    sample = Sample(scored, bench.task, settings.seed)
    out["groups"] = [row_of(sample, g, group, explanation.floor_takes is None) for g, group in enumerate(groups)]
    if claim is None:
        out["random_weights_reason"] = f"no search is known that finds claims of kind {explanation.kind!r}"
    elif random_weights:
        try:
            out["random_weights"] = _random_weights(bench, explanation, claim, settings, ablation, rows, sample)
        except ModelError as problem:
            out["random_weights_reason"] = str(problem)
    return out


def _named(assignment: Mapping[Site, Label]) -> str:
    return ", ".join(str(site) for site in assignment)


class _Aside:
    """Makes plans of controls whose fits do not touch the claim's.

    A head's strength α depends on the heads that it was fitted with, but is kept by head; every plan therefore has a
    workbench of its own, which shares all other fits.
    """

    def __init__(self, bench: Workbench):
        self.original, self.shared = bench, dict(bench.fitted)

    def bench(self) -> Workbench:
        bench = copy.copy(self.original)
        bench.fitted = dict(self.shared)
        return bench

    def plans(self, explanation: Explanation, ablation: str) -> tuple[Plan, Plan]:
        """The explained run and the floor of a control."""
        bench = self.bench()
        plan = explanation.plan(bench, ablation)
        floor = plan if explanation.floor_takes is None else explanation.floor(bench, ablation)  # removal has none
        self.keep(bench)
        return plan, floor

    def plan(self, make: Callable[[Workbench], Plan]) -> Plan:
        """An explained run alone."""
        bench = self.bench()
        plan = make(bench)
        self.keep(bench)
        return plan

    def foresee(self, explanation: Explanation, sites: Sequence[Site]) -> None:
        bench = self.bench()
        explanation.foresee(bench, sites)
        self.shared.update(bench.fitted)

    def keep(self, bench: Workbench) -> None:
        """Shares what was fitted, but for the raw values behind fits once they are many."""
        room = KEPT - sum(v.nbytes for k, v in self.shared.items() if raw(k))
        for key, value in bench.fitted.items():
            if key in self.shared:
                continue
            if raw(key):
                room -= value.nbytes
                if room < 0:
                    continue
            self.shared[key] = value


def _groups(
    aside: _Aside, explanation: Explanation, claim: Assignment | None, settings: Settings, ablation: str
) -> tuple[list[Group], tuple[Plan, Plan]]:
    """All controls, and the claim's own plan and floor. What is no set of parts has its own neighbours as controls."""
    bench, most = aside.original, settings.controls
    if explanation.costly(ablation):
        most = max(settings.controls // FITTED_SHARE, min(settings.controls, 3))
    groups: list[Group] = []

    def group(
        name: str, what: str, items: Sequence[Assignment], possible: int, near: bool = False, rival: bool = False
    ) -> None:
        same = len(items) == 1 and items[0] == claim
        made = Group(name, what, possible=possible, near=near, rival=rival, same=same)
        for item in () if made.same else items:
            made.plans.append((_named(item), *aside.plans(explanation.like(item), ablation)))
        groups.append(made)

    sets = other_sets(bench, claim, most, settings.seed) if claim and most else Draws((), 0)
    everything = [site for item in (claim or {}, *sets.items) for site in item]
    aside.foresee(explanation, everything)
    own = aside.plans(explanation, ablation)
    if claim and most:
        needed(bench, exchangeable(bench, claim) if isinstance(bench.model, Model) else everything)
        noun = "heads" if all(site.kind == "head" for site in claim) else "parts"
        noun = "channels" if all(site.kind == "module" and site.index is not None for site in claim) else noun
        others = f"{len(sets.items):,} of the {sets.possible:,} other sets of {len(claim)} with {sets.how}"
        group(f"other {noun}", f"{explanation.again()} {others}", sets.items, sets.possible)
    for near in explanation.neighbours(bench, most) if most else ():
        made = [(name, aside.plan(make), own[1]) for name, make in near.items]  # on its own parts: its own floor
        if made:
            groups.append(Group(near.name, near.what, made, near.possible, near.near))
    if not claim or not settings.controls:
        return groups, own
    for name, size in zip(("norm", "attribution"), sizes(bench, exchangeable(bench, claim)), strict=True):
        if size:
            item = largest(bench, claim, size)
            what = f"the parts of the same layer profile with the highest {name}: {_named(item)}"
            group(f"top {name}", what, [item], 1, near=True, rival=True)
        else:
            why = "the module gives no gradient"
            groups.append(Group(f"top {name}", "the parts with the highest", near=True, reason=why))
    rules = findable(explanation, bench.model)
    if rules:
        found: dict[frozenset, Assignment] = {}
        for shuffle in range(SEARCHES):
            item, _ = search(bench, claim, rules, shuffle=shuffle)
            found.setdefault(frozenset(item.items()), item)
        what = f"the same search on {SEARCHES} shuffled tasks, with nothing to find: {len(found)} different finds"
        group("search on a shuffled task", what, list(found.values()), len(found), near=True)
    return groups, own


# -- random weights ---------------------------------------------------------------------------------------------------


def _random_weights(
    bench: Workbench,
    explanation: Explanation,
    claim: Assignment,
    settings: Settings,
    ablation: str,
    rows: Int[np.ndarray, "rows"],
    sample: Sample,
) -> dict[str, Any]:
    """The search re-run on randomised copies; the first way is the headline, the others are listed under `also`."""
    remove, rules = explanation.floor_takes is None, findable(explanation, bench.model)
    blocks: list[dict[str, Any]] = []
    for how in HOWS[:1] if settings.quick else HOWS:
        copied = beside(bench, randomised(bench.model, how, settings.seed))
        found, searched = search(copied, claim, rules)
        other = explanation.like(found)
        other.foresee(copied, list(found))
        plans = {"control": other.plan(copied, ablation)}
        plans["control floor"] = plans["control"] if remove else other.floor(copied, ablation)
        scored = score(copied, plans, rows=rows)
        mine = sample.kl("claim"), sample.kl("claim floor")
        its = sample.kl("control", scored), sample.kl("control floor", scored)
        block: dict[str, Any] = {"how": how, "found": [str(site) for site in found]}
        way = {"permuted": "every matrix's entries in random order", "drawn": "every matrix drawn anew"}[how]
        where = f"the parts with {searched} there ({_named(found)}), scored by KL to that copy"
        block["what"] = f"{way}, embeddings, norms and biases kept; {where}"
        blocks.append(block | sample.beside(mine, its, remove))
    return {**blocks[0], "also": blocks[1:]}
