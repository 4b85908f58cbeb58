"""Tiny models of every family, tasks on them, and what each ablation fills in by its definition, in plain hooks."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from assay.intervene.edits.engine import CleanRuns, Seen
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.donors import donors
from assay.intervene.fill.spec import FITTED
from assay.intervene.plan import Plan, Value
from assay.intervene.runner import Runner
from assay.names import parse_site
from assay.task.task import Task
from tests.model.tiny import tiny, tiny_network
from tests.naive import hooks

KINDS: dict[str, dict[str, Any]] = {
    "gpt2": {"family": "gpt2"},
    "llama": {"family": "llama"},
    "qwen3": {"family": "qwen3", "d_head": 12},
    "neox": {"family": "gpt_neox", "use_parallel_residual": False},
    "parallel": {"family": "gpt_neox", "use_parallel_residual": True},
}
DEEPER: dict[str, dict[str, Any]] = {  # for circuits, beside the others
    "deep": {"family": "llama", "layers": 3, "attention_bias": True},
    "scaled": {"family": "gpt2", "layers": 3, "scale_attn_by_inverse_layer_idx": True},
    "attention only": {"family": "gpt2", "layers": 3, "d_mlp": None},
}
SETS = {  # heads, MLPs, neurons; in one layer and in two; everywhere and at one column
    "head": ("a0.h1",),
    "mlp": ("m0",),
    "neurons": ("m0.n3", "m1.n7"),
    "mixed": ("a0.h0", "a0.h3", "m0", "a1.h2", "m1.n5"),
    "column": ("a0.h1@3", "m1@2", "m0.n4@3"),
}
ROUNDED = 5e-6  # constants of the reference are kept in float32, and so the library's RMS norms and rotary angles


def tolerance_of(kind: str, dtype: torch.dtype, *, rounded: bool = False) -> float:
    """Share of the logits' RMS; in float64 only positions that are learned and values without constants are exact."""
    if dtype == torch.float32:
        return 1e-5
    return ROUNDED if rounded or {**KINDS, **DEEPER}[kind]["family"] != "gpt2" else 1e-10


def make(kind: str, dtype: torch.dtype) -> tuple[Any, Any]:
    options = {**KINDS, **DEEPER}[kind]
    return tiny(**options, dtype=dtype, tokenizer=True), tiny_network(**options, dtype=dtype)


@cache
def sentences(count: int, seed: int, length: int = 9) -> tuple[str, ...]:
    """Few different words, so that some come again; every third text is shorter. "w1" is special: no word starts so."""
    words = np.random.default_rng(seed)
    sizes = [length + 6 - (i % 3 == 2) * 4 for i in range(count)]
    return tuple(" ".join(f"w{w}" for w in words.integers(21, 33, size)) for size in sizes)


def text_task(model: Any) -> Task:
    return Task.text(model, texts=list(sentences(5, 0, 14)), reference=list(sentences(12, 1, 14)))


def prompt_task(model: Any) -> Task:
    def row(i: int) -> dict[str, str]:
        clean, other = sentences(12, 2)[i], sentences(12, 3)[i]
        answers = {"correct": f" w{34 + i}", "incorrect": f" w{33 - i}"}
        return {"clean": clean, "corrupted": other, "group": f"g{i}", **answers}

    return Task.prompts(model, [row(i) for i in range(12)])


@cache
def bench_of(kind: str, dtype: torch.dtype, counterfactual: bool = False) -> PlanContext:
    model, _ = make(kind, dtype)
    return PlanContext(Runner(model, prompt_task(model) if counterfactual else text_task(model)), seed=5)


def logits(workbench: PlanContext, plan: Plan, *, reuse: bool = True) -> Tensor:
    """The plan's logits on all rows, batch by batch, with the clean run's prefix reused or not."""
    rows = np.arange(len(workbench.task.tokens))
    if not reuse:
        workbench.runner.cleans = CleanRuns()  # a run of the same rows would start from it
    with torch.no_grad():
        parts = [workbench.runner.logits(plan, b, workbench.runner.clean("scored", b) if reuse else None)
                 for b in workbench.runner.batches(rows)]  # fmt: skip
    return torch.cat(parts)


def assert_close(got: Tensor, wanted: Tensor, tolerance: float) -> None:
    rms = float(wanted.double().square().mean().sqrt())
    assert float((got - wanted).abs().max()) <= tolerance * rms  # where all is 0 (a norm of nothing), the same 0


@cache
def naive_mean(kind: str, dtype: torch.dtype, name: str, by_position: bool) -> Tensor:
    """[pos, width]: the mean over real tokens of the reference, the first position apart, column by column."""
    reference = bench_of(kind, dtype).task.reference
    value = hooks.values(make(kind, dtype)[1], reference.tokens, [name])[name].double()
    rest = [v for row, real in zip(value, reference.real, strict=True) for v in row[1:][real[1:]]]
    out = torch.stack(rest).mean(0).expand(value.shape[1:]).clone()
    for position in range(value.shape[1] if by_position else 1):
        seen = value[:, position][reference.real[:, position]]
        if len(seen):  # else the reference never reaches so far
            out[position] = seen.mean(0)
    return out.float()


def naive_fill(
    kind: str, dtype: torch.dtype, names: tuple[str, ...], ablation: str, draw: int = 0
) -> dict[str, Tensor]:
    """What every part takes: the definition of each ablation, from library runs of the rows that it names."""
    workbench, (_, network) = bench_of(kind, dtype, ablation == "counterfactual"), make(kind, dtype)
    task = workbench.task
    assert task.reference is not None
    if ablation in FITTED:
        sites = tuple(parse_site(name) for name in names)
        sources = [edit.source for edit in workbench.ablate(sites, ablation)]
        return {name: one.tensor for name, one in zip(names, sources, strict=True) if isinstance(one, Value)}
    out: dict[str, Tensor] = {}
    for name in names:
        bare = name.split("@")[0]
        match ablation:
            case "zero":
                out[name] = torch.zeros(1)
            case "mean" | "mean_position":
                out[name] = naive_mean(kind, dtype, bare, ablation == "mean_position")
            case "resample_joint" | "resample_independent":
                rows = donors(task, workbench.seed, draw, "" if ablation == "resample_joint" else bare)
                out[name] = hooks.values(network, task.reference.tokens[torch.from_numpy(rows)], [bare])[bare]
            case "counterfactual":
                assert task.counterfactual is not None
                out[name] = hooks.values(network, task.counterfactual, [bare])[bare]
            case "noise":
                rows = np.arange(len(task.tokens))
                out[name] = workbench.noise(parse_site(name), draw)(Seen(task.tokens, rows, "scored"))
    return out
