"""What a measurement costs beside a plain hook script that makes the same runs.

    OMP_NUM_THREADS=1 python -m speed.measure [--model gpt2 zoo:smollm2-135m zoo:novel-4l] [--claim remove keep program]
                                              [--tokens 2000] [--reference 32] [--all]

Models: a random one of GPT-2's shape with a vocabulary of 49,152, and models by name. Claims: `remove` a head of a
middle layer; `keep` all but that layer's heads; `program`, that head attends to the previous token. Each under the mean
and four resample draws, on random tokens. The script puts values in place by hooks on the library's model: the clean
run, the means over the reference, the donors, then every run with its KL. Processor time of both in one process, and
forward passes of all scored rows. `--all`: the whole default measurement too, with its passes by stage.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import torch
from torch import Tensor

import assay
from assay.explanations import Keep, Program, Remove, programs
from assay.explanations.base import Explanation
from assay.model.load import load
from assay.model.meter import metered
from assay.model.transformer import Model
from assay.task.task import Task

WIDTH, DRAWS, ROWS = 256, 4, 8
CLAIMS = ("remove", "keep", "program")
Place = tuple[str, int]  # "z" or "mlp", and the layer
Edits = dict[Place, Callable[[Tensor], Tensor | None]]


def opened(name: str) -> Model:
    """A model by name; "gpt2": a random one of that shape."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=49_152, bos_token_id=0, eos_token_id=0)
    model = load(GPT2LMHeadModel(config).eval() if name == "gpt2" else name)
    assert isinstance(model, Model)
    return model


def random_task(model: Model, tokens: int, reference: int) -> Task:
    """Random documents of a window each."""
    random = np.random.default_rng(0)
    ids = [random.integers(1, model.config.vocab, WIDTH - 1) for _ in range(round(tokens / (WIDTH - 1)) + reference)]
    return Task.from_ids(model, ids[reference:], reference=ids[:reference], context=WIDTH)


class Script:
    """Runs of the library's model with hooks; `rows` counts them."""

    def __init__(self, model: Model, task: Task):
        self.library: Any = model.source
        self.task, self.shape = task, model.config
        self.gpt2 = hasattr(self.library, "transformer")
        self.rows = 0

    def modules(self, layer: int) -> tuple[Any, Any, Any]:
        """The output projection of the heads, the MLP, and what makes the heads' values."""
        if self.gpt2:
            block = self.library.transformer.h[layer]
            return block.attn.c_proj, block.mlp, block.attn.c_attn
        block = self.library.model.layers[layer]
        return block.self_attn.o_proj, block.mlp, block.self_attn.v_proj

    @torch.no_grad()
    def run(self, ids: Tensor, edits: Edits) -> Tensor:
        """Logits; what an edit gives takes the value's place."""
        self.rows += len(ids)
        handles = []
        for (kind, layer), edit in edits.items():

            def before(_: Any, given: tuple[Tensor, ...], edit=edit) -> tuple[Tensor, ...] | None:
                new = edit(given[0])
                return None if new is None else (new,)

            def after(_: Any, __: Any, out: Tensor, edit=edit) -> Tensor | None:
                return edit(out)

            z, mlp, _ = self.modules(layer)
            handles.append(z.register_forward_pre_hook(before) if kind == "z" else mlp.register_forward_hook(after))
        try:
            return self.library(ids, use_cache=False).logits
        finally:
            for handle in handles:
                handle.remove()

    def seen(self, ids: Tensor, places: Collection[Place]) -> dict[Place, Tensor]:
        found: dict[Place, list[Tensor]] = {place: [] for place in places}
        for some in ids.split(ROWS):
            self.run(some, {place: lambda value, place=place: found[place].append(value.clone()) for place in places})
        return {place: torch.cat(parts) for place, parts in found.items()}

    def kl(self, clean: Tensor, edits: Edits) -> float:
        edited = self.log_probs(edits)
        return float((clean.exp() * (clean - edited)).sum(-1).mean())

    def log_probs(self, edits: Edits) -> Tensor:
        return self.run(self.task.tokens, edits)[:, :-1][self.task.scored[:, 1:]].log_softmax(-1)

    def head(self, layer: int, head: int, value: Tensor) -> Edits:
        part = slice(head * self.shape.d_head, (head + 1) * self.shape.d_head)

        def put(z: Tensor) -> Tensor:
            z = z.clone()
            z[..., part] = value[..., part]
            return z

        return {("z", layer): put}

    def previous(self, layer: int, head: int) -> Edits:
        """The head's pattern: all weight on the previous token (the first looks at itself)."""
        _, _, values = self.modules(layer)
        own, width, kept = head // (self.shape.heads // self.shape.kv_heads), self.shape.d_head, list[Tensor]()
        place = slice(own * width, (own + 1) * width)

        def put(value: Tensor) -> Tensor:
            v = kept.pop()
            v = v[..., 2 * self.shape.d_model :][..., place] if self.gpt2 else v[..., place]
            value = value.clone()
            value[..., head * width : (head + 1) * width] = torch.cat([v[:, :1], v[:, :-1]], 1)
            return value

        self.watched = values.register_forward_hook(lambda _, __, out: kept.append(out))
        return {("z", layer): put}

    def __call__(self, claim: str, layer: int, head: int) -> dict[str, float]:
        """Mean KL of every run that the claim's headline needs."""
        assert self.task.reference is not None
        reference, layers = self.task.reference.tokens, range(self.shape.layers)
        every = [(kind, at) for at in layers for kind in ("z", "mlp")]
        places = every if claim == "keep" else [("z", layer)]
        clean = self.log_probs({})
        means = {}
        for place, values in self.seen(reference, places).items():
            means[place] = values[:, 1:].mean((0, 1)).expand(WIDTH, -1).clone()
            means[place][0] = values[:, 0].mean(0)
        rows = [np.random.default_rng(draw).integers(0, len(reference), len(self.task.tokens)) for draw in range(DRAWS)]
        donors = [self.seen(reference[torch.from_numpy(some)], places) for some in rows]
        found: dict[str, list[float]] = {}
        for name, values in (("mean", means), *(("resample_joint", donor) for donor in donors)):

            def all_of(some: Collection[Place], values: dict[Place, Tensor] = values) -> Edits:
                return {place: lambda own, place=place: values[place].expand_as(own).contiguous() for place in some}

            if claim == "keep":
                found.setdefault(name, []).append(self.kl(clean, all_of([("z", layer)])))
                found.setdefault(f"floor {name}", []).append(self.kl(clean, all_of(every)))
            else:
                key = name if claim == "remove" else f"floor {name}"
                found.setdefault(key, []).append(self.kl(clean, self.head(layer, head, values["z", layer])))
        if claim == "program":
            found["explained"] = [self.kl(clean, self.previous(layer, head))]
            self.watched.remove()
        return {name: float(np.mean(kls)) for name, kls in found.items()}


