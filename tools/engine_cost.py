"""What a measurement costs beside a plain hook script: `Remove a5.h3` on a random model of GPT-2's shape.

    OMP_NUM_THREADS=1 python -m tools.engine_cost [--only script headline quick forward] [--reference 32] [--narrow]
    OMP_NUM_THREADS=1 python -m tools.engine_cost --only hundred [--heads 100] [--narrow]
    OMP_NUM_THREADS=1 python -m tools.engine_cost --claim CLAIM.yaml [--documents N] [--controls N] [--quick]

Processor time (the wall's where it says so), forward passes of one row (layers that were run, over all layers) and
unembedded positions, by stage. The script does by hooks on the library's model what the headline needs: the clean
run, the head's mean over the reference, the run with the mean, and four resample draws. `hundred`: the same for 100
heads, one after the other on one workbench, beside a script that makes clean run, means and donors of all heads once.
`--narrow`: as many layers, heads and rows, but heads of 8 and a vocabulary of 1,024, for counts alone. `--claim`: the
stages of that claim instead.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

import assay
from assay.explanations.components.sets import Remove
from assay.measure.measure import measure
from assay.measure.request import request
from assay.measure.stages import Stages
from assay.measure.workbench import logged
from assay.model.load import load
from assay.model.meter import Meter, metered
from assay.model.transformer import Model
from assay.task.task import Task

WIDTH, TOKENS = 256, 1_231
LAYER, HEAD, DRAWS = 5, 3, 4
ROWS = 8  # of the script's batches


def network(narrow: bool, seed: int = 0) -> Any:
    """A random GPT-2 small with SmolLM2's vocabulary."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    shape: dict[str, Any] = {"n_embd": 96, "vocab_size": 1_024} if narrow else {"vocab_size": 49_152}
    return GPT2LMHeadModel(GPT2Config(**shape, bos_token_id=0, eos_token_id=0)).eval()


