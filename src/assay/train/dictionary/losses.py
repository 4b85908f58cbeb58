"""A training step's loss and gradients: exact and sparse where so many features are active by themselves, by autograd
otherwise.

The loss is the squared error over the targets' variance; with it go the revival of dead features (Gao et al. 2024,
arXiv 2406.04093) and the penalties of the architectures that need one: L1 (Bricken et al. 2023), L0 through a
straight-through estimator (Rajamanoharan et al. 2024, arXiv 2407.14435), the gate's L1 (arXiv 2404.16014). Nested
prefixes: Bussmann et al. 2025 (arXiv 2503.17547); features shared by a batch: arXiv 2412.06410.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from assay.train.dictionary.code import Chosen, decoded, sparse
from assay.train.dictionary.parameters import CodeParameters
from assay.train.dictionary.products import added, at_chosen, gathered, largest

SAMPLE, SLACK = 16, 2  # one row in so many suggests a level, above which so many times as many values lie as are wanted
NESTED = (16, 8, 4, 2, 1)  # the prefixes of nested dictionaries are these parts of all features
BANDWIDTH = 0.1  # of the straight-through estimator, where a value's directions have variance 1


@dataclass(frozen=True)
class StepLoss:
    """Of one step: squared error over variance, mean active features, and which features were active."""

    error: Float[Tensor, ""]
    active: Float[Tensor, ""]
    fired: Bool[Tensor, "width"]


@torch.no_grad()
def sparse_step(
    own: CodeParameters, x: Float[Tensor, "n d_in"], y: Float[Tensor, "n d_out"], dead: Bool[Tensor, "width"] | None
) -> StepLoss:
    """Sets the gradients of a code whose features are chosen by rank, without autograd.

    Args:
        dead: features that have not been active for long, which learn what is left.
    """
    settings, width = own.settings, own.settings.width
    centred = x - own.before
    pre = _pre(own, centred)
    chosen = _chosen(own, pre)
    if settings.bf16:  # chosen by rounded products; the values are those of float32
        exact = at_chosen(chosen, centred, own.encoder) + own.encoder_bias[chosen.column]
        chosen = Chosen(chosen.column, exact.clamp(min=0), chosen.offset)
    there = own.decoder_bias + (0.0 if own.skip is None else x @ own.skip.T)
    variance = _variance(y)
    grads = _Gradients(own, centred)
    if settings.architecture == "matryoshka":
        left, out = _nested(own, chosen, y - there, variance, grads)
    else:
        left = y - there - decoded(chosen.column, chosen.value, chosen.offset, own.decoder)
        out = left * (-2 / variance)
        grads.reconstruct(chosen, out)
    if own.skip is not None:
        own.skip.grad = out.T @ x
    if dead is not None and bool(dead.any()) and settings.revival:
        _revive(own, pre, left, dead, grads)
    grads.set()
    if settings.architecture != "topk" and len(chosen.value):
        own.note_level(chosen.value.min())
    fired = added(chosen, (chosen.value > 0).to(chosen.value), width) > 0
    active = (chosen.value > 0).sum() / len(x)
    return StepLoss(left.square().sum() / variance, active, fired)


def _pre(own: CodeParameters, centred: Tensor) -> Float[Tensor, "n width"]:
    if own.settings.bf16:
        half = torch.bfloat16
        return functional.linear(centred.to(half), own.encoder.to(half), own.encoder_bias.to(half))
    return functional.linear(centred, own.encoder, own.encoder_bias)


def _chosen(own: CodeParameters, pre: Float[Tensor, "n width"]) -> Chosen:
    k = own.settings.k
    if own.settings.architecture == "topk":
        value, column = largest(pre, k)
        return sparse(column, value.to(own.decoder.dtype).clamp(min=0))
    return shared(pre, k, own.decoder.dtype)


def shared(pre: Float[Tensor, "n width"], k: int, dtype: torch.dtype = torch.float32) -> Chosen:
    """The k · n largest positive values of a whole batch, row by row.

    Only what lies above a level is looked at, which every SAMPLE-th row suggests, and which falls until enough is.
    """
    n = len(pre)
    need, some = k * n, pre[::SAMPLE]
    level = some.flatten().topk(min(SLACK * k * len(some), some.numel())).values[-1]
    above = pre > level.clamp(min=0)
    if level > 0 and int(above.sum()) < need:
        above = pre > 0
    row, column = above.nonzero(as_tuple=True)
    value = pre[row, column].to(dtype)
    if len(value) > need:
        taken = value >= value.kthvalue(len(value) - need + 1).values
        row, column, value = row[taken], column[taken], value[taken]
    counts = torch.bincount(row, minlength=n)
    return Chosen(column, value, counts.cumsum(0) - counts)


def _variance(y: Float[Tensor, "n d_out"]) -> Float[Tensor, ""]:
    return (y - y.mean(0)).square().sum()


class _Gradients:
    """Gradients of an encoder and a decoder, added up over what is reconstructed."""

    def __init__(self, own: CodeParameters, centred: Float[Tensor, "n d_in"]):
        self.own, self.centred = own, centred
        self.encoder = torch.zeros_like(own.encoder)
        self.decoder = torch.zeros_like(own.decoder)
        self.encoder_bias = torch.zeros_like(own.encoder_bias)
        self.decoder_bias = torch.zeros_like(own.decoder_bias)

    def reconstruct(
        self, chosen: Chosen, out: Float[Tensor, "n d_out"], *, bias: bool = True, features: Tensor | None = None
    ) -> None:
        """Of a sum of decoder rows times features, whose gradient is `out`; that of a `bias` beside it, too.

        Args:
            features: the gradient of each feature, where its decoder row's is not the only one.
        """
        width = self.own.settings.width
        back = at_chosen(chosen, out, self.own.decoder) if features is None else features
        back = back * (chosen.value > 0)
        if self.own.decoder.requires_grad:
            self.decoder += gathered(chosen, chosen.value, out, width)
        if self.own.encoder.requires_grad:
            self.encoder += gathered(chosen, back, self.centred, width)
        at_bias = added(chosen, back, width)
        self.encoder_bias += at_bias
        if bias:
            self.decoder_bias += out.sum(0)
        if not self.own.transcodes:  # a value is taken less the decoder's bias
            self.decoder_bias -= at_bias @ self.own.encoder

    def set(self) -> None:
        for name in ("encoder", "decoder", "encoder_bias", "decoder_bias"):
            parameter = getattr(self.own, name)
            if parameter.requires_grad:
                parameter.grad = getattr(self, name)


def _nested(
    own: CodeParameters, chosen: Chosen, wanted: Float[Tensor, "n d_out"], variance: Tensor, grads: _Gradients
) -> tuple[Float[Tensor, "n d_out"], Float[Tensor, "n d_out"]]:
    """The mean loss over prefixes of the features: what the whole dictionary leaves, and the gradient of their sum."""
    ends = prefixes(own.settings.width)
    parts, left, row = [], wanted, chosen.row
    outs: list[Tensor] = []
    for begin, end in zip((0, *ends[:-1]), ends, strict=True):
        inside = (chosen.column >= begin) & (chosen.column < end)
        counts = torch.bincount(row[inside], minlength=len(wanted))
        part = Chosen(chosen.column[inside], chosen.value[inside], counts.cumsum(0) - counts)
        left = left - decoded(part.column, part.value, part.offset, own.decoder)
        parts.append(part)
        outs.append(left * (-2 / (variance * len(ends))))
    behind = torch.zeros_like(wanted)
    for part, out in zip(
        reversed(parts), reversed(outs), strict=True
    ):  # a feature is in its prefix and all longer ones
        behind = behind + out
        grads.reconstruct(part, behind, bias=False)
        grads.decoder_bias += out.sum(0)
    return left, behind


def prefixes(width: int) -> Sequence[int]:
    """How many features each nested dictionary has."""
    return sorted({max(1, width // part) for part in NESTED})


def _revive(
    own: CodeParameters, pre: Float[Tensor, "n width"], left: Float[Tensor, "n d_out"], dead: Tensor, grads: _Gradients
) -> None:
    """Dead features, those largest by their pre-activations, are led towards what the others left."""
    columns = dead.nonzero().flatten()
    k = min(left.shape[-1] // 2, len(columns))
    value, place = largest(pre[:, columns].to(left.dtype), k)
    chosen = sparse(columns[place], value.clamp(min=0))
    guess = decoded(chosen.column, chosen.value, chosen.offset, own.decoder)
    out = (2 * own.settings.revival / left.square().sum().clamp(min=1e-12)) * (guess - left)
    grads.reconstruct(chosen, out, bias=False)


def dense_step(
    own: CodeParameters,
    x: Float[Tensor, "n d_in"],
    y: Float[Tensor, "n d_out"],
    dead: Bool[Tensor, "width"] | None,
    penalty: float,
) -> StepLoss:
    """Sets the gradients of a code whose sparsity is paid for, by autograd.

    Args:
        penalty: of being active, in shares of the variance.
    """
    loss, error, features, left, pre = penalised(own, x, y, penalty)
    if dead is not None and bool(dead.any()) and own.settings.revival:
        loss = loss + _revival_loss(own, pre, left, dead)
    own.zero_grad(set_to_none=True)
    loss.backward()
    on = features.detach() > 0
    return StepLoss(error.detach(), on.sum() / len(x), on.any(0))


def penalised(
    own: CodeParameters, x: Float[Tensor, "n d_in"], y: Float[Tensor, "n d_out"], penalty: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Loss, squared error over variance, features, what is left, and pre-activations, for autograd."""
    kind = own.settings.architecture
    pre = functional.linear(x - own.before, own.encoder, own.encoder_bias)
    variance = _variance(y)
    there = own.decoder_bias + (0.0 if own.skip is None else x @ own.skip.T)
    aside = torch.zeros((), device=x.device)
    if kind == "jumprelu":
        assert own.threshold is not None
        features = _Jump.apply(pre, own.threshold)
        paid = _Step.apply(pre, own.threshold)
    elif kind == "gated":
        assert own.gate_scale is not None
        assert own.gate_bias is not None
        size = (pre - own.encoder_bias) * own.gate_scale.exp() + own.gate_bias
        features, paid = size.clamp(min=0) * (pre > 0), pre.clamp(min=0)
        alone = paid @ own.decoder.detach() + (there.detach() if isinstance(there, Tensor) else there)
        aside = (y - alone).square().sum() / variance
    else:
        features = paid = pre.clamp(min=0)
    left = y - there - features @ own.decoder
    error = left.square().sum() / variance
    return error + aside + penalty * paid.sum() / len(x), error, features, left, pre


