"""GIM's authors' package (`pip install gim-explain==0.1.4`) gives the gradients that our scores are made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from assay.intervene.circuits.engine import Circuits
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.runner import Runner
from assay.methods.attribution import gim
from tests.intervene.naive_cases import make, prompt_task
from tools.gim_peer import attention_in_steps, with_known_norms

peer = pytest.importorskip("gim", reason="needs gim-explain 0.1.4")


@pytest.mark.parametrize(("kind", "tolerance"), [("gpt2", 1e-6), ("llama", 1e-5)])  # the library's RMS norm: float32
def test_scores_of_the_inputs_edges_add_up_to_the_peers_attributions(kind, tolerance):
    """The peer freezes torch's own norms, so Llama's are made such; `tools/gim_peer.py` does a real model."""
    model, network = make(kind, torch.float64)
    task = prompt_task(model)
    assert task.answers is not None
    circuits = Circuits(PlanContext(Runner(model, task), 5), "counterfactual")
    found = gim(circuits)
    assert found.signed is not None
    into = circuits.edges.matrix(found.signed)[:, 0].sum()  # the gradient at the input is that of all its readers
    network = with_known_norms(network)
    network.set_attn_implementation("sdpa")
    embedding, total = network.get_input_embeddings(), 0.0
    for row in range(len(task.tokens)):
        position = int(task.scored[row].nonzero()[-1]) - 1
        ids, other = task.tokens[row : row + 1], task.counterfactual[row : row + 1]
        clean = embedding(ids).detach().requires_grad_(True)
        with attention_in_steps(), peer.GIM(network):
            logits = network(inputs_embeds=clean, use_cache=False).logits[0, position]
            right, wrong = task.answers[row].tolist()
            (gradient,) = torch.autograd.grad(logits[wrong] - logits[right], clean)
        total += float((gradient * (embedding(other) - clean).detach()).sum()) / len(task.tokens)
    assert abs(into) > 1e-3
    assert np.isclose(into, total, rtol=tolerance)
