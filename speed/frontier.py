"""A frontier (circuits of 20 log-spaced sizes on the same prompts) beside auto-circuit's `run_circuits`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speed.models import bench_of, handed, network
from speed.peers import Peer
from speed.timing import Row, Seconds, in_turn, timed

TOKENS, COUNT, TOLERANCE = 15, 20, 1e-4


def losses(workbench: Any, logits: list[list[list[float]]], own: torch.Tensor) -> np.ndarray:
    """KL(model || circuit) in nats of each prompt, from last logits by the plain definition."""
    log = torch.tensor(logits, dtype=torch.float64).log_softmax(-1)
    known = own.double().log_softmax(-1)
    return (known.exp() * (known - log)).sum(-1).numpy()


def compared(name: str, prompts: int, repeats: int, threads: int) -> Iterator[Row]:
    """Seconds of the frontier, and of its sizes up to 1 %, after a check that both give the same KLs."""
    from assay.intervene.circuits.engine import Circuits
    from assay.methods.edge_sizes import log_sizes
    from assay.methods.integrated_attribution import integrated_attribution
    from assay.score.circuits import score_circuits

    model = network(name)
    workbench = bench_of(model, prompts, TOKENS)
    edges = workbench.model.edges
    scores = integrated_attribution(Circuits(workbench, "counterfactual"), loss="kl", check=False)
    best = scores.best_first()
    every = log_sizes(len(edges), COUNT)
    with torch.no_grad():
        own = model(workbench.task.tokens[:, :-1]).logits[:, -1]
    with tempfile.TemporaryDirectory() as folder:
        handed(model, workbench, Path(folder) / "given.safetensors")
        with Peer("auto-circuit", Path(folder) / "given.safetensors", threads) as peer:
            peer("rank", order=[edges[int(i)] for i in best])
            for sizes, target in ((every, 5.0), (every[every <= len(edges) // 100], 15.0)):
                masks = np.stack([scores.top(size) for size in sizes])
                kept: dict[str, Any] = {}

                def ours(masks: np.ndarray = masks, kept: dict[str, Any] = kept) -> Seconds:
                    taken, kept["ours"] = timed(lambda: score_circuits(workbench, masks, "counterfactual"))
                    return taken

                def theirs(sizes: np.ndarray = sizes, kept: dict[str, Any] = kept) -> Seconds:
                    taken, kept["theirs"] = peer("frontier", sizes=sizes.tolist())
                    return taken

                taken = in_turn({"ours": ours, "theirs": theirs}, repeats)
                mine = kept["ours"].stacked("kl")
                gap = np.abs(mine - losses(workbench, kept["theirs"], own))
                assert gap.max() < TOLERANCE * max(1.0, mine.max()), gap.max()
                which = "" if len(sizes) == len(every) else " up to 1 %"
                yield Row(
                    f"{name}, {prompts} prompts: {len(sizes)} sizes{which}",
                    taken["ours"],
                    peer.name,
                    taken["theirs"],
                    target,
                    f"{sizes[0]} to {sizes[-1]} edges, largest difference of a prompt's KL {gap.max():.1e} nats",
                )
