"""Names of what is scored: typed, so that none is ever taken apart."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SystemId:
    """A system of a measurement, as a key; records hold its text.

    Attributes:
        role: what it is to the claim: "explained", "floor", "part", "rival", ...
        ablation: what fills it, where several do.
        part: the component that it is about; of a rival its own name.
        draw: which of several alike.

    Example:
        >>> print(SystemId("explained", "mean"), SystemId("part", part="a1.h3"), SystemId("rival", part="bigram"))
        explained:mean part:a1.h3 bigram
    """

    role: str
    ablation: str | None = None
    part: str | None = None
    draw: int | None = None

    def __str__(self) -> str:
        said = (None if self.role == "rival" else self.role, self.ablation, self.part, self.draw)
        return ":".join(str(one) for one in said if one is not None)

    @property
    def label(self) -> str:
        """What it is called where its role is known: the text without the role."""
        said = (self.ablation, self.part, self.draw)
        return ":".join(str(one) for one in said if one is not None) or self.role


NOOP = SystemId("noop")  # the explained run with its edits out of force: what it reads is the meter's noise
COMPLEMENT = SystemId("complement")  # of a set that is kept: the run of everything else


def rival(name: str) -> SystemId:
    """An n-gram, another model, a set of other parts: it goes by its own name."""
    return SystemId("rival", part=name)


BIGRAM = rival("bigram")
