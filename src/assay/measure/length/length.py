"""Stand-alone bits and the two-part code: what somebody without the model would need in writing to run the claim."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

import numpy as np
from torch import Tensor

from assay.explanations.answers import Unread
from assay.explanations.base import Explanation, Undefined
from assay.explanations.bits import ClaimBits
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.output import Distribution, Output
from assay.intervene.plan import Plan
from assay.intervene.runner import Runner
from assay.measure.budget import fewer, runs
from assay.measure.length import quantise
from assay.measure.length.quantise import Coded, Reads
from assay.model.transformer import Model
from assay.record.compute import Bits, Length, LengthPoint, Overtaken, RowCount, TwoPart
from assay.score.score import score

PRECISIONS = (3, 4, 5, 6, 8, 10, 12, 16)
RIVAL_PRECISIONS = (8, 4, 3, 2)
CUTS = {
    **{f"model pruned to {100 - int(100 * s)} %": partial(quantise.pruned, share=s) for s in (0.5, 0.8)},
    **{f"model rank {int(100 * s)} %": partial(quantise.low_rank, share=s) for s in (0.5, 0.25)},
}
COPIES = 1 << 31  # bytes of copies of the model that are there together, with the streams of their runs
TOLERANCE = 0.01  # of KL(model || explained): how much the rounding of numbers may add, at the upper end
CODE_TOKENS = tuple(10**k for k in range(4, 10))


def two_part(point: LengthPoint, tokens: int | float) -> float:
    """Bits for the explanation and, given it, the network's behaviour on so many tokens."""
    return point.bits + tokens * (point.kl.value or 0.0) / math.log(2)


def overtakes(claim: LengthPoint, rival: LengthPoint) -> float | None:
    """The number of tokens from which the claim's two-part code is shorter than the rival's; 0: always; None: never."""
    slope = ((rival.kl.value or 0.0) - (claim.kl.value or 0.0)) / math.log(2)
    extra = claim.bits - rival.bits
    if extra <= 0:
        return 0.0 if slope >= 0 else None
    return extra / slope if slope > 0 else None


def claim_alone(claim: ClaimBits | Undefined, reason: str) -> Length:
    """The block where only the claim's own length means something, and why."""
    own = Bits(bits=None, reason=claim.reason) if isinstance(claim, Undefined) else Bits(bits=claim.bits, how=claim.how)
    return Length(claim=own, standalone=Bits(bits=None, reason=reason), reason=reason)


def reads(explanation: Explanation, model: Model, ablation: str) -> Reads:
    """What of the model the explained run still reads. A part filled from other examples is still run for them."""
    shape = model.config
    everything = frozenset((layer, head) for layer in range(shape.layers) for head in range(shape.heads))
    gone_q: set[tuple[int, int]] = set()
    gone_v: set[tuple[int, int]] = set()
    gone_o: set[tuple[int, int]] = set()
    neurons: dict[int, int | None] = {layer: None for layer, width in enumerate(shape.d_mlp) if width}

    def drop(part: Unread) -> None:
        site, place = part.site, (part.site.layer or 0, part.site.index or 0)
        if site.kind == "head":
            gone_q.add(place)
            if part.values:
                gone_v.add(place)
            if part.output:
                gone_o.add(place)
        elif site.kind == "mlp":
            neurons[place[0]] = 0
        elif site.kind == "neuron":
            left = neurons[place[0]]
            neurons[place[0]] = (shape.d_mlp[place[0]] or 0 if left is None else left) - 1

    gone = explanation.unread(model, ablation)
    for part in () if isinstance(gone, Undefined) else gone:
        drop(part)
    return Reads(everything - gone_q, everything - gone_v, everything - gone_o, neurons)


