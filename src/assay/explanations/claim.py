"""Claim files: what is explained, by what, on which data. YAML in, a checked `ClaimFile` out, before anything heavy is
loaded; every mistake is one sentence with file and line."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr
from pydantic_core import PydanticCustomError

from assay import bounds, inputs
from assay.errors import ClaimError, nearest
from assay.explanations import claim_yaml, registry
from assay.explanations.claim_sentences import validated
from assay.explanations.claim_yaml import Source

if TYPE_CHECKING:
    from assay.task.task import Task

LEVELS = {"program": "how", "constant": "how", "keep": "where", "remove": "where", "circuit": "where"}


def _known(what: str, valid: tuple[str, ...]) -> BeforeValidator:
    """One name, or every name of a list, must be among the valid ones."""

    def check(value: object) -> object:
        for name in value if isinstance(value, list) else [value]:
            if isinstance(name, str) and name not in valid:
                raise PydanticCustomError(
                    "sentence", "{text}", {"text": f"unknown {what} {name!r}" + nearest(name, valid)}
                )
        return value

    return BeforeValidator(check)


def _one_or_many(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _floors(value: object) -> object:
    """Names, and other models as `{model: NAME}`; one of them or several."""
    floors = value if isinstance(value, list) else [value]
    for problem in map(registry.floor_problem, floors):
        if problem:
            raise PydanticCustomError("sentence", "{text}", {"text": problem})
    return floors


def _bos(value: object) -> object:
    if not isinstance(value, bool | str | None):
        text = f"'bos' must be auto, true, false or a token such as '<|endoftext|>', not {value!r}"
        raise PydanticCustomError("sentence", "{text}", {"text": text})
    return value


_Files = Annotated[list[str], BeforeValidator(_one_or_many), Field(min_length=1)]


def _within(least_and_most: tuple[int, int]) -> Any:
    return Field(ge=least_and_most[0], le=least_and_most[1])


_Seed = Annotated[int, _within(bounds.SEED)]
_Rows = Annotated[int, _within(bounds.ROWS)]
_Span = Annotated[int, _within(bounds.SPAN)]
_Bos = Annotated[bool | str | None, BeforeValidator(_bos)]
_Metric = Annotated[str, _known("metric", registry.METRICS)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ReferenceFields(_Strict):
    """Other examples, which fill ablations and fit floors."""

    split: str | None = None
    texts: Annotated[list[str], Field(min_length=1)] | None = None
    files: _Files | None = None


class TextTask(_Strict):
    """Next-token prediction: a split of a zoo model's own text, or texts and text files, one document each."""

    kind: Literal["text"]
    split: str | None = None
    texts: Annotated[list[str], Field(min_length=1)] | None = None
    files: _Files | None = None
    metric: _Metric | None = None
    bos: _Bos = None
    context: _Span | None = None


class RepeatTask(_Strict):
    """Random tokens, twice; scored on the second copy."""

    kind: Literal["repeat"]
    n: _Rows | None = None
    length: _Span | None = None
    seed: _Seed | None = None
    metric: _Metric | None = None
    bos: _Bos = None


class PromptsTask(_Strict):
    """Prompts with answers and counterfactuals, from a CSV or JSONL file."""

    kind: Literal["prompts"]
    file: str
    metric: _Metric | None = None
    bos: _Bos = None


class PlantedTask(_Strict):
    """The rows of a planted program, which the model names."""

    kind: Literal["planted"]
    n: _Rows | None = None
    seed: _Seed | None = None
    metric: _Metric | None = None


class ClassifyTask(_Strict):
    """Inputs and labels for any module, from an .npz file with arrays `inputs`, `labels` and perhaps `groups`."""

    kind: Literal["classify"]
    file: str
    metric: _Metric | None = None


class ProgramFields(_Strict):
    """Component -> a program's name, or its name and arguments."""

    kind: Literal["program"]
    components: Annotated[dict[str, Any], Field(min_length=1)]


class ListFields(_Strict):
    """The components that are kept or removed."""

    kind: Literal["keep", "remove"]
    components: Annotated[list[str], Field(min_length=1)]


class ConstantFields(_Strict):
    """The components that are replaced by a constant."""

    kind: Literal["constant"]
    components: Annotated[list[str], Field(min_length=1)]
    value: Annotated[str, _known("constant", registry.CONSTANTS)] | None = None


