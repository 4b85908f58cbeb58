"""The proof on load: every layer against the library's own modules, then whole passes, and edits that change nothing.

Rounding grows from layer to layer, so a limit on a whole pass either refuses deep models or lets mistakes through. A
layer alone, on the library's own stream and in float32 at least, does neither: its limit is a few times what the
library differs by from itself: between implementations of attention, between a row alone and in a batch, and between
a stream and the same with its last bits changed.

Every path that a model is run through is held to this: the forward pass; a layer's heads one by one, as circuits
compute them; and a patched run from a kept one on, as sweeps do.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from assay.errors import ModelError
from assay.model import meter
from assay.model.layer import PARTS
from assay.model.proof import FACTOR, Library, Proof
from assay.model.suffix import PatchGroup, suffix, trace
from assay.model.transformer import LAYER_KINDS, Model, Taps

T = TypeVar("T")
ROWS, LENGTH = 2, 64
LEAST = 2.0  # times float32's epsilon: what counts as rounding where the library's implementations agree to the bit
OURS, LIBRARYS = 5, 6  # passes of each that a proof makes
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


class LayerCall(NamedTuple):
    """What a module of the library was given: its first argument, and the others by name."""

    x: Tensor
    options: dict[str, Any]


class Writes(NamedTuple):
    """What a layer's attention and MLP (None: it has none) add to the stream, and the stream behind it."""

    attention: Float[Tensor, "rows pos d_model"]
    mlp: Float[Tensor, "rows pos d_model"] | None
    out: Float[Tensor, "rows pos d_model"]


class LargestDifference:
    """Holds differences to the library's own; `ratio`: the largest so far, in units of rounding."""

    def __init__(self, model: Model) -> None:
        self.name, self.ratio = f"{model.name} ({model.family})", 0.0

    def hold(self, what: str, found: float, rounding: float) -> None:
        if not found / rounding <= FACTOR:
            raise ModelError(
                f"{self.name} fails the proof on load: {what} by {found:.1e} of its RMS, {found / rounding:.2g} times "
                f"the library's own rounding (at most {FACTOR:.0f})"
            )
        self.ratio = max(self.ratio, found / rounding)


def proof_tokens(vocab: int, context: int) -> Int[Tensor, "rows pos"]:
    """Fixed ids, spread over the vocabulary."""
    length = min(LENGTH, context)
    generator = torch.Generator().manual_seed(20)
    return torch.randint(0, vocab, (ROWS, length), generator=generator)


@torch.no_grad()
def prove(model: Model, library: Library, run: Callable[[Tensor], Tensor]) -> Proof:
    """Compares every layer, then whole passes.

    Args:
        library: its modules, in evaluation mode; run: its forward pass, tokens -> logits.

    Raises:
        ModelError: with the numbers, when a comparison fails.
    """
    if model.dtype not in DTYPES:
        raise ModelError(f"weights of type {model.dtype} are not supported; load the model with dtype float32")
    tokens = proof_tokens(model.config.vocab, model.config.context).to(model.device)
    meter.passed(LIBRARYS * tokens.numel())
    with _called([*library.layers, library.norm, library.head]) as calls:
        expected, plain = run(tokens).double(), model.forward(tokens).double()
    if expected.shape != plain.shape:
        raise ModelError(
            f"{model.name}: the library's logits are {tuple(expected.shape)}, the view's {tuple(plain.shape)}"
        )
    if len(calls) != len(library.layers) + 2:
        raise ModelError(f"{model.name}: the library's forward pass does not call each of its layers once")
    worst, wide = LargestDifference(model), torch.promote_types(model.dtype, torch.float32)
    *streams, last, normed = calls
    least = LEAST * torch.finfo(torch.float32).eps
    worst.hold("the embedding differs from the library's", _apart(model.embed(tokens), streams[0].x), least)
    other = streams[0].x
    for index, call in enumerate(streams):
        twin = _other(library.layers[index])
        _prove_layer(model, library, index, LayerCall(call.x.to(wide), _to(call.options, wide)), worst, least)
        other = _first(twin(_last_bit(other), **_options(call.options, other)))
    for what, own, module, call in (
        ("the final norm", model.weights.final_norm, library.norm, last),
        ("the unembedding", model.weights.unembedding, library.head, normed),
    ):
        x = call.x.to(wide)
        found = _apart(_to(own, wide)(x), _twin(module, wide)(x))
        worst.hold(f"{what} differs from the library's", found, least)

    rounding = max(
        relative(library.head(library.norm(other)).double(), expected),
        torch.finfo(model.dtype).eps * math.sqrt(model.config.layers),
    )
    edited = _no_op(model, tokens)
    logits, edit = relative(plain, expected), relative(edited, plain)
    worst.hold("the component view's logits differ from the library's own forward pass", logits, rounding)
    worst.hold("an edit that changes nothing changes the logits", edit, rounding)
    if len({layer.out.weight.device for layer in model.weights.layers}) == 1:  # sweeps run on one device
        for rows, columns, found in _resumed(model, tokens):
            patched = plain.clone()  # whole, as a few columns' logits may be flat, which is no unit for a difference
            patched[rows, columns] = found
            moved = relative(patched, plain)
            worst.hold("a patch that changes nothing changes the logits of a sweep", moved, rounding)
    return Proof(worst.ratio, logits, rounding, edit, *_noise(edited, plain, tokens))


