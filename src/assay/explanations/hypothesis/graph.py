"""The high-level model: named variables, each a function of the input or of other variables."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Any

from assay.errors import ClaimError, TaskError, UserError, nearest
from assay.explanations.claims.block import component
from assay.explanations.hypothesis.example import Example
from assay.explanations.hypothesis.expressions import Expression, parse
from assay.names import Site, overlap, parse_site

Definition = str | Callable[..., Any]
INPUT = "example"  # the parameter of a Python function that is given the example


@dataclass(frozen=True)
class Variable:
    """A variable of a high-level model.

    Attributes:
        parents: variables that it is a function of; none: it is a function of the input.
        made: its definition as it was given: an expression, or a Python function whose parameters are named after
            variables, or whose one parameter is named "example".
    """

    name: str
    parents: tuple[str, ...]
    made: Expression | Callable[..., Any]

    @property
    def text(self) -> str | None:
        """Its expression; None of a Python function."""
        return self.made.text if isinstance(self.made, Expression) else None

    def value(self, example: Example, values: Mapping[str, Hashable]) -> Hashable:
        """Its value of an example, or of its parents' values.

        Raises:
            TaskError: where its definition fails, with its name, and for a value that cannot be compared.
        """
        try:
            if isinstance(self.made, Expression):
                found = self.made(example, values)
            elif self.parents:
                found = self.made(**{name: values[name] for name in self.parents})
            else:
                found = self.made(example)
            hash(found)
        except UserError as problem:
            raise TaskError(f"the variable {self.name!r}: {problem}") from None
        except Exception as problem:
            what = " ".join(f"{type(problem).__name__}: {problem}".split())
            of = ", ".join(f"{name} is {values[name]!r}" for name in self.parents)
            where = f"where {of}" if of else "for an example"
            raise TaskError(f"the variable {self.name!r} has no value {where}: {what}") from problem
        if isinstance(found, float) and math.isnan(found):
            raise TaskError(f"the variable {self.name!r} has no value for an example: it is not a number")
        return found


@dataclass(frozen=True)
class HighLevelModel:
    """Variables in an order in which each comes after those that it is a function of; the last is the answer."""

    variables: Mapping[str, Variable]
    answer: str

    @classmethod
    def of(cls, definitions: Mapping[str, object], answer: str | None = None) -> HighLevelModel:
        """The model of these definitions.

        Args:
            answer: the variable that the network's output is; None: the last one.

        Raises:
            ClaimError: for a cycle, an unknown name, and a variable of both the input and other variables.
        """
        if not definitions:
            raise ClaimError("a hypothesis has no variables")
        made = {name: _variable(name, definition, definitions) for name, definition in definitions.items()}
        answer = next(reversed(made)) if answer is None else answer
        if answer not in made:
            raise ClaimError(f"the answer is {answer!r}, which is no variable" + nearest(answer, made))
        reader = next((name for name, variable in made.items() if answer in variable.parents), None)
        ordered: dict[str, Variable] = {}
        for name in made:
            _add(name, made, ordered, ())
        if reader is not None:
            raise ClaimError(f"the answer {answer!r} is read by {reader!r}; the network's output is the last of all")
        return cls({**{n: v for n, v in ordered.items() if n != answer}, answer: ordered[answer]}, answer)

    def values(self, example: Example, given: Mapping[str, Hashable] | None = None) -> dict[str, Hashable]:
        """Every variable's value of an example, where some are given others than their own."""
        out: dict[str, Hashable] = {}
        given = given or {}
        for name, variable in self.variables.items():
            out[name] = given[name] if name in given else variable.value(example, out)
        return out

    def behind(self, *names: str) -> set[str]:
        """The variables that depend on any of these, and are none of them."""
        found = set(names)
        for other, variable in self.variables.items():
            if found.intersection(variable.parents):
                found.add(other)
        return found.difference(names)


def place_site(name: str, modules: bool) -> Site:
    """The site of a place's name; of an edge its writer's.

    Args:
        modules: whether it may be a submodule's.

    Raises:
        UserError: for what is no name, and for a place of a transformer that is none of its parts or streams.
    """
    writer, edge, _ = name.partition("->")
    return parse_site(name, True) if modules and not edge else component(writer, streams=True, inside=True)


@dataclass(frozen=True)
class Misplaced:
    """What is wrong with the places of a variable, in one sentence; the number of the place, where it is one."""

    variable: str
    index: int | None
    sentence: str


