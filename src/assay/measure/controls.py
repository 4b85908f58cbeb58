"""Controls: explanations that should not score well, scored as the claim is, on its own scope rule (DEFINITIONS §8).

Takes a claim, a workbench and some rows; gives the record's `controls` block: groups of random, shuffled and searched
controls with the claim's rank among them, and the search re-run on a copy of the model with random weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from assay.errors import ModelError
from assay.explanations.base import Explanation
from assay.explanations.circuit import Circuit
from assay.explanations.components import Constant, Keep, Remove
from assay.explanations.program import Program, words
from assay.explanations.programs import AttentionProgram, LabelProgram
from assay.intervene.ablations import Workbench
from assay.intervene.plan import Plan, Run
from assay.measure.circuit_controls import circuit_controls
from assay.measure.control_draws import (
    Assignment,
    Draws,
    exchangeable,
    other_sets,
    program_sets,
    shuffled,
    variant_sets,
)
from assay.measure.control_figures import Group, Sample, row_of
from assay.measure.control_sizes import largest, needed, sizes
from assay.measure.nearest import nearest, shares_near
from assay.measure.random_weights import How, beside, randomised, search, searchable
from assay.measure.rivals import Rival
from assay.measure.score import System, score
from assay.measure.settings import Settings
from assay.measure.thresholds import THRESHOLDS
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.names import Site
from assay.task.task import Task

FITTED_SHARE = 10  # controls of which each needs fits by gradient are this many times fewer
SHUFFLES, SEARCHES = 20, 5  # draws of shuffled tokens; searches on a shuffled task
ROWS, EXAMPLES = 32, 512  # rows that controls are scored on; of a classifier, whose rows are scored once each
KEPT = 1 << 30  # bytes of reference values that are kept for the fits of further controls
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
    claim = assignment_of(explanation, bench.model)
    if not claim:
        return {**out, "reason": "the claim names no part", "random_weights_reason": "the claim names no part"}
    aside = _Aside(bench)
    groups, own = _groups(aside, explanation, claim, settings, ablation)
    systems: dict[str, System | Sequence[System]] = {"claim": own[0], "claim floor": own[1]}
    shared = isinstance(explanation, (Keep, Remove))
    for g, group in enumerate(groups):
        for i, (_, plan, floor) in enumerate(group.plans):
            systems[f"{g}.{i}"] = plan
            if not shared and floor is not own[1]:
                systems[f"{g}.{i} floor"] = floor
    others = {rival.name: rival.system for rival in rivals if callable(rival.system)}
    scored = score(bench, {**systems, **others}, rows=rows, beside="claim", advance=advance)
    looked = {f"{group.name} ({name})": f"{g}.{i}" for g, group in enumerate(groups) if group.competes
              for i, (name, _, _) in enumerate(group.plans)} | {name: name for name in others}  # fmt: skip
    if isinstance(explanation, Keep):  # the claim that says nothing: there may be no other set of the claim's kinds
        looked["the floor, nothing kept"] = "claim floor"
    shares = shares_near(scored, looked, THRESHOLDS.vacuous_epsilon)
    found = nearest(shares, THRESHOLDS.vacuous_epsilon, int(scored.count.sum()))
    out["nearest"] = None if found is None else found.to_json()
    out["tokens"] = int(scored.count.sum())
    sample = Sample(scored, bench.task, settings.seed)
    out["groups"] = [row_of(sample, g, group, isinstance(explanation, Remove)) for g, group in enumerate(groups)]
    if random_weights:
        try:
            out["random_weights"] = _random_weights(bench, explanation, claim, settings, ablation, rows, sample)
        except ModelError as problem:
            out["random_weights_reason"] = str(problem)
    return out


def assignment_of(explanation: Explanation, model: Model | ModuleModel) -> Assignment:
    """The claim's parts, each with its program (None for claims that only name parts)."""
    if isinstance(explanation, Program):
        return dict(explanation.assigned(model))
    return dict.fromkeys(explanation.scope(model))