def length(
    workbench: PlanContext,
    explanation: Explanation,
    ablation: str,
    claim: ClaimBits,
    plan: Plan,
    *,
    rows: np.ndarray,
    others: dict[str, tuple[Distribution, float]] | None = None,
    seed: int = 0,
) -> Length:
    """Measures the length of a claim and of its rivals on some rows.

    Args:
        claim: its own length; plan: its explained run.
        others: further rivals: name -> (distribution, stand-alone bits): n-grams, smaller models.
    """
    model = workbench.model
    assert isinstance(model, Model)
    which = reads(explanation, model, ablation)
    others = others or {}
    copies = {*PRECISIONS, *RIVAL_PRECISIONS}
    own_runs = runs(model, [plan])
    rows = fewer(workbench, rows, len(copies) + len(CUTS) + (1 + len(PRECISIONS)) * own_runs)
    scored = score(workbench, {"explained": plan, **{name: system for name, (system, _) in others.items()}}, rows=rows)
    coded: dict[str, float] = {}  # bits of whole copies
    read: dict[int, float] = {}  # of what the explained run reads of a rounded one
    for some in _together(workbench, len(rows)):
        systems, runners = dict[str, Distribution](), list[Runner]()
        for name, bits, make in some:
            copy = make(model)
            runners.append(Runner(copy.model, workbench.task))
            coded[name] = copy.total
            if bits is None or bits in RIVAL_PRECISIONS:
                systems[name] = _model(runners[-1])  # the explained run goes on from it
            if bits in PRECISIONS:
                read[bits] = quantise.read_bits(copy, which)
                systems[f"explained@{bits}"] = _explained_by(workbench.on(runners[-1]), explanation, ablation)
        scored = scored.with_systems(score(workbench, systems, rows=rows))
        for runner in runners:
            runner.close()
    used = scored.count > 0
    count = scored.count[used]
    resamples = workbench.task.resamples(np.flatnonzero(used), seed, count)

    def point(name: str, bits: float, system: str, kind: Literal["claim", "rival"] = "rival") -> LengthPoint:
        kl = resamples.mean(scored[system].kl[used], count, least=0.0)
        return LengthPoint(name=name, bits=bits, kl=kl, kind=kind)

    own = float(scored["explained"].kl[used].sum() / count.sum())
    precision = PRECISIONS[-1]
    for bits in PRECISIONS:
        rise = resamples.difference(scored[f"explained@{bits}"].kl[used], scored["explained"].kl[used], count)
        if rise.high is not None and rise.high < TOLERANCE * own:
            precision = bits
            break
    constants = explanation.constants_bits(workbench, ablation)
    parts = {"claim": claim.bits, "weights": read[precision], "constants and tables": constants}
    total = sum(parts.values())
    whole = explanation.everything_bits(model)
    mine = point("claim", total, f"explained@{precision}", "claim")
    rivals = [point(name, coded[name] + whole, name) for name in (*map(_rounded, RIVAL_PRECISIONS), *CUTS)]
    rivals += [point(name, bits, name) for name, (_, bits) in others.items()]
    how = f"weights still read at {precision} bits, entropy-coded, constants and tables, claim"
    return Length(
        claim=Bits(bits=claim.bits, how=claim.how),
        standalone=Bits(bits=total, how=how, precision=precision, parts=parts),
        two_part=tuple(TwoPart(tokens=n, bits=two_part(mine, n)) for n in CODE_TOKENS),
        overtaken=tuple(Overtaken(rival=p.name, tokens=overtakes(mine, p)) for p in rivals),
        points=(mine, *rivals),
        measured_on=RowCount(rows=len(rows)),
    )


Making = tuple[str, int | None, Callable[[Model], Coded]]  # a copy's name, its bits where it is rounded, and the copy


def _rounded(bits: int) -> str:
    return f"model at {bits} bits"


def _together(workbench: PlanContext, rows: int) -> Iterator[list[Making]]:
    """All copies, as many at a time as may be there together; one at least."""
    model, task = workbench.model, workbench.task
    assert isinstance(model, Model)
    streams = rows * task.tokens.shape[1] * model.config.d_model * (model.config.layers + 1)
    most = max(1, COPIES // ((model.parameters + streams) * model.dtype.itemsize))
    every: list[Making] = [
        (_rounded(bits), bits, partial(quantise.quantised, bits=bits))
        for bits in sorted({*PRECISIONS, *RIVAL_PRECISIONS})
    ]
    every += [(name, None, make) for name, make in CUTS.items()]
    for start in range(0, len(every), most):
        yield every[start : start + most]


def _model(runner: Runner) -> Distribution:
    return lambda inputs, rows: runner.clean("scored", rows).output


def _explained_by(workbench: PlanContext, explanation: Explanation, ablation: str) -> Distribution:
    """The explained run on a workbench for a copy of the model, which has what was fitted on the model itself."""
    made: list[Plan] = []

    def run(inputs: Tensor, rows: np.ndarray) -> Output:
        if not made:
            made.append(explanation.plan(workbench, ablation, 0))
        return workbench.runner.output(made[0], rows)

    return run
