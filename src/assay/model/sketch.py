"""Sketches: models that are run as another one would be, layer by layer, at a small part of its cost.

They have the layers, heads and vocabulary of the model that they stand for, and say that they have its sizes, so that
memory is shared out as it would be there. Their own weights are random and narrow; a layer that nobody looks at changes
nothing, and in the others there are no positions and no norms, and attention looks at its own place alone. What they
compute means nothing; what is run, how often and from which layer on is what a measurement costs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from assay.model import meter
from assay.model.layer import Layer, Linear, Norm, Rotation, Tap, per_head
from assay.model.module import ModuleModel
from assay.model.proving import LIBRARYS, OURS, proof_tokens
from assay.model.transformer import Model, Taps
from assay.model.weights import Weights

D_HEAD = 2  # numbers of a head: with one a head's value would be its size
WRITES = 0.5  # how large what a map writes is: without norms a stream grows from layer to layer


@dataclass(frozen=True, eq=False)
class Sketch(Model):
    """A model in another one's place. `times`: how many times as wide that one is."""

    times: float = 1.0

    @property
    def scale(self) -> float:
        return self.times

    @cached_property
    def fingerprint(self) -> str:
        """It has none."""
        return "sketch"

    def run_layer(
        self, x: Tensor, index: int, taps: Taps, rotation: Rotation | None, unread: Collection[tuple[str, int]]
    ) -> Tensor:
        """A layer that somebody looks at; any other one changes nothing."""
        if any(at == index and kind != "stream" for kind, at in taps):
            return super().run_layer(x, index, taps, rotation, unread)
        meter.passed(x.shape[0] * x.shape[1] / self.config.layers, x.requires_grad)
        return x

    def again(self) -> Sketch:
        """A copy; of the model it would be proved."""
        meter.passed((OURS + LIBRARYS) * proof_tokens(self.config.vocab, self.config.context).numel())
        return replace(self)


@dataclass(frozen=True, eq=False)
class ModuleSketch(ModuleModel):
    """A module in another one's place: every value is that of one example, whatever is read and put there."""

    def forward(self, inputs: Any, taps: Mapping[tuple[str, int], Any] | None = None) -> Tensor:
        keys = tuple(taps or ())
        meter.passed(len(inputs), bool(taps) and torch.is_grad_enabled())
        if keys not in self._known:
            values: dict[Any, Tensor] = {}
            seen = {key: lambda value, key=key: values.update({key: value}) for key in keys}
            with torch.no_grad():
                self._known[keys] = super().forward(inputs[:1], seen), values
        output, values = self._known[keys]
        out = output.expand(len(inputs), *output.shape[1:])
        for key, tap in (taps or {}).items():
            new = tap(values[key].expand(len(inputs), *values[key].shape[1:]))
            if isinstance(new, Tensor) and new.requires_grad:
                out = out + 0.0 * new.sum()
        return out

    @cached_property
    def _known(self) -> dict[tuple[tuple[str, int], ...], tuple[Tensor, dict[Any, Tensor]]]:
        return {}


@dataclass(frozen=True)
class _Norm(Norm):
    def __call__(self, x: Tensor, tap: Tap | None = None) -> Tensor:
        return x if tap is None else super().__call__(x, tap)


@dataclass(frozen=True)
class _Layer(Layer):
    def attend(self, q: Tensor, k: Tensor, v: Tensor, seen: Tensor | Literal["causal", "all"] = "causal") -> Tensor:
        if torch.is_grad_enabled() or seen != "causal":
            return super().attend(q, k, v, seen)
        return per_head(v, q.shape[1])


def stand_in(model: Model | ModuleModel, *, neurons: bool = False) -> Sketch | ModuleSketch:
    """A sketch of any model; `neurons` as in `sketch`."""
    if isinstance(model, Model):
        return sketch(model, neurons=neurons)
    return ModuleSketch(**{one.name: getattr(model, one.name) for one in fields(ModuleModel)})


def sketch(model: Model, *, neurons: bool = False) -> Sketch:
    """A sketch of a model, on the CPU.

    Args:
        neurons: MLPs keep their widths, as single neurons are looked at.
    """
    shape, own = model.config, model.weights
    scale = max(1.0, shape.d_head / D_HEAD)
    d_model, d_head = max(1, round(shape.d_model / scale)), min(shape.d_head, D_HEAD)
    generator = torch.Generator().manual_seed(0)

    def linear(outputs: int, inputs: int) -> Linear:
        return Linear((torch.randn(outputs, inputs, generator=generator) * WRITES * inputs**-0.5).to(model.dtype))

    def norm(like: Norm, width: int = d_model) -> Norm:
        return _Norm(torch.ones(width, dtype=model.dtype), None, like.eps, like.centred)

    def layer(like: Layer, width: int | None) -> Layer:
        there = like.has_mlp and width is not None
        inner = width if neurons and width else 1
        return _Layer(
            norm1=norm(like.norm1),
            qkv=tuple(linear(n * d_head, d_model) for n in (shape.heads, shape.kv_heads, shape.kv_heads)),
            out=linear(d_model, shape.heads * d_head),
            scaling=d_head**-0.5,
            norm2=norm(like.norm2),
            up=linear(inner, d_model) if there else None,
            down=linear(d_model, inner) if there else None,
            act=like.act,
            heads=shape.heads,
            d_head=d_head,
            gate=linear(inner, d_model) if there and like.gate is not None else None,
            q_norm=None if like.q_norm is None else norm(like.q_norm, d_head),
            k_norm=None if like.k_norm is None else norm(like.k_norm, d_head),
        )

    weights = Weights(
        embedding=linear(shape.vocab, d_model).weight,
        layers=tuple(map(layer, own.layers, shape.d_mlp)),
        final_norm=replace(own.final_norm, weight=torch.ones(d_model, dtype=model.dtype), bias=None),
        unembedding=linear(shape.vocab, d_model),
    )
    kept = {
        field: getattr(model, field) for field in ("name", "family", "config", "source", "tokenizer", "bos", "window")
    }
    out = Sketch(**kept, weights=weights, proof=model.proof, times=scale)
    out.__dict__["parameters"] = model.parameters
    return out
