"""What every kind of explanation offers: what is run for it, and what it does not have, with the reason.

The yardsticks call these methods and know no kind. A new kind is a subclass: five members are its own (`kind`, `level`,
`scope`, `plan`, `sentence`), every other one has a default. What a member of a kind from outside of assay gives is held
against the type that stands here, whenever it is called.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import cache, wraps
from inspect import isfunction
from os import PathLike
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Int

from assay.errors import ClaimError, PluginError
from assay.explanations.answers import Neighbours, Presence, Searched, Unread, Uses
from assay.explanations.bits import ClaimBits, names_bits
from assay.explanations.floors import Floor
from assay.explanations.levels import Level
from assay.intervene.components import complement
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.spec import FITTED
from assay.intervene.output import OwnTarget
from assay.intervene.plan import Edit, EditRun, Own, Plan
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.names import Site
from assay.promises import held, hints
from assay.record.headline import RunScores
from assay.record.interchange import Interchange
from assay.record.pieces import Pieces
from assay.stats.estimate import Undefined

AnyModel = Model | ModuleModel
Label = Hashable  # what a part is given: its program, or None where the claim names parts only
Assignment = dict[Site, Label]


class Explanation(ABC):
    """A claim about some components.

    Attributes:
        kind: its name in claim files and records.
        level: which question it answers: where, what or how.
        headline_floor: the floor that its recovered share is given over.
        once: the explained run is the same under every ablation.
        removal: the claim says what is lost without its parts, which its explained run does without: there is no run
            of a floor, and it has necessity in place of a recovered share. The report says that parts are removed.
        floor_takes: what the floor takes away: the claim's own parts, or everything. A removal has no use for it.
        at_strengths: ablations of what the claim says nothing about that stand side by side, `plan` takes each.
        parts_matter: the claim says that each of its parts does something.
        simple_searches: searches without insight that compete for the same credit: (in words, name).
    """

    kind: ClassVar[str]
    headline_floor: ClassVar[Floor] = "ablated"
    once: ClassVar[bool] = False
    removal: ClassVar[bool] = False
    floor_takes: ClassVar[Literal["parts", "everything"]] = "parts"
    at_strengths: ClassVar[tuple[str, ...]] = ()
    parts_matter: ClassVar[bool] = True
    simple_searches: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if from_outside(cls):
            for name, wanted in _promised().items():
                if name in vars(cls):
                    setattr(cls, name, _holding(vars(cls)[name], name, wanted))

    def check(self) -> None:
        """What a kind is, before it is asked for anything.

        Raises:
            PluginError: where an attribute is missing or cannot be what it is.
        """
        who = _named(type(self))
        for name, wanted in {**hints(Explanation), "level": Level}.items():
            if not hasattr(self, name):
                raise PluginError(f"{who} does not say its {name!r}")
            held(getattr(self, name), wanted, f"{name!r} of {who}")

    @property
    @abstractmethod
    def level(self) -> Level: ...

    @abstractmethod
    def scope(self, model: AnyModel) -> list[Site]:
        """The parts that the claim names, expanded and checked against the model."""

    @abstractmethod
    def plan(self, workbench: PlanContext, ablation: str, draw: int = 0) -> Plan:
        """The explained run under an ablation and draw."""

    @abstractmethod
    def sentence(self, model_name: str) -> str:
        """The claim in words."""

    def floor(self, workbench: PlanContext, ablation: str, draw: int = 0) -> Plan:
        """The run in which nothing of the claim's scope is explained: its parts are ablated; where the floor takes
        everything, or there is none, every part of the model."""
        taken = self.scope(workbench.model) if self.floor_takes == "parts" else complement([], workbench.model)
        return workbench.plan(workbench.ablate(taken, ablation, draw))

    def target(self, workbench: PlanContext) -> OwnTarget | None:
        """What its systems, its floors, its controls and rivals are held against, under every ablation and draw: KL is
        taken from it, and agreement is with it. None: the model's own distribution. The metric's answers are the task's
        in any case."""
        return None

    def interchange(
        self, workbench: PlanContext, advance: Callable[[int, int], None] = lambda done, total: None
    ) -> Interchange | None:
        """Whether swaps of the claim's variables have the effect that it says; None: it names no variables.

        Args:
            advance: called with how much is done and of how much, before the first swap and as they are run.
        """
        return None

    def harder(self, workbench: PlanContext, found: Interchange) -> Interchange:
        """The swaps with what takes a fit by gradient too, where everything is asked for; else they are as found."""
        return found

    def matched_alone(self, workbench: PlanContext) -> dict[str, float]:
        """Of a claim whose data are drawn from the scored rows that agree on something: for every condition the share
        of rows that agree with no other, and can only draw themselves."""
        return {}

    # -- as a claim file has it

    def fields(self, model: AnyModel | None = None) -> dict[str, Any]:
        """What its block in a claim file says beside its kind, as plain data.

        Args:
            model: for a claim that only its model can put into names.

        Raises:
            ClaimError: for what no claim file can hold.
        """
        raise ClaimError(f"claims of kind {self.kind!r} do not say how a claim file holds them ('fields')")

    def to_yaml(
        self, model: AnyModel | str | PathLike[str] | None = None, task: Mapping[str, Any] | None = None, **more: Any
    ) -> str:
        """The claim as a claim file, which `assay.load_claim` and `assay measure` read: it builds an equal explanation.

        Args:
            model: its name, as in `assay.load`, or a loaded model, whose name is written.
            task: the file's block, such as {"kind": "text", "split": "test"}; None: the explanation's block alone.
            more: further fields of the file: ablation=["mean"], seed=0, ...

        Raises:
            ClaimError: for a claim that holds a Python function, which is named, and all else that no file can hold.

        Example:
            >>> from assay.explanations import Keep
            >>> print(Keep(["a1.h3", "m2"]).to_yaml(), end="")
            explanation:
              kind: keep
              components: [a1.h3, m2]
        """
        from assay.explanations.claims.writing import written

        return written(self, model, task, more)

    # -- what is run beside it

    def edits(self, workbench: PlanContext, ablation: str, draw: int = 0) -> tuple[Edit, ...]:
        """The explained run's edits, without what the option `refit` adds."""
        edits = self.plan(workbench, ablation, draw).final.edits
        return tuple(edit for edit in edits if edit.site.kind != "stream") if workbench.refit else edits

    def unedited(self, workbench: PlanContext, ablation: str) -> Plan | Undefined:
        """The explained run with its edits out of force: what it differs from the model by is the meter's noise."""
        touched = [edit.site for edit in self.plan(workbench, ablation).final.edits] or complement([], workbench.model)
        if not touched:
            return Undefined("the claim keeps every part of a model that has no other, so there is nothing to measure")
        own = tuple(Edit(site, Own()) for site in dict.fromkeys(site.at(None) for site in touched))
        run = EditRun("noop", edits=own, frozen_norm=workbench.frozen_norm)  # never refitted: it measures the meter
        return Plan((run,))

    def alone(self, model: AnyModel) -> dict[str, list[Site]] | Undefined:
        """The components that are claims of their own when the others are left out, each with its sites."""
        return Undefined(
            f"a {self.kind} claim's parts are not claims of their own: kept alone, each would leave all others ablated"
        )

    def restorable(self, workbench: PlanContext, ablation: str) -> list[Site]:
        """Parts that the explained run changes, each of which can be put back to the model's own."""
        return list(dict.fromkeys(edit.site for edit in self.edits(workbench, ablation)))

    def restored(self, workbench: PlanContext, ablation: str, site: Site, draw: int = 0) -> Plan:
        """The explained run with this part left as the model has it."""
        return workbench.plan(tuple(edit for edit in self.edits(workbench, ablation, draw) if edit.site != site))

    def complement(self, workbench: PlanContext, ablation: str, draw: int = 0) -> Plan | None:
        """For sets that are kept: the run of everything else, which is their residual."""
        return None

    def values(self, workbench: PlanContext) -> tuple[Edit, ...] | Undefined:
        """The edits that give each explained part its value, whose error is the residual."""
        return Undefined(f"a {self.kind} claim gives no value that could leave a residual")

    def presence(self, workbench: PlanContext, ablation: str) -> Presence | None:
        """What it means that a part is there; None where parts are not said to matter."""
        return None

    def uses(self, workbench: PlanContext, ablation: str, rows: Int[np.ndarray, "rows"]) -> Uses | None:
        """Whether each part matters, where the kind looks at its parts in its own way; None: as `presence` says."""
        return None

    def block(
        self,
        workbench: PlanContext,
        ablation: str,
        rows: Int[np.ndarray, "rows"],
        sides: Callable[[], tuple[RunScores, RunScores] | None],
    ) -> Pieces | None:
        """What only this kind says: pieces that the record holds and the report draws without knowing the kind.

        Args:
            rows: scored rows for trials.
            sides: gives what the explained run and its `complement` recover, where there is one.
        """
        return None

    def coarser(self, workbench: PlanContext, ablation: str) -> dict[str, Plan]:
        """Every way to merge one distinction of the claim: its name -> the merged run (its first draw)."""
        return {}

    def unmatched(self, workbench: PlanContext) -> float | None:
        """The share of scored tokens about which the claim says nothing; None where it has no such part."""
        return None

    # -- its length

    def claim_bits(self, model: AnyModel, channels: int = 0) -> ClaimBits | Undefined:
        """The length of the claim itself, the model being free.

        Args:
            channels: of a module: how many names such as `conv1[3]` it has.
        """
        return Undefined(f"no code is defined for claims of kind {self.kind!r}")

    def unread(self, model: Model, ablation: str) -> Iterator[Unread] | Undefined:
        """What of the model the explained run no longer reads; a part filled from other examples is run for them."""
        return Undefined(f"which weights a {self.kind} claim still reads is not said")

    def constants_bits(self, workbench: PlanContext, ablation: str) -> float:
        """Bits of everything that was fitted on the reference and is put in the model's place."""
        return 0.0

    def everything_bits(self, model: Model) -> float:
        """The length of the claim of this kind that names every part."""
        return names_bits(len(model.components) - 1, len(model.components) - 1)

    # -- its controls

    def assignment(self, model: AnyModel) -> Assignment | None:
        """The claim's parts, each with its label; None where it is not a set of parts."""
        return None

    def like(self, assignment: Mapping[Site, Label]) -> Explanation:
        """A claim of the same kind about other parts."""
        raise PluginError(f"{_named(type(self))} says its parts ('assignment'), and not a claim 'like' it about others")

    def again(self) -> str:
        """What a claim about other parts does there, for the name of its group of controls."""
        return "the claim made about"

    def costly(self, ablation: str) -> bool:
        """Whether each run needs a fit by gradient, so that few controls are drawn."""
        return ablation in FITTED

    def foresee(self, workbench: PlanContext, sites: Sequence[Site]) -> None:  # noqa: B027 (most kinds ask for nothing)
        """Gathers in one pass what plans about these parts will ask of the reference."""

    def neighbours(self, workbench: PlanContext, ablation: str, most: int) -> Iterator[Neighbours]:
        """Groups of explanations with the claim's own floor that should not score as well.

        Args:
            most: explanations in a group.
        """
        return iter(())

    def search(self, model: AnyModel) -> Searched | Undefined:
        """The search that finds such a claim, to be run again where there is nothing to find."""
        return Undefined(f"no search is known that finds claims of kind {self.kind!r}")

    def named(self, model: AnyModel) -> list[str]:
        """What the claim names, by the model's own names."""
        return [str(site) for site in self.scope(model)]

    def searched_by(self, model: AnyModel) -> dict[Site, str]:
        """Parts that a search by how heads attend would find, each with the rule that it would be scored by."""
        return {}