class CircuitFields(_Strict):
    """Edges or nodes that are kept (or both), or the circuit file that holds them."""

    kind: Literal["circuit"]
    edges: Annotated[list[str], Field(min_length=1)] | None = None
    nodes: Annotated[list[str], Field(min_length=1)] | None = None
    file: str | None = None

    @property
    def components(self) -> list[str]:
        """What is named: nodes and edges, or the file."""
        return [*(self.nodes or ()), *(self.edges or ()), *([] if self.file is None else [self.file])]


_TASKS = {
    "text": TextTask,
    "repeat": RepeatTask,
    "prompts": PromptsTask,
    "classify": ClassifyTask,
    "planted": PlantedTask,
}
_EXPLANATIONS = {
    "program": ProgramFields,
    "keep": ListFields,
    "remove": ListFields,
    "constant": ConstantFields,
    "circuit": CircuitFields,
}


class ClaimFile(_Strict):
    """A checked claim file. Made by `load_claim` or `claim_of`.

    Attributes:
        model: as in `assay.load`; files and folders are relative to where the command runs.
        task, explanation: which data, and what is said about which components.
        ablation: names of ablations, at least one.
        found_on: the data that a claim was found on, where it was searched for.
        seed, draws, documents, controls, frozen_norm, refit, floors, family, register, out: see `Settings`; None where
            the file is silent.
    """

    model: Annotated[str, Field(min_length=1)]
    task: TextTask | RepeatTask | PromptsTask | ClassifyTask | PlantedTask
    explanation: ProgramFields | ListFields | ConstantFields | CircuitFields
    ablation: (
        Annotated[list[str], BeforeValidator(_one_or_many), _known("ablation", registry.ABLATIONS), Field(min_length=1)]
        | None
    ) = None
    floors: Annotated[list[str | dict[str, str]], BeforeValidator(_floors), Field(min_length=1)] | None = None
    reference: ReferenceFields | None = None
    family: str | None = None
    seed: _Seed | None = None
    draws: Annotated[int, _within(bounds.DRAWS)] | None = None
    documents: Annotated[int, _within(bounds.DOCUMENTS)] | None = None
    controls: Annotated[int, _within(bounds.CONTROLS)] | None = None
    frozen_norm: bool | None = None
    refit: bool | None = None
    found_on: str | None = None
    register_: Annotated[bool | None, Field(alias="register")] = None
    out: str | None = None

    _source: Source = PrivateAttr()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClaimFile) and _plain(self) == _plain(other)

    def __hash__(self) -> int:
        return hash(self.hash)

    @property
    def source(self) -> Source:
        """The text that was read, and the line of every value."""
        return self._source

    @property
    def kind(self) -> str:
        return self.explanation.kind

    @property
    def level(self) -> str:
        """where, what or how (DEFINITIONS §11): of a program *what* where it is all labels, as `Program.level` says."""
        fields = self.explanation
        if isinstance(fields, ProgramFields) and all(
            split_program(s)[0] == "label" for s in fields.components.values()
        ):
            return "what"
        return LEVELS[self.kind]

    @property
    def scope(self) -> tuple[str, ...]:
        """The components that the claim names, in the file's order; of a circuit its nodes and edges, or its file."""
        return tuple(self.explanation.components)

    @cached_property
    def hash(self) -> str:
        """sha256 of what is claimed (a circuit file's contents too) and how it is tested; not of comments, order of
        fields, or where results go."""
        content = {k: v for k, v in _plain(self).items() if k not in ("out", "register")}
        if isinstance(self.explanation, CircuitFields) and self.explanation.file is not None:
            circuit = inputs.read_bytes(self.explanation.file, "the circuit file", ClaimError, most=1 << 28)
            content["circuit"] = hashlib.sha256(circuit).hexdigest()
        return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=True).encode()).hexdigest()

    def where(self, *path: str | int) -> str:
        """`claim.yaml:5: `, for a message about the value at a path such as ("explanation", "components", "a1.h3")."""
        return self._source.at(path)

    def build_explanation(self) -> Any:
        """The explanation that the file describes, as `Program`, `Keep`, `Remove`, `Constant` or `Circuit`."""
        fields = self.explanation
        if isinstance(fields, ProgramFields):
            from assay.explanations.program import Program

            return Program({name: _program(spec) for name, spec in fields.components.items()})
        if isinstance(fields, CircuitFields):
            from assay.explanations.circuit import Circuit

            if fields.file is not None:
                return Circuit.read(fields.file)
            return Circuit(edges=fields.edges or (), nodes=fields.nodes or ())
        from assay.explanations.components import Constant, Keep, Remove

        names = list(fields.components)
        if isinstance(fields, ConstantFields):
            return Constant(names) if fields.value is None else Constant(names, fields.value)
        return Keep(names) if fields.kind == "keep" else Remove(names)

    def build_task(self, model: Any, documents: int | None = None, seed: int = 0) -> Task:
        """The task on a loaded model.

        Args:
            documents, seed: at most so many documents of a text, sampled by this seed (`Settings`).

        Raises:
            TaskError: when the data cannot be scored.
        """
        from assay.explanations.claim_task import build_task

        task = build_task(self, model, documents, seed)
        if self.explanation.kind == "circuit":
            from assay.explanations.claim_circuit import check_positions

            check_positions(self, task)
        return task

    def check(self, model: Any) -> None:
        """Whether every component of the claim is one of a loaded model's.

        Raises:
            ClaimError: with the line, the name and the nearest one that exists.
        """
        from assay.explanations.claim_task import check_components

        check_components(self, model)


