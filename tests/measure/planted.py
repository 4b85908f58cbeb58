"""A tiny GPT-2 in which two heads of layer 0 attend to the position before, exactly; every other head is random."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from assay.intervene.fill.ablations import PlanContext
from assay.intervene.runner import Runner
from assay.model.load import load
from assay.model.transformer import Model
from assay.task.task import Task
from tests.model.tiny import build, tiny_tokenizer

PLANTED = ("a0.h2", "a0.h5")
HEADS, D_HEAD, PERIOD = 8, 4, 48


@cache
def planted() -> Model:
    network = build("gpt2", d=HEADS * D_HEAD, heads=HEADS, context=PERIOD, seed=3).float()
    block = network.transformer.h[0]
    angle = 2 * np.pi / PERIOD
    with torch.no_grad():
        # positions lie on a circle, tokens have mean 0 and one length: the norm is the same everywhere
        angles = angle * torch.arange(PERIOD, dtype=torch.float32)
        circle = torch.stack([angles.cos(), angles.sin(), -angles.cos(), -angles.sin()], dim=1)
        words = network.transformer.wte.weight[:, 4:]
        words = words - words.mean(1, keepdim=True)
        network.transformer.wte.weight[:, :4] = 0
        network.transformer.wte.weight[:, 4:] = 5 * words / words.norm(dim=1, keepdim=True)
        network.transformer.wpe.weight.zero_()
        network.transformer.wpe.weight[:, :4] = 8 * circle
        block.ln_1.weight.fill_(1)
        block.ln_1.bias.fill_(0)
        width = HEADS * D_HEAD
        turn = torch.tensor([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], dtype=torch.float32)
        for name in PLANTED:
            head = int(name.split("h")[1])
            q = slice(head * D_HEAD, (head + 1) * D_HEAD)
            k = slice(width + q.start, width + q.stop)
            for columns, matrix in ((q, turn), (k, torch.eye(2))):
                block.attn.c_attn.weight[:, columns] = 0
                block.attn.c_attn.bias[columns] = 0
                block.attn.c_attn.weight[:2, columns.start : columns.start + 2] = 20 * matrix
    model = load(network.eval(), tokenizer=tiny_tokenizer(50))
    assert isinstance(model, Model)
    return model


@cache
def texts(count: int, seed: int) -> tuple[str, ...]:
    """Random sentences of the tiny vocabulary, each 24 words long."""
    generator = np.random.default_rng(seed)
    return tuple(" ".join(f"w{i}" for i in generator.integers(21, 50, 24)) for _ in range(count))


@cache
def text_task(count: int = 8) -> Task:
    return Task.text(planted(), texts=list(texts(count, 0)), reference=list(texts(24, 1)))


def workbench(seed: int = 0) -> PlanContext:
    return PlanContext(Runner(planted(), text_task()), seed)
