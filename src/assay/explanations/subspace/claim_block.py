"""The claim-file block of subspaces: part -> which subspace of it matters, and what that is said to carry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from assay.errors import ClaimError, ComponentError
from assay.explanations.claims.block import Claim, NamesParts
from assay.explanations.levels import Level
from assay.explanations.subspace.parse import parse
from assay.explanations.subspace.spec import LEVEL, Given
from assay.names import Site

if TYPE_CHECKING:
    from assay.explanations.base import Explanation


class SubspaceFields(NamesParts):
    """Of each part only a subspace matters: it keeps its own value there, and its orthogonal complement is ablated."""

    level: ClassVar[Level] = LEVEL
    streams: ClassVar[bool] = True
    like: ClassVar[str] = "{m1: {pca: 4}}"

    kind: Literal["subspace"]
    components: Annotated[dict[str, Any], Field(min_length=1)]
    variable: Annotated[str, Field(min_length=1)] | None = None

    def build(self) -> Explanation:
        from assay.explanations.subspace.subspace import Subspace

        return Subspace(self.components, self.variable)

    @property
    def content(self) -> dict[str, Any]:
        found = {name: parse(name, value) for name, value in self.components.items()}
        digests = {name: spec.digest for name, spec in found.items() if isinstance(spec, Given)}
        return {"bases": digests} if digests else {}

    def check_part(self, claim: Claim, path: tuple[str | int, ...], site: Site) -> None:
        name = str(path[-1])
        try:
            parse(name, self.components[name])
        except ClaimError as problem:
            raise ClaimError(f"{claim.where(*path)}{problem}") from None

    def check_model(self, claim: Claim, model: Any) -> None:
        from assay.explanations.subspace.subspace import Subspace

        super().check_model(claim, model)
        for name, value in self.components.items():
            try:
                Subspace({name: value}).scope(model)
            except (ClaimError, ComponentError) as problem:
                raise ClaimError(f"{claim.where('explanation', 'components', name)}{problem}") from None