def _prove_layer(
    model: Model, library: Library, index: int, call: LayerCall, worst: LargestDifference, least: float
) -> None:
    """One layer of ours, plain, with no-op taps and head by head, against the library's on one stream."""
    x, name = call.x, library.attention
    twin = _twin(library.layers[index], x.dtype)
    theirs = _library_writes(twin, name, call)
    changed = _other(twin)
    again = [_library_writes(changed, name, LayerCall(x, _options(call.options, x)))]
    again.append(_library_writes(twin, name, LayerCall(_last_bit(x), call.options)))
    if x.shape[1] != ROWS:  # else a batch is not told from a length
        rows = [_library_writes(twin, name, LayerCall(x[i : i + 1], _row(call.options, i))) for i in range(ROWS)]
        again.append(Writes(*(None if one[0] is None else torch.cat(one) for one in zip(*rows, strict=True))))  # type: ignore[arg-type]
    layers = list(model.weights.layers)
    layers[index] = _to(layers[index], x.dtype)
    ours = replace(model, weights=replace(model.weights, layers=tuple(layers)))
    found = {
        "from the library's": _writes(ours, index, x),
        "under an edit that changes nothing": _writes(ours, index, x, edit=True),
        "from the library's when heads are run one by one": _by_heads(ours, index, x),
    }
    for kind, what in (("attention", "the attention of"), ("mlp", "the MLP of"), ("out", "the stream behind")):
        if kind == "mlp" and not ours.weights.layers[index].has_mlp:
            continue
        right = getattr(theirs, kind)
        rounding = max(least, *(_apart(getattr(one, kind), right) for one in again))
        for how, own in found.items():
            worst.hold(f"{what} layer {index} differs {how}", _apart(getattr(own, kind), right), rounding)


# -- the library's layers ----------------------------------------------------------------------------------------------


