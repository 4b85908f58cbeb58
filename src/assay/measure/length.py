"""Stand-alone bits and the two-part code: what somebody without the model would need in writing to run the claim."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from torch import Tensor

from assay.explanations.base import Explanation
from assay.explanations.circuit import Circuit
from assay.explanations.components import Constant, Keep, Remove
from assay.explanations.program import Program
from assay.explanations.programs import AttentionProgram, CustomProgram, LabelProgram, NGramProgram
from assay.intervene.ablations import RANDOM, Workbench
from assay.intervene.components import complement
from assay.intervene.output import Output
from assay.intervene.plan import Plan
from assay.intervene.runner import Runner
from assay.measure import quantise
from assay.measure.bits import NUMBER, ClaimBits, claim_bits, subset_bits
from assay.measure.quantise import Coded, Reads
from assay.measure.score import Distribution, score
from assay.model.transformer import Model
from assay.names import Site, parse_site
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

    claim: ClaimBits
    reason: str

    def to_json(self) -> dict:
        return {
            "claim": {"bits": self.claim.bits, "how": self.claim.how},
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

    def drop(site: Site, *, values: bool = True, output: bool = True) -> None:
        place = (site.layer or 0, site.index or 0)
        if site.kind == "head":
            gone_q.add(place)
            if values:
                gone_v.add(place)
            if output:
                gone_o.add(place)
        elif site.kind == "mlp":
            neurons[place[0]] = 0
        elif site.kind == "neuron":
            left = neurons[place[0]]
            neurons[place[0]] = (shape.d_mlp[place[0]] or 0 if left is None else left) - 1

    match explanation:
        case Circuit():
            if not read_everywhere(explanation, model, ablation):
                used = used_nodes(model, explanation.mask(model))
                for site in complement([], model):
                    if str(site) not in used:
                        drop(site)
        case Program():
            for site, program in explanation.assigned(model):
                if isinstance(program, AttentionProgram):
                    # its own V and O make the first position's value where nothing matched
                    free = program.level == "full" and program.without_match != "first"
                    drop(site, values=free, output=free)
                elif isinstance(program, CustomProgram) and program.returns == "pattern":
                    drop(site, values=False, output=False)
                else:
                    drop(site, output=isinstance(program, CustomProgram))
        case Constant():
            for site in explanation.scope(model):
                drop(site)
        case Keep() | Remove():
            if ablation not in RANDOM and ablation != "counterfactual":
                parts = explanation.scope(model)
                for site in complement(parts, model) if isinstance(explanation, Keep) else parts:
                    drop(site)
    return Reads(everything - gone_q, everything - gone_v, everything - gone_o, neurons)


def used_nodes(model: Model, mask: Bool[np.ndarray, "edges"]) -> set[str]:
    """Nodes from which kept edges lead to the logits: those that are computed."""
    edges = model.edges
    m, live = edges.matrix(mask), np.zeros(len(edges.readers), dtype=bool)
    live[-1] = True
    out = set()
    for writer in reversed(range(len(edges.writers))):
        if np.any(m[:, writer] & live):
            live |= edges.node_of[:, writer]
            out.add(edges.writers[writer])
    return out


def read_fills(circuit: Circuit, model: Model) -> list[str]:
    """Writers whose fill is read: by a node that is computed, through an edge that is cut (at some position)."""
    edges, kept = model.edges, circuit.kept(model)
    used = used_nodes(model, kept.anywhere)
    computed = np.array([writer in used for writer in edges.writers])
    readers = np.any(edges.node_of & computed, 1)
    readers[-1] = True
    cut = edges.matrix(kept.complement().anywhere) & readers[:, None]
    return [name for name, there in zip(edges.writers, cut.any(0), strict=True) if there]


def read_everywhere(circuit: Circuit, model: Model, ablation: str) -> bool:
    """Whether fills are made by running the model on other examples, which reads all of its weights."""
    return (ablation in RANDOM or ablation == "counterfactual") and bool(read_fills(circuit, model))


def constants_bits(explanation: Explanation, bench: Workbench, ablation: str) -> float:
    """Bits of everything that was fitted on the reference and is put in the model's place."""
    model = bench.model
    assert isinstance(model, Model)
    width = {"head": model.config.d_head, "mlp": model.config.d_model, "neuron": 1}
    total = 0.0
    if isinstance(explanation, Program):
        for site, program in explanation.assigned(model):
            size = width[site.kind]
            match program:
                case AttentionProgram(without_match="mean", level=level):
                    size = model.config.d_model if level == "full" else size  # `full` has no output matrix
                    total += NUMBER * 2 * size  # the first position has a mean of its own
                case LabelProgram():
                    total += 2 * 2 * NUMBER * size
                case NGramProgram(n=n):
                    rows = bench.fitted.get((("ngram table", site, program), "rows"))
                    count = int(rows) if rows is not None else 0
                    total += subset_bits(model.config.vocab**n, count) + NUMBER * size * (count + 1)
        return total
    if isinstance(explanation, Circuit):
        ablated = [parse_site(name) for name in read_fills(explanation, model)]
        if not ablated:
            return total
        return _filled_bits(bench, ablation, ablated)
    parts = explanation.scope(model)
    ablated = complement(parts, model) if isinstance(explanation, Keep) else parts
    return _filled_bits(bench, explanation.value if isinstance(explanation, Constant) else ablation, ablated)


