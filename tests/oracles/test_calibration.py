"""The calibration ladder (docs/definitions.md#recovered): a program right on a share q reads −log10(1 − q) nines."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log10
from typing import ClassVar

import numpy as np
import pytest
import torch

from assay.explanations.base import Explanation, Level
from assay.intervene.components import expand
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.plan import Call, Edit
from assay.measure.headline.systems import systems
from assay.measure.headline.table import headline_table
from assay.score.score import score
from assay.stats.bootstrap import Resamples
from tests.oracles.two_components import workbench


@dataclass(frozen=True)
class Planted(Explanation):
    """Says what part a is, and is right on the rows named; elsewhere it says the mean."""

    right: np.ndarray = field(repr=False)
    kind: ClassVar[str] = "planted"
    level: ClassVar[Level] = "how"
    once = True

    def scope(self, model):
        return expand(["a"], model)

    def plan(self, workbench: PlanContext, ablation: str, draw: int = 0):
        (site,) = self.scope(workbench.model)
        mean = workbench.statistics.mean(site)

        def program(batch):
            own = batch.read(site)
            return torch.where(torch.from_numpy(self.right[batch.rows]).unsqueeze(-1), own, mean.to(own))

        return workbench.plan((Edit(site, Call(program, (site,))),))

    def floor(self, workbench: PlanContext, ablation: str, draw: int = 0):
        return workbench.plan(workbench.ablate(self.scope(workbench.model), ablation, draw))

    def sentence(self, model_name: str) -> str:
        return f"a of {model_name} is what it is, mostly"


def read(right: np.ndarray, at: PlanContext):
    claim = Planted(right)
    plans = systems(at, claim, ("mean",), 4)
    scored = score(at, plans.plans)
    found = headline_table(claim, scored, Resamples(len(scored.count), None, seed=0), plans)
    return found.headline


@pytest.mark.parametrize(("q", "nines"), [(0.0, 0.0), (0.5, 0.30103), (0.9, 1.0), (0.99, 2.0), (0.999, 3.0)])
def test_a_program_that_is_right_on_a_share_q_reads_so_many_nines(q, nines):
    at = workbench(times=1000, ones=(100, 500, 500, 900))
    right = np.random.default_rng(7).random(len(at.task.tokens)) < q
    row = read(right, at)
    estimate = row.nines.value
    assert estimate.low <= nines + 1e-6
    assert estimate.high >= nines - 1e-6
    assert estimate.value == pytest.approx(nines, abs=0.05 if q < 0.95 else 0.1 if q < 0.995 else 0.5)
    assert row.nines.floor == "mean"
    assert row.nines.certified.value <= nines + 1e-6
    assert row.nines.text.endswith("0 nines over mean: no better than the floor" if q == 0 else "nines over mean")


def test_every_rung_is_exact_where_the_wrong_inputs_carry_an_equal_share_of_the_floor():
    """Wrong on exactly every k-th group of four pairs: the ratio of KLs is exactly 1/k."""
    at = workbench(times=1000, ones=(100, 500, 500, 900))
    group = np.arange(len(at.task.tokens)) // 4
    for k in (2, 10, 100, 1000):
        row = read(group % k != 0, at)
        assert row.nines.value.value == pytest.approx(log10(k), abs=1e-5)
        assert row.recovered.value == pytest.approx(1 - 1 / k, abs=1e-6)
        assert row.nines.certified.value <= log10(k)


def test_a_program_that_is_always_right_reads_the_meters_limit():
    row = read(np.ones(160, dtype=bool), workbench(times=40, ones=(4, 20, 20, 36)))
    assert row.nines.text.startswith(">")
    assert row.nines.value.value == pytest.approx(row.nines.limit)
