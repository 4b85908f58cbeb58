"""What bounds on an edge's effect would spare ACDC, in the search of `speed.circuits --case acdc` that keeps a fifth.

    OMP_NUM_THREADS=1 python -m tools.acdc_bounds [--prompts 1 8]

From above, without a run: the change of the reader's input is known, and norms of the matrices behind it bound what it
does to the logits, so that KL rises by at most twice the longest centred row of the unembedding times the change of
what it reads. Decided: the bound is below tau (the edge is cut). Computed at the model's own run, for readers of the
last layer and the logits; what each earlier layer would multiply it by is said. From below, on half of the items: KL of
an item is at least 0, so an edge whose first items reach tau already is kept.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from functools import cache

import numpy as np
import torch
from torch import Tensor

from assay.intervene.fill.ablations import PlanContext
from assay.methods.acdc import AcdcSearch
from assay.methods.circuit_states import Trial
from assay.model.layer import Norm
from assay.model.transformer import Model
from speed.acdc import SHARES, TOKENS, threshold
from speed.models import bench_of, network

STEEPEST = 1.13  # GELU's largest slope


def longest(x: Tensor) -> Tensor:
    """[rows, pos, d] -> the largest length of a vector."""
    return x.norm(dim=-1).amax()


def width_of(norm: Norm, x: Tensor) -> Tensor:
    """How much longer the norm can make a change of a stream x: twice its gain over x's length, at x's shortest."""
    centred = x - x.mean(-1, keepdim=True) if norm.centred else x
    return 2 * norm.weight.abs().max() * x.shape[-1] ** 0.5 / centred.norm(dim=-1).amin()


@cache
def spectral(matrix: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(matrix, 2)


class Bounds:
    """Bounds on the rise of KL, for edges into the last layer and the logits."""

    def __init__(self, model: Model, tokens: Tensor):
        self.model, self.last = model, model.config.layers - 1
        self.streams: dict[tuple[str, int], Tensor] = {}
        taps = {
            (kind, layer): lambda x, at=(kind, layer): self.streams.__setitem__(at, x)
            for layer in range(self.last + 1)
            for kind in ("stream", "attention", "q", "k", "v")
        }
        taps["stream", self.last + 1] = lambda x: self.streams.__setitem__(("stream", self.last + 1), x)
        model.forward(tokens, taps)
        rows = model.weights.unembedding.weight
        self.unembedding = 2 * (rows - rows.mean(0)).norm(dim=1).max()
        self.final = width_of(model.weights.final_norm, self.streams["stream", self.last + 1])

    def between(self, layer: int) -> Tensor:
        """The stream between attention and MLP."""
        return self.streams["stream", layer] + self.streams["attention", layer]

    def mlp(self, layer: int) -> Tensor:
        """What an MLP can make of a change of the stream that it reads."""
        weights = self.model.weights.layers[layer]
        assert weights.up is not None
        assert weights.down is not None
        width = width_of(weights.norm2, self.between(layer))
        return width * STEEPEST * spectral(weights.up.weight) * spectral(weights.down.weight)

    def attention(self, layer: int, part: str, index: int, change: Tensor) -> Tensor:
        """What a head can add for a change of what its queries, keys or values read."""
        weights = self.model.weights.layers[layer]
        maps = self._maps(layer)
        read = spectral(maps[part][index]) * longest(change)
        out = spectral(maps["out"][index])
        if part == "v":
            return out * read
        other = self.streams["k" if part == "q" else "q", layer][:, :, index]
        score = weights.scaling * read * longest(other)
        return out * 2 * longest(self.streams["v", layer][:, :, index]) * score.clamp(max=1.0)

    @cache  # noqa: B019
    def _maps(self, layer: int) -> dict[str, list[Tensor]]:
        """Each head's rows of the maps of queries, keys and values, and its columns of the output's."""
        weights, width = self.model.weights.layers[layer], self.model.config.d_head
        linears = weights.qkv
        three = [linear.weight for linear in linears] if len(linears) == 3 else linears[0].weight.chunk(3)
        maps = {part: list(matrix.split(width)) for part, matrix in zip("qkv", three, strict=True)}
        return maps | {"out": list(weights.out.weight.split(width, dim=1))}

    def rise(self, reader: object, change: Tensor) -> float:
        """Of KL, for a change of a reader's stream; infinite where it has not been worked out."""
        part, layer, index = reader.part, reader.layer, reader.index  # type: ignore[attr-defined]
        if part == "logits":
            norm, x = self.model.weights.final_norm, self.streams["stream", self.last + 1]
            return float(self.unembedding * longest((norm(x) - norm(x - change))[:, -1]))
        if layer < self.last:
            return float("inf")
        weights = self.model.weights.layers[layer]
        if part == "mlp":
            x = self.between(layer)
            moved = longest(weights.norm2(x) - weights.norm2(x - change)) * self.mlp(layer)
            moved = moved / width_of(weights.norm2, x)
        else:
            x = self.streams["stream", layer]
            moved = self.attention(layer, part, index, weights.norm1(x) - weights.norm1(x - change))
            moved = moved * (1 + self.mlp(layer))
        return float(self.unembedding * self.final * moved)


