"""What a search for dictionaries is asked for, and which of them it trains on which network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from assay.errors import UserError, nearest
from assay.train.dictionary.settings import ARCHITECTURES, CodeSettings

Network = Literal["trained", "drawn", "embeddings", "permuted"]
NETWORKS: dict[Network, str] = {  # in words
    "trained": "the network itself",
    "drawn": "a copy, all matrices drawn anew",
    "embeddings": "a copy, all matrices but the embeddings drawn anew",
    "permuted": "a copy, every matrix permuted",
}
CONTROLS = ("drawn", "embeddings", "permuted", "frozen")
FROZEN = ("decoder", "encoder", "near")
LEAST = 10_000  # tokens


@dataclass(frozen=True)
class DictionaryPlan:
    """Dictionaries of one site.

    Attributes:
        site: where they stand; reads: the site that they read, which makes them transcoders (None: the same); skip:
            with a linear path beside the features.
        architectures, widths, ks: each with each; seeds: of each as many.
        tokens: that each is trained on; batch: of a step; rate: Adam's peak rate; bf16: as in `CodeSettings`.
        controls: copies of the network with random weights, on each of which as many are trained; "frozen": ones on the
            network itself of which a part stays as it was drawn.
        context: tokens of a row of training text; seed: keys text, starts and order.
    """

    site: str
    reads: str | None = None
    skip: bool = False
    architectures: tuple[str, ...] = ("topk",)
    widths: tuple[int, ...] = (4096,)
    ks: tuple[int, ...] = (32,)
    seeds: int = 1
    tokens: int = 1_000_000
    batch: int = 2048
    rate: float | None = None
    bf16: bool = False
    controls: tuple[str, ...] = CONTROLS
    context: int | None = None
    seed: int = 0

    def check(self) -> None:
        """Raises `UserError` for what cannot be."""
        for name in self.architectures:
            if name not in ARCHITECTURES:
                raise UserError(f"unknown architecture {name!r}" + nearest(name, ARCHITECTURES))
        for name in self.controls:
            if name not in CONTROLS:
                raise UserError(f"unknown control {name!r}" + nearest(name, CONTROLS))
        for what, values in (("width", self.widths), ("k", self.ks), ("architecture", self.architectures)):
            if twice := next((value for value in values if values.count(value) > 1), None):
                raise UserError(f"the {what} {twice} is given twice")
        if self.tokens < LEAST:
            raise UserError(f"a dictionary is trained on at least {LEAST:,} tokens, not on {self.tokens:,}")
        if self.seeds < 1:
            raise UserError(f"{self.seeds} seeds train no dictionary")
        if self.skip and self.reads in (None, self.site):
            raise UserError("a linear path beside the features ('skip') is of transcoders, which read another site")
        self.settings()

    @property
    def steps(self) -> int:
        return max(1, self.tokens // self.batch)

    @property
    def networks(self) -> list[Network]:
        return [name for name in NETWORKS if name == "trained" or name in self.controls]

    def settings(self) -> list[CodeSettings]:
        """Those that are trained on every network; the first one is what the claim file names."""
        return [
            CodeSettings(
                architecture=architecture, width=width, k=k, seed=self.seed + seed, batch=self.batch, rate=self.rate,
                bf16=self.bf16,
            )
            for architecture in self.architectures for width in self.widths for k in self.ks
            for seed in range(self.seeds)
        ]  # fmt: skip

    def frozen(self) -> list[CodeSettings]:
        """Those of which a part stays as it was drawn, for the network itself: of the first seed."""
        if "frozen" not in self.controls:
            return []
        return [replace(one, frozen=part) for one in self.settings() if one.seed == self.seed for part in FROZEN]

    def on(self, network: Network) -> list[CodeSettings]:
        """All that are trained on a network."""
        return self.settings() + (self.frozen() if network == "trained" else [])
