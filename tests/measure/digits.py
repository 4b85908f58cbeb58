"""A small convolutional classifier of handwritten digits, trained in about a second; and how it is measured."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from assay.intervene.fill.ablations import PlanContext
from assay.intervene.runner import Runner
from assay.model.load import load
from assay.model.module import ModuleModel
from assay.task.task import Task

STEPS, BATCH = 120, 64


class Classifier(nn.Module):
    """8×8 images to ten classes: two convolutions of 6 and 8 channels, and two matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 3), nn.Conv2d(6, 8, 3)
        self.hidden, self.out = nn.Linear(8 * 4 * 4, 24), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(self.conv1(x).relu()).relu().flatten(1)
        return self.out(self.hidden(x).relu())


class Spared(Classifier):
    """With submodules that are never called."""

    def __init__(self) -> None:
        super().__init__()
        self.spare, self.block = nn.Conv2d(1, 6, 3), nn.Sequential(nn.Identity())


@cache
def data() -> tuple[Tensor, Tensor]:
    digits = load_digits()
    return torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16, torch.tensor(digits.target).long()


@cache
def digits() -> ModuleModel:
    x, y = data()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Classifier()
    order = np.random.default_rng(0)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(STEPS):
        rows = torch.from_numpy(order.choice(1_200, BATCH, replace=False))
        optimizer.zero_grad()
        cross_entropy(network(x[rows]), y[rows]).backward()
        optimizer.step()
    model = load(network.eval())
    assert isinstance(model, ModuleModel)
    return model


@cache
def task() -> Task:
    x, y = data()
    return Task.classify(digits(), x[1_200:1_500], y[1_200:1_500], reference=(x[1_500:], y[1_500:]))


def workbench(seed: int = 0) -> PlanContext:
    return PlanContext(Runner(digits(), task()), seed)
