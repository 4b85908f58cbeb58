"""What an explanation answers with: groups of controls, uses of its parts, the search that finds it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from assay.intervene.fill.ablations import PlanContext
from assay.intervene.plan import Edit, Plan
from assay.names import Site
from assay.promises import held

MOST_USES = 24  # parts that are knocked out one by one
KNOCKED = 0.25  # share of the other parts that a random knock-out ablates


@dataclass(frozen=True)
class Unread:
    """What of a part an explained run no longer computes: its queries and keys, its values, its output matrix."""

    site: Site
    values: bool = True
    output: bool = True


@dataclass(frozen=True)
class Presence:
    """What it means that a part of a claim is there: for knock-outs.

    Attributes:
        there: a part's edit where the claim gives it a value; a part without one is left as it is.
        around: edits of the rest of the model; inside: whether the rest is taken away, so that parts are knocked out
            among the claim's own.
    """

    there: Mapping[Site, Edit] = field(default_factory=dict)
    around: tuple[Edit, ...] = ()
    inside: bool = False


@dataclass(frozen=True)
class Use:
    """How much a part matters: KL in nats per token between the runs with and without it, context by context.

    Attributes:
        left_out: under the claim itself; contexts: alone, downstream frozen, and under each random knock-out.
    """

    part: str
    left_out: float
    contexts: dict[str, float]

    @property
    def most(self) -> float:
        return max([self.left_out, *self.contexts.values()])

    def verdict(self, threshold: float, scale: float, nats: float) -> str:
        """`used`, `redundant` or `frivolous`; the threshold is a share of `scale`, and at least so many nats."""
        least = max(threshold * scale, nats)
        if self.left_out >= least:
            return "used"
        return "redundant" if self.most >= least else "frivolous"

    def describe(self, scale: float) -> str:
        most = max(self.contexts, key=lambda n: self.contexts[n])

        def said(nats: float) -> str:
            return f"{nats / scale:.1%} ({nats:.1e} nats)" if scale > 0 else f"{nats:.1e} nats"

        return f"{self.part}: left out {said(self.left_out)}, most {said(self.contexts[most])}, {most}"


@dataclass(frozen=True)
class Uses:
    """All parts' uses.

    Attributes:
        scale: KL(all parts || none of them) under the claim itself, nats per token.
        reason: why there are none.
        ablation: what is not there takes.
    """

    uses: tuple[Use, ...]
    scale: float
    reason: str | None = None
    ablation: str = ""


@dataclass(frozen=True)
class Neighbours:
    """Explanations about the claim's own parts that should not score as well, as one group of controls.

    Attributes:
        items: a name, and what makes the explained run.
        possible: how many such explanations exist; near: near misses, listed without a p-value.
        reason: why there are none.
    """

    name: str
    what: str
    items: Sequence[tuple[str, Callable[[PlanContext], Plan]]]
    possible: int
    near: bool = False
    reason: str | None = None

    def plans(self, workbench: PlanContext) -> list[tuple[str, Plan]]:
        """Each explanation's run, under its name."""
        who = f"what makes the run of an explanation of the group {self.name!r}"
        return [(name, held(make(workbench), Plan, f"{who} ({name})")) for name, make in self.items]


@dataclass(frozen=True)
class Searched:
    """The search that finds such a claim.

    Attributes:
        name: as in the registry of searches; known: whether the claim says that this one found it.
    """

    name: str
    known: bool = True