def _program(spec: Any) -> Any:
    from assay.explanations import programs

    name, arguments = split_program(spec)
    if name in programs.REGISTRY:
        return programs.REGISTRY[name](**arguments)
    from importlib.metadata import entry_points

    (point, *_) = entry_points(group=registry.PLUGINS, name=name)
    return point.load()(**arguments)


def split_program(spec: Any) -> tuple[str, dict[str, Any]]:
    """`induction` or `{program: induction, level: full}` -> its name and its arguments."""
    if isinstance(spec, str):
        return spec, {}
    return spec["program"], {k: v for k, v in spec.items() if k != "program"}


def load_claim(path: str | Path) -> ClaimFile:
    """Reads and checks a claim file. No model is loaded and nothing in the file can run.

    Raises:
        ClaimError: one sentence with file and line, the value, and the nearest valid names.
    """
    return _checked(claim_yaml.read(path))


def claim_of(data: dict[str, Any], name: str = "the claim") -> ClaimFile:
    """A claim file from plain data, checked like one that was read.

    Raises:
        ClaimError: as `load_claim`.

    Example:
        >>> keep = {"kind": "keep", "components": ["a0.h1"]}
        >>> claim_of({"model": "zoo:novel-4l", "task": {"kind": "repeat"}, "explanation": keep}).scope
        ('a0.h1',)
    """
    return _checked(claim_yaml.parse(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), name))


def dump(claim: ClaimFile) -> str:
    """The claim as YAML that `load_claim` reads back to an equal claim."""
    return yaml.safe_dump(_plain(claim), sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)


def _plain(claim: ClaimFile) -> dict[str, Any]:
    return claim.model_dump(by_alias=True, exclude_none=True)


def _checked(source: Source) -> ClaimFile:
    data: dict[str, Any] = dict(source.data)
    for field, classes, later in (("task", _TASKS, ()), ("explanation", _EXPLANATIONS, registry.LATER_KINDS)):
        if isinstance(data.get(field), dict):
            data[field] = validated(classes[_kind(source, field, classes, later)], source, (field,), data[field])
    claim = validated(ClaimFile, source, (), data)
    claim._source = source
    from assay.explanations.claim_check import check_claim

    check_claim(claim)
    return claim


def _kind(source: Source, field: str, classes: dict[str, type[Any]], later: tuple[str, ...]) -> str:
    fields: Any = source.data[field]
    if fields.get("kind") is None:
        raise ClaimError(f"{source.at((field,))}{field!r} needs a field 'kind'" + nearest("", classes))
    kind, where = fields["kind"], source.at((field, "kind"))
    if kind in later:
        raise ClaimError(f"{where}the kind {kind!r} is not available yet in this version" + nearest("", classes))
    if not isinstance(kind, str) or kind not in classes:
        raise ClaimError(f"{where}unknown kind of {field} {kind!r}" + nearest(kind, (*classes, *later)))
    return kind
