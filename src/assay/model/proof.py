"""What the proof on load found, and what it needs of the library's model; the proof itself is in `proving`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import nn

FACTOR = 5.0  # times the library's own rounding: what is let through


@dataclass(frozen=True)
class Proof:
    """What the proof found, worst case over its tokens. NaN: not proved (any module).

    Attributes:
        layers: the largest difference of a layer's attention, MLP or stream (or of embedding, norm, unembedding) from
            the library's, in units of the library's own rounding there.
        logits: RMS of (view - library), in units of the RMS of the library's centred logits.
        rounding: the same of the library with another implementation of attention and the last bits of every layer's
            stream changed, against itself.
        edit: RMS of (logits with a no-op tap everywhere - without), in the units of `logits`.
        noise: nats: the largest KL, or change of the log-probability of the next token, of the no-op run.
        noise_kl: nats: the largest KL alone, which is far smaller.
    """

    layers: float = math.nan
    logits: float = math.nan
    rounding: float = math.nan
    edit: float = math.nan
    noise: float = 0.0
    noise_kl: float = 0.0

    def __str__(self) -> str:
        return (
            f"no layer differs from the library's by more than {self.layers:.1f} times its own rounding (limit "
            f"{FACTOR:.0f}); the logits differ by {self.logits:.1e} of their RMS, and by {self.edit:.1e} under an edit "
            f"that changes nothing (the library's rounding: {self.rounding:.1e})"
        )


class Library(NamedTuple):
    """The library's own modules of a model.

    Attributes:
        layers: each with submodules of the names `attention` and "mlp"; norm: the final one; head: the unembedding.
    """

    layers: Sequence[nn.Module]
    attention: str
    norm: nn.Module
    head: nn.Module
