"""Claim files: what is explained, by what, on which data. YAML in, a checked `ClaimFile` out, before anything heavy is
loaded; every mistake is one sentence with file and line."""

from __future__ import annotations

import hashlib
import json
import reprlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, PrivateAttr, SerializeAsAny
from pydantic_core import PydanticCustomError

from assay.errors import ClaimError, PluginError, nearest
from assay.explanations.claims import source as claim_source
from assay.explanations.claims.block import KindFields, Strict
from assay.explanations.claims.sentences import known, sound, validated
from assay.explanations.claims.source import SourceFile
from assay.explanations.floors import floor_problem
from assay.explanations.kinds import KINDS, block, kind_problem, kinds
from assay.intervene.fill.spec import ablation_problem
from assay.promises import held, hints
from assay.task import bounds
from assay.task.spec import metric_problem

if TYPE_CHECKING:
    from assay.explanations.base import Explanation
    from assay.task.task import Task


def _one_or_many(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _floors(value: object) -> object:
    """Names, and other models as `{model: NAME}`; one of them or several."""
    floors = value if isinstance(value, list) else [value]
    for problem in map(floor_problem, floors):
        if problem:
            raise PydanticCustomError("sentence", "{text}", {"text": problem})
    return floors


def _bos(value: object) -> object:
    if not isinstance(value, bool | str | None):
        text = f"'bos' must be auto, true, false or a token such as '<|endoftext|>', not {value!r}"
        raise PydanticCustomError("sentence", "{text}", {"text": text})
    return value


def _budget(value: object) -> object:
    if problem := bounds.budget_problem(value):
        raise PydanticCustomError("sentence", "{text}", {"text": problem})
    return value


_Files = Annotated[list[str], BeforeValidator(_one_or_many), Field(min_length=1)]


def _within(least_and_most: tuple[int, int]) -> Any:
    return Field(ge=least_and_most[0], le=least_and_most[1])


_Seed = Annotated[int, _within(bounds.SEED)]
_Rows = Annotated[int, _within(bounds.ROWS)]
_Span = Annotated[int, _within(bounds.SPAN)]
_Bos = Annotated[bool | str | None, BeforeValidator(_bos)]
_Metric = Annotated[str, sound(metric_problem)]


class ReferenceFields(Strict):
    """Other examples, which fill ablations and fit floors: as a task names its own."""

    split: str | None = None
    texts: Annotated[list[str], Field(min_length=1)] | None = None
    files: _Files | None = None
    column: Annotated[str, Field(min_length=1)] | None = None


class TextTask(Strict):
    """Next-token prediction: a split of a zoo model's own text, texts, or files, folders and globs of texts, of which
    CSV and JSONL files have a document in each row, in a column."""

    kind: Literal["text"]
    split: str | None = None
    texts: Annotated[list[str], Field(min_length=1)] | None = None
    files: _Files | None = None
    column: Annotated[str, Field(min_length=1)] | None = None
    metric: _Metric | None = None
    bos: _Bos = None
    context: _Span | None = None


class RepeatTask(Strict):
    """Random tokens, twice; scored on the second copy."""

    kind: Literal["repeat"]
    n: _Rows | None = None
    length: _Span | None = None
    seed: _Seed | None = None
    metric: _Metric | None = None
    bos: _Bos = None


class PromptsTask(Strict):
    """Prompts with answers and counterfactuals, from a CSV or JSONL file, packed or not."""

    kind: Literal["prompts"]
    file: str
    metric: _Metric | None = None
    bos: _Bos = None


class PlantedTask(Strict):
    """The rows of a world, which the model names."""

    kind: Literal["planted"]
    n: _Rows | None = None
    seed: _Seed | None = None
    metric: _Metric | None = None


class ClassifyTask(Strict):
    """Inputs and labels for any module: arrays of an .npz file, or rows of a CSV or JSONL file (`Task.classify`)."""

    kind: Literal["classify"]
    file: str
    metric: _Metric | None = None


class Expect(Strict):
    """What tests hold the claim to (`assay.testing`, pytest): a share recovered at least, or nats that a removal costs
    at least. `by`: whether the interval's lower end must reach it, the default, or the value alone."""

    recovered: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    costs: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    by: Annotated[Literal["low", "value"], known("end", ("low", "value"))] = "low"

    @property
    def sentence(self) -> str:
        """In words: "recovered of at least 0.9 (lower end)"."""
        costs = f"costs of at least {self.costs} nats"
        what = costs if self.recovered is None else f"recovered of at least {self.recovered}"
        return f"{what} ({'lower end' if self.by == 'low' else 'value'})"


_TASKS = {
    "text": TextTask,
    "repeat": RepeatTask,
    "prompts": PromptsTask,
    "classify": ClassifyTask,
    "planted": PlantedTask,
}


class ClaimFile(Strict):
    """A checked claim file. Made by `load_claim` or `claim_of`.

    Attributes:
        model: as in `assay.load`; files and folders are relative to where the command runs.
        task, explanation: which data, and what is said about which components.
        ablation: names of ablations, at least one.
        found_on: the data that a claim was found on, where it was searched for.
        expect: what tests hold the claim to; measuring does not look at it.
        seed, draws, documents, controls, frozen_norm, refit, floors, family, register, out: see `Settings`; None where
            the file is silent.
    """

    model: Annotated[str, Field(min_length=1)]
    task: TextTask | RepeatTask | PromptsTask | ClassifyTask | PlantedTask
    explanation: SerializeAsAny[KindFields]
    ablation: (
        Annotated[list[str], BeforeValidator(_one_or_many), sound(ablation_problem), Field(min_length=1)] | None
    ) = None
    floors: Annotated[list[str | dict[str, str]], BeforeValidator(_floors), Field(min_length=1)] | None = None
    reference: ReferenceFields | None = None
    family: str | None = None
    seed: _Seed | None = None
    draws: Annotated[int, _within(bounds.DRAWS)] | None = None
    documents: Annotated[int, _within(bounds.DOCUMENTS)] | None = None
    controls: Annotated[int, _within(bounds.CONTROLS)] | None = None
    budget: Annotated[int | str, BeforeValidator(_budget)] | None = None
    frozen_norm: bool | None = None
    refit: bool | None = None
    found_on: str | None = None
    register_: Annotated[bool | None, Field(alias="register")] = None
    out: str | None = None
    expect: Expect | None = None

    _source: SourceFile = PrivateAttr()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClaimFile) and _plain(self) == _plain(other)

    def __hash__(self) -> int:
        return hash(self.hash)

    @property
    def source(self) -> SourceFile:
        """The text that was read, and the line of every value."""
        return self._source

    @property
    def kind(self) -> str:
        return self.explanation.kind

    @property
    def level(self) -> str:
        """where, what or how (docs/definitions.md#levels)."""
        return self.explanation.level

    @property
    def scope(self) -> tuple[str, ...]:
        """What the claim names, in the file's order."""
        return self.explanation.names

    @cached_property
    def hash(self) -> str:
        """sha256 of what is claimed (a circuit file's contents too) and how it is tested; not of comments, order of
        fields, where results go, or what is expected."""
        aside = ("out", "register", "expect")
        content = {k: v for k, v in _plain(self).items() if k not in aside} | self.explanation.content
        return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=True).encode()).hexdigest()

    def where(self, *path: str | int) -> str:
        """`claim.yaml:5: `, for a message about the value at a path such as ("explanation", "components", "a1.h3")."""
        return self._source.at(path)

    def __repr__(self) -> str:
        return f"<ClaimFile {self.source.name}: {self.kind} {reprlib.repr(list(self.scope))} of {self.model}>"

    def to_yaml(self) -> str:
        """The claim as YAML that `load_claim` reads back to an equal claim."""
        return as_yaml(_plain(self))

    def build_explanation(self) -> Explanation:
        """The explanation that the file describes.

        Raises:
            PluginError: where a plug-in's block builds something else than it says.
        """
        from assay.explanations import base

        found: Any = self.explanation.build()
        if not isinstance(found, base.Explanation):
            raise PluginError(f"the block of the kind {self.kind!r} builds {found!r}, which is no assay.Explanation")
        found.check()
        if (found.kind, found.level) != (self.kind, self.level):
            raise PluginError(
                f"the block of the kind {self.kind!r} with level {self.level!r} builds a claim of the kind "
                f"{found.kind!r} with level {found.level!r}; they must agree"
            )
        return found

    def build_task(self, model: Any, documents: int | None = None, seed: int = 0) -> Task:
        """The task on a loaded model.

        Args:
            documents, seed: at most so many documents of a text, sampled by this seed (`Settings`).

        Raises:
            TaskError: when the data cannot be scored.
        """
        from assay.explanations.claims.loaded import build_task

        task = build_task(self, model, documents, seed)
        self.explanation.check_task(self, task)
        return task

    def check(self, model: Any) -> None:
        """Whether every component of the claim is one of a loaded model's.

        Raises:
            ClaimError: with the line, the name and the nearest one that exists.
        """
        from assay.explanations.claims.loaded import check_on_model

        check_on_model(self, model)


