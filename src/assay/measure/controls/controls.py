"""Controls: explanations that should not score well, scored as the claim is, on its own scope rule.

docs/definitions.md#controls-and-p says what each shows. Takes a claim, a workbench and some rows; gives the record's
`controls` block: groups of random, shuffled and searched controls with the claim's rank among them, and the search
re-run on a copy of the model with random weights.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int

from assay.errors import UserError
from assay.explanations.answers import Searched
from assay.explanations.base import Assignment, Explanation, Label, Undefined
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.output import System
from assay.intervene.plan import Plan
from assay.measure.budget import LEAST_CONTROLS, Budget, affordable, fewer, least, runs
from assay.measure.checks.thresholds import THRESHOLDS
from assay.measure.controls.groups import CLAIM, CLAIM_FLOOR, ControlScores, Planned, row_of
from assay.measure.controls.nearest import nearest, shares_near
from assay.measure.controls.random_weights import How, randomised, workbench_of
from assay.measure.controls.rivals import Rival
from assay.measure.settings import Settings
from assay.methods.part_sets import DrawnSets, exchangeable, other_sets
from assay.methods.part_sizes import needed
from assay.methods.registry import method_of
from assay.methods.similar_claims import SimilarClaim, search, search_of
from assay.model import meter
from assay.model.module import ModuleModel
from assay.model.sketch import stand_in
from assay.model.transformer import Model
from assay.names import Site
from assay.record.controls import Controls, Randomised
from assay.score.ids import SystemId
from assay.score.score import Scored, score
from assay.stats.keyed import generator

FITTED_SHARE = 10  # controls of which each needs fits by gradient are this many times fewer
SEARCHES = 5  # on a shuffled task
SHUFFLED = "search on a shuffled task"
NAMED = 24  # of what a search found, that the record names
HOWS: tuple[How, ...] = ("permuted", "drawn")
MARGIN = 1.25  # times what a copy took of the sketch: another circuit is found there, whose runs may take more
WAYS = {"permuted": "every matrix's entries in random order", "drawn": "every matrix drawn anew"}


@dataclass(frozen=True, eq=False)
class ControlledClaim:
    """The claim that controls stand beside, and how both are scored.

    Attributes:
        ablation: what fills ablated parts: the headline's; of a random one a single draw.
        rows: which rows are scored, as `control_rows` gives them.
        made: the claim's explained run and floor, where they were made.
    """

    workbench: PlanContext
    explanation: Explanation
    settings: Settings
    ablation: str
    rows: Int[np.ndarray, "rows"]
    made: tuple[Plan, Plan | None] | None = None

    @cached_property
    def own(self) -> tuple[Plan, Plan | None]:
        """Its explained run and floor."""
        return self.plans(self.explanation) if self.made is None else self.made

    @cached_property
    def assignment(self) -> Assignment | None:
        """What it says of which parts; None where it is no set of parts."""
        return self.explanation.assignment(self.workbench.model)

    @property
    def remove(self) -> bool:
        """Whether it has no floor, but is what is taken away."""
        return self.explanation.removal

    def plans(self, other: Explanation) -> tuple[Plan, Plan | None]:
        """The explained run and the floor of a control; removal has none."""
        plan = other.plan(self.workbench, self.ablation)
        return plan, None if other.removal else other.floor(self.workbench, self.ablation)

    def counts(self) -> dict[str, Any]:
        """How many rows and documents are scored."""
        documents = np.unique(np.asarray(self.workbench.task.document)[self.rows])
        return {"ablation": self.ablation, "draws": 1, "rows": len(self.rows), "documents": len(documents)}

    def search(self, name: str, workbench: PlanContext | None = None, shuffle: int | None = None) -> SimilarClaim:
        """What a search finds of the claim's sort: here, or on another workbench or a shuffled task."""
        at = self.workbench if workbench is None else workbench
        return search(name, at, self.explanation, ablation=self.ablation, rows=self.rows, shuffle=shuffle)


