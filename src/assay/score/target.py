"""What systems are held against: a distribution over each scored item of some rows, by default the model's own."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from assay.task.metrics import CHUNK, Metric, TokenScores, kl_divergence, log_probabilities, token_scores

ItemChoice = slice | Int[np.ndarray, "some"]  # which of the items
EVERY = slice(None)


class Target:
    """A distribution over the scored items of some rows.

    Attributes:
        own: its log-probabilities; probabilities: their exponentials; answers: [items] or [items, answers] ids.
    """

    def __init__(self, metric: Metric, own: Float[Tensor, "items vocab"], answers: Tensor):
        self.metric, self.own, self.probabilities, self.answers = metric, own, own.exp(), answers
        self._repeated: dict[int, tuple[Tensor, Tensor]] = {}

    def at(self, where: Int[np.ndarray, "some"]) -> Target:
        """The same of some of the items."""
        return self if len(where) == self.items else Target(self.metric, self.own[where], self.answers[where])

    @property
    def items(self) -> int:
        return len(self.own)

    @cached_property
    def own_loss(self) -> Float64[np.ndarray, "items"]:
        """The target's own loss of each item."""
        return self.loss(self.own.unsqueeze(0))[0]

    def loss(self, logits: Float[Tensor, "variants items vocab"]) -> Float64[np.ndarray, "variants items"]:
        """The metric's loss of each item."""
        return torch.stack([self.scores(variant).loss.double() for variant in logits]).cpu().numpy()

    def scores(
        self, logits: Float[Tensor, "some vocab"], where: ItemChoice = EVERY, *, mix: float = 0.0
    ) -> TokenScores:
        """Loss of these logits, their KL from the target, and whether they agree with it and are correct."""
        answers, known = self.answers[where], self.probabilities[where]
        return token_scores(self.metric, logits, self.own[where], answers, given="logits", mix=mix, probabilities=known)

    def kl(self, logits: Float[Tensor, "variants items vocab"]) -> Float64[np.ndarray, "variants items"]:
        """KL(target || variant) of each item, in nats."""
        variants, items, vocab = logits.shape
        out = []
        if items * vocab > CHUNK:
            step = max(1, CHUNK // vocab)
            for logit in logits:
                for start in range(0, items, step):
                    part = slice(start, start + step)
                    out.append(_kl(logit[part], self.own[part], self.probabilities[part]))
        else:
            step = min(variants, CHUNK // max(items * vocab, 1))
            for start in range(0, variants, step):
                part = logits[start : start + step]
                out.append(_kl(part.flatten(0, 1), *self._times(len(part))))
        return torch.cat(out).view(variants, items).double().cpu().numpy()

    def mean_kl(self, logits: Float[Tensor, "variants items vocab"]) -> Float[Tensor, "variants"]:
        """KL(target || variant), mean over items, by its plain definition, which has a gradient."""
        return (self.probabilities * (self.own - log_probabilities(logits))).sum(-1).mean(-1)

    def _times(self, variants: int) -> tuple[Tensor, Tensor]:
        if variants not in self._repeated:
            self._repeated[variants] = self.own.repeat(variants, 1), self.probabilities.repeat(variants, 1)
        return self._repeated[variants]


def _kl(logits: Tensor, own: Tensor, probabilities: Tensor) -> Tensor:
    return kl_divergence(own, log_probabilities(logits), probabilities)
