"""A control band and single circuits beside forward passes: what a circuit costs grows with the circuit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from speed.models import bench_of, network, paths
from speed.timing import Row, Seconds, in_turn, timed

TOKENS, TARGET = 15, 1 / 1.5
SIZES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


class Passes:
    """The library's own forward pass of a workbench's prompts, with the logits after the last token alone."""

    def __init__(self, model: Any, workbench: Any):
        self.model, self.inputs = model, workbench.task.tokens[:, :-1]

    @torch.no_grad()
    def __call__(self) -> Seconds:
        return timed(lambda: self.model.lm_head(self.model.base_model(self.inputs)[0][:, -1]))[0]


def scaled(seconds: Seconds, by: float) -> Seconds:
    return Seconds(seconds.wall * by, seconds.cpu * by)


def band(name: str, prompts: int, repeats: int, count: int) -> Iterator[Row]:
    """Random circuits of 1 % of the edges beside the sum of their live shares in forward passes."""
    from assay.intervene.circuits.engine import Circuits
    from assay.intervene.circuits.groups import live_shares
    from assay.score.circuits import score_circuits

    model = network(name)
    workbench = bench_of(model, prompts, TOKENS)
    edges = workbench.model.edges
    size = np.array([max(10, len(edges) // 100)])
    masks = np.concatenate([paths(edges, size, seed) for seed in range(count)])
    shares = live_shares(Circuits(workbench, "counterfactual"), masks)
    one = Passes(model, workbench)
    taken = in_turn(
        {"band": lambda: timed(lambda: score_circuits(workbench, masks, "counterfactual"))[0], "pass": one}, repeats
    )
    what = f"{name}, {prompts} prompts: band of {count} circuits of 1 %"
    note = f"{shares.mean():.0%} of nodes live; the ratio aimed at is 1/1.5"
    yield Row(what, taken["band"], "their shares of passes", scaled(taken["pass"], float(shares.sum())), TARGET, note)


def live(name: str, prompts: int, repeats: int) -> Iterator[Row]:
    """Single circuits of rising size beside their live share of a pass; runs of fill and model are made before."""
    from assay.intervene.circuits.engine import Circuits
    from assay.intervene.circuits.groups import live_shares

    model = network(name)
    workbench = bench_of(model, prompts, TOKENS)
    circuits = Circuits(workbench, "counterfactual")
    batch, one = circuits.batch(np.arange(prompts)), Passes(model, workbench)
    batch.logits(np.ones((1, len(circuits.edges)), dtype=bool))
    sizes = np.unique((np.array(SIZES[:-1]) * len(circuits.edges)).astype(int))
    for mask in paths(circuits.edges, sizes[sizes > 0], seed=2):
        share = float(live_shares(circuits, mask[None])[0])
        taken = in_turn({"ours": lambda mask=mask: timed(lambda: batch.logits(mask[None]))[0], "pass": one}, repeats)
        what = f"{name}, {prompts} prompts: a circuit of {int(mask.sum())} edges ({mask.mean():.1%})"
        theirs = scaled(taken["pass"], share)
        yield Row(what, taken["ours"], f"its share of a pass ({share:.0%} of nodes)", theirs)
