"""What another package may add: a kind whose KL is from a high-level model's answers, in place of the model's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from assay.explanations.answers import Neighbours
from assay.explanations.base import AnyModel, Explanation, Level
from assay.explanations.claims.block import KindFields
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.output import OwnTarget
from assay.intervene.plan import Batch, Call, Edit, Plan, Stream
from assay.model.transformer import Model
from assay.names import Site, parse_site

HEAD = parse_site("a0.h0")  # it writes nothing
SURE = 16.0  # logits by which a word leads


class Shifted(Explanation):
    """The claim that the world `echo` says the word that stands in its stream: where `a0.h0` puts another one there, it
    says what a high-level model says.

    Args:
        by: how many words further on the one is that is put there; says: likewise of the one that is to be said; None:
            the model's own answers are what counts.
    """

    kind: ClassVar[str] = "shifted"
    level: ClassVar[Level] = "what"
    once = True

    def __init__(self, by: int, says: int | None):
        self.by, self.says = by, says

    def scope(self, model: AnyModel) -> list[Site]:
        return [HEAD]

    def plan(self, workbench: PlanContext, ablation: str, draw: int = 0) -> Plan:
        model = workbench.model
        assert isinstance(model, Model)

        def other_less_own(batch: Batch) -> Stream:
            words = one_hot(_further(batch.tokens, self.by, model), model.config.d_model)
            return Stream((words - one_hot(batch.tokens, model.config.d_model)).to(model.dtype))

        return workbench.plan((Edit(HEAD, Call(other_less_own)),))

    def target(self, workbench: PlanContext) -> OwnTarget | None:
        model, says = workbench.model, self.says
        if says is None:
            return None
        assert isinstance(model, Model)

        def answers(tokens: Tensor, rows: np.ndarray) -> Tensor:
            return (SURE * one_hot(_further(tokens, says, model), model.config.vocab)).log_softmax(-1)

        return OwnTarget(f"the answers of one who says the word {says} further on", answers)

    def sentence(self, model_name: str) -> str:
        return f"{model_name} says the word that is {self.by} further on where that is put into its stream"

    def neighbours(self, workbench: PlanContext, ablation: str, most: int) -> Iterator[Neighbours]:
        others = [by for by in range(1, 5) if by != self.by][:most]
        items = [(f"by {by}", lambda at, by=by: Shifted(by, self.says).plan(at, ablation)) for by in others]
        yield Neighbours("other words", "the claim with another word put there", items, len(others))


def _further(tokens: Tensor, by: int, model: Model) -> Tensor:
    """Words so many places further on; the first of all, which begins a text, stays."""
    return torch.where(tokens == 0, tokens, (tokens - 1 + by) % (model.config.vocab - 1) + 1)


class ShiftedFields(KindFields):
    """The block of a claim file: `{kind: shifted, by: 1, says: 1}`."""

    by: int
    says: int | None = None

    @property
    def level(self) -> Level:
        return "what"

    @property
    def names(self) -> tuple[str, ...]:
        return (str(HEAD),)

    def build(self) -> Explanation:
        return Shifted(self.by, self.says)
