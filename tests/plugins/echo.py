"""What another package may add: a world, that is a network whose mechanism is known, written by hand."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from assay.model.load import load
from assay.model.transformer import Model
from assay.planted.compiler import tokenizer_of
from assay.planted.inputs import DrawnExample, Inputs
from assay.planted.world import Truth
from assay.stats.estimate import Undefined
from assay.task.task import Task

WORDS = ("<s>", *"abcdefghijklmnop")


def _draw(random: Any, split: str) -> DrawnExample:
    def row() -> tuple[str, ...]:
        x, y = (str(word) for word in random.choice(WORDS[1:], 2))
        return ("<s>", x, x, y, y)

    return DrawnExample(row(), row())


class Echo:
    """BOS x x y y: says each word again, from `input` straight to the logits; its one head writes nothing."""

    name = "echo"
    inputs = Inputs("echo", WORDS, _draw, (2, 4), (WORDS[:1], *[WORDS[1:]] * 4))

    @cached_property
    def model(self) -> Model:
        width = len(WORDS) + 1
        config = GPT2Config(vocab_size=len(WORDS), n_positions=8, n_embd=width, n_layer=1, n_head=1, bos_token_id=0,
                            eos_token_id=0, tie_word_embeddings=False)  # fmt: skip
        network: Any = GPT2LMHeadModel(config)
        with torch.no_grad():
            network.transformer.wte.weight.copy_(torch.eye(len(WORDS), width))
            network.transformer.wpe.weight.zero_()
            network.lm_head.weight.copy_(4 * torch.eye(len(WORDS), width))
            for part in (network.transformer.h[0].attn.c_proj, network.transformer.h[0].mlp.c_proj):
                part.weight.zero_()
        model = load(network.eval(), tokenizer=tokenizer_of(WORDS))
        assert isinstance(model, Model)
        return model

    def task(self, n: int = 64, seed: int = 0, *, metric: str = "loss") -> Task:
        return self.inputs.task(self.model.tokenizer, n, seed, reference=16, metric=metric)

    def truth(self, ablation: str) -> Truth | Undefined:
        if ablation == "noise":
            return Undefined("nobody has thought about noise")
        return Truth(edges=("input->logits",))