def task_of(model: Model, reference: int, seed: int = 0) -> Task:
    """Random documents of a window each, 1,231 scored tokens in all, and so many reference rows."""
    random = np.random.default_rng(seed)
    lengths = [WIDTH - 1] * (TOKENS // (WIDTH - 1)) + [TOKENS % (WIDTH - 1)]
    ids, others = (
        [random.integers(1, model.config.vocab, size) for size in sizes] for sizes in (lengths, [WIDTH - 1] * reference)
    )
    return Task.from_ids(model, ids, reference=others, context=WIDTH)


@dataclass
class Counter:
    """What stages cost: seconds of the processor, passes of one row, unembedded positions."""

    width: int = WIDTH  # tokens of a row
    meter: Meter = field(default_factory=Meter)
    rows: list[tuple[str, float, float, float, float]] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        before = self.meter.tokens, self.meter.unembedded
        cpu, wall = time.process_time(), time.perf_counter()
        yield
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        self.add(name, cpu, wall, self.meter.tokens - before[0], self.meter.unembedded - before[1])

    def add(self, name: str, cpu: float, wall: float, tokens: float, positions: int) -> None:
        self.rows.append((name, cpu, wall, tokens / self.width, positions))
        print(f"{name}: {cpu:.1f} s, {tokens / self.width:.1f} passes", file=sys.stderr, flush=True)

    def show(self, title: str) -> float:
        columns = np.array([row[1:] for row in self.rows])
        print(f"\n{title}\n\n| stage | processor s | wall s | passes of one row | unembedded positions |")
        print("| --- | --- | --- | --- | --- |")
        for name, (cpu, wall, passes, positions) in zip(
            [*(row[0] for row in self.rows), "all"], [*columns, columns.sum(0)], strict=True
        ):
            print(f"| {name} | {cpu:.1f} | {wall:.1f} | {passes:.1f} | {positions:,.0f} |", flush=True)
        return float(columns[:, 0].sum())


class Script:
    """What a plain hook script does by hooks on the library's model.

    Attributes:
        found: by head, the mean KL of the run with the mean and of the four draws.
    """

    def __init__(self, library: Any, task: Task):
        self.counter, self.library, self.task = Counter(), library, task
        self.width = library.config.n_embd // library.config.n_head
        self.found: dict[tuple[int, int], dict[str, float]] = {}

    def run(self, ids: Tensor, hooks: dict[int, Callable[[Tensor], Tensor | None]]) -> Tensor:
        """Logits; what a layer's hook gives takes the place of all its heads' outputs."""
        self.counter.meter.forward += ids.numel()
        self.counter.meter.unembedded += ids.numel()
        handles = []
        for layer, hook in hooks.items():

            def before(_: Any, given: tuple[Tensor, ...], hook=hook) -> tuple[Tensor, ...] | None:
                new = hook(given[0])
                return None if new is None else (new,)

            projection = self.library.transformer.h[layer].attn.c_proj
            handles.append(projection.register_forward_pre_hook(before))
        try:
            return self.library(ids, use_cache=False).logits
        finally:
            for handle in handles:
                handle.remove()

    def seen(self, ids: Tensor, layers: list[int]) -> dict[int, Tensor]:
        """All heads' outputs of these layers."""
        found: dict[int, list[Tensor]] = {layer: [] for layer in layers}
        for some in ids.split(ROWS):
            self.run(some, {layer: lambda z, layer=layer: found[layer].append(z.clone()) for layer in layers})
        return {layer: torch.cat(parts) for layer, parts in found.items()}

    def log_probs(self, hooks: dict[int, Callable[[Tensor], Tensor | None]]) -> Tensor:
        logits = self.run(self.task.tokens, hooks)
        return logits[:, :-1][self.task.scored[:, 1:]].log_softmax(-1)

    @torch.no_grad()
    def __call__(self, heads: list[tuple[int, int]]) -> Counter:
        assert self.task.reference is not None
        reference, layers = self.task.reference.tokens, sorted({layer for layer, _ in heads})
        with self.counter.stage("clean run"):
            clean = self.log_probs({})
        with self.counter.stage("means over the reference"):
            means = {}
            for layer, values in self.seen(reference, layers).items():
                means[layer] = values[:, 1:].mean((0, 1)).expand(WIDTH, -1).clone()
                means[layer][0] = values[:, 0].mean(0)
        with self.counter.stage(f"donors of {DRAWS} draws"):
            chosen = [
                np.random.default_rng(draw).integers(0, len(reference), len(self.task.tokens)) for draw in range(DRAWS)
            ]
            donors = [self.seen(reference[torch.from_numpy(rows)], layers) for rows in chosen]
        with self.counter.stage(f"runs of {len(heads)} head{'s' * (len(heads) > 1)}: mean and draws"):
            for layer, head in heads:
                part = slice(head * self.width, (head + 1) * self.width)
                kls = []
                for value in (means[layer], *(donor[layer] for donor in donors)):

                    def put(z: Tensor, value: Tensor = value, part: slice = part) -> Tensor:
                        z = z.clone()
                        z[..., part] = value[..., part]
                        return z

                    edited = self.log_probs({layer: put})
                    kls.append(float((clean.exp() * (clean - edited)).sum(-1).mean()))
                self.found[layer, head] = {"mean": kls[0], "resample_joint": float(np.mean(kls[1:]))}
        return self.counter


def spread_heads(count: int, layers: int, heads: int) -> list[tuple[int, int]]:
    """So many heads, spread over all layers."""
    chosen = np.unique(np.linspace(0, layers * heads - 1, count).round().astype(int))
    return [divmod(int(index), heads) for index in chosen]


def measured_heads(model: Model, task: Task, heads: list[tuple[int, int]]) -> tuple[Counter, dict[str, float]]:
    """A `Remove` claim for each head on one workbench, the headline alone; and the KL of the last."""
    counter = Counter()
    kls: dict[str, float] = {}
    workbench = assay.Workbench(model, task)
    with metered() as counter.meter:
        for index, (layer, head) in enumerate(heads):
            stage = "the first claim" if index == 0 else "all further claims"
            with counter.stage(stage):
                found = workbench.measure(Remove([f"a{layer}.h{head}"]), only=("headline",))
            kls = {row.ablation: row.kl_explained.value for row in found.table}
    first, rest = counter.rows[:1], np.array([row[1:] for row in counter.rows[1:]]).reshape(-1, 4)
    if len(rest):
        counter.rows = [*first, (f"{len(rest)} further claims", *map(float, rest.sum(0)))]
    return counter, kls


def counted(counter: Counter, work: Callable[[Stages], Any]) -> Counter:
    """All of a measurement, by what it says that it does."""
    with Stages() as stages:
        work(stages)
    for name, one in stages.found.items():
        counter.add(name, one.processor, one.wall, one.meter.tokens, one.meter.unembedded)
    return counter


def quick(model: Model, task: Task) -> Counter:
    """All of `assay measure --quick`."""
    claim = Remove([f"a{LAYER}.h{HEAD}"])
    return counted(Counter(), lambda say: measure(claim, model, task, quick=True, progress=say))


def of_claim(path: str, **flags: Any) -> Counter:
    """All of `assay measure CLAIM.yaml`."""
    job = request(path, None, None, None, flags).open()
    model = job.model
    assert isinstance(model, Model)
    print(f"{path}: {job.task.count:,} scored tokens in {len(job.task)} rows of {job.task.tokens.shape[1]}", flush=True)
    workbench = assay.Workbench(model, job.task, seed=job.settings.seed)
    return counted(Counter(job.task.tokens.shape[1]), lambda say: logged(job, workbench, say, time.time()))


def forward(library: Any, model: Model) -> None:
    """Our forward pass beside the library's, in turn: tokens a second of processor time."""
    tokens = torch.randint(1, model.config.vocab, (4, WIDTH), generator=torch.Generator().manual_seed(0))
    calls = {"assay": lambda: model(tokens), "transformers": lambda: library(tokens, use_cache=False).logits}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    with torch.no_grad():
        for _ in range(4):
            for name, call in calls.items():
                start = time.process_time()
                call()
                taken[name].append(time.process_time() - start)
    print(f"\n| forward pass of {tokens.numel():,} tokens | processor s | tokens/s |\n| --- | --- | --- |")
    for name, seconds in taken.items():
        print(f"| {name} | {min(seconds[1:]):.2f} | {tokens.numel() / min(seconds[1:]):,.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("script", "headline", "quick", "forward", "hundred")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts[:4])
    parser.add_argument("--heads", type=int, default=100, help="claims of `hundred`")
    parser.add_argument("--reference", type=int, default=32, help="reference rows")
    parser.add_argument("--narrow", action="store_true")
    parser.add_argument("--claim", help="a claim file")
    parser.add_argument("--documents", type=int)
    parser.add_argument("--controls", type=int)
    parser.add_argument("--quick", action="store_true", help="of the claim file")
    given = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), assay {assay.__version__}")
    if given.claim:
        flags = {"documents": given.documents, "controls": given.controls, "quick": given.quick or None}
        of_claim(given.claim, **{k: v for k, v in flags.items() if v is not None}).show(f"assay measure {given.claim}")
        return
    library = network(given.narrow)
    model = load(library)
    assert isinstance(model, Model)
    task = task_of(model, given.reference)
    print(f"{task.count:,} scored tokens in {len(task)} rows, {given.reference} reference rows of {WIDTH}")
    seconds: dict[str, float] = {}
    if "forward" in given.only:
        forward(library, model)
    if "script" in given.only:
        script = Script(library, task)
        seconds["script"] = script([(LAYER, HEAD)]).show("A plain hook script on the library's model")
        print(f"KL: {script.found[LAYER, HEAD]}")
    if "headline" in given.only:
        counter, found = measured_heads(model, task, [(LAYER, HEAD)])
        seconds["headline"] = counter.show("assay, the headline alone")
        print(f"KL: {found}")
    if "hundred" in given.only:
        heads = spread_heads(given.heads, model.config.layers, model.config.heads)
        script = Script(library, task)
        theirs = script(heads).show(f"A plain hook script for {len(heads)} heads")
        counter, found = measured_heads(model, task, heads)
        ours = counter.show(f"assay, the headlines of {len(heads)} claims on one workbench")
        print(f"KL of the last: {script.found[heads[-1]]}, {found}")
        passes = [sum(row[3] for row in one.rows) for one in (counter, script.counter)]
        print(f"{ours / theirs:.2f} times the script's processor time, {passes[0] / passes[1]:.2f} times its passes")
    if "quick" in given.only:
        seconds["quick"] = quick(model, task).show("assay measure --quick, all of it")
    for name in ("headline", "quick"):
        if name in seconds and "script" in seconds:
            print(f"{name}: {seconds[name] / seconds['script']:.2f} times the script's processor time")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB")


if __name__ == "__main__":
    main()
