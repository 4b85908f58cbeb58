"""What the proof on load lets through: true models of many seeds and depths, and views with one mistake each.

    python -m tools.proof [--only mistakes smollm2 seeds] [--seeds 200] [--depths 30] [--types float32 bfloat16]

A mistake moves the library's own logits by so many times their rounding (another implementation of attention). The
table says how many were refused, and the largest movement that was not.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from assay.errors import ModelError
from assay.model.families import FAMILIES
from assay.model.layer import Layer, Linear, Norm
from assay.model.load import load
from assay.model.proof import FACTOR, Proof
from assay.model.proving import proof_tokens, prove, relative
from assay.model.transformer import Model
from tests.model.tiny import FAMILIES as NAMES
from tests.model.tiny import build

PARTS = ("mistakes", "smollm2", "seeds")
DEPTHS = (1, 2, 12, 30)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def view(family: str, dtype: torch.dtype, layers: int = 3, seed: int = 0) -> Model:
    """A random model whose gains, biases and matrices are off their initial values, so that every mistake shows."""
    network = build(family, layers=layers, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32).to(parameter)
            parameter += noise * (0.3 if parameter.ndim == 1 else 0.1)
    model = load(network.to(dtype).eval())
    assert isinstance(model, Model)
    return model


def proved(model: Model) -> Proof:
    """The proof of a view that may be mistaken, against the library's model that it was made of."""
    source: Any = model.source

    def run(tokens: Tensor) -> Tensor:
        return source(input_ids=tokens, use_cache=False).logits

    return prove(model, FAMILIES[model.family].library(source), run)


def scaled(linear: Linear, rows: slice, columns: slice, factor: float) -> Linear:
    weight = linear.weight.clone()
    weight[rows, columns] *= factor
    return Linear(weight, linear.bias)


