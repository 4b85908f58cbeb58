"""The block of a claim file that says what is claimed: one class a kind, which checks it by names alone and builds it.

Nothing heavy is imported before a block is built or held against a loaded model.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from assay.errors import ClaimError, ComponentError, nearest
from assay.explanations.claims.shapes import KnownShape, out_of_range
from assay.explanations.levels import Level
from assay.names import Site, larger, parse_site

if TYPE_CHECKING:
    from assay.explanations.base import Explanation
    from assay.task.task import Task


@runtime_checkable
class Claim(Protocol):
    """The claim file that a block is part of, as the block sees it.

    Attributes:
        model: its name; task: the task's block, with its `kind`; refit: that option.
    """

    @property
    def model(self) -> str: ...

    @property
    def task(self) -> Any: ...

    @property
    def refit(self) -> bool | None: ...

    def where(self, *path: str | int) -> str:
        """`claim.yaml:5: `, for a message about the value at a path."""
        ...


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class KindFields(Strict):
    """What every kind's block offers.

    Attributes:
        removal: whether claims of this kind say what is lost without their parts: they have no floor of their own.
    """

    removal: ClassVar[bool] = False

    kind: str

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """What the claim names, in the file's order."""

    @property
    @abstractmethod
    def level(self) -> Level:
        """where, what or how (docs/definitions.md#levels)."""

    @abstractmethod
    def build(self) -> Explanation:
        """The explanation that the block describes."""

    @property
    def about(self) -> str:
        """What it is about, in a few words."""
        return ", ".join(self.names[:6]) + (f" and {len(self.names) - 6} more" if len(self.names) > 6 else "")

    @property
    def content(self) -> dict[str, Any]:
        """What of the claim lies in other files, for its hash."""
        return {}

    def check(self, claim: Claim, shape: KnownShape | None) -> None:
        """Raises `ClaimError` at the first thing that cannot be right, without a model.

        Args:
            shape: the model's, where it is known.
        """

    def check_model(self, claim: Claim, model: Any) -> None:
        """Raises `ClaimError`, with file and line, where the claim is not one of a loaded model."""

    def check_task(self, claim: Claim, task: Task) -> None:
        """Raises `TaskError`, with file and line, where it does not go with a task that was built."""


_COMPONENTS = frozenset({"attention", "head", "kv", "mlp", "neuron", "module"})


def component(text: str, modules: bool = False, streams: bool = False, inside: bool = False) -> Site:
    """Reads the name of something that can be explained.

    Args:
        modules: whether single words may be submodules of a network of another kind; dotted names always may.
        streams: whether streams and hidden values of MLPs can; inside: whether a head's pattern and its queries can.

    Raises:
        ClaimError: when it is no name, or names a place that is not a component.
    """
    looks_native = text[:1] in "amr" and text[1:2].isdigit()
    try:
        site = parse_site(text, (modules or "." in text or "[" in text) and not looks_native)
    except ComponentError as problem:
        raise ClaimError(str(problem)) from problem
    if site.kind == "bias":
        raise ClaimError(f"{text!r} is a constant part that is never ablated, so no claim can be about it")
    if site.kind in ("input", "logits"):
        raise ClaimError(f"{text!r} is always left as it is, so no claim can be about it")
    more = {*(("stream", "hidden") if streams else ()), *(("pattern", "q") if inside else ())}
    if site.kind not in _COMPONENTS and site.kind not in more:
        like = "'a1.h3', 'm2' or 'm2.n137'"
        raise ClaimError(f"{text!r} is a place inside the model, not a component; components are named like {like}")
    return site


class NamesParts(KindFields):
    """A block whose field `components` names parts of the model, alone or each with something of its own.

    Attributes:
        streams: whether streams, and the hidden values of MLPs, are parts too.
    """

    streams: ClassVar[bool] = False

    components: Any

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.components)

    def check(self, claim: Claim, shape: KnownShape | None) -> None:
        listed = isinstance(self.components, list)
        found: dict[str, tuple[tuple[str | int, ...], Site]] = {}
        for index, name in enumerate(self.names):
            path = ("explanation", "components", index if listed else name)
            try:
                site = component(name, claim.task.kind == "classify", self.streams)
            except ClaimError as problem:
                raise ClaimError(f"{claim.where(*path)}{problem}") from None
            if str(site) in found:
                raise ClaimError(f"{claim.where(*path)}the component {name!r} is named a second time")
            found[str(site)] = path, site
            self.check_part(claim, path, site)
        for name, (path, site) in found.items():
            problem = None if shape is None else out_of_range(site, shape)
            if problem:
                raise ClaimError(f"{claim.where(*path)}{name!r} is not in {claim.model}: {problem}")
            outer = next((str(one) for one in larger(site, shape and shape.share) if str(one) in found), None)
            if outer is not None:
                raise ClaimError(f"{claim.where(*path)}{name!r} lies in {outer!r}, which is named too; leave one out")

    def check_part(self, claim: Claim, path: tuple[str | int, ...], site: Site) -> None:
        """Raises `ClaimError` at what is wrong with what a part is given."""

    def check_model(self, claim: Claim, model: Any) -> None:
        from assay.intervene.components import check
        from assay.model.transformer import Model

        listed = isinstance(self.components, list)
        for index, name in enumerate(self.names):
            where = claim.where("explanation", "components", index if listed else name)
            if isinstance(model, Model):
                try:
                    check(name, model)
                except ComponentError as problem:
                    raise ClaimError(f"{where}{problem}") from problem
            elif name.partition("@")[0].partition("[")[0].partition("#")[0] not in model.components:
                known = nearest(name, model.components)
                raise ClaimError(f"{where}{name!r} is not a submodule of {claim.model}{known}")
