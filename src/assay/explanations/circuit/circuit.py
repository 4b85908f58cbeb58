"""`Circuit`: the claim that some edges suffice; every other edge carries its fill, an ablation."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Int

from assay.errors import ClaimError, ComponentError
from assay.explanations.answers import Neighbours, Searched, Unread, Uses
from assay.explanations.base import AnyModel, Explanation, Level, Undefined, listed, order
from assay.explanations.bits import ClaimBits, filled_bits, subset_bits
from assay.explanations.circuit.block import circuit_block, circuit_uses
from assay.explanations.circuit.files import CircuitFile, Resolved, parse
from assay.explanations.circuit.names import LEVEL, CircuitNameError, check_edges, check_nodes
from assay.explanations.circuit.nodes import read_fills, touched, used_nodes
from assay.explanations.circuit.path_sampled import different
from assay.explanations.circuit.trials import restored
from assay.explanations.circuit.writing import INVERTED, submission, write_circuit
from assay.intervene.circuits.engine import with_edges
from assay.intervene.circuits.plans import circuit_plan, without_refit
from assay.intervene.components import complement, expand
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.spec import STRENGTHS, from_runs
from assay.intervene.plan import Plan
from assay.model.edge_sets import EdgeSet
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.names import Site, check_texts, parse_site
from assay.record.headline import RunScores
from assay.record.pieces import Pieces

MANY = 10**9  # path-sampled circuits are not counted
DEFAULT_SEARCH = "attribution"  # stands for one that is not known


@dataclass(frozen=True, eq=False)
class Circuit(Explanation):
    """The claim that these edges suffice.

    Named edges are kept; of named nodes the edges between them, `input` and `logits`. A node computes from what its own
    kept edges and the fills of the others give it. The floor is the run in which no edge is kept.

    Attributes:
        edges, nodes: as they were named; file: the circuit file that it was read from; given: its edges by number.

    Raises:
        ClaimError: for no edge and no node, and for names that no model has, come twice or contradict each other.

    Example:
        >>> Circuit(edges=["input->a1.h3<v>", "a1.h3->logits"]).level
        'where'
    """

    edges: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    file: CircuitFile | None = None
    given: EdgeSet | None = None
    kind: ClassVar[str] = "circuit"
    level: ClassVar[Level] = LEVEL
    headline_floor = "empty"
    floor_takes = "everything"
    at_strengths = STRENGTHS
    simple_searches: ClassVar[tuple[tuple[str, str], ...]] = (
        ("weight norm", "weight_norm"),
        ("activation norm", "activation_norm"),
        ("attribution", "attribution"),
    )
    _resolved: dict[int, tuple[Any, Resolved]] = field(default_factory=dict, repr=False)

    def __init__(
        self,
        edges: Sequence[str] = (),
        nodes: Sequence[str] = (),
        *,
        file: CircuitFile | None = None,
        given: EdgeSet | None = None,
    ):
        for name, value, like in (("edges", edges, "'m0->logits'"), ("nodes", nodes, "'a1.h3'")):
            if isinstance(value, str):
                raise ClaimError(f"Circuit takes a list of {name}, such as [{like}], not the text {value!r}")
            check_texts("Circuit", value, like)
            object.__setattr__(self, name, tuple(value))
        object.__setattr__(self, "file", file)
        object.__setattr__(self, "given", given)
        object.__setattr__(self, "_resolved", {})
        if not self.edges and not self.nodes and file is None and given is None:
            raise ClaimError("the circuit is empty: name at least one edge or node")
        check_edges(self.edges)
        check_nodes(self.nodes)

    def __repr__(self) -> str:
        if self.file is not None:
            return f"Circuit.read({self.file.path!r})"
        if self.given is not None:
            return f"<Circuit: {int(self.given.anywhere.sum()):,} of {len(self.given.kept):,} edges>"
        named = {"edges": self.edges, "nodes": self.nodes}
        return f"Circuit({', '.join(f'{what}={reprlib.repr(list(names))}' for what, names in named.items() if names)})"

    def fields(self, model: AnyModel | None = None) -> dict[str, Any]:
        if self.file is not None:
            return {"file": self.file.path}
        if self.given is None:
            return {what: list(names) for what in ("edges", "nodes") if (names := getattr(self, what))}
        if not isinstance(model, Model):
            raise ClaimError("a circuit of edges by number has names with its model only: to_yaml(model)")
        if self.given.inverted:
            raise ClaimError(INVERTED)
        kept = self.kept(model)
        everywhere = kept.kept[:, np.array([position is None for position in kept.positions])].any(axis=1)
        assert isinstance(everywhere, np.ndarray)
        names = model.edges.names(everywhere)
        for position, column in zip(kept.positions, kept.kept.T, strict=True):
            if position is not None:
                names += [f"{name}@{position}" for name in model.edges.names(column & ~everywhere)]
        return {"edges": names}

    @classmethod
    def read(cls, source: Any, keep: int | None = None) -> Circuit:
        """A circuit that another tool, or `assay find circuit`, has made.

        Args:
            source: a file of EAP-IG or MIB (.json, .pt) or of our own; a graph of EAP-IG; a dictionary of edge names
                and scores (or whether an edge is kept); auto-circuit's dictionary of module names and tensors.
            keep: how many edges are the circuit, those with the largest scores by absolute value; None: those that the
                source keeps.

        Raises:
            ClaimError: for what is none of these, and for a circuit without edges.

        Example:
            >>> Circuit.read({"a0.h1->m1": 0.9, "m1->logits": -2.0, "a0.h1->logits": 0.1}, keep=2).file.kept
            2
        """
        return cls(file=parse(source, keep))

    def write(self, path: str | Path, model: Model, form: str = "assay") -> Path:
        """Writes the circuit, with its scores where it has some.

        Args:
            path: a file; it is replaced.
            form: "assay": compact, read by `Circuit.read` and claim files; "eap-ig": the JSON of EAP-IG and MIB.

        Raises:
            ClaimError: for a circuit of another model, and for what the form cannot hold.
        """
        found = self.resolve(model)
        method = None if self.file is None else self.file.method
        return write_circuit(path, model, found.edges, form=form, scores=found.scores, method=method)

    def submit(self, folder: str | Path, model: Model, *, task: str, name: str) -> Path:
        """Writes the circuit's scores as a submission to MIB's circuit track: FOLDER/TASK_NAME/importances.json.

        Args:
            task, name: MIB's names of the task and of the model, such as "ioi" and "gpt2".

        Raises:
            ClaimError: for a circuit without scores, and for names that MIB does not have.
        """
        return submission(folder, model, self.resolve(model), task, name)

    @classmethod
    def of(cls, edges: EdgeSet | Bool[np.ndarray, "edges"]) -> Circuit:
        """A circuit by the numbers of its edges."""
        return cls(given=edges if isinstance(edges, EdgeSet) else EdgeSet.whole(edges))

    def resolve(self, model: AnyModel) -> Resolved:
        """The circuit as one of this model: its edges by number, and scores where a file gave them.

        Raises:
            ClaimError: for a model without edges, for edges and nodes that it does not have, and for a circuit through
                which nothing leads from `input` to `logits`.
        """
        if id(model) not in self._resolved:
            self._resolved.clear()
            self._resolved[id(model)] = model, self._found(model)  # the model is kept, so that its id stays its own
        return self._resolved[id(model)][1]

    def kept(self, model: AnyModel) -> EdgeSet:
        """The kept edges of this model."""
        return self.resolve(model).edges

    def mask(self, model: Model) -> Bool[np.ndarray, "edges"]:
        """Edges that are kept, at some position at least."""
        return self.kept(model).anywhere

    def scope(self, model: AnyModel) -> list[Site]:
        """The nodes that a kept edge begins or ends at, without `input` and `logits`."""
        mask = self.kept(model).anywhere
        assert isinstance(model, Model)
        return [parse_site(name) for name in touched(model, mask)]

    def plan(self, workbench: PlanContext, ablation: str, draw: int = 0) -> Plan:
        return circuit_plan(workbench, self.kept(workbench.model), ablation, draw)

    def complement(self, workbench: PlanContext, ablation: str, draw: int = 0) -> Plan:
        """The run of everything but the circuit."""
        return circuit_plan(workbench, self.kept(workbench.model).complement(), ablation, draw)

    def restorable(self, workbench: PlanContext, ablation: str) -> list[Site]:
        """Nodes that lack an edge to or from the circuit."""
        model, edges = workbench.model, self.kept(workbench.model)
        assert isinstance(model, Model)
        sites = sorted((parse_site(name) for name in model.edges.writers[1:]), key=order)
        return [s for s in sites if not np.array_equal(restored(model, edges, str(s)).anywhere, edges.anywhere)]

    def restored(self, workbench: PlanContext, ablation: str, site: Site, draw: int = 0) -> Plan:
        """The circuit with a node's edges to and from it all there."""
        assert isinstance(workbench.model, Model)
        return circuit_plan(workbench, restored(workbench.model, self.kept(workbench.model), str(site)), ablation, draw)

    def uses(self, workbench: PlanContext, ablation: str, rows: Int[np.ndarray, "rows"]) -> Uses:
        return circuit_uses(workbench, self.kept(workbench.model), ablation, rows)

    def block(
        self,
        workbench: PlanContext,
        ablation: str,
        rows: Int[np.ndarray, "rows"],
        sides: Callable[[], tuple[RunScores, RunScores] | None],
    ) -> Pieces:
        return circuit_block(workbench, self.resolve(workbench.model), ablation, rows, sides)

    def unedited(self, workbench: PlanContext, ablation: str) -> Plan:
        """The run of every edge, which is the model's own: what it differs by is the engine's noise."""
        return circuit_plan(
            workbench, EdgeSet.whole(np.ones(len(self.kept(workbench.model).kept), dtype=bool)), ablation
        )

    def floor(self, workbench: PlanContext, ablation: str, draw: int = 0) -> Plan:
        """The run in which no edge is kept, `input` ablated like every writer; it needs no engine."""
        without_refit(workbench)
        assert isinstance(workbench.model, Model)
        return workbench.plan(
            workbench.ablate([parse_site(name) for name in workbench.model.edges.writers], ablation, draw)
        )

    def sentence(self, model_name: str) -> str:
        if self.file is not None:
            what = f"{self.file.kept:,} of {self.file.total:,} edges ({Path(self.file.path).name})"
        elif self.given is not None:
            what = f"{int(self.given.anywhere.sum()):,} of {len(self.given.kept):,} edges"
        else:
            parts = [f"the edges between {listed(list(self.nodes))}, input and logits"] if self.nodes else []
            names = list(self.edges)
            long = f"{len(names):,} edges ({listed(names[:2])}, ...)"
            parts += [] if not names else [long if len(names) > 4 else listed(names)]
            what = " and ".join(parts)
        return f"{what} of {model_name} suffice; every other edge is ablated"

    def live(self, model: AnyModel) -> int:
        """How many of its edges lie on a path."""
        assert isinstance(model, Model)
        return int(model.edges.pruned(self.mask(model)).sum())

    def named(self, model: AnyModel) -> list[str]:
        assert isinstance(model, Model)
        return model.edges.names(self.mask(model))

    def search(self, model: AnyModel) -> Searched:
        name = None if self.file is None else self.file.method
        return Searched(name or DEFAULT_SEARCH, known=name is not None)

    def neighbours(self, workbench: PlanContext, ablation: str, most: int) -> Iterator[Neighbours]:
        """Random circuits like this one, made of paths: to beat a uniform draw of few edges says nothing."""
        model = workbench.model
        assert isinstance(model, Model)
        size = f"about {self.live(model):,} live edges"
        what = f"unions of random paths from input to logits with {size}, as many in each layer"
        edges = self.kept(model)
        like = edges.kept if edges.by_position else edges.anywhere
        reason = "the only circuit of this profile is the claim itself"
        try:
            masks: Sequence[np.ndarray] = list(different(model.edges, like, most, workbench.seed))
        except ComponentError as problem:
            masks, reason = [], str(problem)
        if 0 < len(masks) < most:
            what += "; more that differ were not found"
        items = []
        for index, mask in enumerate(masks):
            one = EdgeSet(mask, edges.positions) if edges.by_position else EdgeSet.whole(mask)
            items.append((f"sample {index}", partial(_planned, one, ablation)))
        yield Neighbours("path-sampled circuits", what, items, MANY, reason=None if items else reason)

    def claim_bits(self, model: AnyModel, channels: int = 0) -> ClaimBits | Undefined:
        """A set of k edges of E: log2(E+1) + log2 C(E, k), and a bit that says whether positions are named.

        With positions E counts an edge once for every column of the model's context, and once more for all of them.
        """
        if isinstance(model, ModuleModel):
            return Undefined("circuits are of transformers")
        edges = self.kept(model)
        total, kept = len(edges.kept), edges.count
        if edges.by_position:
            total *= model.config.context + 1
        return ClaimBits(1 + subset_bits(total, kept), f"1 + log2({total}+1) + log2 C({total}, {kept}) edges")

    def everything_bits(self, model: Model) -> float:
        return 1 + subset_bits(len(model.edges), len(model.edges))

    def unread(self, model: Model, ablation: str) -> Iterator[Unread]:
        if self._reads_everything(model, ablation):
            return
        used = used_nodes(model, self.mask(model))
        for site in complement([], model):
            if str(site) not in used:
                yield Unread(site)

    def constants_bits(self, workbench: PlanContext, ablation: str) -> float:
        assert isinstance(workbench.model, Model)
        ablated = [parse_site(name) for name in read_fills(self.kept(workbench.model), workbench.model)]
        return filled_bits(workbench, ablation, ablated) if ablated else 0.0

    def _reads_everything(self, model: Model, ablation: str) -> bool:
        """Whether fills are made by running the model on other examples, which reads all of its weights."""
        return from_runs(ablation) and bool(read_fills(self.kept(model), model))

    def _found(self, model: AnyModel) -> Resolved:
        model = with_edges(model)
        if self.file is not None:
            found = self.file.resolve(model)
        elif self.given is not None:
            found = Resolved(self.given)
        else:
            found = Resolved(self._named(model))
        if len(found.edges.kept) != len(model.edges):
            raise ClaimError(
                f"the circuit is of another model: that has {len(found.edges.kept):,} edges and {model.name} "
                f"{len(model.edges):,}"
            )
        mask = found.edges.anywhere
        if not model.edges.pruned(mask).any():
            raise ClaimError(
                f"the circuit of {int(mask.sum()):,} edges is empty: none of them lies on a path of kept edges from "
                f"'input' to 'logits' of {model.name}"
            )
        return found

    def _named(self, model: Model) -> EdgeSet:
        entries: list[tuple[int, int | str | None]] = []
        for index, (edge, position) in enumerate(check_edges(self.edges)):
            try:
                entries.append((model.edges.number(edge)[0], position))
            except ComponentError as problem:
                raise CircuitNameError(index, str(problem)) from None
        positions = tuple(dict.fromkeys([None, *(position for _, position in entries)]))
        kept = np.zeros((len(model.edges), len(positions)), dtype=bool)
        for number, position in entries:
            kept[number, positions.index(position)] = True
        if self.nodes:
            names = [str(site) for site in expand(self.nodes, model)]
            kept[:, 0] |= model.edges.node_edges(names)
        return EdgeSet(kept, positions)


def _planned(edges: EdgeSet, ablation: str, workbench: PlanContext) -> Plan:
    return circuit_plan(workbench, edges, ablation)