def controls(
    claim: ControlledClaim,
    *,
    rivals: Sequence[Rival] = (),
    random_weights: bool = True,
    budget: Budget | None = None,
) -> Controls:
    """Scores controls beside the claim, on the same rows.

    Args:
        rivals: distributions of their own (n-grams, smaller models) that may be as near to the explained run.
        random_weights: whether the search is re-run on randomised copies of the model.
        budget: what they may cost.

    Returns:
        The record's block. Its `nearest` is the rival or control that is nearest to the explained run, near misses left
        out; of Keep and circuits the floor, at which nothing is kept, is one of them.
    """
    budget, settings = Budget() if budget is None else budget, claim.settings

    def without(reason: str) -> tuple[Controls, ControlScores | None]:
        return no_controls(claim, reason), None

    if claim.assignment is not None and not claim.assignment and settings.asks("controls"):
        return without("the claim names no part")[0]
    block, sample = budget.run("controls", settings.asks("controls"), lambda: _scored(claim, rivals), without)
    if sample is None and not budget.goes_on_with("random weights"):
        if "controls" in budget.wanting:  # they would be compared with these
            budget.wanting["random weights"] = budget.wanting["controls"]
        return block
    found_by = search_of(claim.explanation, claim.workbench.model)
    if isinstance(found_by, Undefined) or not random_weights:
        why = found_by.reason if isinstance(found_by, Undefined) else None
        return block.model_copy(update={"random_weights_reason": why})

    def again() -> tuple[Randomised | None, str | None]:
        try:
            return _random_weights(claim, found_by, sample or _own_sample(claim)), None
        except UserError as problem:
            return None, str(problem)

    random, why = budget.run("random weights", True, again, lambda reason: (None, reason))
    return block.model_copy(update={"random_weights": random, "random_weights_reason": why})


def no_controls(claim: ControlledClaim, reason: str) -> Controls:
    """The block where there are none."""
    return Controls(**claim.counts(), reason=reason, random_weights_reason=reason)


def _own_sample(claim: ControlledClaim) -> ControlScores:
    """The claim alone, where its controls were scored earlier."""
    plan, floor = claim.own
    systems = {CLAIM: plan} if floor is None else {CLAIM: plan, CLAIM_FLOOR: floor}
    workbench = claim.workbench
    return ControlScores(score(workbench, systems, rows=claim.rows), workbench.task, claim.settings.seed)


def _scored(claim: ControlledClaim, rivals: Sequence[Rival]) -> tuple[Controls, ControlScores]:
    """The block without random weights, and what they are compared with."""
    workbench, explanation, own = claim.workbench, claim.explanation, claim.own
    groups = _groups(claim)
    rows = _fit(workbench, groups, own, claim.rows)
    systems: dict[SystemId, System] = {CLAIM: own[0]}
    if own[1] is not None:
        systems[CLAIM_FLOOR] = own[1]
    near: dict[str, System] = {}  # what may be as good as equal to the claim
    for group in groups:
        for (name, plan, floor), (one, below) in zip(group.plans, group.ids, strict=True):
            systems[one] = plan
            if floor is not None and explanation.floor_takes == "parts":
                systems[below] = floor
            if group.competes:
                near[f"{group.name} ({name})"] = plan
    near |= {rival.name: rival.system for rival in rivals if callable(rival.system)}
    if explanation.floor_takes == "everything":  # the claim that says nothing: there may be no other set of its kinds
        assert own[1] is not None
        near["the floor, nothing kept"] = own[1]
    apart = {name: SystemId("beside", part=name) for name in near}
    systems |= {apart[name]: system for name, system in near.items()}
    scored = score(
        workbench,
        systems,
        rows=rows,
        keep=apart.values(),
        targets=dict.fromkeys(apart.values(), own[0]),
    )
    shares = shares_near(scored, apart, THRESHOLDS.vacuous_epsilon)
    found = nearest(shares, THRESHOLDS.vacuous_epsilon, int(scored.count.sum()))
    sample = ControlScores(scored, workbench.task, claim.settings.seed)
    unknown = f"no controls are known for claims of kind {explanation.kind!r}"
    block = Controls(
        groups=tuple(row_of(sample, group, claim.remove) for group in groups),
        nearest=found,
        **replace(claim, rows=rows).counts(),
        tokens=int(scored.count.sum()),
        reason=unknown if claim.settings.controls and not groups else None,
    )
    return block, sample


