"""A planted network with two voices: one head says the answer x, another says a letter d that stands elsewhere; a third
does nothing of use. How loud each is, and what is right, is chosen: so a part is needed, harmful, or of no account.

BOS x f d f | : at the end the logit of x is `answer` above the others', that of d `other`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch

from assay.model.transformer import Model
from assay.planted.compiled_world import CompiledWorld
from assay.planted.gadgets import at, pick
from assay.planted.inputs import DrawnExample, Inputs
from assay.planted.program import Head, PlantedProgram
from assay.task.task import Task

WORDS = tuple("abcdef")
FILLERS = tuple(f"f{i}" for i in range(1, 9))
TOKENS = ("<s>", "|", *WORDS, *FILLERS)
ANSWER, OTHER, IDLE = "a0.h0", "a0.h1", "a0.h2"


@cache
def voices(answer: float = 3.0, other: float = 1.5) -> CompiledWorld:
    letter, context = pick(TOKENS, WORDS), 7
    heads = (
        Head(0, 0, (at(context, 1),), {"token": letter}, "answer"),
        Head(0, 1, (at(context, 3),), {"token": letter}, "other"),
    )
    said = pick(WORDS, TOKENS)
    sizes = {"answer": len(WORDS), "other": len(WORDS)}
    program = PlantedProgram(
        "two voices", TOKENS, context, sizes, heads, {"answer": answer * said, "other": other * said}
    )

    def draw(random: np.random.Generator, split: str) -> DrawnExample:
        f = [str(w) for w in random.choice(FILLERS, 2)]
        x, d = (str(w) for w in random.choice(WORDS, 2, replace=False))
        y, e = (str(w) for w in random.choice(WORDS, 2, replace=False))
        return DrawnExample(("<s>", x, f[0], d, f[1], "|", x), ("<s>", y, f[0], e, f[1], "|", y), d)

    alphabet = (("<s>",), WORDS, FILLERS, WORDS, FILLERS, ("|",), WORDS)
    return CompiledWorld(program, Inputs(program.name, TOKENS, draw, (6,), alphabet))


def task(planted: CompiledWorld, share: float = 1.0, n: int = 64, **more: Any) -> Task:
    """Right is x in this share of the rows, evenly among them, and d in the others."""
    made = planted.task(n=n, **more)
    assert made.answers is not None
    x = (np.arange(n) + 0.5) * share % 1 >= 1 - share  # as many as the share says, whatever n
    answers = torch.where(torch.from_numpy(x)[:, None], made.answers, made.answers.flip(1))
    return replace(made, answers=answers)


def calibrated(planted: CompiledWorld, n: int = 256) -> Task:
    """Each token is right as often as the model says that it is, counted over the rows."""
    made = planted.task(n=n)
    assert made.answers is not None
    model = planted.model
    assert isinstance(model, Model)
    probabilities = model(made.tokens)[:, 5].softmax(-1).detach().double().numpy()
    where = (np.random.default_rng(0).permutation(n) + 0.5) / n
    order = np.arange(len(TOKENS))
    answers = made.answers.clone()
    for row, (p, (x, d)) in enumerate(zip(probabilities, made.answers.tolist(), strict=True)):
        first = np.concatenate([[x, d], order[~np.isin(order, (x, d))]]).astype(int)  # x, d, then all others
        right = first[min(int(np.searchsorted(p[first].cumsum(), where[row])), len(first) - 1)]
        answers[row] = torch.tensor([right, d if right != d else x])
    return replace(made, answers=answers)
