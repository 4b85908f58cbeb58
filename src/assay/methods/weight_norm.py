"""Scores of edges from virtual weights alone: how much of a writer's output matrix a reader's maps take up."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from assay.errors import ComponentError, nearest
from assay.methods.edge_scores import EdgeScores
from assay.model.edges import Reader
from assay.model.layer import Norm
from assay.model.transformer import Model

THROUGH = ("output", "circuit")


@torch.no_grad()
def weight_norm(model: Model, *, through: str = "output", relative: bool = False) -> EdgeScores:
    """The Frobenius norm of a writer's map times its reader's, with the norm's gain (and centring) between them.

    Args:
        through: "output": a head writes by W_O and reads by W_Q, W_K or W_V; an MLP by its down and up (and gate)
            matrices. "circuit": heads write by W_V W_O and read by W_Q W_Kᵀ (either way) or W_V W_O (Elhage et al.
            2021), without the rotation of positions; a group's keys or values are those of its heads, together.
        relative: divided by the norms of the two maps: their composition score.

    `input` writes a token drawn from the vocabulary at random, plus a position at random; `logits` reads by the
    unembedding.

    Raises:
        ComponentError: for another `through`.
    """
    if through not in THROUGH:
        raise ComponentError(f"unknown way {through!r}" + nearest(through, THROUGH))
    edges = model.edges
    rows = _writers(model, through)
    out = np.zeros((len(edges.readers), len(edges.writers)))
    for place, reader in enumerate(edges.readers):
        if reader.part == "logits":
            norm, columns = model.weights.final_norm, _short(model.W_U.T).T
        elif reader.part == "mlp":
            weights = model.weights.layers[reader.layer]
            maps = [linear.weight for linear in (weights.up, weights.gate) if linear is not None]
            norm, columns = weights.norm2, _short(torch.cat(maps)).T
        else:
            norm, columns = model.weights.layers[reader.layer].norm1, _head_map(model, reader, through)
        columns = _gained(norm, columns.double())
        sizes = torch.stack([(row.double() @ columns).norm() for row in rows[: reader.writers]])
        if relative:
            whole = torch.stack([row.double().norm() for row in rows[: reader.writers]]) * columns.norm()
            sizes = sizes / whole.clamp(min=torch.finfo(torch.float64).tiny)
        out[place, : reader.writers] = sizes.cpu().numpy()
    settings = {"through": through, "relative": relative}
    return EdgeScores(edges.flat(out), "weight_norm", settings, 0.0)


def _writers(model: Model, through: str) -> list[Float[Tensor, "_ d_model"]]:
    """What each writer's map is, as rows in the stream; no more than d_model of them, of the same Gram matrix."""
    W_E, positions = model.W_E, model.weights.positions
    parts = [W_E / len(W_E) ** 0.5] + ([] if positions is None else [positions / len(positions) ** 0.5])
    out, share = [_short(torch.cat(parts))], model.config.heads // model.config.kv_heads
    for layer, weights in enumerate(model.weights.layers):
        W_O, W_V = model.W_O(layer), model.W_V(layer)
        out += [W_O[h] if through == "output" else _short(W_V[h // share]) @ W_O[h] for h in range(len(W_O))]
        if weights.down is not None:
            out.append(_short(weights.down.weight.T))
    return out


def _head_map(model: Model, reader: Reader, through: str) -> Float[Tensor, "d_model _"]:
    """By what a head (or the heads of a group) reads the normed stream."""
    layer, share = reader.layer, model.config.heads // model.config.kv_heads
    W = model.weights.layers[layer].W_in(reader.part)[reader.index]
    if through == "output":
        return W
    if reader.part == "q":
        return W @ _short(model.W_K(layer)[reader.index // share]).T
    heads = range(reader.index * share, (reader.index + 1) * share)
    others = [model.W_Q(layer)[h] if reader.part == "k" else model.W_O(layer)[h].T for h in heads]
    return torch.cat([W @ _short(other).T for other in others], 1)


def _short(rows: Float[Tensor, "many width"]) -> Float[Tensor, "_ width"]:
    """At most as many rows as columns, with the same Gram matrix: the same norm after any map."""
    return rows if rows.shape[0] <= rows.shape[1] else torch.linalg.qr(rows.double(), mode="r").R.to(rows.dtype)


def _gained(norm: Norm, columns: Float[Tensor, "d_model some"]) -> Float[Tensor, "d_model some"]:
    """A map after a norm as a map of the stream, up to the norm's scale."""
    out = norm.weight.double()[:, None] * columns
    return out - out.mean(0) if norm.centred else out