def from_outside(kind: type[Explanation]) -> bool:
    """Whether a kind is another package's; assay's own are held to their types by its tests."""
    return kind.__module__.partition(".")[0] != "assay"


def _named(kind: type[Explanation]) -> str:
    return f"the kind {getattr(kind, 'kind', kind.__name__)!r} ({kind.__module__}:{kind.__qualname__})"


@cache
def _promised() -> dict[str, Any]:
    """Members -> the types of what they give, where they give something."""
    members = {name: getattr(member, "fget", member) for name, member in vars(Explanation).items()}
    found = {name: hints(member).get("return") for name, member in members.items() if isfunction(member)}
    return {name: wanted for name, wanted in found.items() if wanted not in (None, type(None))}


def _holding(member: Any, name: str, wanted: Any) -> Any:
    """A member of a class, whose results are held against a type."""
    if isinstance(member, property):
        return property(_holding(member.fget, name, wanted), doc=member.__doc__)
    if not isfunction(member):
        return member  # a plain value, which `check` looks at

    @wraps(member)
    def call(self: Explanation, *arguments: Any, **named: Any) -> Any:
        return held(member(self, *arguments, **named), wanted, f"{name!r} of {_named(type(self))}")

    return call


def listed(names: list[str], most: int = 6) -> str:
    """`a, b and 3 more`: for sentences."""
    return ", ".join(names) if len(names) <= most else ", ".join(names[:most]) + f" and {len(names) - most} more"


def order(site: Site) -> tuple[int, bool, str, int, str]:
    """Sorts parts by layer (or submodule), kind, index and position."""
    return site.layer or 0, site.kind != "head", site.module or "", site.index or 0, str(site.position)