def _fit(
    workbench: PlanContext, groups: Sequence[Planned], own: tuple[Plan, Plan | None], rows: Int[np.ndarray, "rows"]
) -> Int[np.ndarray, "fewer"]:
    """Rows that controls are scored on within what is meant for them: as many controls as fit on all of these rows; of
    each sort 19, on fewer rows, where that is too much; near misses and what searches find go where even that is. The
    groups are cut to that."""
    most = max((len(group.plans) for group in groups if not group.near), default=0)

    def count(of_each: int) -> float:
        plans = [own, *((plan, floor) for group in groups for _, plan, floor in _some(workbench, group, of_each))]
        return runs(workbench.model, [plan for pair in plans for plan in pair if plan is not None])

    fits = range(min(LEAST_CONTROLS, most), most + 1)
    of_each = fits[max(bisect_right(fits, -len(rows), key=lambda n: -affordable(workbench, count(n))) - 1, 0)]
    if most and affordable(workbench, count(of_each)) < least(workbench, rows):
        for group in groups:
            if group.near and group.plans:
                group.plans, group.reason = (), "the budget is spent on controls at random"
    for group in groups:
        group.plans = _some(workbench, group, of_each)
    return fewer(workbench, rows, count(of_each))


def _some(workbench: PlanContext, group: Planned, count: int) -> Sequence[tuple[str, Plan, Plan | None]]:
    """So many of a group's controls, at random; near misses and single comparisons are all kept."""
    if group.near or len(group.plans) <= count:
        return group.plans
    order = generator(workbench.seed, "controls that fit", group.name).permutation(len(group.plans))
    return [group.plans[i] for i in np.sort(order[:count])]


def _named(assignment: Mapping[Site, Label]) -> str:
    return ", ".join(str(site) for site in assignment)


