"""One layer of a decoder-only transformer: its weights, and each of its operations once, for all that runs a model.

The forward pass, circuits (some heads alone, by reader), sweeps (some columns alone) and gradients by hand are made of
these. What differs between them is which inputs they give, and what they do between two operations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

Tap = Callable[[Tensor], Any]  # sees a value; gives its replacement, or None to leave it

PARTS = "qkv"  # queries, keys, values: in the order in which `Layer.qkv` has them
EXACT = (torch.float32, torch.float64)  # types that no norm is computed wider than
GATHERED = 1 << 14  # numbers of a head's matrix: smaller ones are copied side by side, larger ones read where they are


@dataclass(frozen=True)
class Linear:
    """`x @ weight.T + bias`; weight is [out, in], often a transposed view of what the library keeps."""

    weight: Tensor
    bias: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self.bias)


@dataclass(frozen=True)
class Norm:
    """LayerNorm (`centred`) or RMSNorm: `x / scale` (after centring), then gain and bias. Halves compute in float32."""

    weight: Tensor
    bias: Tensor | None
    eps: float
    centred: bool

    def __call__(self, x: Tensor, tap: Tap | None = None) -> Tensor:
        if tap is not None:
            scale = self.scale(x)
            new = tap(scale)
            return self.over(x, scale if new is None else new)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        norm = functional.layer_norm if self.centred else functional.rms_norm
        return self._gained(norm(wide, (x.shape[-1],), eps=self.eps).to(x.dtype))

    def quick(self, x: Tensor) -> Tensor:
        """The same to rounding in fewer passes over memory, for many small inputs: circuits are bound by these."""
        if x.dtype in EXACT and self.centred:
            return functional.layer_norm(x, (x.shape[-1],), self.weight, self.bias, self.eps)
        if x.dtype in EXACT and self.bias is None and not torch.is_grad_enabled():
            square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
            return (x * square.div_(x.shape[-1]).add_(self.eps).rsqrt_()).mul_(self.weight)
        return self(x)

    def centre(self, x: Tensor) -> Tensor:
        """What is divided by the scale: x, less its mean where the norm is centred."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        return wide - wide.mean(-1, keepdim=True) if self.centred else wide

    def scale(self, x: Float[Tensor, "*some width"]) -> Float[Tensor, "*some one"]:
        """The divisor."""
        return (self.centre(x).square().mean(-1, keepdim=True) + self.eps).sqrt()

    def over(self, x: Tensor, scale: Tensor) -> Tensor:
        """The norm with a divisor that is given in place of its own."""
        return self._gained((self.centre(x) / scale).to(x.dtype))

    def _gained(self, x: Tensor) -> Tensor:
        out = x * self.weight
        return out if self.bias is None else out + self.bias


class Rotation(NamedTuple):
    """RoPE's cosines and sines [*columns, rotated dims]."""

    cos: Tensor
    sin: Tensor

    def at(self, columns: Int[Tensor, "*some"]) -> Rotation:
        """Those of some columns."""
        return Rotation(self.cos[columns], self.sin[columns])

    def to(self, dtype: torch.dtype) -> Rotation:
        return Rotation(self.cos.to(dtype), self.sin.to(dtype))


def rotate(x: Float[Tensor, "*some pos d_head"], rotation: Rotation | None) -> Float[Tensor, "*some pos d_head"]:
    """RoPE on the first dims, halves convention; the rest passes. Without a rotation x itself."""
    if rotation is None:
        return x
    cos, sin = rotation
    turned, rest = x[..., : cos.shape[-1]], x[..., cos.shape[-1] :]
    left, right = turned.chunk(2, dim=-1)
    turned = turned * cos + torch.cat([-right, left], dim=-1) * sin
    return torch.cat([turned, rest], dim=-1) if rest.shape[-1] else turned


def per_head(x: Float[Tensor, "batch groups pos d_head"], heads: int) -> Float[Tensor, "batch heads pos d_head"]:
    """Keys or values of groups, for each of the heads that share them."""
    share = heads // x.shape[1]
    return x.repeat_interleave(share, dim=1) if share > 1 else x


