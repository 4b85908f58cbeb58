"""What another package may add: a kind of explanation (parts scaled by a factor), a program, a search, an ablation, a
metric.

The entry points that name them lie beside this file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from assay.explanations import programs
from assay.explanations.answers import Neighbours
from assay.explanations.base import AnyModel, ClaimBits, Explanation, Level
from assay.explanations.bits import parts_bits
from assay.explanations.claims.block import NamesParts
from assay.explanations.program.library import CustomProgram
from assay.intervene.circuits.engine import Circuits
from assay.intervene.components import expand
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.spec import Ablation
from assay.intervene.plan import Call, Edit, Plan, Value
from assay.methods.edge_scores import EdgeScores
from assay.names import Site
from assay.record.pieces import Pieces, Sentence, TablePiece
from assay.task.metrics import Metric

FACTORS = (0.0, 0.25, 0.5, 2.0)


class Scaled(Explanation):
    """The claim that of these parts only so much matters: each gives its own value times a factor."""

    kind: ClassVar[str] = "scaled"
    level: ClassVar[Level] = "where"
    once = True

    def __init__(self, components: Sequence[str], factor: float, rivals: bool = True):
        self.components, self.factor, self.rivals = tuple(components), factor, rivals

    def fields(self, model: AnyModel | None = None) -> dict[str, Any]:
        return {"components": list(self.components), "factor": self.factor, "rivals": self.rivals}

    def scope(self, model: AnyModel) -> list[Site]:
        return expand(self.components, model)

    def plan(self, workbench: PlanContext, ablation: str, draw: int = 0) -> Plan:
        return workbench.plan(
            tuple(
                Edit(site, Call(lambda batch, site=site: self.factor * batch.read(site), (site,)))
                for site in self.scope(workbench.model)
            )
        )

    def sentence(self, model_name: str) -> str:
        return f"of {', '.join(self.components)} of {model_name} the share {self.factor:g} is enough"

    def claim_bits(self, model: AnyModel, channels: int = 0) -> ClaimBits:
        where = parts_bits(self.scope(model), model, channels)
        return ClaimBits(where.bits + 16, f"{where.how} + a factor of 16 bits")

    def block(self, workbench: PlanContext, ablation: str, rows: np.ndarray, sides: object) -> Pieces:
        parts = tuple((str(site), self.factor) for site in self.scope(workbench.model))
        table = TablePiece(title="What each part keeps", columns=("part", "factor"), rows=parts)
        return Pieces(block=self.kind, pieces=(Sentence(text=f"Every part keeps {self.factor:g} of its value."), table))

    def neighbours(self, workbench: PlanContext, ablation: str, most: int) -> Iterator[Neighbours]:
        others = [factor for factor in FACTORS if factor != self.factor][: most if self.rivals else 0]
        items = [(f"factor {f:g}", lambda aside, f=f: Scaled(self.components, f).plan(aside, "mean")) for f in others]
        yield Neighbours("other factors", "the same parts times another factor", items, len(FACTORS) - 1)


class ScaledFields(NamesParts):
    """The block of a claim file: `{kind: scaled, components: [m1], factor: 0.9}`."""

    kind: str
    components: list[str]
    factor: float
    rivals: bool = True

    @property
    def level(self) -> Level:
        return "where"

    def build(self) -> Explanation:
        return Scaled(self.components, self.factor, self.rivals)


def everywhere() -> CustomProgram:
    """A program: every query attends to all positions up to its own alike."""

    def uniform(tokens: Tensor) -> Tensor:
        below = torch.ones(tokens.shape[1], tokens.shape[1]).tril()
        return (below / below.sum(-1, keepdim=True)).expand(len(tokens), -1, -1)

    return programs.custom(uniform, returns="pattern")


def newest(circuits: Circuits, rows: np.ndarray | None, seed: int) -> EdgeScores:
    """A search: edges that the latest layers read come first."""
    readers, _ = circuits.edges.ends(np.arange(len(circuits.edges)))
    layer = np.array([reader.layer for reader in circuits.edges.readers])
    return EdgeScores(layer[readers].astype(float), "newest", {}, 0.0)


def _half_mean(workbench: PlanContext, site: Site, draw: int) -> Value:
    return Value(workbench.statistics.mean(site) / 2)


HALF_MEAN = Ablation("half_mean", _half_mean, from_means=True, constant=True)


def _surprise(log_probs: Tensor, answers: Tensor) -> Tensor:
    return -log_probs.gather(-1, answers[:, :1]).squeeze(-1) / math.log(2)


BITS = Metric("bits", "bits", _surprise, of_answers=True)
