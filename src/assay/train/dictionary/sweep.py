"""Many dictionaries from one pass over activations: each batch is read once, and each dictionary takes a step on it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.errors import RunError, UserError
from assay.store.files import reason
from assay.train.dictionary.code import SparseCode
from assay.train.dictionary.settings import CodeSettings
from assay.train.dictionary.trainer import CodeTrainer, Scales

FIRST = 8_192  # values that are centred and scaled by
CHECKPOINT, EVERY = "training.pt", 60.0  # seconds between checkpoints

Batches = Callable[[int], tuple[Float[Tensor, "n d_in"], Float[Tensor, "n d_out"] | None]]


@dataclass(frozen=True, eq=False)
class Trained:
    """A dictionary that was trained: its code, its settings, and points (tokens, error over variance, active features,
    share of dead ones) of its curve."""

    settings: CodeSettings
    code: SparseCode
    curve: Sequence[tuple[int, float, float, float]]


def train_sweep(
    every: Sequence[CodeSettings],
    steps: int,
    batch: Batches,
    first: tuple[Float[Tensor, "some d_in"], Float[Tensor, "some d_out"] | None],
    *,
    skip: bool = False,
    checkpoint: Path | None = None,
    advance: Callable[[int, int, str], None] = lambda done, total, said: None,
) -> list[Trained]:
    """Trains dictionaries side by side on the same batches.

    Args:
        every: their settings, of one batch size; steps: of training; batch: step -> what is read and, of transcoders,
            what is to be said; first: values that are centred and scaled by.
        checkpoint: a file that a stopped training goes on from; it is removed in the end by whoever has the result.
        advance: called with steps done, their number, and in words how it stands.

    Raises:
        UserError: for settings of several batch sizes, or two that are the same.
        RunError: for a checkpoint of another training, and one that cannot be written.
        FloatingPointError: where a loss is not finite; the last checkpoint is kept.
    """
    names = [settings.name for settings in every]
    if len({settings.batch for settings in every}) > 1:
        raise UserError("dictionaries that are trained side by side take steps on batches of one size")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"the dictionary {twice!r} is asked for twice; give each a seed of its own")
    reads, writes = Scales.of(first[0]), None if first[1] is None else Scales.of(first[1])
    trainers = [CodeTrainer(settings, steps, reads, writes, skip=skip and writes is not None) for settings in every]
    identity = json.dumps([[asdict(settings) for settings in every], steps])
    if checkpoint is not None and checkpoint.exists():
        _restore(trainers, checkpoint, identity)
    saved = time.monotonic()
    for step in range(trainers[0].step if trainers else steps, steps):
        x, y = batch(step)
        for trainer in trainers:
            trainer.learn(x, y)
        if checkpoint is not None and (time.monotonic() - saved > EVERY or step + 1 == steps):
            _save(trainers, checkpoint, identity)
            saved = time.monotonic()
        advance(step + 1, steps, _said(trainers))
    return [Trained(trainer.settings, trainer.code(), trainer.curve) for trainer in trainers]


def _said(trainers: Sequence[CodeTrainer]) -> str:
    """How the first of them stands."""
    curve = trainers[0].curve
    if not curve:
        return ""
    _, error, active, dead = curve[-1]
    return f"{trainers[0].settings.name}: {error:.3f} of the variance left, {active:.0f} active, {dead:.0%} dead"


def _save(trainers: Sequence[CodeTrainer], path: Path, identity: str) -> None:
    scratch = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"of": identity, "trainers": [trainer.state() for trainer in trainers]}, scratch)
        scratch.replace(path)
    except (OSError, RuntimeError) as error:  # torch.save gives a RuntimeError where a disk is full
        scratch.unlink(missing_ok=True)
        said = reason(error) if isinstance(error, OSError) else str(error).splitlines()[0]
        raise RunError(f"the checkpoint '{path}' cannot be written: {said}; the one before it is kept") from error


def _restore(trainers: Sequence[CodeTrainer], path: Path, identity: str) -> None:
    try:
        found: dict[str, Any] = torch.load(path, weights_only=True)
    except Exception as error:  # pickle and zip have errors of their own
        raise RunError(f"the checkpoint '{path}' cannot be read: {error}") from None
    if found.get("of") != identity:
        raise RunError(f"'{path}' is the checkpoint of another training; remove it, or give another folder")
    for trainer, state in zip(trainers, found["trainers"], strict=True):
        trainer.restore(state)
