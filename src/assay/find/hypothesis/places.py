"""A search for a variable's places: ranked and put together on a selection, tested on other documents, with rivals."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assay.errors import ClaimError, UserError, nearest
from assay.explanations.hypothesis.hypothesis import Hypothesis
from assay.explanations.hypothesis.places import alignment
from assay.find.hypothesis.search import Candidate, PlaceSearch, Together
from assay.find.split import SearchSplit
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.runner import Runner
from assay.measure.record import model_block, revision, versions
from assay.model.transformer import Model
from assay.names import overlap, parse_site
from assay.record.about import Arguments, Assay, DataRecord, Timing
from assay.record.places import PlacesPoint, PlacesRecord, RivalsCounted, ShiftedBy, Swapped
from assay.stats.counted import counted
from assay.stats.estimate import Estimate, Undefined
from assay.version import VERSION

Progress = Callable[[str, int, int | None], None]
PARTS = ("heads", "mlps")
SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)


@dataclass(frozen=True)
class PlacePlan:
    """What a search looks at.

    Attributes:
        variable: whose places are searched for; agreeing: variables on which the source of a swap agrees with its base.
        parts: "heads", "mlps"; columns: numbers or names, or "all"; None: those of the claim's places of the variable.
        most: places that are swapped together at most; rivals: other alignments that are scored.
        budget: passes over the documents that are searched, at most; None: no limit.
    """

    variable: str
    agreeing: tuple[str, ...] = ()
    parts: tuple[str, ...] = PARTS
    columns: tuple[str, ...] | None = None
    most: int = 8
    rivals: int = 50
    seed: int = 0
    budget: float | None = None

    def check(self, claim: Hypothesis) -> None:
        """Raises a `UserError` for what cannot be searched for in this claim."""
        variables = claim.high_level.variables
        for name in (self.variable, *self.agreeing):
            if name not in variables:
                raise ClaimError(f"the hypothesis has no variable {name!r}" + nearest(name, variables))
        edge = next((name for name in claim.place_names if "->" in name), None)
        if edge is not None:
            raise ClaimError(
                f"the hypothesis names the edge {edge!r}, and places are searched for among heads and MLPs"
            )
        for part in self.parts or ("",):
            if part not in PARTS:
                raise UserError(f"unknown parts {part!r}" + nearest(part, PARTS))
        if self.most < 1:
            raise UserError(f"{self.most} places cannot be swapped; 1 is the least")

    def candidates(self, claim: Hypothesis, model: Model) -> list[str]:
        """Every place that is swapped alone: none that carries another variable, or a part of one.

        Raises:
            UserError: where there is none.
        """
        columns = self.columns
        if columns is None:
            own = [parse_site(one.name).position for one in claim.places.get(self.variable, ())]
            columns = tuple("all" if at is None else str(at) for at in dict.fromkeys(own)) or ("-1",)
        names: list[str] = []
        for layer in range(model.config.layers):
            names += [f"a{layer}.h{head}" for head in range(model.config.heads)] if "heads" in self.parts else []
            names += [f"m{layer}"] if "mlps" in self.parts and model.config.d_mlp[layer] is not None else []
        every = [name if at == "all" else f"{name}@{at}" for at in columns for name in names]
        taken = [site for name, some in alignment(claim.places, claim.high_level, model).items()
                 if name != self.variable for site in (one.site for one in some)]  # fmt: skip
        free = [name for name in every if not any(overlap(parse_site(name), site) for site in taken)]
        if not free:
            raise UserError(f"{model.name} has no {' and no '.join(self.parts)} that carry no other variable")
        return free

    def sizes(self, candidates: int) -> list[int]:
        return [size for size in SIZES if size <= min(self.most, candidates)]

    def passes(self, claim: Hypothesis, model: Model, selection: int, evaluation: int) -> float:
        """Passes over the rows that are searched, about: a candidate is run from its layer on."""
        names, layers = self.candidates(claim, model), model.config.layers
        alone = sum(1 - (parse_site(name).layer or 0) / layers for name in names)
        other = evaluation / selection
        # of every size a shift, the rest left, and the rest resampled with its donors
        together = 4 * len(self.sizes(len(names))) * (1 + other)
        return alone + together + 2 * self.rivals * other + 2 * (1 + other)


def find_places(
    model: Model,
    split: SearchSplit,
    claim: Hypothesis,
    plan: PlacePlan,
    *,
    arguments: Mapping[str, Any] | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> tuple[PlacesRecord, Hypothesis]:
    """The record, and the claim with the places that were found.

    Raises:
        UserError: for what `PlacePlan.check` refuses, and a search that its budget is too small for.
    """
    plan.check(claim)
    names, started, begun = plan.candidates(claim, model), time.time(), time.monotonic()
    cost = plan.passes(claim, model, len(split.selection.tokens), len(split.evaluation.tokens))
    if plan.budget is not None and cost > plan.budget:
        raise UserError(
            f"the search for {plan.variable!r} among {len(names)} places takes about {math.ceil(cost)} passes over the "
            f"documents that are searched, and its budget is {plan.budget:g}; name fewer columns, parts or rivals"
        )
    benches = [PlanContext(Runner(model, task), plan.seed) for task in (split.selection, split.evaluation)]
    there, here = (PlaceSearch(bench, claim, plan.variable, plan.seed, plan.agreeing) for bench in benches)
    ranked = there.rank(names, lambda done, of: progress("swapping each place", done, of))
    best = [one.name for one in ranked]
    sizes, found = plan.sizes(len(best)), list[tuple[Together, Together]]()
    for done, size in enumerate(sizes):
        progress("swapping the best together", done, len(sizes))
        found.append((there.together(best[:size]), here.together(best[:size])))
    chosen = smallest([one for one, _ in found])
    made = here.with_places(found[chosen][0].names)
    counted = _rivals(here, found[chosen][1], plan.rivals, progress)
    record = PlacesRecord(
        assay=Assay(version=VERSION, revision=revision()),
        arguments=Arguments(**(arguments or {"passed": {}, "resolved": vars(plan)})),
        model=model_block(model),
        task=split.evaluation.description,
        selection=DataRecord(**split.selection.summary(), name=split.selection.name),
        evaluation=DataRecord(**split.evaluation.summary(), name=split.evaluation.name),
        variable=plan.variable,
        agreeing=plan.agreeing,
        changed=(float(there.used.mean()), float(here.used.mean())),
        candidates=tuple(_shifted(one) for one in ranked),
        points=tuple(PlacesPoint(places=a.names, selection=_swapped(a), evaluation=_swapped(b)) for a, b in found),
        chosen=chosen,
        rivals=counted,
        versions=versions(benches[1]),
        timing=Timing(
            started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            seconds=round(time.monotonic() - begun, 1),
            search_seconds=round(time.monotonic() - begun, 1),
            forwards=round(sum(bench.runner.forwards for bench in benches)),
        ),
    )
    return record, made


def places_cost(model: Model, split: SearchSplit, claim: Hypothesis, plan: PlacePlan) -> dict[str, Any]:
    """Forward passes of one row, minutes on this machine from one swap, and GB of memory. Estimates."""
    rows = len(split.selection.tokens)
    passes = plan.passes(claim, model, rows, len(split.evaluation.tokens))
    search = PlaceSearch(PlanContext(Runner(model, split.selection), plan.seed), claim, plan.variable, plan.seed,
                         plan.agreeing)  # fmt: skip
    begun = time.perf_counter()
    search.shift([plan.candidates(claim, model)[0]])  # a pass, from the first layer on
    minutes = passes * (time.perf_counter() - begun) / 60
    memory = 1.6 + 4 * model.parameters / 1e9
    return {"forwards": int(rows * passes), "minutes": round(minutes, 2), "memory_gb": round(memory, 1)}


def smallest(found: Sequence[Together]) -> int:
    """The fewest places whose share, the rest resampled, lies within the best one's interval on the selection."""
    best = max(found, key=lambda one: -math.inf if one.perturbed.value is None else one.perturbed.value).perturbed
    enough = best.value if best.low is None else best.low
    return next(
        (i for i, one in enumerate(found) if enough is not None and (one.perturbed.value or -math.inf) >= enough), 0
    )


def _rivals(search: PlaceSearch, best: Together, most: int, progress: Progress) -> RivalsCounted:
    if most == 0:
        return RivalsCounted(n=0, share=Estimate.undefined("none were asked for"), reason="none were asked for")
    own, found = best.perturbed, search.rivals(best.names, most, lambda done, of: progress("scoring rivals", done, of))
    if isinstance(found, Undefined):
        return RivalsCounted(n=0, share=Estimate.undefined(found.reason), reason=found.reason)
    values = [(one.value, one) for _, one in found if one.value is not None]
    if own.value is None or not values:
        why = own.reason or "no swap of the evaluation should change the answer"
        return RivalsCounted(n=len(found), share=Estimate.undefined(why), reason=why)
    within, share = counted(own, [value for value, _ in values])
    return RivalsCounted(n=len(values), within=within, share=share, best=max(values, key=lambda one: one[0])[1])


def _shifted(one: Candidate) -> ShiftedBy:
    return ShiftedBy(name=one.name, shift=one.shift)


def _swapped(one: Together) -> Swapped:
    return Swapped(shift=one.shift, left=one.plain, resampled=one.perturbed)