def claim_like(explanation: Explanation, assignment: Mapping[Site, Any]) -> Explanation:
    """A claim of the same kind about other parts (with other programs)."""
    names = [str(site) for site in assignment]
    match explanation:
        case Program():
            return Program({str(site): program for site, program in assignment.items()})
        case Constant(value=value):
            return Constant(names, value)
        case Keep():
            return Keep(names)
        case Remove():
            return Remove(names)
    raise TypeError(f"no controls are known for claims of kind {explanation.kind!r}")


def _named(assignment: Mapping[Site, Any], programs: bool = False) -> str:
    if programs:
        said = [words(program) for program in assignment.values()]
        return said[0] if len(set(said)) == 1 else ", ".join(said)
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

    def plans(self, explanation: Explanation, ablation: str, shuffle: int | None = None) -> tuple[Plan, Plan]:
        """The explained run and the floor of a control; with `shuffle`, its programs are fed shuffled tokens."""
        bench = self.bench()
        if shuffle is None:
            plan = explanation.plan(bench, ablation)
        else:
            assert isinstance(explanation, Program)
            plan = bench.plan(shuffled(bench, explanation.edits(bench), shuffle))
        floor = plan if isinstance(explanation, Remove) else explanation.floor(bench, ablation)  # removal has none
        self.keep(bench)
        return plan, floor

    def keep(self, bench: Workbench) -> None:
        """Shares what was fitted, but for the raw values behind fits once they are many."""
        room = KEPT - sum(v.nbytes for k, v in self.shared.items() if _raw(k))
        for key, value in bench.fitted.items():
            if key in self.shared:
                continue
            if _raw(key):
                room -= value.nbytes
                if room < 0:
                    continue
            self.shared[key] = value


def gather(bench: Workbench, sites: Sequence[Site], into: dict[object, Any]) -> None:
    """The reference's values of all these parts in one pass, where they fit in memory; fits find them (`fits`)."""
    assert isinstance(bench.model, Model)
    assert bench.task.reference is not None
    run, rows = Run("reference", "reference"), np.arange(len(bench.task.reference))
    missing = [site for site in dict.fromkeys(sites) if ("reference values", site) not in into]
    columns = len(rows) * bench.task.reference.tokens.shape[1]
    width = {"head": bench.model.config.d_head, "mlp": bench.model.config.d_model}
    if missing and sum(4 * columns * width.get(site.kind, 1) for site in missing) <= KEPT:
        with torch.no_grad():
            values = bench.runner.values(Plan((run,)), run, missing, rows)
        into.update({("reference values", site): value for site, value in values.items()})


def _raw(key: object) -> bool:
    return isinstance(key, tuple) and key[0] == "reference values"


