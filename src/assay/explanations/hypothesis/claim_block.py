"""The claim-file block of a hypothesis: its variables as expressions, and the places that carry them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from assay.errors import ClaimError, TaskError, UserError, shown
from assay.explanations.claims.block import Claim, KindFields
from assay.explanations.claims.shapes import KnownShape, out_of_range
from assay.explanations.hypothesis import LEVEL
from assay.explanations.levels import Level
from assay.explanations.subspace.parse import parse
from assay.explanations.subspace.spec import Given

if TYPE_CHECKING:
    from assay.explanations.base import Explanation
    from assay.explanations.hypothesis.graph import HighLevelModel
    from assay.explanations.hypothesis.places import Place
    from assay.task.task import Task

LIKE = "{file: basis.npy}"
Entry = str | Annotated[dict[str, Any], Field(min_length=1, max_length=1)]
Places = Annotated[list[Entry], Field(min_length=1)]


class Named(NamedTuple):
    """A place before a model is there: its name, and the basis of the subspace that it is, which lies in a file."""

    name: str
    basis: Given | None = None


class HypothesisFields(KindFields):
    """Variables of a high-level model, each an expression, and the places of the network that carry them."""

    level: ClassVar[Level] = LEVEL

    kind: Literal["hypothesis"]
    variables: Annotated[dict[str, str], Field(min_length=1)]
    places: Annotated[dict[str, Places], Field(min_length=1)]
    answer: str | None = None
    treeify: bool | None = None
    pool: Annotated[int, Field(ge=2)] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for _, _, name in self._every())

    @property
    def content(self) -> dict[str, Any]:
        named = [one for some in self._named().values() for one in some]
        found = {f"{one.name} {one.basis.file}": one.basis.digest for one in named if one.basis is not None}
        return {"bases": found} if found else {}

    def build(self) -> Explanation:
        from assay.explanations.hypothesis.hypothesis import Hypothesis

        return Hypothesis(self.variables, self._built(), self.answer, treeify=self.treeify is not False, pool=self.pool)

    def _named(self) -> dict[str, list[Named]]:
        return {variable: [_read(one) for one in some] for variable, some in self.places.items()}

    def _built(self) -> dict[str, list[Place]]:
        from assay.explanations.hypothesis.places import Place

        return {
            variable: [Place(one.name) if one.basis is None else Place.given(one.name, one.basis) for one in some]
            for variable, some in self._named().items()
        }

    def check(self, claim: Claim, shape: KnownShape | None) -> None:
        from assay.explanations.hypothesis.graph import misplaced, place_site

        model = self._high_level(claim)
        modules = claim.task.kind == "classify"
        for variable, some in self.places.items():
            for index, entry in enumerate(some):
                try:
                    _read(entry)
                except ClaimError as problem:
                    raise ClaimError(f"{self._where(claim, variable, index)}{problem}") from None
        # whether two subspaces of one place have nothing in common is seen once the model is there
        both = lambda one, other: one.basis is not None and other.basis is not None  # noqa: E731
        wrong = misplaced(self._named(), model, modules=modules, share=shape and shape.share, beside=both)
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
        for variable, some in self.places.items():
            for index, entry in enumerate(some):
                yield variable, index, entry if isinstance(entry, str) else next(iter(entry))

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


def _read(entry: Entry) -> Named:
    """Raises `ClaimError` for what is no place, and for a file that holds no basis."""
    if isinstance(entry, str):
        return Named(entry)
    ((name, value),) = entry.items()
    found = parse(name, value)
    if not isinstance(found, Given):
        raise ClaimError(
            f"{name!r} is given {shown(value)}, and a subspace that carries a variable lies in a file, {LIKE}"
        )
    return Named(name, found)
