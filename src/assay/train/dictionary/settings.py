"""What a dictionary that is to be trained is like."""

from __future__ import annotations

from dataclasses import dataclass

from assay.errors import UserError, nearest

ARCHITECTURES = ("relu", "topk", "batchtopk", "jumprelu", "matryoshka", "gated")
SPARSE = ("topk", "batchtopk", "matryoshka")  # so many features are active by themselves
FROZEN = ("none", "decoder", "encoder", "near")
NEAR = 0.8  # least cosine of a decoder row with its random start, where it is kept near


@dataclass(frozen=True)
class CodeSettings:
    """A dictionary's architecture and how it is trained.

    Attributes:
        architecture: one of `ARCHITECTURES`; width: how many features; k: how many are active at once, on average. With
            "relu", "jumprelu" and "gated" the penalty's weight is steered so that it comes to that.
        frozen: what stays as it was drawn: nothing, the decoder, the encoder's matrix; "near": each decoder row stays
            within cosine 0.8 of its start.
        batch: tokens of a step; rate: Adam's peak rate (None: 3e-3 · sqrt(4096 / width)); warm, fall: shares of the
            steps in which the rate rises to its peak, and falls to 0.
        revival: weight of the loss by which dead features learn what is left; dead_after: tokens without being active
            after which a feature counts as dead (None: a tenth of what it is trained on).
        bf16: features are selected by products in bfloat16; their values are float32 all the same.
        seed: of its start and of the order of its data.
    """

    architecture: str = "topk"
    width: int = 4096
    k: int = 32
    frozen: str = "none"
    batch: int = 2048
    rate: float | None = None
    warm: float = 0.02
    fall: float = 0.2
    revival: float = 1 / 32
    dead_after: int | None = None
    bf16: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise UserError(f"unknown architecture {self.architecture!r}" + nearest(self.architecture, ARCHITECTURES))
        if self.frozen not in FROZEN:
            raise UserError(f"unknown part to freeze {self.frozen!r}" + nearest(self.frozen, FROZEN))
        if self.width < 2:
            raise UserError(f"a dictionary has at least 2 features, not {self.width}")
        if not 1 <= self.k <= self.width:
            raise UserError(f"k is {self.k}, and a dictionary of {self.width} features has 1 to {self.width} active")
        if self.batch < 1:
            raise UserError(f"a step takes at least one token, not {self.batch}")

    @property
    def peak(self) -> float:
        """Adam's rate at its peak."""
        return 3e-3 * (4096 / self.width) ** 0.5 if self.rate is None else self.rate

    @property
    def name(self) -> str:
        """What tells it from others of its sweep: `topk-4096-32-s0`."""
        said = {"none": "", "decoder": "-frozen-decoder", "encoder": "-frozen-encoder", "near": "-near-start"}
        return f"{self.architecture}-{self.width}-{self.k}{said[self.frozen]}-s{self.seed}"

    def rate_at(self, step: int, steps: int) -> float:
        """The share of the peak rate at a step."""
        warm, fall = max(1, round(self.warm * steps)), max(1, round(self.fall * steps))
        return min(1.0, (step + 1) / warm, max(0.0, (steps - step) / fall))
