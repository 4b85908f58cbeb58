"""The claim-file blocks of component sets: keep, remove and constant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from assay.explanations import registry
from assay.explanations.claims.block import Level, NamesParts
from assay.explanations.claims.sentences import known

if TYPE_CHECKING:
    from assay.explanations.base import Explanation

Names = Annotated[list[str], Field(min_length=1)]


class KeepFields(NamesParts):
    """The components that are kept; everything else is ablated."""

    kind: Literal["keep"]
    components: Names

    @property
    def level(self) -> Level:
        return "where"

    def build(self) -> Explanation:
        from assay.explanations.components.sets import Keep

        return Keep(self.components)


class RemoveFields(NamesParts):
    """The components that are ablated."""

    has_floor: ClassVar[bool] = False

    kind: Literal["remove"]
    components: Names

    @property
    def level(self) -> Level:
        return "where"

    def build(self) -> Explanation:
        from assay.explanations.components.sets import Remove

        return Remove(self.components)


class ConstantFields(NamesParts):
    """The components that are replaced by a constant."""

    kind: Literal["constant"]
    components: Names
    value: Annotated[str, known("constant", registry.CONSTANTS)] | None = None

    @property
    def level(self) -> Level:
        return "how"

    def build(self) -> Explanation:
        from assay.explanations.components.sets import Constant

        return Constant(self.components) if self.value is None else Constant(self.components, self.value)
