"""The claim-file block of a hypothesis: its variables as expressions, and the places that carry them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from assay.errors import ClaimError, TaskError, UserError
from assay.explanations.claims.block import Claim, KindFields, Strict
from assay.explanations.claims.shapes import KnownShape, out_of_range
from assay.explanations.hypothesis import LEVEL
from assay.explanations.levels import Level

if TYPE_CHECKING:
    from assay.explanations.base import Explanation
    from assay.explanations.hypothesis.graph import HighLevelModel
    from assay.explanations.hypothesis.places import Place
    from assay.task.task import Task


class BasisFile(Strict):
    """A subspace of a place: the basis in a .npy or .safetensors file."""

    file: str
    tensor: str | None = None


Entry = str | Annotated[dict[str, BasisFile], Field(min_length=1, max_length=1)]
Places = Annotated[list[Entry], Field(min_length=1)]


class Named(NamedTuple):
    """A place before anything heavy is imported."""

    name: str
    basis: BasisFile | None


class HypothesisFields(KindFields):
    """Variables of a high-level model, each an expression, and the places of the network that carry them."""

    level: ClassVar[Level] = LEVEL

    kind: Literal["hypothesis"]
    variables: Annotated[dict[str, str], Field(min_length=1)]
    places: Annotated[dict[str, Places], Field(min_length=1)]
    answer: str | None = None
    treeify: bool | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(one.name for some in self.named.values() for one in some)

    @property
    def named(self) -> dict[str, list[Named]]:
        """The places of every variable."""
        return {variable: [_named(one) for one in some] for variable, some in self.places.items()}

    @property
    def content(self) -> dict[str, Any]:
        from assay.explanations.subspace.given import read

        bases = [(one.name, one.basis) for some in self.named.values() for one in some if one.basis is not None]
        found = {f"{name} {basis.file}": read(basis.file, basis.tensor).digest for name, basis in bases}
        return {"bases": found} if found else {}

    def build(self) -> Explanation:
        from assay.explanations.hypothesis.hypothesis import Hypothesis

        return Hypothesis(self.variables, self._built(), self.answer, treeify=self.treeify is not False)

    def _built(self) -> dict[str, list[Place]]:
        from assay.explanations.hypothesis.places import Place

        return {
            variable: [
                Place(one.name) if one.basis is None else Place.read(one.name, one.basis.file, one.basis.tensor)
                for one in some
            ]
            for variable, some in self.named.items()
        }

    def check(self, claim: Claim, shape: KnownShape | None) -> None:
        from assay.explanations.hypothesis.graph import misplaced, place_site

        model = self._high_level(claim)
        modules = claim.task.kind == "classify"
        # whether two subspaces of one place have nothing in common is seen once they are read
        both = lambda one, other: one.basis is not None and other.basis is not None  # noqa: E731
        wrong = misplaced(self.named, model, modules=modules, share=shape and shape.share, beside=both)
        if wrong is not None:
            raise ClaimError(f"{self._where(claim, wrong.variable, wrong.index)}{wrong.sentence}")
        for variable, index, name in self._every():
            problem = None if shape is None else out_of_range(place_site(name, modules), shape)
            if problem:
                where = self._where(claim, variable, index)
                raise ClaimError(f"{where}the variable {variable!r}: {name!r} is not in {claim.model}: {problem}")

    def check_model(self, claim: Claim, model: Any) -> None:
        from assay.explanations.hypothesis.places import alignment

        try:
            alignment(self._built(), self._high_level(claim), model)
        except ClaimError as problem:
            said = {f"the variable {variable!r}": (variable, None) for variable in self.places}
            said |= {f"the variable {v!r}: {name!r}": (v, index) for v, index, name in self._every()}
            variable, index = said[max((one for one in said if str(problem).startswith(one)), key=len)]
            raise ClaimError(f"{self._where(claim, variable, index)}{problem}") from None

    def check_task(self, claim: Claim, task: Task) -> None:
        import numpy as np

        from assay.explanations.hypothesis.graph import place_site
        from assay.explanations.hypothesis.values import TaskValues

        try:
            TaskValues.of(self._high_level(claim), task)
        except TaskError as problem:
            raise TaskError(f"{self._guilty(claim, problem)}{problem}") from None
        for variable, index, name in self._every():
            position = place_site(name, modules=True).position
            try:
                _ = position is None or task.at(position, np.arange(len(task)))
            except TaskError as problem:
                where = self._where(claim, variable, index)
                raise TaskError(f"{where}the variable {variable!r}: {problem}") from None

    def _every(self) -> Iterator[tuple[str, int, str]]:
        """Every place: its variable, its number among the variable's, and its name."""
        for variable, some in self.named.items():
            for index, one in enumerate(some):
                yield variable, index, one.name

    def _high_level(self, claim: Claim) -> HighLevelModel:
        from assay.explanations.hypothesis.graph import HighLevelModel

        try:
            return HighLevelModel.of(self.variables, self.answer)
        except ClaimError as problem:
            raise ClaimError(f"{self._guilty(claim, problem)}{problem}") from None

    @staticmethod
    def _where(claim: Claim, variable: str, index: int | None) -> str:
        place = () if index is None else (index,)
        return claim.where("explanation", "places", variable, *place)

    def _guilty(self, claim: Claim, problem: UserError) -> str:
        """The line of the variable whose definition is at fault, or of the answer."""
        said = str(problem)
        guilty = next((name for name in self.variables if f"the variable {name!r}" in said), None)
        if guilty is None and self.answer is not None and said.startswith("the answer"):
            return claim.where("explanation", "answer")
        return claim.where("explanation", "variables", *(() if guilty is None else (guilty,)))


def _named(entry: Entry) -> Named:
    return Named(entry, None) if isinstance(entry, str) else Named(*next(iter(entry.items())))
