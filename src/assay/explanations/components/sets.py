"""Component sets: `Keep` (everything else ablated), `Remove` (these ablated), `Constant` (these made constant)."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from assay.errors import ClaimError
from assay.explanations.answers import Presence, Searched, Unread
from assay.explanations.base import AnyModel, Assignment, Explanation, Label, Level, Undefined, listed
from assay.explanations.bits import ClaimBits, filled_bits, parts_bits
from assay.explanations.components.spec import CONSTANTS, LEVELS, ConstantName
from assay.intervene.components import complement, expand
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.spec import FITTED, STRENGTHS, from_runs
from assay.intervene.plan import Call, Edit, Plan, Source
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.names import Site, check_texts

MOST_ALONE = 12  # components that are scored alone
SIMPLE = (("norm", "largest_norm"), ("attribution", "largest_attribution"))


@dataclass(frozen=True, repr=False)
class PartSet(Explanation):
    """A claim about named parts, of which none is given anything of its own."""

    components: tuple[str, ...]
    simple_searches: ClassVar[tuple[tuple[str, str], ...]] = SIMPLE

    def __init__(self, components: Sequence[str]):
        name = type(self).__name__
        if isinstance(components, str):
            raise ClaimError(f"{name} takes a list of components, not the text {components!r}; write [{components!r}]")
        check_texts(name, components)
        object.__setattr__(self, "components", tuple(components))
        if not self.components and self.floor_takes != "everything":
            raise ClaimError(f"{name} takes at least one component, not an empty list")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({reprlib.repr(list(self.components))})"

    def fields(self, model: AnyModel | None = None) -> dict[str, Any]:
        return {"components": list(self.components)}

    def scope(self, model: AnyModel) -> list[Site]:
        return expand(self.components, model)

    def plan(self, workbench: PlanContext, ablation: str, draw: int = 0) -> Plan:
        return workbench.plan(workbench.ablate(self.scope(workbench.model), ablation, draw))

    def assignment(self, model: AnyModel) -> Assignment:
        return {site: None for site in self.scope(model)}  # noqa: C420 (typed as it is)

    def like(self, assignment: Mapping[Site, Label]) -> Explanation:
        return type(self)([str(site) for site in assignment])

    def search(self, model: AnyModel) -> Searched:
        return Searched("largest_attribution")

    def claim_bits(self, model: AnyModel, channels: int = 0) -> ClaimBits:
        return parts_bits(self.scope(model), model, channels)

    def ablated(self, model: AnyModel) -> list[Site]:
        """The parts that the explained run takes away."""
        return self.scope(model)

    def unread(self, model: Model, ablation: str) -> Iterator[Unread]:
        return iter(()) if from_runs(ablation) else map(Unread, self.ablated(model))

    def constants_bits(self, workbench: PlanContext, ablation: str) -> float:
        return filled_bits(workbench, ablation, self.ablated(workbench.model))


class Keep(PartSet):
    """The claim that these parts suffice: everything else is ablated.

    Example:
        >>> Keep(["a1.h3", "m2"]).level
        'where'
    """

    kind: ClassVar[str] = "keep"
    level: ClassVar[Level] = LEVELS["keep"]
    headline_floor = "empty"
    floor_takes = "everything"
    at_strengths = STRENGTHS

    def plan(self, workbench: PlanContext, ablation: str, draw: int = 0) -> Plan:
        kept = self.scope(workbench.model)
        partial = sorted({site.at(None) for site in kept if site.position is not None}.difference(kept), key=str)
        edits = list(workbench.ablate([*self.ablated(workbench.model), *partial], ablation, draw))
        for site in partial:
            columns = [kept_site for kept_site in kept if kept_site.at(None) == site]
            edits += [Edit(column, _own_value(site)) for column in columns]
        return workbench.plan(tuple(edits))

    def floor(self, workbench: PlanContext, ablation: str, draw: int = 0) -> Plan:
        every, model = complement([], workbench.model), workbench.model
        if isinstance(model, ModuleModel):  # what has no parameters is a part where it is named
            named = dict.fromkeys(site.at(None) for site in self.scope(model))
            every += [site for site in named if not model.weighs(site.module or "") and site not in every]
        return workbench.plan(workbench.ablate(every, ablation, draw))

    def sentence(self, model_name: str) -> str:
        verb = "suffices" if len(self.components) == 1 else "suffice"
        return f"{listed(list(self.components))} of {model_name} {verb}; everything else is ablated"

    def ablated(self, model: AnyModel) -> list[Site]:
        return complement(self.scope(model), model)

    def complement(self, workbench: PlanContext, ablation: str, draw: int = 0) -> Plan:
        return workbench.plan(workbench.ablate(self.scope(workbench.model), ablation, draw))

    def restorable(self, workbench: PlanContext, ablation: str) -> list[Site]:
        return list(dict.fromkeys(edit.site.at(None) for edit in self.edits(workbench, ablation)))

    def restored(self, workbench: PlanContext, ablation: str, site: Site, draw: int = 0) -> Plan:
        # an ablated part whose columns are kept has more than one edit
        edits = self.edits(workbench, ablation, draw)
        return workbench.plan(tuple(edit for edit in edits if edit.site.at(None) != site.at(None)))

    def presence(self, workbench: PlanContext, ablation: str) -> Presence:
        return Presence(around=workbench.ablate(self.ablated(workbench.model), ablation), inside=True)


def _own_value(site: Site) -> Source:
    """A part's own value, which is put back at one column after the part was ablated everywhere."""
    return Call(lambda batch: batch.read(site), (site,))


