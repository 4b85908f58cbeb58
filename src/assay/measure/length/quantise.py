"""A model's weights at few bits: quantised, pruned or low-rank copies, and what each tensor costs entropy-coded.

Copies share nothing that is changed with the model they come from.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from assay.model.layer import Layer
from assay.model.transformer import Model
from assay.model.weights import Weights

SCALE_BITS = 16  # each row of a matrix has one scale


@dataclass(frozen=True, eq=False)
class Coded:
    """A copy of a model and the bits of every tensor of it, by name ("layers.1.out.weight")."""

    model: Model
    bits: dict[str, float]

    @property
    def total(self) -> float:
        return sum(self.bits.values())


def tensors(weights: Weights) -> dict[str, Tensor]:
    """Every stored tensor once, by name; a tied unembedding is the embedding and not listed again."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()

    def visit(value: Any, name: str) -> None:
        if isinstance(value, Tensor):
            if value.data_ptr() not in seen or value.numel() == 0:
                seen.add(value.data_ptr())
                found[name] = value
        elif is_dataclass(value):
            for field in fields(value):
                visit(getattr(value, field.name), f"{name}.{field.name}" if name else field.name)
        elif isinstance(value, tuple):
            for index, item in enumerate(value):
                visit(item, f"{name}.{index}")

    visit(replace(weights, frequencies=None), "")
    return found


def changed(model: Model, change: Callable[[str, Tensor], tuple[Tensor, float]]) -> Coded:
    """A copy with each tensor changed; `change(name, tensor)` gives the new tensor and its bits."""
    known = tensors(model.weights)
    new: dict[int, Tensor] = {}
    bits: dict[str, float] = {}
    for name, tensor in known.items():
        changed_tensor, bits[name] = change(name, tensor.detach())
        new[tensor.data_ptr()] = changed_tensor.to(tensor.dtype)

    frequencies = model.weights.frequencies
    weights = replace(_rebuilt(replace(model.weights, frequencies=None), new), frequencies=frequencies)
    return Coded(replace(model, weights=weights), bits)


def _rebuilt(value: Any, new: dict[int, Tensor]) -> Any:
    """Weights with each tensor replaced by the one that is known by its place in memory. (A function within `changed`
    that called itself would keep the copy until the garbage collector came by.)"""
    if isinstance(value, Tensor):
        return new.get(value.data_ptr(), value)
    if isinstance(value, tuple):
        return tuple(_rebuilt(item, new) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _rebuilt(getattr(value, f.name), new) for f in fields(value)})
    return value


def coded_bits(codes: Tensor, levels: int) -> float:
    """Integer codes of so many levels: how often each stands there, then which of the arrangements it is. About n times
    their entropy, and a code that can be read back."""
    _, counts = codes.flatten().unique(return_counts=True)
    n, often = codes.numel(), counts.double()
    histogram = math.lgamma(n + levels) - math.lgamma(n + 1) - math.lgamma(levels)  # C(n + levels - 1, levels - 1)
    return float(histogram + math.lgamma(n + 1) - torch.lgamma(often + 1).sum()) / math.log(2)


def quantised(model: Model, bits: int) -> Coded:
    """Uniform symmetric quantisation at `bits` bits with a scale for each row, entropy-coded; vectors keep 16 bits."""
    if not 2 <= bits <= 16:
        raise ValueError(f"bits must lie between 2 and 16, not {bits}")

    def change(tensor: Tensor) -> tuple[Tensor, float]:
        return _plain(tensor) if bits == 16 else _coded(tensor, 2 ** (bits - 1) - 1)

    return _matrices(model, change)


def pruned(model: Model, share: float) -> Coded:
    """The smallest `share` of every matrix's entries set to zero; the rest at 8 bits, entropy-coded with the zeros."""

    def change(tensor: Tensor) -> tuple[Tensor, float]:
        threshold = tensor.abs().flatten().kthvalue(max(1, int(share * tensor.numel()))).values
        return _coded(torch.where(tensor.abs() > threshold, tensor, torch.zeros_like(tensor)))

    return _matrices(model, change)