def _filled_bits(bench: Workbench, how: str, sites: Sequence[Site]) -> float:
    """What these parts take under an ablation: constants, or the tokens of the donors."""
    model = bench.model
    assert isinstance(model, Model)
    width = {"head": model.config.d_head, "mlp": model.config.d_model, "input": model.config.d_model, "neuron": 1}
    positions = {"mean": 2, "optimal": 2, "mean_position": bench.task.tokens.shape[1], "zero": 0}.get(how)
    if positions is None:
        assert bench.task.reference is not None  # donors: the tokens of the pool
        return 64 * bench.task.tokens.shape[1] * math.log2(model.config.vocab)
    return float(NUMBER * positions * sum(width[site.kind] for site in sites))


def length(
    bench: Workbench,
    explanation: Explanation,
    ablation: str,
    *,
    rows: np.ndarray,
    others: dict[str, tuple[Distribution, float]] | None = None,
    seed: int = 0,
) -> Length:
    """Measures the length of a claim and of its rivals on some rows.

    Args:
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
    claim = claim_bits(explanation, model)
    weights = quantise.read_bits(coded[precision], which)
    constants = constants_bits(explanation, bench, ablation)
    parts = {"claim": claim.bits, "weights": weights, "constants and tables": constants}
    total = sum(parts.values())
    names = len(model.edges) if isinstance(explanation, Circuit) else len(model.components) - 1
    whole = (1 if isinstance(explanation, Circuit) else 2) + subset_bits(
        names, names
    )  # as the claim that names them all
    points = [point("claim", total, f"explained@{precision}", "claim")]
    points += [point(f"model at {b} bits", coded[b].total + whole, f"model at {b} bits") for b in RIVAL_PRECISIONS]
    points += [point(f"model {name}", copy.total + whole, f"model {name}") for name, copy in cut.items()]
    points += [point(name, bits, name) for name, (_, bits) in (others or {}).items()]
    return Length(claim.bits, claim.how, total, precision, parts, tuple(points), len(rows))


def _model(coded: Coded) -> Distribution:
    return lambda inputs, rows: Output(coded.model, coded.model.normed(inputs))


def _explained_by(bench: Workbench, model: Model, explanation: Explanation, ablation: str) -> Distribution:
    """The explained run on a copy of the model, with what was fitted on the model itself."""
    other = Workbench(Runner(model, bench.task), bench.seed, frozen_norm=bench.frozen_norm)
    other.fitted = {key: value for key, value in bench.fitted.items() if key != "unembedding directions"}
    other._statistics = bench.statistics
    made: list[Plan] = []

    def run(inputs: Tensor, rows: np.ndarray) -> Output:
        if not made:
            made.append(explanation.plan(other, ablation, 0))
        return other.runner.output(made[0], rows)

    return run


def full_circuit(model: Model) -> Callable[[int], float]:
    """Stand-alone bits of keeping everything, at so many bits a number: exactly the quantised model's."""
    names = [name for name in model.components if name != "input"]
    keep = Keep(names)

    def at(bits: int) -> float:
        coded = quantise.quantised(model, bits)
        return quantise.read_bits(coded, reads(keep, model, "mean")) + claim_bits(keep, model).bits

    return at