def _groups(claim: ControlledClaim) -> list[Planned]:
    """All controls. What is no set of parts has its own neighbours as controls."""
    workbench, explanation, parts = claim.workbench, claim.explanation, claim.assignment
    ablation, most = claim.ablation, claim.settings.controls
    if explanation.costly(ablation):
        most = max(most // FITTED_SHARE, min(most, 3))
    sets = other_sets(workbench, parts, most, claim.settings.seed) if parts and most else DrawnSets((), 0)
    if sets.items:  # each takes a run like the claim's own at least; where that is too much nothing is begun
        several = 1 + min(LEAST_CONTROLS, len(sets.items))
        fewer(workbench, claim.rows, several * runs(workbench.model, claim.own[:1]))
    searched = list(_searches(claim)) if most else []
    found = [one.assignment(workbench.model) or {} for _, claims in searched for one in claims]
    everything = [site for item in (parts or {}, *sets.items, *found) for site in item]
    explanation.foresee(workbench, everything)
    groups: list[Planned] = []
    if parts and most:
        needed(workbench, exchangeable(workbench, parts) if isinstance(workbench.model, Model) else everything)
        noun = "heads" if all(site.kind == "head" for site in parts) else "parts"
        noun = "channels" if all(site.kind == "module" and site.index is not None for site in parts) else noun
        others = f"{{n}} of the {sets.possible:,} other sets of {len(parts)} with {sets.how}"
        made = [(_named(item), *claim.plans(explanation.like(item))) for item in sets.items]
        groups.append(Planned(f"other {noun}", f"{explanation.again()} {others}", made, sets.possible))
    for near in explanation.neighbours(workbench, ablation, most) if most else ():
        made = [(name, plan, None) for name, plan in near.plans(workbench)]  # with the claim's own floor
        if made or near.reason:
            groups.append(Planned(near.name, near.what, made, near.possible, near.near, reason=near.reason or ""))
    for group, claims in searched:
        group.plans = [(_shown(one, workbench.model), *claim.plans(one)) for one in claims]
        groups.append(group)
    return groups


def _searches(claim: ControlledClaim) -> Iterator[tuple[Planned, list[Explanation]]]:
    """Groups of what searches find: simple ones, and the claim's own on shuffled tasks, where there is nothing to find.
    With each the claims that are to be planned: none where the only one is the claim itself."""
    explanation, model, parts = claim.explanation, claim.workbench.model, claim.assignment
    for words, name in explanation.simple_searches:
        group = Planned(f"top {words}", f"what the search by {words} finds", possible=1, near=True, rival=True)
        try:
            found = claim.search(name)
        except UserError as problem:
            group.reason = str(problem)
            yield group, []
            continue
        group.what = found.what
        group.same = _is(parts, [found.claim], model)
        yield group, [] if group.same else [found.claim]
    found_by = search_of(explanation, model)
    if isinstance(found_by, Undefined):
        if explanation.simple_searches:
            yield Planned(SHUFFLED, "", near=True, reason=found_by.reason), []
    elif (method := method_of(found_by.name)) is not None and method.on_shuffled:
        group = Planned(SHUFFLED, "", near=True)
        different: dict[tuple[str, ...], Explanation] = {}
        try:
            for draw in range(SEARCHES):
                one = claim.search(found_by.name, shuffle=draw).claim
                different.setdefault(tuple(one.named(model)), one)
        except UserError as problem:
            group.reason = str(problem)
            yield group, []
            return
        finds = "1 find" if len(different) == 1 else f"{len(different)} different finds"
        group.what = f"{_again(found_by)} on {SEARCHES} shuffled tasks, with nothing to find: {finds}"
        group.possible = len(different)
        group.same = _is(parts, list(different.values()), model)
        yield group, [] if group.same else list(different.values())


def _is(parts: Assignment | None, found: Sequence[Explanation], model: Model | ModuleModel) -> bool:
    """Whether all that was found is the claim itself."""
    return parts is not None and len(found) == 1 and found[0].assignment(model) == parts


def _again(found_by: Searched) -> str:
    name = found_by.name.replace("_", " ")
    return f"the same search ({name})" if found_by.known else f"{name} (the claim does not say which search found it)"


def _shown(claim: Explanation, model: Model | ModuleModel) -> str:
    """What a claim names, for the name of a control; of a circuit how much it is."""
    names = claim.named(model)
    return f"{len(names):,} edges" if claim.assignment(model) is None else ", ".join(names)


# -- random weights ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _OnCopy:
    """What a search finds on a copy of the model, and how that scores there, by KL to `to`."""

    found: SimilarClaim
    names: Sequence[str]
    shown: str
    to: str
    scored: Scored[SystemId]


def _on_copy(claim: ControlledClaim, found_by: Searched, how: How) -> _OnCopy:
    copied = workbench_of(claim.workbench, randomised(claim.workbench.model, how, claim.settings.seed))
    found = claim.search(found_by.name, copied)
    names = found.claim.named(copied.model)
    found.claim.foresee(copied, found.claim.scope(copied.model))
    copied.target = found.claim.target(copied)
    to = copied.target.what if copied.target else "that copy"
    plans = {CLAIM: found.claim.plan(copied, claim.ablation)}
    if not claim.remove:
        plans[CLAIM_FLOOR] = found.claim.floor(copied, claim.ablation)
    scored = score(copied, plans, rows=claim.rows)
    copied.runner.close()
    return _OnCopy(found, names, _shown(found.claim, copied.model), to, scored)


def _copies(claim: ControlledClaim, found_by: Searched) -> tuple[How, ...]:
    """The copies that what is left suffices for, as a copy of the model's sketch takes.

    Raises:
        OverBudgetError: where it does not for one of them, of which none is begun.
    """
    model = claim.workbench.model
    neurons = any(site.kind == "neuron" for site in claim.explanation.scope(model))
    try:
        with meter.apart() as spent:
            beside = workbench_of(claim.workbench, stand_in(model, neurons=neurons))
            _on_copy(replace(claim, workbench=beside, made=None), found_by, HOWS[0])
            beside.runner.close()
    except (RuntimeError, UserError):  # a claim that holds values of the model's own width: its cost is not known
        return HOWS
    work = MARGIN * spent.work
    meter.check_room(work)
    return tuple(how for count, how in enumerate(HOWS, 1) if meter.has_room(count * work))


def _random_weights(claim: ControlledClaim, found_by: Searched, sample: ControlScores) -> Randomised:
    """The search re-run on randomised copies; the first way is the headline, the others are listed under `also`."""
    claim = replace(claim, rows=np.unique(sample.scored.row))
    hows = _copies(claim, found_by)

    def one(how: How) -> Randomised:
        done = _on_copy(claim, found_by, how)
        mine, its = sample.pair(CLAIM, CLAIM_FLOOR), sample.pair(CLAIM, CLAIM_FLOOR, done.scored)
        where = f"what {_again(found_by)} finds there, by {done.found.by}: {done.shown}"
        what = f"{WAYS[how]}, embeddings, norms and biases kept; {where}; scored by KL to {done.to}"
        paired = sample.paired(mine, its, claim.remove)
        return Randomised(**vars(paired), how=how, found=tuple(done.names[:NAMED]), of=len(done.names), what=what)

    first, *others = map(one, hows)  # one copy at a time
    left = "".join(f"; {WAYS[how]} was left out for want of budget" for how in HOWS if how not in hows)
    return first.model_copy(update={"also": tuple(others), "what": first.what + left})
