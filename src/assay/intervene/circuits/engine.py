"""Runs circuits: which edges carry a writer's own value, every other edge its fill (an ablation).

A variant is computed as a change to a run that is known (the model's, or the one with every edge cut): only readers
whose input differs, and what lies downstream of them and upstream of the logits. Writers are kept as differences from
their fill.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.errors import ComponentError
from assay.intervene.circuits.edits import CircuitEdits
from assay.intervene.circuits.inputs import ReaderInputs
from assay.intervene.circuits.nodes import Nodes
from assay.intervene.circuits.rows import Fills, ScoredItems
from assay.intervene.circuits.schedule import schedule
from assay.intervene.circuits.state import CircuitState, Masks, Variants, as_matrix
from assay.intervene.edits.engine import EditRunner, Seen
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.plan import Edit, EditRun, Plan
from assay.model.edges import Edges
from assay.model.layer import rotate
from assay.model.module import ModuleModel
from assay.model.transformer import NOWHERE, Model
from assay.names import parse_site

# fills that are one unedited run: a node that reads fills alone gives its own fill, unless norms have other scales
CONSISTENT = frozenset({"resample_joint", "counterfactual"})


def with_edges(model: Model | ModuleModel) -> Model:
    """The model, which has edges.

    Raises:
        ComponentError: for a module that is not a transformer.
    """
    if not isinstance(model, Model):
        raise ComponentError(f"{model.name} has no edges; circuits need a transformer of a supported family")
    return model


def transformer_of(workbench: PlanContext) -> Model:
    """`with_edges` of the workbench's model."""
    return with_edges(workbench.model)


class CircuitEngine:
    """Circuits of a model on a task under a fill.

    Args:
        fill: the run of `plan` that gives every writer the value that its edges carry where they are cut.
        ablation: what the fill is called.
        frozen_norm: every norm divides by its scale in the clean run.
        consistent: a node that reads fills alone gives its own fill.
        edits: what heads and MLPs are given in place of what they compute.

    Raises:
        ComponentError: for a module that is not a transformer, and for edits that a circuit cannot have.
    """

    def __init__(
        self,
        runner: EditRunner,
        plan: Plan,
        fill: EditRun,
        ablation: str,
        *,
        frozen_norm: bool,
        consistent: bool,
        edits: Sequence[Edit] = (),
    ):
        self.model = with_edges(runner.model)
        self.runner, self.task, self.plan, self.fill, self.ablation = runner, runner.task, plan, fill, ablation
        self.edits = CircuitEdits(runner, self.model, plan, edits) if edits else None
        self.frozen_norm, self.consistent = frozen_norm, consistent and not frozen_norm
        self.edges: Edges = self.model.edges
        self.sites = [parse_site(name) for name in self.edges.writers]

    def batch(self, rows: Int[np.ndarray, "rows"]) -> CircuitBatch:
        """These rows with their fill; the clean run is made when it is first needed."""
        return CircuitBatch(self, rows)


class Circuits(CircuitEngine):
    """Circuits of a workbench's model on its task under one ablation and draw.

    Args:
        workbench: model, task, reference statistics; its `frozen_norm` holds for circuits too.

    Raises:
        ComponentError: for a module that is not a transformer, and for the option `refit`, which circuits do not have.
    """

    def __init__(self, workbench: PlanContext, ablation: str, draw: int = 0):
        model, self.workbench = transformer_of(workbench), workbench
        if workbench.refit:
            raise ComponentError("the option 'refit' does not apply to circuits: every edge would need its own map")
        plan = workbench.plan(workbench.ablate(map(parse_site, model.edges.writers), ablation, draw))
        consistent = ablation in CONSISTENT
        assert isinstance(plan.final, EditRun)
        super().__init__(
            workbench.runner, plan, plan.final, ablation, frozen_norm=workbench.frozen_norm, consistent=consistent
        )


