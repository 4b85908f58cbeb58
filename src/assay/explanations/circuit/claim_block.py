"""The claim-file block of circuits: edges and nodes by name, or a circuit file."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from assay.errors import ClaimError, ComponentError, TaskError
from assay.explanations.circuit.names import LEVEL, CircuitNameError, check_edges, check_nodes, split_edge
from assay.explanations.claims.block import Claim, KindFields, Level
from assay.explanations.claims.shapes import KnownShape, out_of_range
from assay.names import Site, parse_site
from assay.store import inputs

if TYPE_CHECKING:
    from assay.explanations.base import Explanation
    from assay.task.task import Task

LARGEST = 1 << 28  # bytes of a circuit file


class CircuitFields(KindFields):
    """Edges or nodes that are kept (or both), or the circuit file that holds them (`keep`: the so many best)."""

    kind: Literal["circuit"]
    edges: Annotated[list[str], Field(min_length=1)] | None = None
    nodes: Annotated[list[str], Field(min_length=1)] | None = None
    file: str | None = None
    keep: Annotated[int, Field(ge=1)] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Nodes and edges, or the file."""
        return (*(self.nodes or ()), *(self.edges or ()), *([] if self.file is None else [self.file]))

    @property
    def level(self) -> Level:
        return LEVEL

    def build(self) -> Explanation:
        from assay.explanations.circuit.circuit import Circuit

        if self.file is not None:
            return Circuit.read(self.file, self.keep)
        return Circuit(edges=self.edges or (), nodes=self.nodes or ())

    @property
    def about(self) -> str:
        if self.file is not None:
            from assay.explanations.circuit.files import parse

            found = parse(self.file, self.keep)
            return f"{found.kept:,} of the {found.total:,} edges in {self.file}"
        several = [f"{len(names):,} {what}" for what in ("nodes", "edges") if (names := getattr(self, what))]
        return " and ".join(several)

    @property
    def content(self) -> dict[str, Any]:
        if self.file is None:
            return {}
        circuit = inputs.read_bytes(self.file, "the circuit file", ClaimError, most=LARGEST)
        return {"circuit": hashlib.sha256(circuit).hexdigest()}

    def check(self, claim: Claim, shape: KnownShape | None) -> None:
        given = [name for name in ("edges", "nodes", "file") if getattr(self, name) is not None]
        if not given:
            raise ClaimError(f"{claim.where('explanation')}a circuit needs 'edges', 'nodes' or a 'file'")
        if self.file is not None and len(given) > 1:
            where = claim.where("explanation", given[0])
            raise ClaimError(f"{where}the circuit has both {given[0]!r} and 'file'; give one")
        if self.keep is not None and self.file is None:
            raise ClaimError(
                f"{claim.where('explanation', 'keep')}'keep' goes with a 'file' that has scores; leave it out"
            )
        if claim.refit:
            raise ClaimError(f"{claim.where('refit')}the option 'refit' does not apply to circuits; leave it out")
        if claim.task.kind == "classify":
            where = claim.where("task", "kind")
            text = "circuits are of transformers, whose tasks are of kind 'text', 'repeat' or 'prompts'"
            raise ClaimError(f"{where}{text}")
        if self.file is not None:
            self._check_file(claim, self.file, shape)
            return
        for field, check in (("nodes", check_nodes), ("edges", check_edges)):
            names = getattr(self, field) or []
            try:
                check(names)
            except CircuitNameError as problem:
                raise ClaimError(f"{claim.where('explanation', field, problem.index)}{problem}") from None
            for index, name in enumerate(names if shape is not None else ()):
                assert shape is not None
                clause = next(filter(None, (out_of_range(site, shape) for site in _sites(name))), None)
                if clause:
                    where = claim.where("explanation", field, index)
                    raise ClaimError(f"{where}{name!r} is not in {claim.model}: {clause}")

    def _check_file(self, claim: Claim, name: str, shape: KnownShape | None) -> None:
        from assay.explanations.circuit.files import parse

        where = claim.where("explanation", "file")
        try:
            found = parse(name, self.keep)
        except ClaimError as problem:
            raise ClaimError(f"{where}{problem}") from None
        size = {} if shape is None else {"layers": shape.layers, "heads": shape.heads}
        for what, value in size.items():
            if found.size.get(what, value) != value:
                raise ClaimError(
                    f"{where}the circuit in {name!r} is of another model: {what} is {found.size[what]!r} there and "
                    f"{value} in {claim.model}"
                )

    def check_model(self, claim: Claim, model: Any) -> None:
        path: tuple[str | int, ...] = ("explanation",)
        try:
            self.build().scope(model)
        except (ClaimError, ComponentError) as problem:
            if isinstance(problem, CircuitNameError):
                path = ("explanation", "edges", problem.index)
            elif self.file is not None:
                path = ("explanation", "file")
            elif isinstance(problem, ComponentError):
                path = ("explanation", "nodes")
            raise ClaimError(f"{claim.where(*path)}{problem}") from None

    def check_task(self, claim: Claim, task: Task) -> None:
        import numpy as np

        from assay.intervene.circuits.runs import columns_of

        for index, name in enumerate(self.edges or ()):
            try:
                columns_of(task, (split_edge(name)[1],), np.arange(len(task.tokens)))
            except TaskError as problem:
                raise TaskError(f"{claim.where('explanation', 'edges', index)}{problem}") from None


def _sites(name: str) -> list[Site]:
    """The parts of the model that a node or an edge names."""
    ends = re.sub(r"@.*|<[qkv]>|\s", "", name).split("->")
    return [parse_site(end) for end in ends]