def halves(search: AcdcSearch) -> list[bool]:
    """A flag for each edge that is kept, as the search goes on: the first half of its items reach tau already."""
    found: list[bool] = []
    states, whole = search.states, search.states.trial
    states.most = 1  # one removal at a time

    def trial(matrices: np.ndarray) -> Trial:
        out = whole(matrices)  # of one removal
        parts = zip(states.scorers, out.variants, strict=True)
        by_item = np.concatenate([scorer.kl(variants.logits)[0] for scorer, variants in parts])
        if out.kl[0] - states.kl >= search.tau:
            found.append(by_item[: len(by_item) // 2].sum() / states.items - states.kl >= search.tau)
        return out

    states.trial = trial  # type: ignore[method-assign]
    return found


def shares(workbench: PlanContext, tau: float) -> None:
    model = workbench.model
    assert isinstance(model, Model)
    edges, search = model.edges, AcdcSearch(workbench, "counterfactual", tau)
    with torch.no_grad():
        bounds = Bounds(model, workbench.task.tokens)
        deltas = torch.cat([scorer.batch.clean.delta for scorer in search.states.scorers], dim=1)
    known = halves(search)
    decided: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])  # edges, cut, of these by the bound, kept by half
    smallest: dict[str, list[float]] = defaultdict(list)
    for reader in reversed(range(len(edges.readers))):
        own = edges.readers[reader]
        known.clear()
        search.reader(reader)
        where = own.part if own.part == "logits" else f"{own.part} of layer {own.layer}"
        counts = decided[where]
        for writer in range(own.writers):
            edge = int(edges.offsets[reader]) + writer
            rise = float(search.increase[edge])
            with torch.no_grad():
                bound = bounds.rise(own, deltas[writer])
            counts[0] += 1
            counts[1] += rise < tau
            counts[2] += bound < tau
            smallest[where].append(bound / tau)
        counts[3] += sum(known)
    print(
        f"\n{len(workbench.task.tokens)} prompts, tau {tau:g}: "
        f"{int(search.result()[0].sum())} of {len(edges)} edges kept\n"
    )
    print("| reader | edges | cut | by the bound | bound / tau, least and median | kept, by half of the items |")
    print("| --- | --- | --- | --- | --- | --- |")
    for where, (count, cut, by, half) in decided.items():
        least, middle = np.min(smallest[where]), np.median(smallest[where])
        ratio = f"{least:,.3g}; {middle:,.3g}" if np.isfinite(least) else "-"
        print(
            f"| {where} | {count} | {cut} | {by if np.isfinite(least) else '-'} | {ratio} | {half} of {count - cut} |"
        )
    factors = ", ".join(f"{float(1 + bounds.mlp(layer)):,.0f}" for layer in range(model.config.layers))
    print(f"\nWhat each layer's MLP would multiply the bounds of all readers before it by: {factors}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--tau", type=float, help="default: one that keeps a fifth of the edges")
    given = parser.parse_args()
    for prompts in given.prompts:
        workbench = bench_of(network("zoo:novel-4l"), prompts, TOKENS)
        shares(workbench, given.tau or threshold(workbench, SHARES[-1], {}))


if __name__ == "__main__":
    main()
