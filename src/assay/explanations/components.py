"""Component sets: `Keep` (everything else ablated), `Remove` (these ablated), `Constant` (these made constant)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from assay.errors import ClaimError
from assay.explanations.base import Level, listed
from assay.intervene.ablations import Workbench
from assay.intervene.components import complement, expand
from assay.intervene.plan import Call, Edit, Plan, Source
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.names import Site


def _names(components: Sequence[str], kind: str) -> tuple[str, ...]:
    if isinstance(components, str):
        raise ClaimError(f"{kind} takes a list of components, not the text {components!r}; write [{components!r}]")
    return tuple(components)


@dataclass(frozen=True)
class Keep:
    """The claim that these parts suffice: everything else is ablated.

    Example:
        >>> Keep(["a1.h3", "m2"]).level
        'where'
    """

    components: tuple[str, ...]
    kind: str = "keep"
    level: Level = "where"
    headline_floor: str = "empty"

    def __init__(self, components: Sequence[str]):
        object.__setattr__(self, "components", _names(components, "Keep"))

    def scope(self, model: Model | ModuleModel) -> list[Site]:
        return expand(self.components, model)

    def plan(self, bench: Workbench, ablation: str, draw: int = 0) -> Plan:
        kept = self.scope(bench.model)
        partial = sorted({site.at(None) for site in kept if site.position is not None}.difference(kept), key=str)
        edits = list(bench.ablate([*complement(kept, bench.model), *partial], ablation, draw))
        for site in partial:
            columns = [kept_site for kept_site in kept if kept_site.at(None) == site]
            edits += [Edit(column, _Restore.source(site)) for column in columns]
        return bench.plan(tuple(edits))

    def floor(self, bench: Workbench, ablation: str, draw: int = 0) -> Plan:
        every, model = complement([], bench.model), bench.model
        if isinstance(model, ModuleModel):  # what has no parameters is a part where it is named
            named = dict.fromkeys(site.at(None) for site in self.scope(model))
            every += [site for site in named if not model.weighs(site.module or "") and site not in every]
        return bench.plan(bench.ablate(every, ablation, draw))

    def sentence(self, model_name: str) -> str:
        return f"{listed(list(self.components))} of {model_name} suffice; everything else is ablated"


class _Restore:
    """Puts a part's own value back at one column after it was ablated everywhere."""

    @staticmethod
    def source(site: Site) -> Source:
        return Call(lambda batch: batch.read(site), (site,))


@dataclass(frozen=True)
class Remove:
    """The claim that these parts are needed: they are ablated, the rest is left."""

    components: tuple[str, ...]
    kind: str = "remove"
    level: Level = "where"
    headline_floor: str = "bigram"

    def __init__(self, components: Sequence[str]):
        object.__setattr__(self, "components", _names(components, "Remove"))
        if not self.components:
            raise ClaimError("Remove takes at least one component, not an empty list")

    def scope(self, model: Model | ModuleModel) -> list[Site]:
        return expand(self.components, model)

    def plan(self, bench: Workbench, ablation: str, draw: int = 0) -> Plan:
        return bench.plan(bench.ablate(self.scope(bench.model), ablation, draw))

    def floor(self, bench: Workbench, ablation: str, draw: int = 0) -> Plan:
        return bench.plan(bench.ablate(complement([], bench.model), ablation, draw))

    def sentence(self, model_name: str) -> str:
        return f"{listed(list(self.components))} of {model_name} are needed; they are ablated and the rest is left"


@dataclass(frozen=True)
class Constant:
    """The claim that these parts carry no information that matters: each is replaced by a constant.

    Attributes:
        value: "mean", "mean_position", "zero" or "optimal" (least KL on the reference).
    """

    components: tuple[str, ...]
    value: Literal["mean", "mean_position", "zero", "optimal"] = "mean"
    kind: str = "constant"
    level: Level = "how"
    headline_floor: str = "ablated"

    def __init__(self, components: Sequence[str], value: str = "mean"):
        object.__setattr__(self, "components", _names(components, "Constant"))
        if not self.components:
            raise ClaimError("Constant takes at least one component, not an empty list")
        if value not in ("mean", "mean_position", "zero", "optimal"):
            raise ClaimError(f"unknown constant {value!r}; valid: 'mean', 'mean_position', 'zero', 'optimal'")
        object.__setattr__(self, "value", value)

    def scope(self, model: Model | ModuleModel) -> list[Site]:
        return expand(self.components, model)

    def plan(self, bench: Workbench, ablation: str, draw: int = 0) -> Plan:
        return bench.plan(bench.ablate(self.scope(bench.model), self.value))

    def floor(self, bench: Workbench, ablation: str, draw: int = 0) -> Plan:
        return bench.plan(bench.ablate(self.scope(bench.model), ablation, draw))

    def sentence(self, model_name: str) -> str:
        verb = "is" if len(self.components) == 1 else "are"
        return f"{listed(list(self.components))} of {model_name} {verb} constant ({self.value})"
