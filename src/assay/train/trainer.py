"""One resumable trainer for small networks: AdamW, any loss and any schedule.

A batch is a function of the step number, so a run that was stopped goes on exactly where its last checkpoint was.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

LOOK = 50  # steps between looks at the losses


@dataclass(frozen=True)
class OptimiserSettings:
    """AdamW's settings; a schedule multiplies the rate. Only matrices that are no embeddings decay."""

    peak: float = 3e-3
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.1


class Trainer:
    """A network, its optimiser and a step count, saved and restored as one."""

    def __init__(self, network: nn.Module, loss: Callable[[Tensor], Tensor], rates: OptimiserSettings | None = None):
        """`loss` takes a batch of token ids and gives a scalar; it closes over `network`."""
        rates = rates or OptimiserSettings()
        trained = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
        decayed = [p for name, p in trained if p.ndim == 2 and "embed" not in name]
        others = [p for name, p in trained if not (p.ndim == 2 and "embed" not in name)]
        groups = [{"params": decayed, "weight_decay": rates.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.network, self.loss, self.rates, self.step = network, loss, rates, 0
        self.optimizer = torch.optim.AdamW(
            [g for g in groups if g["params"]], lr=rates.peak, betas=rates.betas, fused=trained[0][1].is_cuda
        )

    def state(self) -> dict:
        """Everything that a later call of `restore` needs (tensors are copied)."""
        # both state_dicts hand out live tensors
        return deepcopy(
            {"step": self.step, "network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
        )

    def restore(self, state: dict) -> None:
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])

    def save(self, path: Path) -> None:
        """Writes a checkpoint by atomic rename, so that a killed run never leaves half a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".part")
        torch.save(self.state(), scratch)
        scratch.replace(path)

    def load(self, path: Path) -> bool:
        """Goes on from a checkpoint if there is one; says whether there was."""
        if not path.exists():
            return False
        self.restore(torch.load(path, weights_only=True))
        return True

    def run(
        self,
        until: int,
        batch: Callable[[int], Tensor],
        rate: Callable[[int], float],
        *,
        checkpoint: Path | None = None,
        every_seconds: float = 120.0,
        log: Callable[[int, float], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> None:
        """Steps until the step count is `until` (or `stop()` holds), with `rate(step)` times the peak rate.

        Args:
            log: called with the step and the mean loss since the last call whenever the step count is a multiple of
                `LOOK`, and at the end. Losses are looked at only then: a GPU need not wait for the processor.

        Raises:
            FloatingPointError: when a loss is not finite; the last checkpoint is kept.
        """
        saved, values = time.monotonic(), []

        def look() -> None:
            if not values:
                return
            losses = torch.stack(values).tolist()
            values.clear()
            for step, loss in enumerate(losses, self.step - len(losses)):
                if not math.isfinite(loss):
                    raise FloatingPointError(f"the training loss is {loss} at step {step}")
            if log:
                log(self.step, sum(losses) / len(losses))

        while self.step < until and not (stop and stop()):
            for group in self.optimizer.param_groups:
                group["lr"] = self.rates.peak * rate(self.step)
            value = self.loss(batch(self.step))
            value.backward()
            values.append(value.detach().clone())
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.step += 1
            if self.step % LOOK == 0:
                look()
                if checkpoint and time.monotonic() - saved > every_seconds:
                    self.save(checkpoint)
                    saved = time.monotonic()
        look()
        if checkpoint:
            self.save(checkpoint)
