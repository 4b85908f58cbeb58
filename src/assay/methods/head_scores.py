"""How strongly each head attends as induction, previous-token and duplicate-token heads do.

The search that `assay init` makes; as controls it is re-run on random weights, and on tokens that do not repeat.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.errors import ModelError
from assay.explanations.program.library import SCORED
from assay.model.transformer import NOWHERE, Model
from assay.stats.keyed import generator
from assay.task.task import Task

KINDS = SCORED


@dataclass(frozen=True)
class HeadScores:
    """Mean attention of every head to where a rule points.

    Attributes:
        values: rule -> [layers, heads], between 0 and 1. On BOS, r, r with r random: from each token of the second copy
            to the one after its first occurrence (induction), to that occurrence itself (duplicate_token), and from
            every token but BOS to the one before (previous_token).
    """

    values: dict[str, Float[Tensor, "layers heads"]]

    def top(self, rule: str, count: int = 3) -> list[tuple[str, float]]:
        """The heads with the highest score, best first."""
        flat = self.values[rule].flatten()
        heads = self.values[rule].shape[1]
        order = flat.argsort(descending=True, stable=True)[:count]
        return [(f"a{int(i) // heads}.h{int(i) % heads}", float(flat[i])) for i in order]


@torch.no_grad()
def head_scores(
    model: Model, *, n: int = 16, length: int = 50, seed: int = 0, shuffle: int | None = None
) -> HeadScores:
    """Scores every head on repeated random tokens.

    Args:
        shuffle: permute each row's tokens after BOS, keyed by this number: nothing is repeated in step any more, so the
            heads that score highest are those that a search reports where there is nothing to find.

    Raises:
        ModelError: when the model has no attention heads, or a context too short to repeat anything.
    """
    if not isinstance(model, Model):
        raise ModelError("head scores need a transformer of a supported family; this model has none")
    length = min(length, (model.config.context - 1) // 2)
    if length < 4:
        raise ModelError(f"{model.name} has a context of {model.config.context}; scores need at least 9 tokens")
    task = Task.repeat(model, n=n, length=length, seed=seed)
    patterns: dict[int, Tensor] = {}

    def keep(layer: int):
        return lambda value: patterns.__setitem__(layer, value.float().mean(0))

    layers = range(model.config.layers)
    tokens = task.tokens.clone()
    start = tokens.shape[1] - 2 * length
    if shuffle is not None:
        for row in range(len(tokens)):
            order = generator(seed, "shuffled repeat", shuffle, row).permutation(2 * length)
            tokens[row, start:] = tokens[row, start:][torch.from_numpy(order)]
    tokens = tokens.to(model.device)
    # the mean pattern over rows suffices: the targets' columns are the same in every row
    model.forward(tokens, {("pattern", layer): keep(layer) for layer in layers}, positions=NOWHERE)
    stacked = torch.stack([patterns[layer] for layer in layers]).cpu()
    second = torch.arange(start + length, start + 2 * length)
    later = torch.arange(1, tokens.shape[1])

    def at(queries: Int[Tensor, "queries"], keys: Int[Tensor, "queries"]) -> Float[Tensor, "layers heads"]:
        return stacked[:, :, queries, keys].mean(-1)

    return HeadScores(
        {
            "induction": at(second, second - length + 1),
            "previous_token": at(later, later - 1),
            "duplicate_token": at(second, second - length),
        }
    )