def mistakes(model: Model) -> Iterator[tuple[str, Model]]:
    """Views with one thing wrong each: in the first, a middle and the last layer, and in what all layers share."""
    config, weights = model.config, model.weights
    width, layers = config.d_head, config.layers

    def at(index: int, layer: Layer) -> Model:
        return replace(
            model, weights=replace(weights, layers=(*weights.layers[:index], layer, *weights.layers[index + 1 :]))
        )

    for index in sorted({0, layers // 2, layers - 1}):
        own = weights.layers[index]
        for head in (0, config.heads - 1):
            part = slice(head * width, (head + 1) * width)
            yield (
                f"1 % of a{index}.h{head}'s output",
                at(index, replace(own, out=scaled(own.out, slice(None), part, 1.01))),
            )
        yield f"layer {index}: another scaling", at(index, replace(own, scaling=own.scaling * 1.05))
        wrong = Norm(own.norm1.weight, own.norm1.bias, own.norm1.eps * 100 + 1e-4, own.norm1.centred)
        yield f"layer {index}: a wrong eps", at(index, replace(own, norm1=wrong))
        plain = Norm(torch.ones_like(own.norm2.weight), own.norm2.bias, own.norm2.eps, own.norm2.centred)
        yield f"layer {index}: a norm without its gain", at(index, replace(own, norm2=plain))
        yield f"layer {index}: the norms swapped", at(index, replace(own, norm1=own.norm2, norm2=own.norm1))
        other = Norm(own.norm1.weight, own.norm1.bias, own.norm1.eps, not own.norm1.centred)
        yield f"layer {index}: the other kind of norm", at(index, replace(own, norm1=other))
        if own.out.bias is not None:
            yield f"layer {index}: no output bias", at(index, replace(own, out=Linear(own.out.weight)))
        if own.qkv[0].bias is not None:
            yield (
                f"layer {index}: no bias on queries, keys, values",
                at(index, replace(own, qkv=tuple(Linear(one.weight) for one in own.qkv))),
            )
        if own.up is not None and own.down is not None:
            yield (
                f"layer {index}: 1 % of a neuron",
                at(index, replace(own, up=scaled(own.up, slice(0, 4), slice(None), 1.01))),
            )
            yield (
                f"layer {index}: 1 % of the MLP",
                at(index, replace(own, down=Linear(own.down.weight * 1.01, own.down.bias))),
            )
        if len(own.qkv) == 3:
            keys = own.qkv[1]
            turned = Linear(keys.weight.roll(width, 0), None if keys.bias is None else keys.bias.roll(width, 0))
            yield f"layer {index}: key groups swapped", at(index, replace(own, qkv=(own.qkv[0], turned, own.qkv[2])))
            values = own.qkv[2]
            turned = Linear(values.weight.roll(width, 0), None if values.bias is None else values.bias.roll(width, 0))
            yield f"layer {index}: value groups swapped", at(index, replace(own, qkv=(*own.qkv[:2], turned)))
        if own.q_norm is not None:
            yield f"layer {index}: queries not normed", at(index, replace(own, q_norm=None))
    act = torch.nn.functional.gelu if config.norm == "rms" else torch.nn.functional.silu
    others = tuple(replace(layer, act=act) for layer in weights.layers)
    yield "another activation", replace(model, weights=replace(weights, layers=others))
    final = weights.final_norm
    yield (
        "no final norm's gain",
        replace(model, weights=replace(weights, final_norm=replace(final, weight=torch.ones_like(final.weight)))),
    )
    yield (
        "a row of the unembedding",
        replace(
            model, weights=replace(weights, unembedding=scaled(weights.unembedding, slice(3, 4), slice(None), 1.01))
        ),
    )
    yield "another embedding", replace(model, weights=replace(weights, embedding=weights.embedding * 1.01))
    if weights.frequencies is not None:
        yield "another RoPE base", replace(model, weights=replace(weights, frequencies=weights.frequencies**1.02))
        yield "RoPE's angles scaled", replace(model, weights=replace(weights, rope_scaling=1.01))
    if weights.positions is not None:
        yield "positions off by one", replace(model, weights=replace(weights, positions=weights.positions.roll(1, 0)))


@torch.no_grad()
def tried(model: Model) -> list[tuple[str, float, bool]]:
    """(what, how far it moves the logits in units of their rounding, whether it is refused) of every mistake."""
    tokens = proof_tokens(model.config.vocab, model.config.context)
    right = model(tokens).double()
    out = []
    for what, wrong in mistakes(model):
        moved = relative(wrong(tokens).double(), right) / model.proof.rounding
        try:
            proved(wrong)
        except ModelError:
            out.append((what, moved, True))
        else:
            out.append((what, moved, False))
    return out


def row(name: str, dtype: str, found: list[tuple[str, float, bool]]) -> str:
    through = max((moved for _, moved, refused in found if not refused), default=0.0)
    least = min((moved for _, moved, refused in found if refused), default=float("nan"))
    refused = sum(refused for *_, refused in found)
    return f"| {name} | {dtype} | {len(found)} | {refused} | {least:.2g} | {f'{through:.2g}' if through else 'none'} |"


def passing(family: str, dtype: str, layers: int, seeds: int) -> str:
    """A line on true models: how many are refused, and the largest difference of those that pass."""
    found: list[float] = []
    for seed in range(seeds):
        try:
            found.append(view(family, DTYPES[dtype], layers, seed).proof.layers)
        except ModelError as why:
            print(f"{family}, {dtype}, {layers} layers, seed {seed}: {why}", file=sys.stderr, flush=True)
    largest = f"{max(found):.2f}" if found else "-"
    return f"| {family} | {dtype} | {layers} | {seeds} | {seeds - len(found)} | {largest} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--depths", nargs="+", type=int, default=DEPTHS, help="of the models of many seeds")
    parser.add_argument("--types", nargs="+", choices=tuple(DTYPES), default=tuple(DTYPES))
    given = parser.parse_args()
    print("| model | type | mistakes | refused | least movement refused | largest let through |\n|" + " --- |" * 6)
    for name in NAMES if "mistakes" in given.only else ():
        for dtype in given.types:
            print(row(f"random {name}, 3 layers", dtype, tried(view(name, DTYPES[dtype]))), flush=True)
    for dtype in given.types if "smollm2" in given.only else ():
        model = load("zoo:smollm2-135m", dtype=dtype)
        assert isinstance(model, Model)
        print(row("zoo:smollm2-135m", dtype, tried(model)), flush=True)
    if "seeds" not in given.only:
        return
    limit = f"largest difference in units of rounding (limit {FACTOR:.0f})"
    print(f"\n| family | type | layers | models | refused | {limit} |\n|" + " --- |" * 6)
    for name in NAMES:
        for dtype in given.types:
            for layers in given.depths:
                print(passing(name, dtype, layers, given.seeds), flush=True)


if __name__ == "__main__":
    main()
