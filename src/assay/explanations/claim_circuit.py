"""A claim file's circuit: what is wrong with it by names alone, and against a loaded model; with file and line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from assay.errors import ClaimError, ComponentError, TaskError
from assay.explanations.circuit_names import CircuitNameError, check_edges, check_nodes, split_edge
from assay.names import Site, parse_site

if TYPE_CHECKING:
    from assay.explanations.claim import ClaimFile
    from assay.task.task import Task

Range = Callable[[Site], str | None]


def check_circuit(claim: ClaimFile, out_of_range: Range | None, size: Mapping[str, int] | None) -> None:
    """Raises `ClaimError` at the first thing that cannot be right, without a model.

    Args:
        out_of_range: one clause on a site that the model does not have, or None; itself None where that is not known.
        size: the model's layers and heads, where they are known.
    """
    fields: Any = claim.explanation
    given = [name for name in ("edges", "nodes", "file") if getattr(fields, name) is not None]
    if not given:
        raise ClaimError(f"{claim.where('explanation')}a circuit needs 'edges', 'nodes' or a 'file'")
    if fields.file is not None and len(given) > 1:
        where = claim.where("explanation", given[0])
        raise ClaimError(f"{where}the circuit has both {given[0]!r} and 'file'; give one")
    if claim.refit:
        raise ClaimError(f"{claim.where('refit')}the option 'refit' does not apply to circuits; leave it out")
    if claim.task.kind == "classify":
        where = claim.where("task", "kind")
        raise ClaimError(f"{where}circuits are of transformers, whose tasks are of kind 'text', 'repeat' or 'prompts'")
    if fields.file is not None:
        _file(claim, fields.file, size or {})
        return
    for field, check in (("nodes", check_nodes), ("edges", check_edges)):
        names = getattr(fields, field) or []
        try:
            check(names)
        except CircuitNameError as problem:
            raise ClaimError(f"{claim.where('explanation', field, problem.index)}{problem}") from None
        for index, name in enumerate(names):
            for site in _sites(name):
                clause = out_of_range(site) if out_of_range else None
                if clause:
                    raise ClaimError(
                        f"{claim.where('explanation', field, index)}{name!r} is not in {claim.model}: {clause}"
                    )


def check_on_model(claim: ClaimFile, model: Any) -> None:
    """Raises `ClaimError`, with file and line, where the circuit is not one of a loaded model."""
    path: tuple[str | int, ...] = ("explanation",)
    try:
        claim.build_explanation().kept(model)
    except (ClaimError, ComponentError) as problem:
        fields: Any = claim.explanation
        if isinstance(problem, CircuitNameError):
            path = ("explanation", "edges", problem.index)
        elif fields.file is not None:
            path = ("explanation", "file")
        elif isinstance(problem, ComponentError):
            path = ("explanation", "nodes")
        raise ClaimError(f"{claim.where(*path)}{problem}") from None


def about(claim: ClaimFile) -> str:
    """The circuit in a few words, without a model."""
    fields: Any = claim.explanation
    if fields.file is not None:
        from assay.explanations.circuit_files import parse

        found = parse(fields.file)
        return f"{found.kept:,} of the {found.total:,} edges in {fields.file}"
    several = [f"{len(names):,} {what}" for what in ("nodes", "edges") if (names := getattr(fields, what))]
    return " and ".join(several)


def _file(claim: ClaimFile, name: str, size: Mapping[str, int]) -> None:
    from assay.explanations.circuit_files import parse

    where = claim.where("explanation", "file")
    try:
        found = parse(name)
    except ClaimError as problem:
        raise ClaimError(f"{where}{problem}") from None
    for what, value in size.items():
        if found.size.get(what, value) != value:
            raise ClaimError(
                f"{where}the circuit in {name!r} is of another model: {what} is {found.size[what]!r} there and {value} "
                f"in {claim.model}"
            )


def check_positions(claim: ClaimFile, task: Task) -> None:
    """Raises `TaskError`, with file and line, for an edge at a position that the task does not have."""
    import numpy as np

    from assay.intervene.circuit_runs import columns_of

    fields: Any = claim.explanation
    for index, name in enumerate(fields.edges or ()):
        try:
            columns_of(task, (split_edge(name)[1],), np.arange(len(task.tokens)))
        except TaskError as problem:
            raise TaskError(f"{claim.where('explanation', 'edges', index)}{problem}") from None


def _sites(name: str) -> list[Site]:
    """The parts of the model that a node or an edge names."""
    ends = re.sub(r"@.*|<[qkv]>|\s", "", name).split("->")
    return [parse_site(end) for end in ends]
