"""The model with a copy of the stream for every reader, to which shares of given vectors are added: plain autograd."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from assay.model.layer import rotate
from assay.model.transformer import Model
from assay.task.task import Task


def forward(
    model: Model,
    tokens: Tensor,
    *,
    shares: Tensor | None = None,
    added: Tensor | None = None,
    given: Mapping[int, Tensor] | None = None,
    soft: bool = False,
) -> tuple[Tensor, list[Tensor]]:
    """Logits [rows, pos, vocab], and what every writer wrote.

    Args:
        shares: [readers, writers] of `added` [writers, rows, pos, d_model], which the reader's own copy gets.
        given: writer -> what it writes instead.
        soft: gradients by GIM: softmax at temperature 2, times 2; a quarter to q and k, half to v; norms' scales fixed.
    """
    fixed = torch.detach if soft else None

    def part_of(x: Tensor, share: float) -> Tensor:
        return x * share + x.detach() * (1 - share) if soft else x

    def softmax(x: Tensor) -> Tensor:
        softer = 2 * (x / 2).softmax(-1)
        return x.detach().softmax(-1) + softer - softer.detach() if soft else x.softmax(-1)

    given, edges, shape = given or {}, model.edges, model.config
    readers = {reader.name: (place, reader.writers) for place, reader in enumerate(edges.readers)}
    unit = "h" if shape.heads == shape.kv_heads else "kv"
    own: list[Tensor] = [given.get(0, model.embed(tokens))]
    rotation = model.weights.rotation(own[0])

    def copy(name: str, biases: int) -> Tensor:
        place, before = readers[name]
        x = torch.stack(own[:before]).sum(0) + sum(model.attention_bias(layer) for layer in range(biases))
        if shares is not None:
            for writer in range(before):
                x = x + shares[place, writer] * added[writer]
        return x

    for layer, weights in enumerate(model.weights.layers):
        outputs = []
        for head in range(shape.heads):
            group = head // (shape.heads // shape.kv_heads)
            found = []
            for which, name in enumerate((f"h{head}<q>", f"{unit}{group}<k>", f"{unit}{group}<v>")):
                at = head if which == 0 else group
                x = weights.norm1(copy(f"a{layer}.{name}", layer), fixed) @ weights.W_in(name[-2])[at]
                bias = weights.b_in(name[-2])
                x = x if bias is None else x + bias[at]
                norm = (weights.q_norm, weights.k_norm, None)[which]
                x = part_of(x, (0.25, 0.25, 0.5)[which])
                x = x if norm is None else norm(x, fixed)
                found.append(x if rotation is None or which == 2 else rotate(x, rotation))
            q, k, v = found
            scores = q @ k.transpose(1, 2) * weights.scaling
            future = torch.ones(scores.shape[1:], dtype=torch.bool).triu(1)
            z = softmax(scores.masked_fill(future, -torch.inf)) @ v
            outputs.append(given.get(len(own) + head, z @ model.W_O(layer)[head]))
        own += outputs
        if weights.down is not None:
            read = weights.norm2(copy(f"m{layer}", layer if shape.parallel else layer + 1), fixed)
            act = weights.act
            neurons = act(weights.up(read)) if weights.gate is None else act(weights.gate(read)) * weights.up(read)
            own.append(given.get(len(own), weights.down(neurons)))
    logits = model.weights.unembedding(model.weights.final_norm(copy("logits", shape.layers), fixed))
    return logits, own


def loss(task: Task, logits: Tensor, kind: str = "task", own: Tensor | None = None) -> Tensor:
    """The mean over scored items, written out row by row. `own`: the model's logits, for KL(model || run)."""
    total, count = logits.new_zeros(()), 0
    for row in range(len(task.tokens)):
        for position in torch.nonzero(task.scored[row]).flatten().tolist():
            here, count = logits[row, position - 1], count + 1
            if kind == "kl":
                p, q = own[row, position - 1].log_softmax(-1), here.log_softmax(-1)
                total = total + (p.exp() * (p - q)).sum()
            elif task.metric.name == "logit_diff":
                right, wrong = task.answers[row].tolist()
                total = total + here[wrong] - here[right]
            else:
                total = total + cross_entropy(here, task.tokens[row, position])
    return total / count


def scores(
    task: Task,
    model: Model,
    fills: Tensor,
    *,
    at: list[Mapping[int, Tensor]],
    writers: list[int] | None = None,
    kind: str = "task",
    soft: bool = False,
) -> Tensor:
    """[readers, writers] the mean, over runs with these writers given, of dL/d(share of fill less own at a reader)."""
    clean, own = forward(model, task.tokens)
    added = fills - torch.stack(own)
    total = torch.zeros(len(model.edges.readers), len(model.edges.writers), dtype=added.dtype)
    for given in at:
        shares = torch.zeros_like(total, requires_grad=True)
        logits, _ = forward(model, task.tokens, shares=shares, added=added, given=given, soft=soft)
        (gradient,) = torch.autograd.grad(loss(task, logits, kind, clean), shares)
        total += gradient / len(at)
    if writers is not None:
        only = torch.zeros_like(total)
        only[:, writers] = total[:, writers]
        return only
    return total
