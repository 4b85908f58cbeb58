"""A sparse code: values x [n, d_in] -> a few features of many [n, width] -> what these say, [n, d_out]."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

Rule = Literal["relu", "topk", "threshold", "gated"]
Rescale = Literal["none", "layer", "norm"]
AT_ONCE = 4_096  # values that are coded together


@dataclass(frozen=True, eq=False)
class Chosen:
    """The features that are not zero, row by row.

    Attributes:
        column, value: of each; offset: [n] where each row's first stands in them.
    """

    column: Int[Tensor, "active"]
    value: Float[Tensor, "active"]
    offset: Int[Tensor, "n"]

    @property
    def row(self) -> Int[Tensor, "active"]:
        ends = torch.cat([self.offset[1:], self.offset.new_tensor([len(self.column)])])
        return torch.repeat_interleave(torch.arange(len(self.offset), device=ends.device), ends - self.offset)

    def dense(self, width: int) -> Float[Tensor, "n width"]:
        out = self.value.new_zeros(len(self.offset), width)
        return out.index_put_((self.row, self.column), self.value)


@dataclass(frozen=True, eq=False)
class SparseCode:
    """An encoder, a rule for which features are active, and a decoder.

    `features = rule((x - before) @ encoder.T + encoder_bias)`, `x' = features @ decoder + decoder_bias (+ x @ skip.T)`.

    Attributes:
        encoder: [width, d_in]; encoder_bias: [width]; decoder: [width, d_out]; decoder_bias: [d_out].
        before: [d_in], taken from a value before it is encoded.
        rule: "relu"; "topk": the k largest of a value's, less those below 0; "threshold": those above `threshold`;
            "gated": those whose pre-activation is above 0, at the size `relu(exp(gate_scale) * (x - before) @ encoder.T
            + gate_bias)`.
        k: of the rule "topk"; threshold: [width], of the rule "threshold".
        gate_scale, gate_bias: [width], of the rule "gated".
        skip: [d_out, d_in], what a skip transcoder adds without features.
        most: values of a larger norm are not coded, and stay what they are: in many networks a few tokens (the first,
            and those that heads rest on) have values a hundred times as large as all others.
        rescale: what is done to a value before all that, and undone behind it: nothing; "layer": centred and divided by
            its own standard deviation; "norm": scaled to the norm sqrt(d_in).
    """

    encoder: Float[Tensor, "_ _"]
    encoder_bias: Float[Tensor, "_"]
    decoder: Float[Tensor, "_ _"]
    decoder_bias: Float[Tensor, "_"]
    before: Float[Tensor, "_"]
    rule: Rule = "relu"
    k: int | None = None
    threshold: Float[Tensor, "_"] | None = None
    gate_scale: Float[Tensor, "_"] | None = None
    gate_bias: Float[Tensor, "_"] | None = None
    skip: Float[Tensor, "_ _"] | None = None
    rescale: Rescale = "none"
    most: float | None = None

    @property
    def width(self) -> int:
        return self.encoder.shape[0]

    @property
    def d_in(self) -> int:
        return self.encoder.shape[1]

    @property
    def d_out(self) -> int:
        return self.decoder.shape[1]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by their attribute."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in found.items() if isinstance(value, Tensor)}

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> SparseCode:
        return replace(self, **{name: tensor.to(device, dtype) for name, tensor in self.tensors.items()})

    def scaled(self, by: float) -> SparseCode:
        """The same code of values that are `by` times as large, with features `by` times as large."""
        names = ("encoder_bias", "decoder_bias", "before", "threshold", "gate_bias")
        most = None if self.most is None else self.most * by
        return replace(self, most=most, **{name: self.tensors[name] * by for name in names if name in self.tensors})

    def takes(self, x: Float[Tensor, "*n d_in"]) -> Bool[Tensor, "*n"]:
        """Which values are coded."""
        return x.norm(dim=-1) <= (float("inf") if self.most is None else self.most)

    def pre(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n width"]:
        """Pre-activations of rescaled values."""
        return functional.linear(x - self.before, self.encoder, self.encoder_bias)

    def encode(self, x: Float[Tensor, "*n d_in"]) -> Float[Tensor, "*n width"]:
        """All features, most of which are zero."""
        x = self._rescaled(x)[0]
        if self.rule == "topk":
            flat = x.flatten(0, -2)
            return self.choose(flat).dense(self.width).unflatten(0, x.shape[:-1])
        return self._active(x)

    def choose(self, x: Float[Tensor, "n d_in"]) -> Chosen:
        """The active features of rescaled values alone."""
        if self.rule == "topk":
            value, column = self.pre(x).topk(min(self.k or 0, self.width), dim=-1, sorted=False)
            return sparse(column, value.clamp(min=0))
        dense = self._active(x)
        row, column = dense.nonzero(as_tuple=True)
        counts = torch.bincount(row, minlength=len(x))
        return Chosen(column, dense[row, column], counts.cumsum(0) - counts)

    def _active(self, x: Float[Tensor, "*n d_in"]) -> Float[Tensor, "*n width"]:
        pre = self.pre(x)
        match self.rule:
            case "threshold":
                assert self.threshold is not None
                return torch.where(pre > self.threshold, pre.clamp(min=0), 0.0)
            case "gated":
                assert self.gate_scale is not None
                assert self.gate_bias is not None
                size = (pre - self.encoder_bias) * self.gate_scale.exp() + self.gate_bias
                return torch.where(pre > 0, size.clamp(min=0), 0.0)
        return pre.clamp(min=0)

    def decode(self, features: Float[Tensor, "*n width"]) -> Float[Tensor, "*n d_out"]:
        """What features say, without what a skip adds, for values that are not rescaled."""
        return features @ self.decoder + self.decoder_bias

    def __call__(
        self, x: Float[Tensor, "*n d_in"], kept: Float[Tensor, "width"] | None = None
    ) -> Float[Tensor, "*n d_out"]:
        """What the code says of values: the reconstruction, or for a transcoder the other site's value.

        Args:
            kept: what each feature is multiplied with, such as 0 for one that is left out.
        """
        x, back = self._rescaled(x)
        flat = x.flatten(0, -2)
        out = torch.cat([self._said(part, kept) for part in flat.split(AT_ONCE)])
        return back(out.unflatten(0, x.shape[:-1]))

    def _said(self, x: Float[Tensor, "n d_in"], kept: Float[Tensor, "width"] | None) -> Float[Tensor, "n d_out"]:
        if self.rule == "topk":
            found = self.choose(x)
            value = found.value if kept is None else found.value * kept[found.column]
            out = decoded(found.column, value, found.offset, self.decoder) + self.decoder_bias
        else:
            features = self._active(x)
            out = self.decode(features if kept is None else features * kept)
        return out if self.skip is None else out + x @ self.skip.T

    def _rescaled(self, x: Tensor):
        match self.rescale:
            case "layer":
                mean = x.mean(-1, keepdim=True)
                spread = (x - mean).std(-1, keepdim=True) + 1e-5
                return (x - mean) / spread, lambda out: out * spread + mean
            case "norm":
                factor = x.shape[-1] ** 0.5 / x.norm(dim=-1, keepdim=True)
                return x * factor, lambda out: out / factor
        return x, lambda out: out


def sparse(column: Int[Tensor, "n k"], value: Float[Tensor, "n k"]) -> Chosen:
    """As many features in each row."""
    n, k = column.shape
    return Chosen(column.flatten(), value.flatten(), torch.arange(0, n * k, k, device=column.device))


def decoded(
    column: Int[Tensor, "active"], value: Float[Tensor, "active"], offset: Int[Tensor, "n"],
    decoder: Float[Tensor, "width d_out"],
) -> Float[Tensor, "n d_out"]:  # fmt: skip
    """Sums of decoder rows times features: what they say, in work that grows with the active features alone."""
    return functional.embedding_bag(column, decoder, offset, mode="sum", per_sample_weights=value)