@contextmanager
def _called(modules: Sequence[nn.Module]) -> Iterator[list[LayerCall]]:
    """What the modules are given, in the order in which they are called."""
    calls: list[LayerCall] = []

    def seen(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        bound = inspect.signature(module.forward).bind(*args, **kwargs)
        given = {}
        for key, value in bound.arguments.items():
            is_rest = bound.signature.parameters[key].kind is inspect.Parameter.VAR_KEYWORD
            given |= value if is_rest else {key: value}
        first = next(iter(given))
        calls.append(LayerCall(given.pop(first), given))

    handles = [module.register_forward_pre_hook(seen, with_kwargs=True) for module in modules]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _library_writes(layer: nn.Module, attention: str, call: LayerCall) -> Writes:
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            seen[name] = _first(output)

        return hook

    handles = [layer.get_submodule(name).register_forward_hook(keep(name)) for name in (attention, "mlp")]
    try:
        out = _first(layer(call.x, **call.options))
    finally:
        for handle in handles:
            handle.remove()
    return Writes(seen[attention], seen["mlp"], out)


def _twin(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The module itself, or a copy of another type."""
    same = all(p.dtype == dtype for p in module.parameters())
    return module if same else copy.deepcopy(module).to(dtype)


def _other(layer: nn.Module) -> nn.Module:
    """A copy of a layer with another implementation of attention than its own."""
    twin = copy.deepcopy(layer)
    for module in twin.modules():
        config = getattr(module, "config", None)
        if config is not None:
            config._attn_implementation = "sdpa" if config._attn_implementation == "eager" else "eager"
            break  # one configuration, shared within the layer
    return twin


def _options(options: dict[str, Any], x: Tensor) -> dict[str, Any]:
    """The options that a layer of `_other` takes: "eager" wants the mask that "sdpa" knows."""
    length = x.shape[1]
    mask = torch.full((length, length), torch.finfo(x.dtype).min, dtype=x.dtype, device=x.device).triu(1)
    return options | {"attention_mask": mask[None, None]}


def _last_bit(x: Tensor) -> Tensor:
    """The stream with every number changed by up to half of float32's epsilon, as rounding may leave it.

    Numbers of fewer bits stay as they are: their own arithmetic rounds by more.
    """
    generator = torch.Generator().manual_seed(21)
    change = torch.rand(x.shape, generator=generator).to(x) - 0.5
    return x + x * (torch.finfo(torch.float32).eps * change)


def _row(value: Any, index: int) -> Any:
    """One row's share of an option."""
    if isinstance(value, Tensor):
        return value[index : index + 1] if value.ndim and value.shape[0] == ROWS else value
    if isinstance(value, tuple):
        return tuple(_row(one, index) for one in value)
    return {key: _row(one, index) for key, one in value.items()} if isinstance(value, dict) else value


def _to(value: T, dtype: torch.dtype) -> T:
    """Weights or options in another type: every floating tensor within."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value  # type: ignore[return-value]
    if isinstance(value, tuple):
        return tuple(_to(one, dtype) for one in value)  # type: ignore[return-value]
    if isinstance(value, dict):
        return {key: _to(one, dtype) for key, one in value.items()}  # type: ignore[return-value]
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: _to(getattr(value, field.name), dtype) for field in fields(value)})
    return value


def _first(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


# -- our own -----------------------------------------------------------------------------------------------------------


def _writes(model: Model, index: int, x: Tensor, *, edit: bool = False) -> Writes:
    """A layer of ours on a stream; with `edit`, under a tap at every place that gives back what it saw."""
    seen: dict[str, Tensor] = {}

    def keep(kind: str) -> Callable[[Tensor], Tensor | None]:
        def tap(value: Tensor) -> Tensor | None:
            seen[kind] = value
            return value.clone() if edit else None

        return tap

    kinds = LAYER_KINDS if edit else ("attention", "mlp")
    out = model.layer(x, index, {(kind, index): keep(kind) for kind in kinds}, like=model.dtype)
    return Writes(seen["attention"], seen.get("mlp"), out)


def _by_heads(model: Model, index: int, x: Tensor) -> Writes:
    """A layer of ours as circuits compute it: each head and the MLP alone, from inputs of their own."""
    layer, shape = model.weights.layers[index], model.config
    rotation = model.weights.rotation(x.to(model.dtype))
    rotation = None if rotation is None else rotation.to(x.dtype)
    read = layer.norm1.quick(x).flatten(0, 1).unsqueeze(0)
    attention = model.attention_bias(index).to(x).expand_as(x).clone()
    for head in range(shape.heads):
        own = {part: np.array([head if part == "q" else head * shape.kv_heads // shape.heads]) for part in PARTS}
        values = ((part, layer.project_heads(read, part, own[part]).unflatten(1, x.shape[:2])) for part in PARTS)
        z = layer.attend(*(layer.attended(value, part, rotation) for part, value in values))
        attention += layer.head_outputs(z.flatten(1, 2), own["q"]).view_as(x)
    if not layer.has_mlp:
        return Writes(attention, None, x + attention)
    mlp = layer.mlp(layer.norm2.quick(x if shape.parallel else x + attention))
    return Writes(attention, mlp, x + attention + mlp)


def _resumed(model: Model, tokens: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Rows, columns and logits of patches that change nothing, as sweeps run them: of every column from the first on,
    and of one column late in the row, read at the last alone."""
    kept, (rows, length) = trace(model, tokens), tokens.shape
    each, columns = torch.arange(rows, device=tokens.device), torch.arange(length, device=tokens.device)
    late, last = 3 * length // 4, columns[-1:].expand(rows, 1)
    groups = (
        PatchGroup(each, 0, length, dense=True, reads=columns.expand(rows, -1), whole=True, every=True),
        PatchGroup(each, late, length, dense=False, reads=last, whole=late == length - 1, every=True),
    )

    def entering(layer: int, at_rows: Tensor, at_columns: Tensor) -> Tensor | None:
        return kept.streams[0][at_rows, at_columns].unsqueeze(1) if layer == 0 else None

    for group, stream in zip(groups, suffix(model, kept, groups, entering), strict=True):
        yield group.rows[:, None], group.reads, model.unembed(model.weights.final_norm(stream[:, :, 0])).double()


def _no_op(model: Model, tokens: Tensor) -> Tensor:
    """Logits with a tap at every place that gives back what it saw."""
    layers = model.config.layers
    keys = [(kind, layer) for layer in range(layers) for kind in LAYER_KINDS]
    keys += [("input", 0), ("stream", layers), ("scale", layers), ("logits", layers)]
    taps: Taps = dict.fromkeys(keys, torch.clone)
    return model.forward(tokens, taps).double()


# -- differences -------------------------------------------------------------------------------------------------------


def _apart(value: Float[Tensor, "rows pos d"], expected: Float[Tensor, "rows pos d"]) -> float:
    """RMS over positions of each one's difference, in units of what is expected there. NaN where either has one."""
    size = expected.double().square().mean(-1)
    size = size.clamp(min=1e-12 * float(size.mean()) + 1e-60)
    return float(((value.double() - expected.double()).square().mean(-1) / size).mean().sqrt())


def relative(value: Tensor, expected: Tensor) -> float:
    """RMS of the difference at the worst position, in units of the RMS of the centred expectation over all."""
    rms = (expected - expected.mean(-1, keepdim=True)).square().mean().sqrt().clamp(min=1e-30)
    return float((value - expected).square().mean(-1).sqrt().max() / rms)


def _noise(
    edited: Float[Tensor, "rows pos vocab"], plain: Float[Tensor, "rows pos vocab"], tokens: Tensor
) -> tuple[float, float]:
    left, right = plain.log_softmax(-1), edited.log_softmax(-1)
    kl = float((left.exp() * (left - right)).sum(-1).abs().max())
    change = (left - right)[:, :-1].gather(-1, tokens[:, 1:, None].to(left.device)).abs()
    return max(kl, float(change.max()) if change.numel() else 0.0), kl
