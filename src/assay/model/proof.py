"""The proof on load: view against the library's forward pass, parts against the stream, a no-op against nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.errors import ModelError

if TYPE_CHECKING:
    from assay.model.transformer import Model

ROWS, LENGTH = 2, 64
# largest RMS of a difference, in units of the RMS of the logits (centred) or of the stream. float64 as float32: the
# library computes RMSNorm and RoPE in float32 whatever the model's type
TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 8e-2}


@dataclass(frozen=True)
class Proof:
    """What the proof found, worst case over its tokens. NaN: not proved (any module).

    Attributes:
        logits: RMS of (view - library), in units of the RMS of the library's centred logits.
        parts: RMS of (stream - sum of what was written to it), in units of the stream's RMS.
        edit: RMS of (logits with a no-op tap everywhere - without), in the units of `logits`.
        noise: nats: the largest KL, or change of the log-probability of the next token, of the no-op run.
        noise_kl: nats: the largest KL alone, which is far smaller.
    """

    logits: float = math.nan
    parts: float = math.nan
    edit: float = math.nan
    noise: float = 0.0
    noise_kl: float = 0.0


def proof_tokens(vocab: int, context: int) -> Int[Tensor, "rows pos"]:
    """Fixed ids, spread over the vocabulary."""
    length = min(LENGTH, context)
    generator = torch.Generator().manual_seed(20)
    return torch.randint(0, vocab, (ROWS, length), generator=generator)


@torch.no_grad()
def prove(model: Model, library: Callable[[Tensor], Tensor]) -> Proof:
    """Runs the three comparisons.

    Args:
        library: the library's own forward pass, tokens -> logits, in evaluation mode.

    Raises:
        ModelError: with the numbers, when one of them fails.
    """
    tokens = proof_tokens(model.config.vocab, model.config.context).to(model.device)
    limit = TOLERANCE.get(model.dtype)
    if limit is None:
        raise ModelError(f"weights of type {model.dtype} are not supported; load the model with dtype float32")
    expected, seen = library(tokens).double(), model.forward(tokens)
    plain = seen.double()
    if expected.shape != plain.shape:
        raise ModelError(
            f"{model.name}: the library's logits are {tuple(expected.shape)}, the view's {tuple(plain.shape)}"
        )
    edited = _no_op(model, tokens)
    noise, noise_kl = _noise(edited, plain, tokens)
    proof = Proof(
        logits=_relative(plain, expected, centred=True),
        parts=_parts(model, tokens),
        edit=_relative(edited, plain, centred=True),
        noise=noise,
        noise_kl=noise_kl,
    )
    checks = (
        ("the component view's logits differ from the library's own forward pass", proof.logits),
        ("the components do not sum to the residual stream", proof.parts),
        ("an edit that changes nothing changes the logits", proof.edit),
    )
    for what, value in checks:
        if not value <= limit:
            raise ModelError(
                f"{model.name} ({model.family}) fails the proof on load: {what} by {value:.1e} of their RMS "
                f"(at most {limit:.0e} in {str(model.dtype).removeprefix('torch.')})"
            )
    return proof


def _no_op(model: Model, tokens: Tensor) -> Tensor:
    """Logits with a tap at every place that gives back what it saw."""
    from assay.model.transformer import LAYER_KINDS

    layers = model.config.layers
    keys = [(kind, layer) for layer in range(layers) for kind in LAYER_KINDS]
    keys += [("input", 0), ("stream", layers), ("scale", layers), ("logits", layers)]
    return model.forward(tokens, dict.fromkeys(keys, torch.clone)).double()


def _parts(model: Model, tokens: Tensor) -> float:
    """Input, every head, every attention bias and every MLP, against the stream before the final norm."""
    layers = model.config.layers
    total: list[Tensor] = []
    final: list[Tensor] = []

    def add(value: Tensor) -> None:
        total.append(value.double().to(model.device))

    def heads(layer: int) -> Callable[[Tensor], None]:
        def split(z: Tensor) -> None:
            for head in range(z.shape[2]):  # one at a time: all of them at once would be heads times the stream
                add(model.heads_to_stream(z[:, :, head : head + 1], layer, [head])[:, :, 0])
            total.append(model.attention_bias(layer).double().to(model.device).expand_as(total[0]))
            total[:] = [torch.stack(total).sum(0)]

        return split

    taps: dict[tuple[str, int], Callable[[Tensor], None]] = {("input", 0): add, ("stream", layers): final.append}
    taps |= {("z", layer): heads(layer) for layer in range(layers)}
    taps |= {("mlp", layer): add for layer in range(layers)}
    model.forward(tokens, taps)
    stream = final[0].double().to(model.device)
    return _relative(torch.stack(total).sum(0), stream, centred=False)


def _noise(
    edited: Float[Tensor, "rows pos vocab"], plain: Float[Tensor, "rows pos vocab"], tokens: Tensor
) -> tuple[float, float]:
    left, right = plain.log_softmax(-1), edited.log_softmax(-1)
    kl = float((left.exp() * (left - right)).sum(-1).abs().max())
    change = (left - right)[:, :-1].gather(-1, tokens[:, 1:, None].to(left.device)).abs()
    return max(kl, float(change.max()) if change.numel() else 0.0), kl


def _relative(value: Tensor, expected: Tensor, *, centred: bool) -> float:
    """RMS of the difference at the worst position, in units of the RMS over all positions. NaN where either has one."""
    size = expected - expected.mean(-1, keepdim=True) if centred else expected
    rms = size.square().mean().sqrt().clamp(min=1e-30)
    return float((value - expected).square().mean(-1).sqrt().max() / rms)
