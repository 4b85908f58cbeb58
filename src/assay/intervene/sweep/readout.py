"""How far patched runs are from the model at scored items: last streams in, loss difference and KL out.

Works on differences of logits δ from the model's, W_U (x − x_model), and its probabilities p: with u = δ − Σ p δ,
KL(model || patched) = log(1 + Σ p (exp u − 1 − u)), and the patched log-probability is the model's plus u − KL.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor
from torch.nn import functional

from assay.model.transformer import Model
from assay.task.metrics import CHUNK, Metric, log_probabilities, token_scores

FARTHEST = 60.0  # of u, where a probability below float32's smallest stands beside it


class Readout:
    """Scores against the model's own run of some items.

    Args:
        stream: [items, d_model] the stream leaving the model's last layer, where each item is predicted from.
        targets: ids of the correct answers, or [items, 2] with the incorrect ones beside them.
        memory: bytes that logits and their copies may take.

    Attributes:
        loss: [items] the model's own loss (0 where the loss is the KL).
    """

    def __init__(
        self,
        model: Model,
        metric: Metric,
        stream: Float[Tensor, "items d_model"],
        targets: Int[Tensor, "items"] | Int[Tensor, "items answers"],
        memory: int,
    ):
        self.model, self.metric = model, metric
        self.exact = torch.promote_types(model.dtype, torch.float32)
        self.sums = torch.float32 if stream.device.type == "mps" else torch.float64
        self.rows = max(1, memory // (3 * model.config.vocab * torch.finfo(self.exact).bits // 8))
        self.answers = (targets.unsqueeze(-1) if targets.ndim == 1 else targets).to(stream.device)
        self.x = model.weights.final_norm(stream)
        probabilities, answered, losses = [], [], []
        for x, answers in zip(self.x.split(self.rows), self.answers.split(self.rows), strict=True):
            own = log_probabilities(model.weights.unembedding(x))
            losses.append(own.new_zeros(len(x)) if metric.loss is None else metric.loss(own, answers))
            answered.append(own.gather(-1, answers))
            probabilities.append(own.exp_())
        self.p = torch.cat(probabilities)
        self.answered, self.loss = torch.cat(answered).to(self.sums), torch.cat(losses).to(self.sums)
        self.tiny = self.p.amin(-1) < torch.finfo(self.exact).tiny

    def __call__(
        self, stream: Float[Tensor, "some patches d_model"], items: Int[Tensor, "some"]
    ) -> tuple[Float64[Tensor, "some patches"], Float64[Tensor, "some patches"]]:
        """(loss less the model's, KL) of patched last streams at these items (repeats are welcome)."""
        loss = stream.new_zeros(stream.shape[:2], dtype=self.sums)
        kl = torch.zeros_like(loss)
        patches = max(1, min(self.rows, stream.shape[1]))
        some = max(1, self.rows // patches)
        for start in range(0, len(items), some):
            block, chosen = slice(start, start + some), items[start : start + some]
            for first in range(0, stream.shape[1], patches):
                beside = slice(first, first + patches)
                scores = self._block(stream[block, beside], chosen)
                loss[block, beside], kl[block, beside] = scores
        return loss, kl

    def _block(self, stream: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        weights = self.model.weights
        moved = weights.final_norm(stream) - self.x[items].unsqueeze(1)
        if not self.metric.of_answers:
            return self._plain(moved, items)
        delta = functional.linear(moved, weights.unembedding.weight).to(self.exact)
        size = CHUNK if delta.device.type == "cpu" else delta.numel()  # on a CPU, what stays in the cache
        patches = max(1, min(delta.shape[1], size // delta.shape[2]))
        some = max(1, size // (delta.shape[2] * patches))
        total, answered = delta.new_empty(delta.shape[:2]), delta.new_empty(*delta.shape[:2], self.answers.shape[1])
        checked = bool(self.tiny[items].any())
        for start in range(0, len(items), some):
            rows = slice(start, start + some)
            p, answers = self.p[items[rows]].unsqueeze(-1), self.answers[items[rows]].unsqueeze(1)
            for first in range(0, delta.shape[1], patches):
                part = delta[rows, first : first + patches]
                part -= part @ p
                answered[rows, first : first + patches] = part.gather(-1, answers.expand(-1, part.shape[1], -1))
                if checked and bool((part > FARTHEST).any()):
                    return self._plain(moved, items)
                total[rows, first : first + patches] = (part.expm1().sub_(part) @ p).squeeze(-1)
        if not bool(total.isfinite().all()):
            return self._plain(moved, items)
        kl = total.to(self.sums).clamp_(min=0).log1p()
        if self.metric.loss is None:
            return kl, kl
        log_probs = self.answered[items].unsqueeze(1) + answered - kl.unsqueeze(-1)
        places = torch.arange(self.answers.shape[1], device=items.device).expand(log_probs.flatten(0, 1).shape)
        loss = self.metric.loss(log_probs.flatten(0, 1), places).view(kl.shape)
        own = self.metric.loss(self.answered, torch.arange(self.answers.shape[1]).to(items).expand_as(self.answered))
        return loss - own[items].unsqueeze(1), kl

    def _plain(self, moved: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """By whole distributions: for other metrics, and where a probability that underflowed may matter."""
        unembedding = self.model.weights.unembedding
        loss, kl = [], []
        for x, item in zip(moved, items, strict=True):
            own = unembedding(self.x[item])
            logits = functional.linear(x, unembedding.weight) + own
            model = log_probabilities(own).expand_as(logits)
            scores = token_scores(self.metric, logits, model, self.answers[item].expand(len(x), -1), given="logits")
            loss.append(scores.loss - self.loss[item])
            kl.append(scores.kl)
        return torch.stack(loss), torch.stack(kl)