def causal_scores(
    q: Float[Tensor, "*batch pos d_head"], k: Float[Tensor, "*batch pos d_head"], scaling: float
) -> Float[Tensor, "*batch pos pos"]:
    """What the softmax of attention is taken of: no query sees a later key."""
    future = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).triu(1)
    return (q @ k.transpose(-2, -1) * scaling).masked_fill(future, -torch.inf)


def softmax(scores: Float[Tensor, "*batch keys"]) -> Float[Tensor, "*batch keys"]:
    """Attention's softmax: halves are computed in float32."""
    return scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(scores.dtype)


@dataclass(frozen=True)
class Layer:
    """Weights of one layer, and what it computes of them.

    Attributes:
        qkv: three maps, or one fused map whose output holds all queries, then keys, then values ("blocks") or the
            three of each head together ("interleaved"), as `fused` says.
        q_norm, k_norm: norms of each head's queries and keys, where the family has them.
        gate, up, down: the MLP, `down(act(gate(x)) * up(x))`, or `down(act(up(x)))` without gate; None: no MLP.
        scaling: factor on queries times keys.
    """

    norm1: Norm
    qkv: tuple[Linear, ...]
    out: Linear
    scaling: float
    norm2: Norm
    up: Linear | None
    down: Linear | None
    act: Callable[[Tensor], Tensor]
    heads: int
    d_head: int
    gate: Linear | None = None
    q_norm: Norm | None = None
    k_norm: Norm | None = None
    fused: Literal["no", "blocks", "interleaved"] = "no"

    @property
    def has_mlp(self) -> bool:
        return self.down is not None

    # -- attention's inputs; `part` is "q", "k" or "v" ---

    def project(self, x: Float[Tensor, "*some d_model"]) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [*some, heads or groups, d_head] as they leave their maps, of the normed stream."""
        if self.fused == "no":
            q, k, v = (linear(x).unflatten(-1, (-1, self.d_head)) for linear in self.qkv)
        else:
            q, k, v = self._split(self.qkv[0](x), -1)
        return q, k, v

    def project_part(self, x: Float[Tensor, "*some d_model"], part: str) -> Float[Tensor, "*some groups d_head"]:
        """One of the three for all heads or groups; interleaved weights are copied."""
        if self.fused == "no":
            return self.qkv[PARTS.index(part)](x).unflatten(-1, (-1, self.d_head))
        weight, bias = self.W_in(part).transpose(1, 2).flatten(0, 1), self.b_in(part)
        return functional.linear(x, weight, None if bias is None else bias.flatten()).unflatten(-1, (-1, self.d_head))

    def project_heads(
        self, x: Float[Tensor, "some n d_model"], part: str, index: Int[np.ndarray, "some"]
    ) -> Float[Tensor, "some n d_head"]:
        """One of the three for some heads or groups, each of which has an input of its own."""
        out, bias = _product(x, self.W_in(part), index), self.b_in(part)
        if bias is None:
            return out
        bias = bias[torch.from_numpy(index).to(x.device)].unsqueeze(1)
        return out + bias if out.requires_grad else out.add_(bias)

    def head_normed(self, x: Float[Tensor, "*some d_head"], part: str, tap: Tap | None = None) -> Tensor:
        """Behind the norm of each head's queries or keys, where the family has one."""
        norm = self.q_norm if part == "q" else self.k_norm if part == "k" else None
        return x if norm is None else norm(x, tap)

    def attended(self, x: Float[Tensor, "*some pos d_head"], part: str, rotation: Rotation | None) -> Tensor:
        """Queries, keys or values as attention uses them: behind their norms, turned to their columns."""
        return x if part == "v" else rotate(self.head_normed(x, part), rotation)

    def W_in(self, part: str) -> Float[Tensor, "groups d_model d_head"]:
        """Each head's (or group's) query, key or value matrix, as a view: `normed @ W` (before bias, norm and RoPE)."""
        if self.fused == "no":
            return self.qkv[PARTS.index(part)].weight.unflatten(0, (-1, self.d_head)).transpose(1, 2)
        return self._split(self.qkv[0].weight, 0)[PARTS.index(part)].transpose(1, 2)

    def b_in(self, part: str) -> Float[Tensor, "groups d_head"] | None:
        """The biases of the same, where there are any."""
        if self.fused == "no":
            bias = self.qkv[PARTS.index(part)].bias
            return None if bias is None else bias.unflatten(0, (-1, self.d_head))
        bias = self.qkv[0].bias
        return None if bias is None else self._split(bias, 0)[PARTS.index(part)]

    def _split(self, x: Tensor, axis: int) -> tuple[Tensor, ...]:
        """The axis of a fused map's outputs as [heads, d_head], for each of the three."""
        axis %= x.ndim
        if self.fused == "blocks":
            return x.unflatten(axis, (3, self.heads, self.d_head)).unbind(axis)
        return x.unflatten(axis, (self.heads, 3, self.d_head)).unbind(axis + 1)

    # -- attention and what it writes ---

    def attend(
        self,
        q: Float[Tensor, "batch heads queries d_head"],
        k: Float[Tensor, "batch groups pos d_head"],
        v: Float[Tensor, "batch groups pos d_head"],
        seen: Bool[Tensor, "#heads queries pos"] | Literal["causal", "all"] = "causal",
    ) -> Float[Tensor, "batch heads queries d_head"]:
        """What heads take of the values. `seen`: the keys that each query sees; "causal": all but later ones."""
        k, v = per_head(k, q.shape[1]), per_head(v, q.shape[1])
        mask = seen if isinstance(seen, Tensor) else None
        return functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None and seen == "causal", scale=self.scaling
        )

    def attend_windows(
        self,
        q: Float[Tensor, "rows patches queries heads d_head"],
        k: Float[Tensor, "rows patches width kv_heads d_head"],
        v: Float[Tensor, "rows patches width kv_heads d_head"],
        past_k: Float[Tensor, "rows kv_heads past d_head"],
        past_v: Float[Tensor, "rows kv_heads past d_head"],
        visible: Bool[Tensor, "rows queries width"] | None,
    ) -> Float[Tensor, "rows patches queries heads d_head"]:
        """Attention of each patch to the row's past, which all patches share, and to its own window.

        A past shorter than the window is copied beside it (the fused kernel); a longer one is read in place.
        """
        rows, patches, queries, heads, width = q.shape
        groups, window, past = k.shape[3], k.shape[2], past_k.shape[2]
        share = heads // groups
        if visible is None and window > 1:
            visible = torch.ones(1, window, window, dtype=torch.bool, device=q.device).tril()
        if past > window:
            return self._attend_in_two(q, k, v, past_k, past_v, visible)
        # inner: rows, patches, groups, share, queries, d_head
        inner = q.unflatten(3, (groups, share)).permute(0, 1, 3, 4, 2, 5)
        inner = inner.reshape(rows * patches, groups, share * queries, width)
        keys, values = (x.permute(0, 1, 3, 2, 4) for x in (k, v))
        if past:
            keys = torch.cat([past_k.unsqueeze(1).expand(-1, patches, -1, -1, -1), keys], 3)
            values = torch.cat([past_v.unsqueeze(1).expand(-1, patches, -1, -1, -1), values], 3)
        mask = None
        if visible is not None:
            mask = functional.pad(visible, (past, 0), value=True).repeat(1, share, 1)[:, None]
            mask = mask if len(mask) == 1 else mask.repeat_interleave(patches, 0)
        out = functional.scaled_dot_product_attention(
            inner, keys.flatten(0, 1), values.flatten(0, 1), attn_mask=mask, scale=self.scaling
        )
        return out.view(rows, patches, groups, share, queries, width).permute(0, 1, 4, 2, 3, 5).flatten(3, 4)

    def _attend_in_two(
        self, q: Tensor, k: Tensor, v: Tensor, past_k: Tensor, past_v: Tensor, visible: Tensor | None
    ) -> Tensor:
        """The same by two products: with the past, once for all patches of a row, and with each patch's window."""
        rows, patches, queries, heads, width = q.shape
        groups, past = k.shape[3], past_k.shape[2]
        share = heads // groups
        # inner: rows, groups, patches, queries, share, d_head
        inner = q.unflatten(3, (groups, share)).permute(0, 3, 1, 2, 4, 5)
        own = inner.reshape(rows, groups, patches, queries * share, width) * self.scaling
        far = (own.flatten(2, 3) @ past_k.transpose(2, 3)).view(rows, groups, patches, queries, share, past)
        near = (own @ k.permute(0, 3, 1, 4, 2)).view(rows, groups, patches, queries, share, k.shape[2])
        if visible is not None:
            near = near.masked_fill(~visible[:, None, None, :, None], -torch.inf)
        pattern = softmax(torch.cat([far, near], -1)).flatten(3, 4)
        out = (pattern[..., :past].flatten(2, 3) @ past_v).view(own.shape)
        out = out + pattern[..., past:] @ v.permute(0, 3, 1, 2, 4)
        return out.view(rows, groups, patches, queries, share, width).permute(0, 2, 3, 1, 4, 5).flatten(3, 4)

    def pattern(
        self, q: Float[Tensor, "batch heads pos d_head"], k: Float[Tensor, "batch groups pos d_head"]
    ) -> Float[Tensor, "batch heads pos pos"]:
        """How much each query takes of each key's value: `attend` is this times the values."""
        return softmax(causal_scores(q, per_head(k, q.shape[1]), self.scaling))

    @property
    def W_out(self) -> Float[Tensor, "heads d_head d_model"]:
        """Each head's output matrix, as a view: `z @ W`. `out` is the sum of all of them, and the bias."""
        return self.out.weight.T.unflatten(0, (self.heads, self.d_head))

    def head_outputs(
        self, z: Float[Tensor, "some n d_head"], heads: Int[np.ndarray, "some"], room: Tensor | None = None
    ) -> Float[Tensor, "some n d_model"]:
        """What some heads write, each alone and without the bias; put into `room` where that is given."""
        return _product(z, self.W_out, heads, room)

    # -- the MLP ---

    def neurons(self, x: Float[Tensor, "*some d_model"], *, quick: bool = False) -> Float[Tensor, "*some d_mlp"]:
        """What the MLP's output matrix reads, of the normed stream. `quick`: as `in_one_pass` has the activation."""
        assert self.up is not None
        act = in_one_pass(self.act) if quick else self.act
        if self.gate is None:
            return act(self.up(x))
        gate, up = act(self.gate(x)), self.up(x)
        return gate * up if torch.is_grad_enabled() else gate.mul_(up)

    def mlp(self, x: Float[Tensor, "*some d_model"], *, quick: bool = False) -> Float[Tensor, "*some d_model"]:
        """What the MLP writes, of the normed stream."""
        assert self.down is not None
        return self.down(self.neurons(x, quick=quick))


def in_one_pass(act: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The activation in one pass over memory, where the library writes it out in eight (2e-7 apart in float32)."""
    name = type(act).__name__
    return partial(functional.gelu, approximate="tanh") if name in ("NewGELUActivation", "GELUTanh") else act


def _product(
    x: Float[Tensor, "some n a"],
    W: Float[Tensor, "all a b"],
    index: Int[np.ndarray, "some"],
    out: Float[Tensor, "some n b"] | None = None,
) -> Float[Tensor, "some n b"]:
    """Each of x times the one of W that `index` names for it, put into `out` where that is given."""
    if len(index) == len(W):
        return torch.bmm(x, W, out=out)
    if torch.is_grad_enabled() or W[0].numel() < GATHERED:
        return torch.bmm(x, W[torch.from_numpy(index).to(W.device)], out=out)
    out = x.new_empty(*x.shape[:2], W.shape[2]) if out is None else out
    for place, which in enumerate(index):
        torch.mm(x[place], W[int(which)], out=out[place])
    return out
