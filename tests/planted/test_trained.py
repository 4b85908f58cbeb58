"""Strict interchange training: the variables sit where they were put, and nowhere else, in the library's own model."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch

from assay.errors import ModelError
from assay.planted.trained import ASKED, COLUMN_U, COLUMN_V, TrainedWorld, TrainingSettings, forward, train
from assay.planted.worlds import world
from tests.naive import hooks
from tests.planted import by_hand


@cache
def trained() -> TrainedWorld:
    return world("sums_0")


def rows(count: int, seed: int) -> torch.Tensor:
    """Rows of the task with digits and fillers at random, without their answers."""
    words = trained().inputs.words
    random = np.random.default_rng(seed)
    out = np.zeros((count, ASKED + 1), dtype=np.int64)
    out[:, [COLUMN_U, COLUMN_V]] = random.integers(2, 7, (count, 2))
    out[:, [2, 4]] = random.integers(11, len(words), (count, 2))
    out[:, ASKED] = 1
    return torch.from_numpy(out)


def said(tokens: torch.Tensor, edits: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        return hooks.run(trained().network, tokens, edits)[:, -1].softmax(-1)


def outputs(tokens: torch.Tensor, names: tuple[str, ...]) -> dict[str, torch.Tensor]:
    return hooks.values(trained().network, tokens, list(names))


def answer(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return (u[:, COLUMN_U] - 2) + (v[:, COLUMN_V] - 2) + 2


def test_its_own_scores_are_good() -> None:
    found = trained()
    assert all(score >= 0.99 for name, score in found.scores.items() if name != "worst change")
    assert found.scores["worst change"] <= 0.02


def test_view_and_task_agree_with_the_answers() -> None:
    found, task = trained(), trained().task(n=32)
    with torch.no_grad():
        logits = found.model(task.tokens)
        view = forward(found.network, task.tokens[:, : ASKED + 1], {})[0]
    items = task.items(np.arange(32))
    assert (task.gather(logits, items).argmax(-1) == task.targets(np.arange(32), items)[:, 0]).all()
    assert (logits[:, ASKED] - view).abs().max() < 1e-4
    assert found.model.components == ("input", *(f"a0.h{h}" for h in range(4)), "m0",
                                      *(f"a1.h{h}" for h in range(4)), "m1")  # fmt: skip
    assert set(found.places) | set(found.idle) == set(found.model.components) - {"input"}


def test_each_variable_moves_with_its_part() -> None:
    base, source = rows(200, 1), rows(200, 2)
    given = outputs(source, tuple(trained().places))
    wanted = {"a0.h1": answer(source, base), "a0.h2": answer(base, source), "m1": answer(source, source)}
    for place, right in wanted.items():
        assert (said(base, {place: given[place]}).argmax(-1) == right).double().mean() > 0.98
    both = said(base, {name: given[name] for name in ("a0.h1", "a0.h2")})
    assert (both.argmax(-1) == answer(source, source)).double().mean() > 0.98


def test_nothing_else_carries_anything() -> None:
    base, idle = rows(200, 3), trained().idle
    clean = said(base, {})
    for seed, name in enumerate(idle):
        assert (said(base, outputs(rows(200, 10 + seed), (name,))) - clean).abs().max() < 0.05
    together = {name: outputs(rows(200, 30 + seed), (name,))[name] for seed, name in enumerate(idle)}
    assert (said(base, together) - clean).abs().max() < 0.05
    for left, right in pairwise(idle):
        other = rows(200, 50)
        assert (said(base, outputs(other, (left, right))) - clean).abs().max() < 0.05


@pytest.mark.parametrize("ablation", ["counterfactual", "resample_joint", "resample_independent"])
def test_its_circuit_suffices(ablation: str) -> None:
    found, task = trained(), trained().task(n=64)
    fill = by_hand.fills(found.network, ablation, task)
    clean = by_hand.run(found.network, task.tokens, set(), {})[0][:, ASKED]
    others = set(found.model.edges) - set(found.circuit)
    assert (by_hand.run(found.network, task.tokens, others, fill)[0][:, ASKED] - clean).abs().max() < 0.05
    for edge in found.circuit[-3:]:
        assert (by_hand.run(found.network, task.tokens, {edge}, fill)[0][:, ASKED] - clean).abs().max() > 0.9


def test_training_is_keyed_and_says_when_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.planted.trained.STUCK", 99.0)
    short = TrainingSettings(steps=6, attempts=1)
    with pytest.raises(ModelError, match=r"steps=6.*did not settle") as first:
        train(settings=short)
    with pytest.raises(ModelError) as again:
        train(settings=short)
    assert str(first.value) == str(again.value)
    assert "worst change" in str(first.value)
    with pytest.raises(ModelError) as other:
        train(settings=TrainingSettings(steps=6, attempts=1, seed=1))
    assert str(other.value).split("scores")[1] != str(first.value).split("scores")[1]
