"""What a dictionary is like: figures on planted values equal those by definition, and the wrong formula fails."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from assay.explanations.dictionary.baselines import coordinates, mean, principal, random, reference_values
from assay.explanations.dictionary.measures import CodeSums, Values, agreement, dark_share, splitting
from assay.intervene.wide_sites import wide_site
from assay.stats.bootstrap import Resamples
from assay.train.dictionary.code import SparseCode
from tests.explanations.dictionary.made import code
from tests.intervene.naive_cases import bench_of

N, D, DOCUMENTS = 600, 32, 12
RANDOM = torch.Generator().manual_seed(0)
X = torch.randn(N, D, generator=RANDOM) @ torch.randn(D, D, generator=RANDOM) + 30  # far from zero: the trap
TOKEN = np.arange(N) % 7


def figures(own: SparseCode, x: torch.Tensor = X, parts: int = 5):
    sums = CodeSums(own, DOCUMENTS)
    for part in np.array_split(np.arange(len(x)), parts):
        at = torch.from_numpy(part)
        sums.add(Values(x[at], x[at], TOKEN[part], part, part + 1, part * DOCUMENTS // len(x)))
    return sums.measures(Resamples(DOCUMENTS))


def test_the_mean_explains_nothing_and_the_identity_all():
    assert figures(mean(X)).explained.value == pytest.approx(0, abs=1e-9)
    assert figures(mean(3 * X), 3 * X).explained.value == pytest.approx(0, abs=1e-9)
    eye, zeros = torch.eye(D), torch.zeros(2 * D)
    identity = SparseCode(torch.cat([eye, -eye]), zeros, torch.cat([eye, -eye]), zeros[:D], zeros[:D])
    found = figures(identity)
    assert found.explained.value == pytest.approx(1, abs=1e-9)
    assert found.active.value == pytest.approx(D)
    wrong = 1 - float((X - X.mean(0)).square().sum() / X.square().sum())  # about zero
    assert wrong > 0.5


def test_figures_are_those_of_the_definition():
    own = code(rule="threshold")
    found, features = figures(own), own.encode(X)
    left = float((X - own(X)).double().square().sum() / (X - X.mean(0)).double().square().sum())
    assert found.explained.value == pytest.approx(1 - left, rel=1e-6)
    assert found.active.value == pytest.approx(float((features > 0).float().sum(-1).mean()))
    assert np.allclose(found.density, (features > 0).float().mean(0))
    assert found.dead == float((~(features > 0).any(0)).float().mean())
    value, row, column = found.top
    assert np.allclose(value, features.topk(6, dim=0).values.T)
    alive = np.flatnonzero(value[:, 0] > 0)[0]
    assert features[row[alive, 0], alive] == pytest.approx(value[alive, 0])
    assert column[alive, 0] == row[alive, 0] + 1
    shares = []
    for feature in features.T:
        by_token = [float(feature[torch.from_numpy(token == TOKEN)].sum()) for token in range(7)]
        shares.append(max(by_token) / sum(by_token) if sum(by_token) else 0)
    assert np.allclose(found.share, shares, atol=1e-5)


def test_features_of_one_token_are_counted():
    rows = torch.zeros(8, D)
    rows[:7, :7] = torch.eye(7)
    x = torch.zeros(N, D)
    x[torch.arange(N), torch.from_numpy(TOKEN)] = 2.0
    rows[7, :7] = 1  # active at each of them
    own = SparseCode(rows, torch.full((8,), -0.5), rows, torch.zeros(D), torch.zeros(D))
    found = figures(own, x)
    assert found.one_token == pytest.approx(7 / 8)
    assert found.token[:7].tolist() == list(range(7))


def test_values_that_are_not_coded_do_not_count():
    x = X.clone()
    x[5] *= 1000
    own = replace(code(), most=float(x.norm(dim=-1).sort().values[-2]))
    found = figures(own, x)
    assert (found.values, found.coded) == (N - 1, pytest.approx((N - 1) / N))
    assert found.explained.value == pytest.approx(figures(own, X[torch.arange(N) != 5], 1).explained.value, abs=0.02)


def test_agreement():
    rows = torch.randn(20, 16, generator=RANDOM)
    assert agreement(rows, rows[torch.randperm(20)]) == pytest.approx((1, 1, 1))
    assert agreement(rows, torch.cat([rows[:1]] * 20))[1] == pytest.approx(1)
    assert agreement(rows, torch.cat([rows[:1]] * 20))[2] < 0.5


def test_codes_that_nobody_trained():
    workbench = bench_of("gpt2", torch.float32)
    site = wide_site("r1", workbench.model)
    values = reference_values(workbench, site)
    own = code()
    left = {}
    for name, made in (
        ("pca", principal(workbench, site, 5)),
        ("random", random(workbench, site, own, 5, 0)),
        ("coordinates", coordinates(workbench, site, 5)),
        ("mean", mean(values)),
    ):
        features = made.encode(values)
        assert int((features > 0).sum(-1).max()) <= (5 if name != "mean" else 0)
        left[name] = float((values - made(values)).square().sum() / (values - values.mean(0)).square().sum())
    assert left["mean"] == pytest.approx(1, abs=1e-5)
    spread = torch.linalg.svdvals(values - values.mean(0)).square()
    assert left["pca"] == pytest.approx(float(spread[5:].sum() / spread.sum()), rel=1e-4)
    assert left["pca"] < min(left["random"], left["coordinates"]) < 1


def test_what_is_left_is_linear_where_it_was_made_so():
    half = SparseCode(torch.eye(D), torch.full((D,), 1e3), 0.5 * torch.eye(D), torch.full((D,), -500.0), torch.zeros(D))
    centred = X - X.mean(0)
    error, norm = dark_share(half, centred[:400], centred[400:])  # half of the value is left
    assert error == pytest.approx(1, abs=1e-3)
    assert norm < 0.3  # a square is not linear
    rows = torch.cat([torch.eye(D), -torch.eye(D)])
    level = torch.full((2 * D,), float(centred.abs().median()))
    own = SparseCode(rows, torch.zeros(2 * D), rows, torch.zeros(D), torch.zeros(D), "threshold", threshold=level)
    error, _ = dark_share(own, centred[:400], centred[400:])  # small values are left whole, large ones not at all
    assert error < 0.5
    exact = SparseCode(torch.eye(D), torch.full((D,), 64.0), torch.eye(D), torch.full((D,), -64.0), torch.zeros(D))
    assert dark_share(exact, X.round()[:400], X.round()[400:]) == (None, None)


def test_a_splitting_tree_finds_planted_children():
    rows = torch.nn.functional.normalize(torch.randn(6, 64, generator=RANDOM), dim=-1)
    near = [rows[0] + 0.05 * torch.randn(64, generator=RANDOM) for _ in range(3)]
    wide = torch.stack([*near, rows[1], rows[2], torch.randn(64, generator=RANDOM)])
    found = splitting(rows, wide)
    assert found.parent[:5].tolist() == [0, 0, 0, 1, 2]
    assert found.children.tolist() == [3, 1, 1, 0, 0, 0]
    assert (found.split, found.kept, found.new) == (1 / 6, 2 / 6, pytest.approx(1 / 6))