def _revival_loss(own: CodeParameters, pre: Tensor, left: Tensor, dead: Tensor) -> Tensor:
    left = left.detach()
    columns = dead.nonzero().flatten()
    value, place = pre[:, columns].topk(min(left.shape[-1] // 2, len(columns)), dim=-1)
    some = torch.zeros_like(pre).scatter(1, columns[place], value.clamp(min=0))
    return own.settings.revival * (some @ own.decoder - left).square().sum() / left.square().sum().clamp(min=1e-12)


class _Jump(torch.autograd.Function):
    """`pre` where it is above its threshold, whose gradient is estimated from values near it."""

    @staticmethod
    def forward(context, pre, threshold):
        context.save_for_backward(pre, threshold)
        return torch.where(pre > threshold.clamp(min=0), pre, 0.0)

    @staticmethod
    def backward(context, *given):
        pre, threshold = context.saved_tensors
        level = threshold.clamp(min=0)
        near = (pre - level).abs() < BANDWIDTH / 2
        return given[0] * (pre > level), -(given[0] * near * level).sum(0) / BANDWIDTH


class _Step(torch.autograd.Function):
    """1 where `pre` is above its threshold; the estimate of its gradient goes to the threshold alone."""

    @staticmethod
    def forward(context, pre, threshold):
        context.save_for_backward(pre, threshold)
        return (pre > threshold.clamp(min=0)).to(pre)

    @staticmethod
    def backward(context, *given):
        pre, threshold = context.saved_tensors
        near = (pre - threshold.clamp(min=0)).abs() < BANDWIDTH / 2
        return None, -(given[0] * near).sum(0) / BANDWIDTH