def low_rank(model: Model, share: float) -> Coded:
    """Every matrix replaced by its best approximation of `share` of its full rank, both factors at 8 bits."""

    def change(tensor: Tensor) -> tuple[Tensor, float]:
        rank = max(1, int(share * min(tensor.shape)))
        left, values, right = torch.linalg.svd(tensor, full_matrices=False)
        root = values[:rank].sqrt()
        (left, left_bits), (right, right_bits) = _coded(left[:, :rank] * root), _coded(root.unsqueeze(1) * right[:rank])
        return left @ right, left_bits + right_bits

    return _matrices(model, change)


def _matrices(model: Model, change: Callable[[Tensor], tuple[Tensor, float]]) -> Coded:
    """A copy whose matrices are changed, given in float32 at least (in float16 the least scale is 0)."""

    def one(_: str, tensor: Tensor) -> tuple[Tensor, float]:
        wide = tensor.to(torch.promote_types(tensor.dtype, torch.float32))
        return _plain(wide) if tensor.ndim < 2 else change(wide)

    return changed(model, one)


def _plain(tensor: Tensor) -> tuple[Tensor, float]:
    """Every number in 16 bits: those of float16, or of bfloat16 where one is too large."""
    half = tensor.half()
    return (half if half.isfinite().all() else tensor.bfloat16()).to(tensor.dtype), 16.0 * tensor.numel()


def _coded(matrix: Tensor, top: int = 127) -> tuple[Tensor, float]:
    """Whole numbers from -top to top times a scale for each row, which is stored in bfloat16's 16 bits."""
    scale = (matrix.abs().amax(1, keepdim=True).clamp(min=1e-12) / top).bfloat16().to(matrix.dtype)
    codes = (matrix / scale).round().clamp(-top, top)
    return codes * scale, coded_bits(codes.to(torch.int32), 2 * top + 1) + SCALE_BITS * len(matrix)


@dataclass(frozen=True)
class Reads:
    """Which heads' parts and MLPs a run still reads: (layer, head) sets and layer -> number of neurons (None: all)."""

    queries: frozenset[tuple[int, int]]
    values: frozenset[tuple[int, int]]
    outputs: frozenset[tuple[int, int]]
    neurons: dict[int, int | None]


def read_bits(coded: Coded, reads: Reads) -> float:
    """Bits of the weights that a run still reads: embeddings, norms and biases always, parts by their share of rows."""
    model = coded.model
    shape = model.config
    total = sum(bits for name, bits in coded.bits.items() if not name.startswith("layers."))
    share = shape.heads // shape.kv_heads
    for index, layer in enumerate(model.weights.layers):
        rest = {n: b for n, b in coded.bits.items() if n.startswith(f"layers.{index}.")}
        fraction = _fractions(index, layer, reads, shape.heads, shape.kv_heads, share, shape.d_mlp[index])
        for name, bits in rest.items():
            part = name.split(".", 2)[2]
            total += bits * next((f for prefix, f in fraction.items() if part.startswith(prefix)), 1.0)
    return total


def _fractions(
    index: int, layer: Layer, reads: Reads, heads: int, groups: int, share: int, width: int | None
) -> dict[str, float]:
    queries = {h for at, h in reads.queries if at == index}
    values = {h for at, h in reads.values if at == index}
    outputs = {h for at, h in reads.outputs if at == index}
    q = len(queries) / heads
    k = len({h // share for h in queries}) / groups
    v = len({h // share for h in values}) / groups
    out = {"out.weight": len(outputs) / heads}
    if len(layer.qkv) == 3:
        out |= {"qkv.0": q, "qkv.1": k, "qkv.2": v}
    else:
        out |= {"qkv.0": (q + k + v) / 3}
    kept = reads.neurons.get(index, 0)
    if width:
        some = 1.0 if kept is None else kept / width
        out |= {"up": some, "gate": some, "down.weight": some}
    return out