def misplaced(
    places: Mapping[str, Sequence[Any]],
    model: HighLevelModel,
    *,
    modules: bool = True,
    share: int | None = None,
    beside: Callable[[Any, Any], bool] | None = None,
) -> Misplaced | None:
    """The first of the places that cannot be right, as far as names tell.

    Args:
        places: names, or what has a `name`.
        modules: whether names may be submodules of a network of another kind; share: how many heads share keys and
            values, where that is known.
        beside: whether two places of one name have nothing in common; None: no such two do.
    """
    taken: list[tuple[Site, str, Any]] = []
    edges = any("->" in getattr(place, "name", place) for some in places.values() for place in some)
    for variable, some in places.items():
        if variable not in model.variables:
            text = f"places are given of {variable!r}, which is no variable" + nearest(variable, model.variables)
            return Misplaced(variable, None, text)
        if variable != model.answer and model.answer not in model.behind(variable):
            text = f"the variable {variable!r} has places, and the answer {model.answer!r} does not depend on it"
            return Misplaced(variable, None, text)
        for index, place in enumerate(some):
            name = getattr(place, "name", place)
            try:
                site = place_site(name, modules)
            except UserError as problem:
                return Misplaced(variable, index, f"the variable {variable!r}: {problem}")
            wrong = _wrong_edge(name, variable, site, places, model) if edges else None
            if wrong is not None:
                return Misplaced(variable, index, f"the variable {variable!r}: {wrong}")
            for other, whose, there in taken:
                if edges and whose == variable and name != getattr(there, "name", there):
                    continue  # other edges of one part
                if overlap(site, other, share) and not (site == other and beside and beside(place, there)):
                    text = f"{name!r} overlaps {str(other)!r} of {whose!r}; leave one out"
                    text = f"{name!r} is named a second time" if (other, whose) == (site, variable) else text
                    return Misplaced(variable, index, f"the variable {variable!r}: {text}")
            taken.append((site, variable, place))
    if list(places) == [model.answer]:
        text = f"only the answer {model.answer!r} has places; give some of a variable that it depends on"
        return Misplaced(model.answer, None, text)
    return None


def _wrong_edge(
    name: str, variable: str, site: Site, places: Mapping[str, Sequence[Any]], model: HighLevelModel
) -> str | None:
    """What is wrong with a place of a hypothesis that names edges, as far as names tell."""
    if "->" not in name:
        return f"{name!r} is no edge, and others here are; a hypothesis names edges alone, or none"
    if "@" in name:
        return f"{name!r}: an edge carries a variable everywhere; leave out what stands behind '@'"
    if site.kind not in ("head", "mlp"):
        return f"{name!r}: an edge that carries a variable comes from a head or an MLP"
    first = next((one for one in places if one != model.answer and variable in model.behind(one)), None)
    if variable != model.answer and first is not None:
        return f"it depends on {first!r}, which has places too, and edges carry variables of the input alone"
    return None


def _variable(name: str, definition: object, all_of_them: Mapping[str, object]) -> Variable:
    if not (isinstance(name, str) and name.isidentifier()) or name == INPUT:
        raise ClaimError(f"{name!r} is no name of a variable: letters, digits and _, and not {INPUT!r}")
    if isinstance(definition, str):
        try:
            made = parse(definition)
        except ClaimError as problem:
            raise ClaimError(f"the variable {name!r}: {problem}") from None
        parents, reads_input = made.names, made.reads_input
    elif callable(definition):
        made = definition
        found = signature(definition).parameters
        if any(p.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD) for p in found.values()):
            raise ClaimError(f"the variable {name!r} is a function with * in its parameters, which name no variables")
        parents, reads_input = tuple(p for p in found if p != INPUT), INPUT in found
    else:
        raise ClaimError(
            f"the variable {name!r} is neither an expression, such as 'number(1)', nor a function, but {definition!r}"
        )
    for parent in parents:
        if parent not in all_of_them:
            raise ClaimError(
                f"the variable {name!r} reads {parent!r}, which is no variable" + nearest(parent, all_of_them)
            )
    if parents and reads_input:
        raise ClaimError(
            f"the variable {name!r} reads both the input and variables ({', '.join(parents)}); give what it reads of "
            "the input a name of its own"
        )
    return Variable(name, parents, made)


def _add(name: str, made: Mapping[str, Variable], ordered: dict[str, Variable], path: Sequence[str]) -> None:
    if name in path:
        raise ClaimError(f"the variable {name!r} depends on itself: {' -> '.join((*path[path.index(name) :], name))}")
    if name not in ordered:
        for parent in made[name].parents:
            _add(parent, made, ordered, (*path, name))
        ordered[name] = made[name]
