"""GIM's authors' package (`pip install gim-explain==0.1.4`) gives the gradients that our scores are made of."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from assay.intervene.circuits.engine import Circuits
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.runner import Runner
from assay.methods.attribution import gim
from tests.intervene.naive_cases import make, prompt_task

peer = pytest.importorskip("gim", reason="needs gim-explain 0.1.4")


def attention(q: Tensor, k: Tensor, v: Tensor, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, **_: object):
    """torch's attention in plain steps: the peer changes `softmax`, and what is fused does not call it."""
    scores = q @ k.transpose(-1, -2) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return nn.functional.softmax(scores.masked_fill(future, -torch.inf), dim=-1) @ v


def test_scores_of_the_inputs_edges_add_up_to_the_peers_attributions(monkeypatch):
    """GPT-2 only: the peer freezes torch's own norms, and the library's other families have norms of their own."""
    model, network = make("gpt2", torch.float64)
    task = prompt_task(model)
    assert task.answers is not None
    circuits = Circuits(PlanContext(Runner(model, task), 5), "counterfactual")
    found = gim(circuits)
    assert found.signed is not None
    into = circuits.edges.matrix(found.signed)[:, 0].sum()  # the gradient at the input is that of all its readers
    network.set_attn_implementation("sdpa")
    monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", attention)
    embedding, total = network.get_input_embeddings(), 0.0
    for row in range(len(task.tokens)):
        position = int(task.scored[row].nonzero()[-1]) - 1
        ids, other = task.tokens[row : row + 1], task.counterfactual[row : row + 1]
        clean = embedding(ids).detach().requires_grad_(True)
        with peer.GIM(network):
            logits = network(inputs_embeds=clean, use_cache=False).logits[0, position]
            right, wrong = task.answers[row].tolist()
            (gradient,) = torch.autograd.grad(logits[wrong] - logits[right], clean)
        total += float((gradient * (embedding(other) - clean).detach()).sum()) / len(task.tokens)
    assert abs(into) > 1e-3
    assert np.isclose(into, total, rtol=1e-6)
