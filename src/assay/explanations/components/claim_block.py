"""The claim-file blocks of component sets: keep, remove and constant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from assay.explanations.claims.block import NamesParts
from assay.explanations.claims.sentences import known
from assay.explanations.components.spec import CONSTANTS, LEVELS
from assay.explanations.levels import Level

if TYPE_CHECKING:
    from assay.explanations.base import Explanation

Names = Annotated[list[str], Field(min_length=1)]


class KeepFields(NamesParts):
    """The components that are kept; everything else is ablated."""

    level: ClassVar[Level] = LEVELS["keep"]

    kind: Literal["keep"]
    components: Names

    def build(self) -> Explanation:
        from assay.explanations.components.sets import Keep

        return Keep(self.components)


class RemoveFields(NamesParts):
    """The components that are ablated."""

    level: ClassVar[Level] = LEVELS["remove"]
    removal: ClassVar[bool] = True

    kind: Literal["remove"]
    components: Names

    def build(self) -> Explanation:
        from assay.explanations.components.sets import Remove

        return Remove(self.components)


class ConstantFields(NamesParts):
    """The components that are replaced by a constant."""

    level: ClassVar[Level] = LEVELS["constant"]

    kind: Literal["constant"]
    components: Names
    value: Annotated[str, known("constant", CONSTANTS)] | None = None

    def build(self) -> Explanation:
        from assay.explanations.components.sets import Constant

        return Constant(self.components) if self.value is None else Constant(self.components, self.value)
