"""Stand-alone bits and the two-part code: what somebody without the model would need in writing to run the claim."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from assay.explanations.base import Explanation, Undefined, Unread
from assay.explanations.bits import ClaimBits
from assay.intervene.ablations import Workbench
from assay.intervene.output import Output
from assay.intervene.plan import Plan
from assay.intervene.runner import Runner
from assay.measure.length import quantise
from assay.measure.length.quantise import Coded, Reads
from assay.model.transformer import Model
from assay.score.score import Distribution, score
from assay.stats.estimate import Estimate

PRECISIONS = (3, 4, 5, 6, 8, 10, 12, 16)
RIVAL_PRECISIONS = (8, 4, 3, 2)
TOLERANCE = 0.01  # of KL(model || explained): how much the rounding of numbers may add, at the upper end
CODE_TOKENS = tuple(10**k for k in range(4, 10))


@dataclass(frozen=True)
class Point:
    """Something on the length plot: stand-alone bits against KL(model || it) in nats a token, with its interval."""

    name: str
    bits: float
    kl: float
    kind: str  # "claim" or "rival"
    interval: Estimate | None = None

    def to_json(self) -> dict:
        kl = self.kl if self.interval is None else self.interval.to_json()
        return {"name": self.name, "bits": self.bits, "kl": kl, "kind": self.kind}


@dataclass(frozen=True)
class Length:
    """The record's `bits` block."""

    claim: float
    claim_how: str
    standalone: float
    precision: int
    parts: dict[str, float]
    points: tuple[Point, ...]
    rows: int

    def to_json(self) -> dict:
        mine = next(p for p in self.points if p.kind == "claim")
        rivals = [p for p in self.points if p.kind == "rival"]
        return {
            "claim": {"bits": self.claim, "how": self.claim_how},
            "standalone": {
                "bits": self.standalone,
                "how": f"weights still read at {self.precision} bits, entropy-coded, constants and tables, claim",
                "precision": self.precision,
                "parts": self.parts,
            },
            "two_part": [{"tokens": n, "bits": two_part(mine, n)} for n in CODE_TOKENS],
            "overtaken": [{"rival": p.name, "tokens": overtakes(mine, p)} for p in rivals],
            "points": [point.to_json() for point in self.points],
            "measured_on": {"rows": self.rows},
        }


@dataclass(frozen=True)
class ClaimLength:
    """The record's `bits` block where only the claim's own length means something.

    Attributes:
        reason: why there are no stand-alone bits.
    """

    claim: ClaimBits | Undefined
    reason: str

    def to_json(self) -> dict:
        claim = self.claim
        own = {"bits": None, "reason": claim.reason} if isinstance(claim, Undefined) else vars(claim)
        return {
            "claim": dict(own),
            "standalone": {"bits": None, "reason": self.reason},
            "two_part": [],
            "overtaken": [],
            "points": [],
            "reason": self.reason,
        }


def two_part(point: Point, tokens: int | float) -> float:
    """Bits for the explanation and, given it, the network's behaviour on so many tokens."""
    return point.bits + tokens * point.kl / math.log(2)


def overtakes(claim: Point, rival: Point) -> float | None:
    """The number of tokens from which the claim's two-part code is shorter than the rival's; 0: always; None: never."""
    slope = (rival.kl - claim.kl) / math.log(2)
    extra = claim.bits - rival.bits
    if extra <= 0:
        return 0.0 if slope >= 0 else None
    return extra / slope if slope > 0 else None


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
    bench: Workbench,
    explanation: Explanation,
    ablation: str,
    claim: ClaimBits,
    *,
    rows: np.ndarray,
    others: dict[str, tuple[Distribution, float]] | None = None,
    seed: int = 0,
) -> Length:
    """Measures the length of a claim and of its rivals on some rows.

    Args:
        claim: its own length.
        others: further rivals: name -> (distribution, stand-alone bits): n-grams, smaller models.
    """
    model = bench.model
    assert isinstance(model, Model)
    plan = explanation.plan(bench, ablation, 0)
    coded = {bits: quantise.quantised(model, bits) for bits in sorted({*PRECISIONS, *RIVAL_PRECISIONS})}
    cut = {f"pruned to {100 - int(100 * s)} %": quantise.pruned(model, s) for s in (0.5, 0.8)}
    cut |= {f"rank {int(100 * s)} %": quantise.low_rank(model, s) for s in (0.5, 0.25)}
    systems: dict[str, Plan | Distribution] = {"explained": plan}
    systems |= {
        f"explained@{bits}": _explained_by(bench, coded[bits].model, explanation, ablation) for bits in PRECISIONS
    }
    systems |= {f"model at {bits} bits": _model(coded[bits]) for bits in RIVAL_PRECISIONS}
    systems |= {f"model {name}": _model(copy) for name, copy in cut.items()}
    systems |= {name: system for name, (system, _) in (others or {}).items()}
    scored = score(bench, systems, rows=rows)
    used = scored.count > 0
    count = scored.count[used]
    resamples = bench.task.resamples(np.flatnonzero(used), seed, count)

    def mean(name: str) -> float:
        return float(scored[name].kl[used].sum() / count.sum())

    def point(name: str, bits: float, system: str, kind: str = "rival") -> Point:
        return Point(name, bits, mean(system), kind, resamples.mean(scored[system].kl[used], count, least=0.0))

    own = mean("explained")
    precision = PRECISIONS[-1]
    for bits in PRECISIONS:
        rise = resamples.difference(scored[f"explained@{bits}"].kl[used], scored["explained"].kl[used], count)
        if rise.high is not None and rise.high < TOLERANCE * own:
            precision = bits
            break
    which = reads(explanation, model, ablation)
    weights = quantise.read_bits(coded[precision], which)
    constants = explanation.constants_bits(bench, ablation)
    parts = {"claim": claim.bits, "weights": weights, "constants and tables": constants}
    total = sum(parts.values())
    whole = explanation.everything_bits(model)
    points = [point("claim", total, f"explained@{precision}", "claim")]
    points += [point(f"model at {b} bits", coded[b].total + whole, f"model at {b} bits") for b in RIVAL_PRECISIONS]
    points += [point(f"model {name}", copy.total + whole, f"model {name}") for name, copy in cut.items()]
    points += [point(name, bits, name) for name, (_, bits) in (others or {}).items()]
    return Length(claim.bits, claim.how, total, precision, parts, tuple(points), len(rows))


def _model(coded: Coded) -> Distribution:
    return lambda inputs, rows: Output(coded.model, coded.model.normed(inputs))


def _explained_by(bench: Workbench, model: Model, explanation: Explanation, ablation: str) -> Distribution:
    """The explained run on a copy of the model, with what was fitted on the model itself."""
    other = bench.on(Runner(model, bench.task))
    made: list[Plan] = []

    def run(inputs: Tensor, rows: np.ndarray) -> Output:
        if not made:
            made.append(explanation.plan(other, ablation, 0))
        return other.runner.output(made[0], rows)

    return run