class Remove(PartSet):
    """The claim that these parts are needed: they are ablated, the rest is left."""

    kind: ClassVar[str] = "remove"
    level: ClassVar[Level] = LEVELS["remove"]
    headline_floor = "bigram"
    removal = True

    def sentence(self, model_name: str) -> str:
        one = len(self.components) == 1
        needed = "is needed; it is ablated" if one else "are needed; they are ablated"
        return f"{listed(list(self.components))} of {model_name} {needed} and the rest is left"

    def alone(self, model: AnyModel) -> dict[str, list[Site]] | Undefined:
        return single_or_named(self, self.components, model)

    def presence(self, workbench: PlanContext, ablation: str) -> Presence:
        return Presence()


@dataclass(frozen=True, repr=False)
class Constant(PartSet):
    """The claim that these parts carry no information that matters: each is replaced by a constant.

    Attributes:
        value: "mean", "mean_position", "zero" or "optimal" (least KL on the reference).
    """

    value: ConstantName = "mean"
    kind: ClassVar[str] = "constant"
    level: ClassVar[Level] = LEVELS["constant"]
    once = True
    parts_matter = False

    def __init__(self, components: Sequence[str], value: str = "mean"):
        super().__init__(components)
        if value not in CONSTANTS:
            raise ClaimError(f"unknown constant {value!r}; valid: {', '.join(map(repr, CONSTANTS))}")
        object.__setattr__(self, "value", value)

    def __repr__(self) -> str:
        return f"Constant({reprlib.repr(list(self.components))}, {self.value!r})"

    def fields(self, model: AnyModel | None = None) -> dict[str, Any]:
        return {**super().fields(model), "value": self.value}

    def plan(self, workbench: PlanContext, ablation: str, draw: int = 0) -> Plan:
        return workbench.plan(self.edits(workbench, ablation))

    def edits(self, workbench: PlanContext, ablation: str, draw: int = 0) -> tuple[Edit, ...]:
        return workbench.ablate(self.scope(workbench.model), self.value)

    def sentence(self, model_name: str) -> str:
        verb = "is" if len(self.components) == 1 else "are"
        return f"{listed(list(self.components))} of {model_name} {verb} constant ({self.value})"

    def like(self, assignment: Mapping[Site, Label]) -> Explanation:
        return Constant([str(site) for site in assignment], self.value)

    def alone(self, model: AnyModel) -> dict[str, list[Site]] | Undefined:
        return single_or_named(self, self.components, model)

    def values(self, workbench: PlanContext) -> tuple[Edit, ...] | Undefined:
        if isinstance(workbench.model, ModuleModel):
            return Undefined("what a constant leaves of a module's part is the part itself: 1 by definition")
        return self.edits(workbench, self.value)

    def costly(self, ablation: str) -> bool:
        return not FITTED.isdisjoint((ablation, self.value))

    def claim_bits(self, model: AnyModel, channels: int = 0) -> ClaimBits:
        where = super().claim_bits(model, channels)
        return ClaimBits(where.bits + 2, f"{where.how} + log2 4 for the constant")

    def unread(self, model: Model, ablation: str) -> Iterator[Unread]:
        return map(Unread, self.scope(model))

    def constants_bits(self, workbench: PlanContext, ablation: str) -> float:
        return filled_bits(workbench, self.value, self.scope(workbench.model))


def single_or_named(
    claim: Explanation, components: Sequence[str], model: AnyModel
) -> dict[str, list[Site]] | Undefined:
    """The claim's single parts where they are 2 to 12, else what it names (a layer is then one component)."""
    single = {str(site): [site] for site in claim.scope(model)}
    named = {name: expand([name], model, streams=True) for name in components}
    for found in (single, named):
        if 2 <= len(found) <= MOST_ALONE:
            return found
    if len(single) < 2:
        return Undefined("the claim has one component, and its figures are the claim's")
    count = max(len(single), len(named)) if len(named) > 1 else len(single)
    return Undefined(f"the claim has {count} components; at most {MOST_ALONE} are also scored alone")
