"""`Circuit`: the claim that some edges suffice; every other edge carries its fill, an ablation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool

from assay.errors import ClaimError, ComponentError
from assay.explanations.base import AnyModel, Explanation, Level, Undefined, Unread, listed
from assay.explanations.bits import ClaimBits, filled_bits, subset_bits
from assay.explanations.circuit_files import CircuitFile, Resolved, parse
from assay.explanations.circuit_names import CircuitNameError, check_edges, check_nodes
from assay.intervene.ablations import RANDOM, Workbench
from assay.intervene.components import complement, expand
from assay.intervene.plan import Circuits, Plan, Run
from assay.model.edge_sets import EdgeSet
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.names import Site, parse_site

FILL = "fill"


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
    level: ClassVar[Level] = "where"
    headline_floor: ClassVar[str] = "empty"
    floor_takes = "everything"
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
            object.__setattr__(self, name, tuple(value))
        object.__setattr__(self, "file", file)
        object.__setattr__(self, "given", given)
        object.__setattr__(self, "_resolved", {})
        if not self.edges and not self.nodes and file is None and given is None:
            raise ClaimError("the circuit is empty: name at least one edge or node")
        check_edges(self.edges)
        check_nodes(self.nodes)

    @classmethod
    def read(cls, path: str | Path) -> Circuit:
        """A circuit file, of EAP-IG (MIB) or of our own form."""
        return cls(file=parse(path))

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

    def plan(self, bench: Workbench, ablation: str, draw: int = 0) -> Plan:
        return circuit_plan(bench, self.kept(bench.model), ablation, draw)

    def complement(self, bench: Workbench, ablation: str, draw: int = 0) -> Plan:
        """The run of everything but the circuit."""
        return circuit_plan(bench, self.kept(bench.model).complement(), ablation, draw)

    def unedited(self, bench: Workbench, ablation: str) -> Plan:
        """The run of every edge, which is the model's own: what it differs by is the engine's noise."""
        return circuit_plan(bench, EdgeSet.whole(np.ones(len(self.kept(bench.model).kept), dtype=bool)), ablation)

    def floor(self, bench: Workbench, ablation: str, draw: int = 0) -> Plan:
        """The run in which no edge is kept, `input` ablated like every writer; it needs no engine."""
        _without_refit(bench)
        assert isinstance(bench.model, Model)
        return bench.plan(bench.ablate([parse_site(name) for name in bench.model.edges.writers], ablation, draw))

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

    def constants_bits(self, bench: Workbench, ablation: str) -> float:
        assert isinstance(bench.model, Model)
        ablated = [parse_site(name) for name in read_fills(self, bench.model)]
        return filled_bits(bench, ablation, ablated) if ablated else 0.0

    def _reads_everything(self, model: Model, ablation: str) -> bool:
        """Whether fills are made by running the model on other examples, which reads all of its weights."""
        return (ablation in RANDOM or ablation == "counterfactual") and bool(read_fills(self, model))

    def _found(self, model: AnyModel) -> Resolved:
        if not isinstance(model, Model):
            raise ClaimError(f"{model.name} has no edges; circuits need a transformer of a supported family")
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


def touched(model: Model, mask: Bool[np.ndarray, "edges"]) -> list[str]:
    """Names of heads and MLPs that one of these edges begins or ends at, in the model's order.

    An edge to the keys or values of a group ends at those of its heads that write an edge, or at all if none does.
    """
    matrix = model.edges.matrix(mask)
    writes, reads = np.any(matrix, axis=0), np.any(matrix, axis=1)
    unclaimed = reads & ~np.any(model.edges.node_of & writes, axis=1)
    nodes = writes | np.any(model.edges.node_of & unclaimed[:, None], axis=0)
    return [name for name, there in zip(model.edges.writers, nodes, strict=True) if there and name != "input"]


def used_nodes(model: Model, mask: Bool[np.ndarray, "edges"]) -> set[str]:
    """Nodes from which kept edges lead to the logits: those that are computed."""
    edges = model.edges
    m, live = edges.matrix(mask), np.zeros(len(edges.readers), dtype=bool)
    live[-1] = True
    out = set()
    for writer in reversed(range(len(edges.writers))):
        if np.any(m[:, writer] & live):
            live |= edges.node_of[:, writer]
            out.add(edges.writers[writer])
    return out


def read_fills(circuit: Circuit, model: Model) -> list[str]:
    """Writers whose fill is read: by a node that is computed, through an edge that is cut (at some position)."""
    edges, kept = model.edges, circuit.kept(model)
    used = used_nodes(model, kept.anywhere)
    computed = np.array([writer in used for writer in edges.writers])
    readers = np.any(edges.node_of & computed, 1)
    readers[-1] = True
    cut = edges.matrix(kept.complement().anywhere) & readers[:, None]
    return [name for name, there in zip(edges.writers, cut.any(0), strict=True) if there]


def circuit_plan(bench: Workbench, edges: EdgeSet, ablation: str, draw: int = 0) -> Plan:
    """The run in which these edges carry their writers' own values, and all others the ablation's.

    Raises:
        ClaimError: for the option `refit`, which circuits do not have.
    """
    _without_refit(bench)
    key = ("circuit fill", ablation, draw)
    if key not in bench.fitted:  # the same runs for every circuit, so that the runner meets them again
        assert isinstance(bench.model, Model)
        filled = bench.plan(bench.ablate([parse_site(name) for name in bench.model.edges.writers], ablation, draw))
        bench.fitted[key] = (*filled.runs[:-1], Run(FILL, edits=filled.final.edits))
    explained = Run("explained", frozen_norm=bench.frozen_norm, circuits=Circuits(edges, FILL))
    return Plan((*bench.fitted[key], explained))


def _without_refit(bench: Workbench) -> None:
    if bench.refit:
        raise ClaimError("the option 'refit' does not apply to circuits: every edge would need a map of its own")