class CircuitBatch:
    """Rows of the task under a fill, on which circuits are run.

    Args:
        every: logits of every position are wanted, not of the scored items alone.

    Attributes:
        fills: what writers write where an edge is cut; nodes: the model's nodes on these rows.
    """

    def __init__(self, circuits: CircuitEngine, rows: Int[np.ndarray, "rows"], *, every: bool = False):
        self.circuits, self.model, self.edges, self.rows = circuits, circuits.model, circuits.edges, rows
        self.runner = circuits.runner
        self.tokens = self.runner.inputs("scored", rows)
        self.seen = Seen(self.tokens, rows, "scored")  # by what stands for parts of the circuit
        values = self.runner.values(circuits.plan, circuits.fill, circuits.sites, rows)
        self.fills = Fills(self.model, [values[site] for site in circuits.sites])
        if every:
            grid = torch.cartesian_prod(torch.arange(len(rows)), torch.arange(self.tokens.shape[1]))
            where = grid[:, 0], grid[:, 1]
        else:
            items = circuits.task.items(rows)
            where = torch.from_numpy(items.row), torch.from_numpy(items.position - 1)
        self.items = ScoredItems(where, self.tokens)
        self.nodes = Nodes(self.model, self.items, self.fills.input)
        if circuits.frozen_norm:
            _ = self.clean  # keeps its scales

    @cached_property
    def clean(self) -> CircuitState:
        """The model's own run: every edge carries its writer's value."""
        kept: dict[tuple[str, int], Tensor] = {}

        def keep(key: tuple[str, int]) -> Callable[[Tensor], None]:
            return lambda value: kept.__setitem__(key, value)

        shape, nodes, frozen = self.model.config, self.nodes, self.circuits.frozen_norm
        kinds = ("q", "k", "v", "z", "mlp", *(("scale1", "scale2") if frozen else ()))
        keys = [(kind, layer) for kind in kinds for layer in range(shape.layers)] + [("input", 0)]
        if frozen:
            keys.append(("scale", shape.layers))
        with torch.no_grad():
            self.runner.forwards += len(self.rows)
            self.model.forward(self.tokens, {key: keep(key) for key in keys}, positions=None if frozen else NOWHERE)
        nodes.scales = {key: value for key, value in kept.items() if key[0].startswith("scale")}
        q, k, v = ([kept[part, layer].permute(2, 0, 1, 3) for layer in range(shape.layers)] for part in "qkv")
        q, k = ([rotate(x, nodes.rotation) for x in several] for several in (q, k))
        deltas = [(kept["input", 0] - self.fills.input).unsqueeze(0)]
        for layer, (fill_z, fill) in enumerate(zip(self.fills.z, self.fills.mlp, strict=True)):
            z = kept["z", layer].permute(2, 0, 1, 3)
            deltas.append(nodes.written(z - fill_z, layer, np.arange(shape.heads)))
            if fill is not None:
                deltas.append((kept["mlp", layer] - fill).unsqueeze(0))
        matrix = self.edges.matrix(np.ones(len(self.edges), dtype=bool))
        none = np.zeros(len(self.edges.writers), dtype=bool)
        return CircuitState(matrix, q, k, v, torch.cat(deltas), none, none.copy(), none.copy())

    @cached_property
    def empty(self) -> CircuitState:
        """The run with every edge cut: every node reads fills alone."""
        shape, nodes, streams = self.model.config, self.nodes, self.fills.streams
        values, place, heads, edits = [], 1, np.arange(shape.heads), self.circuits.edits
        zeros = torch.zeros_like(self.fills.input)
        deltas = [(self.model.embed(self.tokens) - self.fills.input).unsqueeze(0)]
        with torch.no_grad():
            for layer, (fill_z, fill) in enumerate(zip(self.fills.z, self.fills.mlp, strict=True)):
                own = nodes.all_inputs(nodes.normed(streams[place].unsqueeze(0), layer, "scale1")[0], layer)
                values.append(own)
                place += shape.heads
                if self.circuits.consistent:
                    deltas.append(zeros.expand(shape.heads, *zeros.shape))
                else:
                    q, k, v = (x.unsqueeze(1) for x in own)
                    z = nodes.attend(q, k, v, layer, heads)
                    z = z if edits is None else edits.heads(z, v, layer, heads, self.seen)
                    deltas.append(nodes.written(z[:, 0] - fill_z, layer, heads))
                if fill is not None:
                    if self.circuits.consistent:
                        deltas.append(zeros.unsqueeze(0))
                    else:
                        at = place - shape.heads if shape.parallel else place
                        value = nodes.mlp(streams[at].unsqueeze(0), layer)
                        deltas.append((value if edits is None else edits.mlp(value, layer, self.seen)) - fill)
                    place += 1
        none = np.zeros(len(self.edges.writers), dtype=bool)
        zero = none | self.circuits.consistent
        zero[0] = False
        matrix = self.edges.matrix(np.zeros(len(self.edges), dtype=bool))
        q, k, v = (list(several) for several in zip(*values, strict=True))
        return CircuitState(matrix, q, k, v, torch.cat(deltas), zero, none, none.copy())

    def deltas(self) -> Float[Tensor, "writers rows pos d_model"]:
        """What every writer writes in the model's own run less its fill."""
        return self.clean.delta

    def logits(self, masks: Masks) -> Float[Tensor, "variants items vocab"]:
        """Logits of the scored items of each circuit, from whichever known run is nearer."""
        matrix = self.matrix(masks)
        if isinstance(matrix, Tensor):
            return self.vary(self.clean, matrix).logits
        live = matrix if matrix.ndim == 3 else np.any(matrix, -1)
        some = schedule(self.edges, self.empty, live), schedule(self.edges, self.clean, live)
        nearer = self.circuits.edits is not None or some[0].work <= some[1].work
        return self.vary(self.empty if nearer else self.clean, matrix).logits

    def matrix(self, masks: Masks) -> np.ndarray | Tensor:
        """As `as_matrix`."""
        return as_matrix(self.edges, masks)

    def vary(self, base: CircuitState, matrix: np.ndarray | Tensor, *, stream: bool = False) -> Variants:
        """Runs variants as changes to a state.

        Args:
            matrix: [variants, readers, writers] (and positions): bool, or a tensor of weights between fill (0) and own
                value (1), which may ask for gradients.
            stream: in place of logits, what the final norm reads.
        """
        if torch.is_grad_enabled() and not isinstance(matrix, Tensor):
            with torch.no_grad():
                return self.vary(base, matrix, stream=stream)
        hard, nodes, places, edits = None, self.nodes, self.edges.places, self.circuits.edits
        if isinstance(matrix, Tensor):  # soft: whatever may carry something is run
            live = self.edges.matrix(np.ones((len(matrix), len(self.edges)), dtype=bool))
            weights, plan = matrix, schedule(self.edges, base, live, soft=True)
        else:
            live, hard = matrix if matrix.ndim == 3 else np.any(matrix, -1), matrix if matrix.ndim == 3 else None
            few = self.items.few / self.tokens.shape[1] if hard is not None and edits is None else 0.0
            plan = schedule(self.edges, base, live, exact=matrix, few=few)
            weights = torch.from_numpy(matrix).to(self.fills.input)
        mix = ReaderInputs(self.edges, self.fills, self.items, base, weights, plan, hard)
        parts: dict[tuple[int, str, bool], tuple[np.ndarray, Tensor]] = {}
        for layer, found in enumerate(plan.layers):
            if not found:
                continue
            for part, narrow in (("q", False), ("q", True), ("k", False), ("v", False)):
                index = found[part + "!" if narrow else part]
                if len(index):
                    x = self._by_row(mix.read(places[layer][part][index], narrow), narrow)
                    normed = nodes.normed(x, layer, "scale1", narrow)
                    parts[layer, part, narrow] = index, nodes.inputs(normed, layer, part, index, narrow)
            for heads, narrow in ((found["heads"], False), (found["heads!"], True)):
                if len(heads):
                    q = self._full(base, parts.get((layer, "q", narrow)), layer, "q", heads, mix.variants, narrow)
                    k, v = (self._full(base, parts.get((layer, x, False)), layer, x, heads, mix.variants) for x in "kv")
                    z = nodes.attend(q, k, v, layer, heads, narrow)
                    z = z if edits is None else edits.heads(z, v, layer, heads, self.seen)
                    z = z - self._at(self.fills.z[layer][heads], narrow).unsqueeze(1)
                    room = mix.room(len(heads), narrow)
                    mix.add(plan.head_writers(layer, heads), nodes.written(z, layer, heads, room), narrow)
            if found["mlp"].size:
                narrow = bool(plan.at_items[plan.mlp_writer(layer)[0]])
                fill = self.fills.mlp[layer]
                assert fill is not None
                x = nodes.mlp(self._by_row(mix.read(places[layer]["mlp"], narrow), narrow), layer, narrow)
                x = x if edits is None else edits.mlp(x[0], layer, self.seen).unsqueeze(0)
                room = mix.room(1, narrow)
                mix.add(plan.mlp_writer(layer), torch.sub(x, self._at(fill, narrow), out=room), narrow)
        self.runner.count(len(self.rows) * plan.work * mix.variants)
        last = mix.read(np.array([len(self.edges.readers) - 1]), items=True)[0]
        return Variants(
            matrix if isinstance(matrix, np.ndarray) else np.zeros(0),
            last if stream else nodes.unembedded(last),
            parts,
            mix.blocks(),
            plan.stale,
            plan.narrow,
            self.items.where,
        )

    def _full(
        self,
        base: CircuitState,
        new: tuple[np.ndarray, Tensor] | None,
        layer: int,
        part: str,
        heads: np.ndarray,
        variants: int,
        narrow: bool = False,
    ) -> Tensor:
        """[heads, variants, rows, pos, d_head] of these heads (or of their groups), recomputed or as in the base."""
        share = 1 if part == "q" else self.model.config.heads // self.model.config.kv_heads
        groups = heads if share == 1 else np.unique(heads // share)
        if new is not None and np.array_equal(new[0], groups):
            out = new[1]
        else:
            known = self._at(getattr(base, part)[layer], narrow)
            if new is None:
                known = known if len(groups) == len(known) else known[torch.from_numpy(groups)]
                out = known.unsqueeze(1).expand(-1, variants, -1, -1, -1)
            else:
                spot = {int(group): place for place, group in enumerate(new[0])}
                out = known.new_empty(len(groups), variants, *known.shape[1:])
                for place, group in enumerate(groups):
                    out[place] = new[1][spot[group]] if group in spot else known[group]
        return out if len(heads) == len(groups) else out[torch.from_numpy(np.searchsorted(groups, heads // share))]

    def _by_row(self, x: Tensor, narrow: bool) -> Tensor:
        return self.items.by_row(x) if narrow else x

    def _at(self, x: Float[Tensor, "*some rows pos d"], narrow: bool) -> Tensor:
        """Values of whole rows where narrow nodes are."""
        return self.items.by_row(x[..., *self.items.where, :]) if narrow else x
