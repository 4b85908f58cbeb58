"""Runs circuits: which edges carry a writer's own value, every other edge its fill (an ablation).

A variant is computed as a change to a run that is known (the model's, or the one with every edge cut): only readers
whose input differs, and what lies downstream of them and upstream of the logits. Writers are kept as differences from
their fill.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from assay.errors import ComponentError
from assay.intervene.ablations import Workbench
from assay.intervene.circuit_mix import Mix
from assay.intervene.circuit_schedule import schedule
from assay.intervene.circuit_state import Masks, State, Variants, as_matrix
from assay.intervene.plan import Plan
from assay.intervene.products import product
from assay.model.edges import Edges
from assay.model.transformer import NOWHERE, Model, rotate
from assay.names import parse_site

# fills that are one unedited run: a node that reads fills alone gives its own fill, unless norms have other scales
CONSISTENT = frozenset({"resample_joint", "counterfactual"})


def transformer_of(bench: Workbench) -> Model:
    """The workbench's model, which has edges.

    Raises:
        ComponentError: for a module that is not a transformer.
    """
    if not isinstance(bench.model, Model):
        raise ComponentError(f"{bench.model.name} has no edges; circuits need a transformer of a supported family")
    return bench.model


class Circuits:
    """Circuits of a model on a task under one ablation and draw.

    Args:
        bench: model, task, reference statistics; its `frozen_norm` holds for circuits too.

    Raises:
        ComponentError: for a module that is not a transformer, and for the option `refit`, which circuits do not have.
    """

    def __init__(self, bench: Workbench, ablation: str, draw: int = 0):
        model = transformer_of(bench)
        if bench.refit:
            raise ComponentError("the option 'refit' does not apply to circuits: every edge would need its own map")
        self.bench, self.model, self.ablation = bench, model, ablation
        self.edges: Edges = model.edges
        self.sites = [parse_site(name) for name in self.edges.writers]
        edits = bench.ablate(self.sites, ablation, draw)
        self.plan: Plan = bench.plan(edits)
        self.consistent = ablation in CONSISTENT and not bench.frozen_norm

    def batch(self, rows: Int[np.ndarray, "rows"]) -> CircuitBatch:
        """These rows with their fill; the clean run is made when it is first needed."""
        return CircuitBatch(self, rows)

    @cached_property
    def layers(self) -> list[dict[str, np.ndarray]]:
        """layer -> part -> places of its readers, in the order of heads or groups."""
        out: list[dict[str, list[int]]] = [{} for _ in range(self.model.config.layers)]
        for place, reader in enumerate(self.edges.readers[:-1]):
            out[reader.layer].setdefault(reader.part, []).append(place)
        return [{part: np.array(places) for part, places in layer.items()} for layer in out]


class CircuitBatch:
    """Rows of the task under a fill, on which circuits are run.

    Args:
        every: logits of every position are wanted, not of the scored items alone.

    Attributes:
        items: (row within the batch, position that predicts) of each scored item.
    """

    def __init__(self, circuits: Circuits, rows: Int[np.ndarray, "rows"], *, every: bool = False):
        self.circuits, self.model, self.edges, self.rows = circuits, circuits.model, circuits.edges, rows
        runner, shape = circuits.bench.runner, circuits.model.config
        self.tokens = runner.inputs("scored", rows)
        with torch.no_grad():
            values = runner.values(circuits.plan, circuits.plan.final, circuits.sites, rows)
        fills = [values[site] for site in circuits.sites]
        self.fill: dict[int, Tensor] = {}  # stream made of fills alone, by how many writers it sums
        self.fill_z: list[Tensor] = []  # per layer [heads, rows, pos, d_head]
        self.fill_mlp: list[Tensor | None] = []
        stream, place = fills[0], 1
        self.fill_input = fills[0]
        for layer, width in enumerate(shape.d_mlp):
            self.fill[place] = stream
            z = torch.stack(fills[place : place + shape.heads])
            self.fill_z.append(z)
            place += shape.heads
            out = self.model.weights.layers[layer].out
            stream = stream + functional.linear(z.permute(1, 2, 0, 3).flatten(2), out.weight, out.bias)
            self.fill_mlp.append(None)
            if width is not None:
                self.fill[place] = stream
                self.fill_mlp[-1] = fills[place]
                stream = stream + fills[place]
                place += 1
        self.fill[place] = stream
        items = runner.task.items(rows)
        self.items = torch.from_numpy(items.row), torch.from_numpy(items.position - 1)
        if every:
            grid = torch.cartesian_prod(torch.arange(len(rows)), torch.arange(self.tokens.shape[1]))
            self.items = grid[:, 0], grid[:, 1]
        self._scales: dict[tuple[str, int], Tensor] = {}
        if circuits.bench.frozen_norm:
            _ = self.clean  # keeps its scales

    @cached_property
    def rotation(self) -> tuple[Tensor, Tensor] | None:
        return self.model._rotation(self.fill_input)

    @cached_property
    def few(self) -> int:
        """Scored items of each row, where all have as many and most positions none (else 0): they may be run alone."""
        (rows, positions), row = self.tokens.shape, self.items[0]
        count = len(row) // rows
        even = torch.equal(row, torch.arange(rows).repeat_interleave(count))
        return count if even and 2 * count <= positions else 0

    @cached_property
    def seen(self) -> Bool[Tensor, "rows items pos"] | None:
        """Which positions each of the few items of a row sees; None: all."""
        positions = self.tokens.shape[1]
        last = self.items[1].view(-1, self.few, 1)
        return None if bool((last == positions - 1).all()) else (torch.arange(positions) <= last).to(self.tokens.device)

    @cached_property
    def clean(self) -> State:
        """The model's own run: every edge carries its writer's value."""
        kept: dict[tuple[str, int], Tensor] = {}

        def keep(key: tuple[str, int]) -> Callable[[Tensor], None]:
            return lambda value: kept.__setitem__(key, value)

        shape = self.model.config
        kinds = ("q", "k", "v", "z", "scale1", "scale2") if self.circuits.bench.frozen_norm else ("q", "k", "v", "z")
        keys = [(kind, layer) for kind in (*kinds, "mlp") for layer in range(shape.layers)] + [("input", 0)]
        if self.circuits.bench.frozen_norm:
            keys.append(("scale", shape.layers))
        with torch.no_grad():
            self.circuits.bench.runner.forwards += len(self.rows)
            self.model.forward(
                self.tokens, {key: keep(key) for key in keys}, positions=NOWHERE if kinds[-1] == "z" else None
            )
        self._scales = {key: value for key, value in kept.items() if key[0].startswith("scale")}
        q, k, v = ([kept[part, layer].permute(2, 0, 1, 3) for layer in range(shape.layers)] for part in "qkv")
        if self.rotation is not None:
            q, k = [rotate(x, self.rotation) for x in q], [rotate(x, self.rotation) for x in k]
        deltas = [(kept["input", 0] - self.fill_input).unsqueeze(0)]
        for layer in range(shape.layers):
            z = kept["z", layer].permute(2, 0, 1, 3)
            deltas.append(self._written(z - self.fill_z[layer], layer, np.arange(shape.heads)))
            fill = self.fill_mlp[layer]
            if fill is not None:
                deltas.append((kept["mlp", layer] - fill).unsqueeze(0))
        matrix = self.edges.matrix(np.ones(len(self.edges), dtype=bool))
        none = np.zeros(len(self.edges.writers), dtype=bool)
        return State(matrix, q, k, v, torch.cat(deltas), none, none.copy(), none.copy())

    @cached_property
    def empty(self) -> State:
        """The run with every edge cut: every node reads fills alone."""
        shape, model = self.model.config, self.model
        q, k, v, place = [], [], [], 1
        zeros = torch.zeros_like(self.fill_input)
        deltas = [(model.embed(self.tokens) - self.fill_input).unsqueeze(0)]
        with torch.no_grad():
            for layer, weights in enumerate(model.weights.layers):
                read = self._normed(self.fill[place].unsqueeze(0), layer, "scale1")[0]
                own = [x.permute(2, 0, 1, 3) for x in model._qkv(read, weights)]
                own[0] = own[0] if weights.q_norm is None else weights.q_norm(own[0])
                own[1] = own[1] if weights.k_norm is None else weights.k_norm(own[1])
                if self.rotation is not None:
                    own[:2] = [rotate(x, self.rotation) for x in own[:2]]
                for values, value in zip((q, k, v), own, strict=True):
                    values.append(value)
                place += shape.heads
                if self.circuits.consistent:
                    deltas.append(zeros.expand(shape.heads, *zeros.shape))
                else:
                    heads = np.arange(shape.heads)
                    z = self._attend(own[0].unsqueeze(1), own[1].unsqueeze(1), own[2].unsqueeze(1), layer, heads)
                    deltas.append(self._written(z[:, 0] - self.fill_z[layer], layer, heads))
                fill = self.fill_mlp[layer]
                if fill is not None:
                    if self.circuits.consistent:
                        deltas.append(zeros.unsqueeze(0))
                    else:
                        at = place - shape.heads if shape.parallel else place
                        deltas.append(self._mlp(self.fill[at].unsqueeze(0), layer) - fill)
                    place += 1
        none = np.zeros(len(self.edges.writers), dtype=bool)
        zero = none | self.circuits.consistent
        zero[0] = False
        matrix = self.edges.matrix(np.zeros(len(self.edges), dtype=bool))
        return State(matrix, q, k, v, torch.cat(deltas), zero, none, none.copy())

    def deltas(self) -> Float[Tensor, "writers rows pos d_model"]:
        """What every writer writes in the model's own run less its fill."""
        return self.clean.delta

    def logits(self, masks: Masks) -> Float[Tensor, "variants items vocab"]:
        """Logits of the scored items of each circuit, from whichever known run is nearer."""
        matrix = self.matrix(masks)
        if isinstance(matrix, Tensor):
            return self.vary(self.clean, matrix).logits
        live = matrix if matrix.ndim == 3 else np.any(matrix, -1)
        some = schedule(self.circuits, self.empty, live), schedule(self.circuits, self.clean, live)
        return self.vary(self.empty if some[0].work <= some[1].work else self.clean, matrix).logits

    def matrix(self, masks: Masks) -> np.ndarray | Tensor:
        """As `as_matrix`."""
        return as_matrix(self.edges, masks)

    def vary(self, base: State, matrix: np.ndarray | Tensor, *, stream: bool = False) -> Variants:
        """Runs variants as changes to a state.

        Args:
            matrix: [variants, readers, writers] (and positions): bool, or a tensor of weights between fill (0) and own
                value (1), which may ask for gradients.
            stream: in place of logits, what the final norm reads.
        """
        if torch.is_grad_enabled() and not isinstance(matrix, Tensor):
            with torch.no_grad():
                return self.vary(base, matrix, stream=stream)
        hard = None
        if isinstance(matrix, Tensor):  # soft: whatever may carry something is run
            live = self.edges.matrix(np.ones((len(matrix), len(self.edges)), dtype=bool))
            weights, plan = matrix, schedule(self.circuits, base, live, soft=True)
        else:
            live, hard = matrix if matrix.ndim == 3 else np.any(matrix, -1), matrix if matrix.ndim == 3 else None
            few = self.few / self.tokens.shape[1] if hard is not None else 0.0
            plan = schedule(self.circuits, base, live, exact=matrix, few=few)
            weights = torch.from_numpy(matrix).to(self.fill_input)
        mix = Mix(self, base, weights, plan, hard)
        parts: dict[tuple[int, str, bool], tuple[np.ndarray, Tensor]] = {}
        for layer, found in enumerate(plan.layers):
            if not found:
                continue
            for part, narrow in (("q", False), ("q", True), ("k", False), ("v", False)):
                index = found[part + "!" if narrow else part]
                if len(index):
                    x = self._spread(mix.read(self.circuits.layers[layer][part][index], narrow), narrow)
                    normed = self._normed(x, layer, "scale1", narrow)
                    parts[layer, part, narrow] = index, self._project(normed, layer, part, index, narrow)
            for heads, narrow in ((found["heads"], False), (found["heads!"], True)):
                if len(heads):
                    q = self._full(base, parts.get((layer, "q", narrow)), layer, "q", heads, mix.variants, narrow)
                    k, v = (self._full(base, parts.get((layer, x, False)), layer, x, heads, mix.variants) for x in "kv")
                    z = self._attend(q, k, v, layer, heads, narrow)
                    fill = self.fill_z[layer][heads]
                    fill = self._spread(fill[:, *self.items], narrow) if narrow else fill
                    room = mix.room(len(heads), narrow)
                    z = self._written(z - fill.unsqueeze(1), layer, heads, room)
                    mix.add(plan.head_writers(layer, heads), z, narrow)
            if found["mlp"].size:
                narrow = bool(plan.at_items[plan.mlp_writer(layer)[0]])
                fill = self.fill_mlp[layer]
                assert fill is not None
                x = self._mlp(self._spread(mix.read(self.circuits.layers[layer]["mlp"], narrow), narrow), layer, narrow)
                fill = self._spread(fill[self.items], narrow) if narrow else fill
                mix.add(plan.mlp_writer(layer), torch.sub(x, fill, out=mix.room(1, narrow)), narrow)
        self.circuits.bench.runner.count(len(self.rows) * plan.work * mix.variants)
        return Variants(
            matrix if isinstance(matrix, np.ndarray) else np.zeros(0),
            self._last(mix) if stream else self._unembed(mix),
            parts,
            mix.blocks(),
            plan.stale,
            plan.narrow,
            self.items,
        )

    # --- pieces ---

    def _full(
        self,
        base: State,
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
            known = getattr(base, part)[layer]
            known = self._spread(known[:, *self.items], narrow) if narrow else known
            if new is None:
                known = known if len(groups) == len(known) else known[torch.from_numpy(groups)]
                out = known.unsqueeze(1).expand(-1, variants, -1, -1, -1)
            else:
                spot = {int(group): place for place, group in enumerate(new[0])}
                out = known.new_empty(len(groups), variants, *known.shape[1:])
                for place, group in enumerate(groups):
                    out[place] = new[1][spot[group]] if group in spot else known[group]
        return out if len(heads) == len(groups) else out[torch.from_numpy(np.searchsorted(groups, heads // share))]

    def _spread(self, x: Tensor, narrow: bool) -> Tensor:
        """[..., items, d] of narrow nodes as [..., rows, items of each, d]."""
        return x.unflatten(-2, (len(self.rows), self.few)) if narrow else x

    def _normed(self, x: Tensor, layer: int, which: str, narrow: bool = False) -> Tensor:
        if len(x) > 1 and x.stride(0) == 0:  # the same for all
            return self._normed(x[:1], layer, which, narrow).expand(x.shape)
        weights = self.model.weights
        norm = weights.final_norm if which == "scale" else weights.layers[layer].norm1
        norm = weights.layers[layer].norm2 if which == "scale2" else norm
        scale = self._scales.get((which, layer))
        if scale is None and x.dtype in (torch.float32, torch.float64):  # in fewer passes over memory
            if norm.centred:
                return functional.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps)
            if norm.bias is None and not torch.is_grad_enabled():
                square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
                return (x * square.div_(x.shape[-1]).add_(norm.eps).rsqrt_()).mul_(norm.weight)
        if scale is not None and narrow:
            scale = self._spread(scale[self.items], narrow)
        return norm(x, None if scale is None else lambda _: scale)

    def _project(self, x: Tensor, layer: int, part: str, index: np.ndarray, narrow: bool = False) -> Tensor:
        """[some, variants, rows, pos, d_model] to queries, keys or values [some, variants, rows, pos, d_head]."""
        which, weights = "qkv".index(part), self.model.weights.layers[layer]
        bias = self.model.qkv_bias(layer, which)
        out = product(x.flatten(1, 3), self.model._W_qkv(layer, which), index)
        if bias is not None:
            at = torch.from_numpy(index).to(x.device)
            out = out + bias[at].unsqueeze(1) if out.requires_grad else out.add_(bias[at].unsqueeze(1))
        out = out.unflatten(1, x.shape[1:4])
        norm = {"q": weights.q_norm, "k": weights.k_norm}.get(part)
        out = out if norm is None else norm(out)
        if self.rotation is None or part == "v":
            return out
        at = self.items[1].view(-1, self.few) if narrow else slice(None)
        return rotate(out, (self.rotation[0][at], self.rotation[1][at]))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, layer: int, heads: np.ndarray, narrow: bool = False) -> Tensor:
        """[heads, variants, rows, pos, d_head]; keys and values may come as groups of the same heads."""
        if len(k) != len(q):
            share = self.model.config.heads // self.model.config.kv_heads
            at = torch.from_numpy(heads // share)
            k, v = k[at], v[at]
        out = functional.scaled_dot_product_attention(
            q.flatten(0, 1),
            k.flatten(0, 1),
            v.flatten(0, 1),
            attn_mask=self.seen if narrow else None,
            is_causal=not narrow,
            scale=self.model.weights.layers[layer].scaling,
        )
        return out.unflatten(0, q.shape[:2])

    def _written(self, z: Tensor, layer: int, heads: np.ndarray, room: Tensor | None = None) -> Tensor:
        """z of these heads [heads, ..., d_head] in the stream [heads, ..., d_model]; put into `room` where given."""
        out = product(z.flatten(1, -2), self.model.W_O(layer), heads, None if room is None else room.flatten(1, -2))
        return out.unflatten(1, z.shape[1:-1])

    def _mlp(self, x: Tensor, layer: int, narrow: bool = False) -> Tensor:
        weights, act = self.model.weights.layers[layer], self.model.weights.act
        assert weights.up is not None
        assert weights.down is not None
        read = self._normed(x, layer, "scale2", narrow)
        return weights.down(
            act(weights.up(read)) if weights.gate is None else act(weights.gate(read)) * weights.up(read)
        )

    def _last(self, mix: Mix) -> Tensor:
        return mix.read(np.array([len(self.edges.readers) - 1]), items=True)[0]

    def _unembed(self, mix: Mix) -> Tensor:
        layers, x = self.model.config.layers, self._last(mix)
        scale = self._scales.get(("scale", layers))
        norm = self.model.weights.final_norm
        x = norm(x, None if scale is None else lambda _: scale[self.items])
        return self.model.weights.unembedding(x)