def _groups(
    aside: _Aside, explanation: Explanation, claim: Assignment, settings: Settings, ablation: str
) -> tuple[list[Group], tuple[Plan, Plan]]:
    """All controls, and the claim's own plan and floor."""
    bench = aside.original
    fitted = any(isinstance(p, AttentionProgram) and p.level == "full" for p in claim.values())
    fitted |= ablation == "optimal" or (isinstance(explanation, Constant) and explanation.value == "optimal")
    most = max(settings.controls // FITTED_SHARE, min(settings.controls, 3)) if fitted else settings.controls
    program = isinstance(explanation, Program)
    groups: list[Group] = []

    def group(
        name: str, what: str, items: Sequence[Assignment], possible: int, near: bool = False, rival: bool = False
    ) -> None:
        same = len(items) == 1 and items[0] == claim
        made = Group(name, what, possible=possible, near=near, rival=rival, same=same)
        for item in () if made.same else items:
            made.plans.append((_named(item), *aside.plans(claim_like(explanation, item), ablation)))
        groups.append(made)

    sets = other_sets(bench, claim, most, settings.seed) if most else Draws((), 0)
    if program:
        gather(bench, [site for item in (claim, *sets.items) for site in item], aside.shared)
    own = aside.plans(explanation, ablation)
    if most:
        if isinstance(bench.model, Model):
            needed(bench, exchangeable(bench, claim))
        else:
            needed(bench, [site for item in (claim, *sets.items) for site in item])
        noun = "heads" if all(site.kind == "head" for site in claim) else "parts"
        noun = "channels" if all(site.kind == "module" and site.index is not None for site in claim) else noun
        several = "s" if len(set(claim.values())) > 1 else ""
        doing = f"the same program{several} on" if program else "the claim made about"
        what = f"{doing} {len(sets.items):,} of the {sets.possible:,} other sets of {len(claim)} with {sets.how}"
        group(f"other {noun}", what, sets.items, sets.possible)
    if program and most:
        _other_programs(aside, explanation, claim, settings, most, ablation, groups, own[1])
    if settings.controls:
        norm, attribution = sizes(bench, exchangeable(bench, claim))
        for name, size in (("norm", norm), ("attribution", attribution)):
            if not size:
                why = "the module gives no gradient"
                groups.append(Group(f"top {name}", "the parts with the highest", near=True, reason=why))
                continue
            item = largest(bench, claim, size)
            what = f"the parts of the same layer profile with the highest {name}: {_named(item)}"
            group(f"top {name}", what, [item], 1, near=True, rival=True)
    if settings.controls and searchable(claim):
        found: dict[frozenset, Assignment] = {}
        for shuffle in range(SEARCHES):
            item, _ = search(bench, claim, shuffle=shuffle)
            found.setdefault(frozenset(item.items()), item)
        what = f"the same search on {SEARCHES} shuffled tasks, with nothing to find: {len(found)} different finds"
        group("search on a shuffled task", what, list(found.values()), len(found), near=True)
    return groups, own


def _other_programs(
    aside: _Aside,
    explanation: Explanation,
    claim: Assignment,
    settings: Settings,
    most: int,
    ablation: str,
    groups: list[Group],
    floor: Plan,
) -> None:
    """Groups on the claim's own parts, so with the claim's own floor."""

    def add(group: Group, name: str, other: Explanation, shuffle: int | None = None) -> None:
        group.plans.append((name, aside.plans(other, ablation, shuffle)[0], floor))

    draws = program_sets(aside.original, claim, most, settings.seed)
    others = Group(
        "other programs",
        f"{len(draws.items):,} of the {draws.possible:,} ways to give the same parts other programs of the library",
        possible=draws.possible,
    )
    for item in draws.items:
        add(others, _named(item, programs=True), claim_like(explanation, item))
    shuffles = Group("shuffled tokens", "the same program fed a permuted copy of the window's tokens", possible=10**9)
    for draw in range(min(SHUFFLES, most) if any(_reads_tokens(p) for p in claim.values()) else 0):
        add(shuffles, f"shuffle {draw}", explanation, draw)
    near = Group("variants", "the same rule with other options (near misses, no controls)", near=True)
    for item in variant_sets(claim)[:most]:
        add(near, _variant(item), claim_like(explanation, item))
    near.possible = len(near.plans)
    groups += [group for group in (others, shuffles, near) if group.plans]


def _reads_tokens(program: Any) -> bool:
    """Whether other tokens could change what a program does: fed shuffled ones, a rule on positions is itself."""
    if isinstance(program, AttentionProgram):
        return program.level != "pattern" or program.name in ("induction", "duplicate_token")
    return not (isinstance(program, LabelProgram) and program.source is not None)


def _variant(item: Assignment) -> str:
    program = next(p for p in item.values() if isinstance(p, AttentionProgram))
    return f"{words(program)}, {program.without_match} without a match"


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
    remove = isinstance(explanation, Remove)
    blocks: list[dict[str, Any]] = []
    for how in HOWS[:1] if settings.quick else HOWS:
        copied = beside(bench, randomised(bench.model, how, settings.seed))
        found, searched = search(copied, claim)
        other = claim_like(explanation, found)
        if isinstance(other, Program):
            gather(copied, list(found), copied.fitted)
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
