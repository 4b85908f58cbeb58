"""A run that was stopped goes on exactly; recipes make what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from assay.train import novel
from assay.train.trainer import LOOK, Trainer
from assay.zoo.recipes import RECIPES, VOCABULARY, Recipe


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


def trainer(net: nn.Module) -> Trainer:
    return Trainer(net, lambda batch: (net(batch).squeeze(-1) - batch.sum(-1)).square().mean())


def batch(step: int) -> Tensor:
    return torch.randn(16, 4, generator=torch.Generator().manual_seed(step))


def falling(step: int) -> float:
    return 1 - step / 40


def test_a_resumed_run_ends_with_the_same_weights_as_an_uninterrupted_one(tmp_path):
    whole = trainer(network())
    whole.run(30, batch, falling)
    first = trainer(network())
    first.run(13, batch, falling, checkpoint=tmp_path / "run.pt")
    again = trainer(network())
    assert again.load(tmp_path / "run.pt")
    again.run(30, batch, falling)
    for a, b in zip(whole.network.parameters(), again.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_branch_leaves_the_trunk_as_it_was():
    trunk = trainer(network())
    trunk.run(5, batch, falling)
    state = trunk.state()
    before = [p.detach().clone() for p in trunk.network.parameters()]
    trunk.run(9, batch, falling)
    trunk.restore(state)
    assert trunk.step == 5
    for old, new in zip(before, trunk.network.parameters(), strict=True):
        assert torch.equal(old, new)


def test_a_loss_that_is_not_finite_stops_the_run_and_is_named():
    net = network()
    broken = Trainer(net, lambda batch: net(batch).sum() * float("nan"))
    with pytest.raises(FloatingPointError, match="the training loss is nan at step 0"):
        broken.run(3, batch, falling)


def test_the_log_gets_the_mean_of_all_losses_since_it_was_last_called():
    said: list[tuple[int, float]] = []
    values = iter(range(LOOK + 7))
    net = network()
    counting = Trainer(net, lambda batch: net(batch).sum() * 0 + next(values))
    counting.run(LOOK + 7, batch, falling, log=lambda step, loss: said.append((step, loss)))
    assert said == [(LOOK, (LOOK - 1) / 2), (LOOK + 7, LOOK + 3)]


def test_repeats_begin_with_bos_and_cycle_with_a_period_in_range():
    rows = novel.repeated(np.random.default_rng(0), 32, 64, (4, 32), 300)
    assert (rows[:, 0] == 0).all()
    assert len(np.unique(rows)) <= 300
    assert rows.max() < VOCABULARY
    for row in rows[:, 1:]:
        periods = [p for p in range(1, 33) if (row[p:] == row[:-p]).all()]
        assert periods
        assert periods[-1] >= 4


def test_flops_are_three_forward_passes_worked_by_hand():
    # d 64, one layer, 4 heads, MLP of width 176: weights 4·64² + 3·64·176 + 64·4096, attention 2·64·257/2 a token
    weights = 4 * 64**2 + 3 * 64 * 176 + 64 * 4096
    assert novel.flops_per_token(Recipe(1, 64, 4)) == 6 * (weights + 64 * 257)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_builds_a_network_of_its_shape(name):
    recipe = RECIPES[name]
    config = novel.build(recipe).config
    assert (config.num_hidden_layers, config.hidden_size) == (recipe.layers, recipe.d_model)
    assert config.tie_word_embeddings
    assert config.intermediate_size == recipe.d_mlp
