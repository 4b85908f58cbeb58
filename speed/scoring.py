"""Scoring a large vocabulary beside its unembedding, and beside whole log-softmaxes: `python -m speed.scoring`."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from assay.task.metrics import METRICS, kl_divergence, token_scores
from speed.timing import timed

POSITIONS, WIDTH, VOCABULARY = 256, 768, 49_152


def rows() -> Iterator[tuple[str, float, str, float]]:
    """Processor seconds for 256 positions of a vocabulary of 49,152, the fastest of five in turn."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(VOCABULARY, WIDTH, generator=generator) * 0.06
    stream = torch.randn(POSITIONS, WIDTH, generator=generator)
    answers = torch.randint(VOCABULARY, (POSITIONS, 1), generator=generator)
    known = (stream @ weight.T).log_softmax(-1)
    probabilities = known.exp()
    logits = (stream + 0.05 * torch.randn(stream.shape, generator=generator)) @ weight.T

    def whole() -> tuple[Tensor, ...]:
        scored = logits.log_softmax(-1)
        right = scored.argmax(-1)
        kl = kl_divergence(known, scored, probabilities)
        return -scored.gather(-1, answers), kl, right == known.argmax(-1), right == answers[:, 0]

    calls = {
        "score": lambda: token_scores(METRICS["loss"], logits, known, answers, given="logits"),
        "unembed": lambda: torch.nn.functional.linear(stream, weight),
        "whole": whole,
    }
    taken: dict[str, list[float]] = {name: [] for name in calls}
    with torch.no_grad():
        for _ in range(6):
            for name, call in calls.items():
                taken[name].append(timed(call)[0].cpu)
    best = {name: min(some[1:]) for name, some in taken.items()}
    what = f"{POSITIONS} positions of {VOCABULARY:,}"
    yield f"{what}, scored", best["score"], "their unembedding", best["unembed"]
    yield f"{what}, scored", best["score"], "log-softmax, KL, argmax", best["whole"]


if __name__ == "__main__":
    for what, ours, beside, theirs in rows():
        print(f"{what}: {ours * 1e3:.0f} ms; {beside}: {theirs * 1e3:.0f} ms; {theirs / ours:.1f} times")
