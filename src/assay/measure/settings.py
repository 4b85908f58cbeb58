"""How a measurement is made: one dataclass behind the claim file, the command's flags and the Python call.
Defaults < claim file < flags."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack

from assay.errors import UserError, nearest
from assay.explanations.floors import FLOOR_MODEL, floor_problem
from assay.intervene.fill.spec import ABLATIONS, DEFAULT_ABLATIONS, ablation_problem
from assay.model.spec import DTYPES
from assay.record.about import Arguments
from assay.task import bounds

if TYPE_CHECKING:
    from assay.explanations.claims.file import ClaimFile

QUICK_DOCUMENTS = 40  # enough for an interval that is not wide
BLOCKS = ("headline", "parts", "compute", "bits", "controls", "rivals", "strength", "residual", "checks", "own")
NOT_ASKED = "that was not asked for"
_WHERE_ONLY = ("out", "overwrite", "register", "passed", "command")  # where results go changes no number


class Flags(TypedDict, total=False):
    """Single settings as keywords, as `assay.measure` takes them; None: not given. What they mean: `Settings`."""

    ablation: str | Sequence[str] | None
    seed: int | None
    draws: int | None
    documents: int | None
    controls: int | None
    budget: int | str | None
    floors: str | Mapping[str, str] | Sequence[str | Mapping[str, str]] | None
    family: str | None
    frozen_norm: bool | None
    refit: bool | None
    device: str | None
    dtype: str | None
    only: str | Sequence[str] | None
    quick: bool | None
    out: str | PathLike[str] | None
    overwrite: bool | None
    register: bool | None
    found_on: str | None


Function = TypeVar("Function", bound=Callable[..., Any])


def with_flags(function: Function) -> Function:
    """Gives a function of `**flags: Unpack[Flags]` the signature with each by name that `help` and notebooks show."""
    signature = inspect.signature(function)
    plain = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
    flags = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation.__forward_arg__)
        for name, annotation in Flags.__annotations__.items()
    ]
    function.__signature__ = signature.replace(parameters=[*plain, *flags])  # pyright: ignore[reportFunctionMemberAccess]
    return function


@dataclass(frozen=True)
class Settings:
    """Settings of a measurement.

    Attributes:
        ablation: what is filled in for what is not explained; the headline is the one under which the claim does worst.
        seed: keys every random choice.
        draws: random fills for each document, at least 4.
        documents: how many documents are scored at most, in the task's order; None for all.
        controls: how many random explanations of a sort are scored beside the claim, at most: at least 19 of them or
            none, as the budget allows.
        budget: what it may cost, in the model's own passes over all scored rows; "headline": the headline alone;
            "thorough": everything. None: 40, or where those are fewer 10¹² operations.
        floors: floors beside the headline one; None for every one that applies. Another model with the same tokenizer
            is one as {"model": NAME}, kept as "model:NAME".
        family: models trained alike, for compute; None: the zoo model's own.
        frozen_norm, refit: options of docs/definitions.md#ablations, given equally to floor and controls.
        device, dtype: "cpu", "cuda:0", ...; "float32", ...; None: as the model has it.
        only: which blocks of the record are measured, of `BLOCKS`; None: all of them. The headline always is.
        quick: at most 40 documents.
        out: the run folder; overwrite: whether one that is there is replaced.
        register: whether the claim's hash is stored before the data is opened.
        found_on: the data that the claim was found on; None where it is not known.
        passed: what was given by flag or keyword; command: what reproduces the run.
    """

    ablation: tuple[str, ...] = DEFAULT_ABLATIONS
    seed: int = 0
    draws: int = 4
    documents: int | None = None
    controls: int = 100
    budget: int | str | None = None
    floors: tuple[str, ...] | None = None
    family: str | None = None
    frozen_norm: bool = False
    refit: bool = False
    device: str | None = None
    dtype: str | None = None
    only: tuple[str, ...] | None = None
    quick: bool = False
    out: str | None = None
    overwrite: bool = False
    register: bool = False
    found_on: str | None = None
    passed: dict[str, Any] = field(default_factory=dict)
    command: str | None = None

    @classmethod
    def resolve(cls, claim: ClaimFile | None = None, *, command: str | None = None, **flags: Unpack[Flags]) -> Settings:
        """Defaults, then the claim file, then flags; a flag that is None was not given.

        Raises:
            UserError: for a flag's value that cannot be; for the name of a flag that is none.

        Example:
            >>> Settings.resolve(ablation="zero", seed=3).ablation
            ('zero',)
        """
        names = list(Flags.__annotations__)
        for name in flags:
            if name not in names:
                raise UserError(f"unknown setting {name!r}" + nearest(name, names))
        given = {name: _plain(value) for name, value in flags.items() if value is not None}
        values: dict[str, Any] = {}
        if claim is not None:
            values = {name: getattr(claim, "register_" if name == "register" else name, None) for name in names}
            values = {name: _plain(value) for name, value in values.items() if value is not None}
        values |= given
        for name in ("ablation", "floors", "only"):
            if name in values:
                values[name] = (values[name],) if isinstance(values[name], str | dict) else tuple(values[name])
        values |= {"floors": tuple(map(_floor, values["floors"]))} if "floors" in values else {}
        for name in ("seed", "draws", "controls", "documents"):
            value = values.get(name, 0)
            if not isinstance(value, Integral) or isinstance(value, bool):
                raise UserError(f"{name!r} must be a whole number, not {value!r}")
        if not isinstance(values.get("found_on", ""), str):
            raise UserError(f"'found_on' must be a text, not {values['found_on']!r}")
        if values.get("quick"):
            values["documents"] = min(values.get("documents") or QUICK_DOCUMENTS, QUICK_DOCUMENTS)
        passed = {k: v for k, v in given.items() if k not in _WHERE_ONLY}
        settings = cls(**values, passed=passed, command=command)
        settings.check()
        return settings

    def check(self) -> None:
        """Raises `UserError` at the first value that cannot be."""
        for what, values, valid in (
            ("dtype", () if self.dtype is None else (self.dtype,), DTYPES),
            ("block", self.only or (), BLOCKS),
        ):
            for value in values:
                if value not in valid:
                    raise UserError(f"unknown {what} {value!r}" + nearest(value, valid))
        for problem in (*map(ablation_problem, self.ablation), *map(floor_problem, self.floors or ())):
            if problem:
                raise UserError(problem)
        if not self.ablation:
            raise UserError("no ablation is given" + nearest("", ABLATIONS))
        limits = {
            "seed": bounds.SEED,
            "draws": bounds.DRAWS,
            "controls": bounds.CONTROLS,
            "documents": bounds.DOCUMENTS,
        }
        for name, limit in limits.items():
            value = getattr(self, name)
            if value is not None and (problem := bounds.problem(name, value, limit)):
                raise UserError(problem)
        if self.budget is not None and (problem := bounds.budget_problem(self.budget)):
            raise UserError(problem)
        if self.device is not None and not re.fullmatch(r"(cpu|cuda|mps|xpu)(:\d+)?", self.device):
            raise UserError(f"unknown device {self.device!r}" + nearest(self.device, ("cpu", "cuda", "cuda:0", "mps")))

    def asks(self, block: str) -> bool:
        """Whether this block of the record is to be measured."""
        return self.only is None or block in self.only

    @property
    def left_out(self) -> tuple[str, ...]:
        """Blocks that are not asked for."""
        return tuple(block for block in BLOCKS[1:] if not self.asks(block))

    def to_json(self) -> dict[str, Any]:
        """Every setting that can change a number, for the record."""
        left_out = (*_WHERE_ONLY, "only") if self.only is None else _WHERE_ONLY
        return {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self) if f.name not in left_out}

    def arguments(self) -> Arguments:
        """The record's `arguments` block: as passed, as resolved, and the command that reproduces it."""
        return Arguments(passed=self.passed, resolved=self.to_json(), command=self.command)


def _floor(value: Any) -> Any:
    """`{"model": NAME}` as "model:NAME"."""
    named = isinstance(value, dict) and floor_problem(value) is None
    return FLOOR_MODEL + value["model"] if named else value


def _plain(value: Any) -> Any:
    """Tuples as lists and paths as texts, as JSON has them."""
    if isinstance(value, PathLike):
        return fspath(value)
    return list(value) if isinstance(value, Iterable) and not isinstance(value, (str, dict)) else value
