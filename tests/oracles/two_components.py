"""A network of two parts whose answers are worked by hand: the log-odds of class 1 are a(x) + b(x).

Each input is a pair of bits and a number that tells equal pairs apart. With u = ln 3:

    a(x) = 2u·x0          is 0 or 2u, mean u
    b(x) = 2u·x1 − 2u     is −2u or 0, mean −u
    d = a + b             is −2u, 0, 0, 2u for (0,0), (0,1), (1,0), (1,1)

A log-odds of ku stands for the probability 3^k / (1 + 3^k): 1/10, 1/4, 1/2, 3/4, 9/10 for k = −2, −1, 0, 1, 2.
"""

from __future__ import annotations

from functools import cache
from math import log

import numpy as np
import torch
from torch import Tensor, nn

from assay.intervene.fill.ablations import PlanContext
from assay.intervene.runner import Runner
from assay.model.load import load
from assay.task.task import Task

U = log(3)
PAIRS = ((0, 0), (0, 1), (1, 0), (1, 1))


class Part(nn.Module):
    """scale·x_index + offset."""

    def __init__(self, index: int, scale: float, offset: float) -> None:
        super().__init__()
        self.index = index
        self.scale = nn.Parameter(torch.tensor(scale, dtype=torch.float64))
        self.offset = nn.Parameter(torch.tensor(offset, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x[:, self.index : self.index + 1] + self.offset


class Two(nn.Module):
    """[n, 3] -> [n, 2] logits (0, a + b)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = Part(0, 2 * U, 0.0), Part(1, 2 * U, -2 * U)

    def forward(self, x: Tensor) -> Tensor:
        d = self.a(x) + self.b(x)
        return torch.cat([torch.zeros_like(d), d], dim=1)


def inputs(times: int, start: float = 0.0) -> Tensor:
    """Every pair so many times, each with a number of its own, from `start` on."""
    rows = [(*pair, start + i) for i in range(times) for pair in PAIRS]
    return torch.tensor(rows, dtype=torch.float64)


def labels(ones: tuple[int, int, int, int], times: int) -> Tensor:
    """Class 1 for the first so many inputs of each pair; the others class 0."""
    return torch.tensor([int(i < ones[pair]) for i in range(times) for pair in range(4)])


@cache
def model():
    return load(Two())


def task(ones: tuple[int, int, int, int] = (2, 10, 10, 18), times: int = 20) -> Task:
    """By default labels in the model's own proportions: of 20 inputs each 1/10, 1/2, 1/2 and 9/10."""
    reference = (inputs(8, 1e6), labels((4, 4, 4, 4), 8))
    return Task.classify(model(), inputs(times), labels(ones, times), reference=reference)


def workbench(**changes) -> PlanContext:
    return PlanContext(Runner(model(), task(**changes)), seed=0)


def divergence(p: float, q: float) -> float:
    """KL between coins, nats."""
    return sum(x * log(x / y) for x, y in ((p, q), (1 - p, 1 - q)) if x)


def kl_of(probabilities: dict[tuple[int, int], float]) -> float:
    """Mean KL(model || coins with these chances) over the four pairs."""
    own = dict(zip(PAIRS, (0.1, 0.5, 0.5, 0.9), strict=True))
    return float(np.mean([divergence(own[pair], probabilities[pair]) for pair in PAIRS]))
