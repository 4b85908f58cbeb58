"""One circuit on several batches of rows at once: changes to it are tried side by side, and one of them is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int

from assay.intervene.circuits.engine import Variants, transformer_of
from assay.intervene.circuits.groups import MEMORY, budget
from assay.intervene.fill.ablations import PlanContext
from assay.model.edges import Edges
from assay.score.circuits import circuit_targets


@dataclass(frozen=True, eq=False)
class Trial:
    """Changes to a circuit that were run.

    Attributes:
        kl: [changes] KL(model || changed circuit), mean over items.
    """

    kl: Float64[np.ndarray, "changes"]
    variants: list[Variants]


class CircuitStates:
    """A circuit's run on every batch of rows and draw.

    Attributes:
        matrix: [readers, writers] the edges that it has; kl: KL(model || circuit) in nats, mean over items.
        most: how many changes are tried side by side at most.
        idle: [writers] whose fill is their own value, in the model's run of every row.
    """

    def __init__(
        self,
        workbench: PlanContext,
        ablation: str,
        mask: Bool[np.ndarray, "edges"] | None = None,
        *,
        draws: Sequence[int] = (0,),
        rows: Int[np.ndarray, "rows"] | None = None,
        memory: int = MEMORY,
        most: int = 64,
    ):
        """`mask`: the circuit's edges (default: all). `memory`: bytes for one batch of rows with its changes."""
        self.edges: Edges = transformer_of(workbench).edges
        self.targets = list(
            circuit_targets(workbench, ablation, draws=draws, rows=rows, memory=memory, variants=most // 4)
        )
        self.items = sum(target.items for target in self.targets)
        first = self.targets[0].batch
        self.most = min(most, budget(first.circuits, len(first.rows), memory).variants)
        self.idle = np.all([(t.batch.clean.delta == 0).flatten(1).all(1).cpu().numpy() for t in self.targets], axis=0)
        whole = self.edges.matrix(np.ones(len(self.edges), dtype=bool))
        self.matrix, self.kl = whole, 0.0
        self.states = [target.batch.clean for target in self.targets]
        if mask is not None and not mask.all():
            if mask.mean() < 0.5:
                self.matrix = np.zeros_like(whole)
                self.states = [target.batch.empty for target in self.targets]
            self.move(self.edges.matrix(mask))

    def trial(self, matrices: Bool[np.ndarray, "changes readers writers"]) -> Trial:
        """Runs circuits as changes to this one."""
        found, total = [], np.zeros(len(matrices))
        with torch.no_grad():
            for target, state in zip(self.targets, self.states, strict=True):
                variants = target.batch.vary(state, matrices)
                total += target.kl(variants.logits).sum(1)
                found.append(variants)
        return Trial(total / self.items, found)

    def keep(self, trial: Trial, change: int) -> None:
        """Makes one of the changes."""
        for variants, state in zip(trial.variants, self.states, strict=True):
            variants.into(state, change)
        self.matrix, self.kl = trial.variants[0].matrix[change].copy(), float(trial.kl[change])

    def move(self, matrix: Bool[np.ndarray, "readers writers"]) -> None:
        """Makes this circuit another one."""
        self.keep(self.trial(matrix[None]), 0)

    def cut(self, reader: int, writers: Int[np.ndarray, "some"]) -> None:
        """Cuts edges that change nothing: their writers are idle, or nothing leads from the reader to the logits."""
        self.matrix = self.matrix.copy()
        self.matrix[reader, writers] = False
        for state in self.states:
            state.matrix = self.matrix

    def leading(self) -> Bool[np.ndarray, "readers"]:
        """Readers from whose node edges of this circuit lead to the logits."""
        out = np.zeros(len(self.edges.readers), dtype=bool)
        out[-1] = True
        for place in reversed(range(len(out) - 1)):
            out[place] = (self.matrix[:, self.edges.node_of[place]] & out[:, None]).any()
        return out
