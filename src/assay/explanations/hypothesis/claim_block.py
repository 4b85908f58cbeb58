"""The claim-file block of a hypothesis: its variables as expressions, and the places that carry them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from assay.errors import ClaimError, ComponentError, nearest
from assay.explanations.claims.block import Claim, KindFields
from assay.explanations.claims.shapes import KnownShape, out_of_range
from assay.explanations.hypothesis import LEVEL
from assay.explanations.levels import Level
from assay.names import parse_site

if TYPE_CHECKING:
    from assay.explanations.base import Explanation
    from assay.explanations.hypothesis.hypothesis import Hypothesis

Names = Annotated[list[str], Field(min_length=1)]


class HypothesisFields(KindFields):
    """Variables of a high-level model, each an expression, and the places of the network that carry them."""

    level: ClassVar[Level] = LEVEL

    kind: Literal["hypothesis"]
    variables: Annotated[dict[str, str], Field(min_length=1)]
    places: Annotated[dict[str, Names], Field(min_length=1)]
    answer: str | None = None
    treeify: bool | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for some in self.places.values() for name in some)

    def build(self) -> Explanation:
        return self._built()

    def _built(self) -> Hypothesis:
        from assay.explanations.hypothesis.hypothesis import Hypothesis

        return Hypothesis(self.variables, self.places, self.answer, treeify=self.treeify is not False)

    def check(self, claim: Claim, shape: KnownShape | None) -> None:
        from assay.explanations.hypothesis.graph import HighLevelModel

        try:
            HighLevelModel.of(self.variables, self.answer)
        except ClaimError as problem:
            raise ClaimError(f"{self._where(claim, 'variables', self.variables, problem)}{problem}") from None
        for variable, names in self.places.items():
            if variable not in self.variables:
                where = claim.where("explanation", "places", variable)
                raise ClaimError(f"{where}{variable!r} is no variable" + nearest(variable, self.variables))
            for index, name in enumerate(names):
                where = claim.where("explanation", "places", variable, index)
                try:
                    site = parse_site(name, claim.task.kind == "classify")
                except ComponentError as problem:
                    raise ClaimError(f"{where}the variable {variable!r}: {problem}") from None
                problem = None if shape is None else out_of_range(site, shape)
                if problem:
                    raise ClaimError(f"{where}the variable {variable!r}: {name!r} is not in {claim.model}: {problem}")

    def check_model(self, claim: Claim, model: object) -> None:
        try:
            self._built().scope(model)  # type: ignore[arg-type]
        except ClaimError as problem:
            raise ClaimError(f"{self._where(claim, 'places', self.places, problem)}{problem}") from None

    @staticmethod
    def _where(claim: Claim, field: str, names: Iterable[str], problem: ClaimError) -> str:
        guilty = next((name for name in names if f"the variable {name!r}" in str(problem)), None)
        return claim.where("explanation", field) if guilty is None else claim.where("explanation", field, guilty)