def claim_of(name: str, model: Model, layer: int, head: int) -> Explanation:
    if name == "remove":
        return Remove([f"a{layer}.h{head}"])
    if name == "keep":
        return Keep([one for one in model.components if one != "input" and not one.startswith(f"a{layer}.h")])
    return Program({f"a{layer}.h{head}": programs.previous_token(level="pattern")})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=["gpt2", "zoo:smollm2-135m", "zoo:novel-4l"])
    parser.add_argument("--claim", nargs="+", choices=CLAIMS, default=CLAIMS)
    parser.add_argument("--tokens", type=int, default=2_000)
    parser.add_argument("--reference", type=int, default=32, help="rows")
    parser.add_argument("--all", action="store_true", help="the whole default measurement too")
    given = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), assay {assay.__version__}")
    print("\n| model | claim | script s | passes | headline s | passes | ratio | KL of script and assay |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    stages: list[str] = []
    for name in given.model:
        model = opened(name)
        task = random_task(model, given.tokens, given.reference)
        layer, head = model.config.layers // 2, model.config.heads // 3
        for one in given.claim:
            claim, script = claim_of(one, model, layer, head), Script(model, task)
            started = time.process_time()
            kls = script(one, layer, head)
            theirs = time.process_time() - started
            workbench = assay.Workbench(model, task)
            started = time.process_time()
            with metered() as meter:
                table = workbench.measure(claim, budget="headline", progress=False).table
            ours = time.process_time() - started
            own = {row.ablation: row.kl_explained.value for row in table}
            both = f"{kls.get('mean', kls.get('explained')):.3g} {own['mean']:.3g}"
            rows = len(task.tokens)
            print(
                f"| {name} | {one} | {theirs:.1f} | {script.rows / rows:.1f} | {ours:.1f} | "
                f"{meter.work / rows / WIDTH:.1f} | {ours / theirs:.2f} | {both} |",
                flush=True,
            )
            if given.all:
                started = time.process_time()
                found = assay.measure(claim, model, task, progress=False).record.budget
                taken = time.process_time() - started
                passes = " ".join(f"{stage.name} {stage.passes:.1f}," for stage in found.stages)
                total, left = sum(stage.passes for stage in found.stages), ", ".join(found.wanting) or "nothing"
                stages.append(f"{name} {one}: {taken:.0f} s, {total:.1f} passes: {passes} left out: {left}")
    print(
        "\n" + "\n".join(stages) + f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB"
    )


if __name__ == "__main__":
    main()