def load_claim(path: str | Path) -> ClaimFile:
    """Reads and checks a claim file. No model is loaded and nothing in the file can run.

    Raises:
        ClaimError: one sentence with file and line, the value, and the nearest valid names.
        PluginError: for a plug-in that cannot be loaded or is no block.
    """
    return _checked(claim_source.read(path))


def claim_of(data: dict[str, Any], name: str = "the claim") -> ClaimFile:
    """A claim file from plain data, checked like one that was read.

    Raises:
        ClaimError: as `load_claim`.

    Example:
        >>> keep = {"kind": "keep", "components": ["a0.h1"]}
        >>> claim_of({"model": "zoo:novel-4l", "task": {"kind": "repeat"}, "explanation": keep}).scope
        ('a0.h1',)
    """
    return _checked(claim_source.parse(as_yaml(data), name))


def as_yaml(data: dict[str, Any]) -> str:
    """Plain data as claim files are written."""
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)


def _plain(claim: ClaimFile) -> dict[str, Any]:
    return claim.model_dump(by_alias=True, exclude_none=True)


def _checked(source: SourceFile) -> ClaimFile:
    data: dict[str, Any] = dict(source.data)
    if isinstance(data.get("task"), dict):
        kind = _kind(source, "task", tuple(_TASKS))
        data["task"] = validated(_TASKS[kind], source, ("task",), data["task"])
    if isinstance(data.get("explanation"), dict):
        if clause := kind_problem(str(data["explanation"].get("kind"))):
            raise ClaimError(source.at(("explanation", "kind")) + clause)
        kind = _kind(source, "explanation", kinds())
        data["explanation"] = validated(block(kind), source, ("explanation",), data["explanation"])
    claim = validated(ClaimFile, source, (), data)
    claim._source = source
    if claim.kind not in KINDS:
        for name in ("names", "level", "about", "content"):
            wanted = hints(getattr(KindFields, name).fget)["return"]
            held(getattr(claim.explanation, name), wanted, f"{name!r} of the block of the kind {claim.kind!r}")
    from assay.explanations.claims.checks import check_claim

    check_claim(claim)
    return claim


def _kind(source: SourceFile, field: str, valid: tuple[str, ...]) -> str:
    fields: Any = source.data[field]
    if fields.get("kind") is None:
        raise ClaimError(f"{source.at((field,))}{field!r} needs a field 'kind'" + nearest("", valid))
    kind, where = fields["kind"], source.at((field, "kind"))
    if not isinstance(kind, str) or kind not in valid:
        raise ClaimError(f"{where}unknown kind of {field} {kind!r}" + nearest(kind, valid))
    return kind
