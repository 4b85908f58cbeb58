"""Which circuits are run in one call, and how many rows and variants fit the memory: functions of shapes and masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int

from assay.intervene.circuits.engine import CircuitEngine
from assay.intervene.circuits.schedule import Schedule, schedule
from assay.intervene.circuits.state import CircuitState

MEMORY = 1 << 30  # bytes that states and the variants of a call may take
TOKENS = 2_048  # tokens of one variant in a call: more leave the cache and gain nothing
CALL = 1e8  # multiply-adds that a call costs by itself: Python, and matrices too small to be fast


@dataclass(frozen=True)
class CallSizes:
    """Sizes of calls.

    Attributes:
        rows: how many are run together; variants: how many of them at most.
    """

    rows: int
    variants: int


def budget(circuits: CircuitEngine, rows: int, memory: int = MEMORY, variants: int = 1) -> CallSizes:
    """How many of `rows` rows are run together, with room for `variants` variants; a function of shapes.

    States keep every writer's difference, queries, keys and values; a variant also one layer's inputs, one for each
    reader, and the logits.
    """
    shape, task = circuits.model.config, circuits.task
    positions, size = task.tokens.shape[1], torch.finfo(circuits.model.dtype).bits // 8
    items = max(1, int(task.scored.sum(1).max()))
    stream = positions * shape.d_model
    values = len(circuits.edges.writers) * stream + 3 * shape.layers * shape.heads * positions * shape.d_head
    state = size * 2 * (values + items * shape.vocab)
    variant = size * (values + 4 * max(shape.heads, 2) * stream + 3 * items * shape.vocab)
    most = max(1, min(rows, TOKENS // positions))
    together = max(1, min(most, memory // (state + variants * variant)))
    return CallSizes(together, max(1, (memory - together * state) // (together * variant)))


def node_weights(circuits: CircuitEngine) -> Float64[np.ndarray, "writers"]:
    """Multiply-adds that each writer's node costs for one token, attention's products of positions left out."""
    shape = circuits.model.config
    share = shape.heads // shape.kv_heads
    head = 2 * shape.d_model * shape.d_head * (1 + 1 / share)
    out = [0.0]
    for width in shape.d_mlp:
        out += [head] * shape.heads
        if width is not None:
            gated = circuits.model.weights.layers[0].gate is not None
            out.append(float(shape.d_model * width * (3 if gated else 2)))
    return np.array(out)


def live_shares(
    circuits: CircuitEngine, masks: Bool[np.ndarray, "variants edges *pos"]
) -> Float64[np.ndarray, "variants"]:
    """The share of a forward pass (in multiply-adds of its nodes) that each circuit computes when it is run alone."""
    weights = node_weights(circuits)
    return np.array([weights @ _nearer(circuits, masks[i : i + 1])[1] for i in range(len(masks))]) / weights.sum()


@dataclass(frozen=True, eq=False)
class VariantGroup:
    """Variants that are run in one call.

    Attributes:
        clean: whether they are changes to the model's own run, or to the one with every edge cut.
        members: their places.
    """

    clean: bool
    members: Int[np.ndarray, "some"]


def grouped(
    circuits: CircuitEngine,
    masks: Bool[np.ndarray, "variants edges *pos"],
    rows: int,
    most: int,
    *,
    call: float = CALL,
) -> list[VariantGroup]:
    """Variants that need the same nodes run together, others apart.

    Args:
        rows: how many are run together; most: variants in a call at most.
        call: multiply-adds that a call costs by itself: a variant joins others where that is more than the work that
            they then do for nothing.
    """
    weights = node_weights(circuits)
    token = rows * circuits.task.tokens.shape[1]
    found = [_nearer(circuits, masks[i : i + 1]) for i in range(len(masks))]
    # equal ones come side by side, nested ones in order
    order = sorted(range(len(found)), key=lambda i: (found[i][0], weights @ found[i][1], found[i][1].tobytes()))
    out: list[VariantGroup] = []
    union = np.zeros(0, dtype=bool)
    members: list[int] = []
    for i in order:
        clean, nodes = found[i]
        if members and len(members) < most and clean == found[members[0]][0]:
            joined = union | nodes
            added = len(members) * (weights @ (joined & ~union)) + weights @ (joined & ~nodes)
            if added * token <= call:
                members.append(i)
                union = joined
                continue
        if members:
            out.append(VariantGroup(found[members[0]][0], np.array(members)))
        members, union = [i], nodes
    return [*out, VariantGroup(found[members[0]][0], np.array(members))] if members else out


def _nearer(
    circuits: CircuitEngine, mask: Bool[np.ndarray, "one edges *pos"]
) -> tuple[bool, Bool[np.ndarray, "writers"]]:
    """Whether the model's own run is nearer than the empty one, and the nodes that are computed from the nearer."""
    live = circuits.edges.matrix(mask if mask.ndim == 2 else np.any(mask, -1))
    whole = live if mask.ndim == 2 else circuits.edges.matrix(np.all(mask, -1))
    from_empty = _nodes(circuits, schedule(circuits.edges, _known(circuits, False), live))
    if circuits.edits is not None:  # the model's own run has none of them
        return False, from_empty
    if mask.ndim == 2 and not (from_empty & ~_cut(circuits, live[0])).any():
        return False, from_empty  # all of these nodes would be computed from the model's own run, too
    plan = schedule(circuits.edges, _known(circuits, True), live)
    if mask.ndim == 3 and not np.array_equal(whole, live):  # edges that carry something at some positions only
        plan = schedule(circuits.edges, _known(circuits, True), live, exact=np.stack([live, whole], -1))
    from_clean = _nodes(circuits, plan)
    weights = node_weights(circuits)
    clean = bool(weights @ from_clean < weights @ from_empty)
    return clean, from_clean if clean else from_empty


def _cut(circuits: CircuitEngine, live: Bool[np.ndarray, "readers writers"]) -> Bool[np.ndarray, "writers"]:
    """Nodes that an edge is cut into."""
    edges = circuits.edges
    readers = live.sum(1) < np.diff(edges.offsets)
    return (edges.node_of & readers[:, None]).any(0)


def _nodes(circuits: CircuitEngine, plan: Schedule) -> Bool[np.ndarray, "writers"]:
    out = np.zeros(len(circuits.edges.writers), dtype=bool)
    for layer, found in enumerate(plan.layers):
        if found:
            out[plan.head_writers(layer, found["heads"])] = True
            if found["mlp"].size:
                out[plan.mlp_writer(layer)] = True
    return out


def _known(circuits: CircuitEngine, clean: bool) -> CircuitState:
    """One of the two known runs without its values, for the schedule."""
    writers = len(circuits.edges.writers)
    matrix = circuits.edges.matrix(np.full(len(circuits.edges), clean))
    zero = np.full(writers, circuits.consistent and not clean)
    zero[0] = False
    none = np.zeros(writers, dtype=bool)
    return CircuitState(matrix, [], [], [], torch.empty(writers, 0, 0, 0), zero, none, none.copy())
