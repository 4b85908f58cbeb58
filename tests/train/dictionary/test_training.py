"""Training: gradients equal autograd's, sparse products equal dense ones, a planted world is recovered, and a training
that was stopped ends as one that was not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from assay.errors import RunError, UserError
from assay.explanations.dictionary.measures import agreement
from assay.train.dictionary import products
from assay.train.dictionary.code import sparse
from assay.train.dictionary.losses import penalised, shared, sparse_step
from assay.train.dictionary.parameters import CodeParameters
from assay.train.dictionary.settings import ARCHITECTURES, CodeSettings
from assay.train.dictionary.sweep import train_sweep
from assay.train.dictionary.trainer import CodeTrainer, Scales
from tests.train.dictionary import naive

DOUBLE = torch.float64


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


@pytest.mark.parametrize("architecture", ["topk", "batchtopk", "matryoshka"])
@pytest.mark.parametrize("transcodes", [False, True])
@pytest.mark.parametrize("dying", [False, True])
def test_gradients_equal_autograd(architecture, transcodes, dying):
    d_out = 9 if transcodes else 12
    settings = CodeSettings(architecture, width=128, k=3)
    own = CodeParameters(
        settings, 12, d_out, transcodes=transcodes, skip=transcodes, mean_in=drawn(12).float(),
        mean_out=drawn(d_out, seed=1).float(),
    ).double()  # fmt: skip
    with torch.no_grad():
        own.encoder_bias.copy_(0.1 * drawn(128, seed=2))
    x = drawn(50, 12, seed=3)
    y = drawn(50, 9, seed=4) if transcodes else x
    dead = torch.rand(128, generator=torch.Generator().manual_seed(5)) < 0.3 if dying else None
    naive.loss(own, x, y, dead).backward()
    wanted = {name: value.grad.clone() for name, value in own.named_parameters() if value.grad is not None}
    own.zero_grad()
    found = sparse_step(own, x, y, dead)
    assert set(wanted) == {"encoder", "decoder", "encoder_bias", "decoder_bias"} | ({"skip"} if transcodes else set())
    for name, gradient in wanted.items():
        apart = (getattr(own, name).grad - gradient).abs().max() / gradient.abs().max()
        assert float(apart) < 1e-12, name
    features = naive.features_of(own, x)
    assert float(found.active) == float((features > 0).sum() / len(x))
    assert torch.equal(found.fired, (features > 0).any(0))


def test_sparse_products_equal_dense_ones():
    pre, left, right = drawn(40, 160), drawn(40, 7, seed=1), drawn(160, 7, seed=2)
    value, column = products.largest(pre, 5)
    assert torch.equal(value.sort(-1).values, pre.topk(5).values.sort(-1).values)
    assert torch.equal(pre.gather(1, column), value)
    assert bool((column.diff(dim=-1) > 0).all())
    chosen = sparse(column, value)
    dense = chosen.dense(160)
    on = dense != 0
    assert torch.allclose(products.at_chosen(chosen, left, right), (left @ right.T)[on])
    assert torch.allclose(products.gathered(chosen, value.flatten(), left, 160), dense.T @ left)
    assert torch.allclose(products.added(chosen, value.flatten(), 160), dense.sum(0))


def test_products_without_a_sampled_one(monkeypatch):
    left, right = drawn(40, 7, seed=1), drawn(160, 7, seed=2)
    chosen = sparse(*reversed(products.largest(drawn(40, 160), 5)))
    wanted = products.at_chosen(chosen, left, right)
    monkeypatch.setattr(products, "_samples", lambda *_: False)
    assert torch.allclose(products.at_chosen(chosen, left, right), wanted)


@pytest.mark.parametrize("scale", [0.01, 1.0])
def test_what_a_batch_shares_is_the_largest_of_it(scale):
    pre = scale * (drawn(64, 96) + drawn(64, 1, seed=1))
    wanted = pre.clamp(min=0) * (pre >= pre.flatten().topk(3 * 64).values[-1])
    assert torch.equal(shared(pre, 3, DOUBLE).dense(96), wanted)
    few = pre - float(pre.flatten().topk(100).values[-1])  # fewer are above 0 than are asked for
    assert torch.equal(shared(few, 3, DOUBLE).dense(96), few.clamp(min=0))


def test_jump_relus_learn_their_threshold_from_values_near_it():
    settings = CodeSettings("jumprelu", width=16, k=2)
    own = CodeParameters(settings, 8, 8, transcodes=False, skip=False, mean_in=torch.zeros(8), mean_out=torch.zeros(8))
    x = drawn(2000, 8).float()
    _, _, features, _, pre = penalised(own, x, x, 1e-3)
    assert torch.equal(features > 0, pre > own.threshold.clamp(min=0))
    loss = penalised(own, x, x, 10.0)[0]
    loss.backward()
    assert bool((own.threshold.grad < 0).all())  # where being active is dear, thresholds rise


def world(features: int = 24, d: int = 16, seed: int = 0) -> tuple[Tensor, object]:
    """A world of sparse features that are all known: rows of their directions, and what draws values of it."""
    random = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(features, d, generator=random), dim=-1)

    def values(step: int, n: int = 256) -> Tensor:
        generator = torch.Generator().manual_seed(1000 + step)
        on = torch.rand(n, features, generator=generator) < 2 / features
        return (on * (0.5 + torch.rand(n, features, generator=generator))) @ directions

    return directions, values


@pytest.mark.parametrize("architecture", ["topk", "batchtopk"])
def test_a_sparse_world_is_recovered_and_a_random_dictionary_is_not(architecture):
    directions, values = world(d=20)
    settings = CodeSettings(architecture, width=24, k=2, batch=256, rate=1e-2, dead_after=5_000)
    found = train_sweep([settings], 1500, lambda step: (values(step), None), (values(10**6, 4096), None))[0]
    matched = agreement(directions, found.code.decoder)[2]
    assert matched > 0.95
    assert agreement(directions, drawn(24, 20).float())[2] < 0.6


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_comes_to_as_many_features_as_are_asked_for(architecture):
    _, values = world()
    settings = CodeSettings(architecture, width=32, k=4, batch=256, rate=1e-2)
    found = train_sweep([settings], 800, lambda step: (values(step), None), (values(10**6, 4096), None))[0]
    test = values(10**7, 2048)
    active = float((found.code.encode(test) > 0).sum(-1).float().mean())
    # of the rule "topk" the largest below 0 are no features; thresholds are means over batches
    assert 0.4 * 4 <= active <= 1.6 * 4
    left = (test - found.code(test)).square().sum() / (test - test.mean(0)).square().sum()
    assert float(left) < 0.35
    assert torch.allclose(found.code.decoder.norm(dim=-1), torch.ones(32), atol=1e-5)


def test_parts_that_are_frozen_stay():
    _, values = world()
    first = values(10**6, 4096)
    for part in ("decoder", "encoder", "near"):
        trainer = CodeTrainer(CodeSettings(width=24, k=2, batch=256, frozen=part, rate=3e-2), 60, Scales.of(first))
        start = {name: getattr(trainer.own, name).detach().clone() for name in ("encoder", "decoder")}
        for step in range(60):
            trainer.learn(values(step))
        end = {name: getattr(trainer.own, name).detach() for name in start}
        if part == "near":
            cosine = (start["decoder"] * end["decoder"]).sum(-1)
            assert 0.8 - 1e-5 <= float(cosine.min()) < 0.999
        else:
            other = "encoder" if part == "decoder" else "decoder"
            assert torch.equal(start[part], end[part])
            assert not torch.equal(start[other], end[other])


def test_dead_features_come_back():
    _, values = world()
    first, found = values(10**6, 4096), {}
    for revival in (0.0, 1 / 32):
        settings = CodeSettings(width=24, k=2, batch=256, rate=1e-2, revival=revival, dead_after=5_000)
        trainer = CodeTrainer(settings, 500, Scales.of(first))
        with torch.no_grad():
            trainer.own.encoder_bias[:12] = -4.0  # half of them are not active
        for step in range(500):
            trainer.learn(values(step))
        found[revival] = trainer.curve[-1]
    assert found[0.0][3] > 0.4
    assert found[1 / 32][3] < found[0.0][3] / 2
    assert found[1 / 32][1] < found[0.0][1]  # of the variance, what is left


def test_a_training_that_was_stopped_ends_as_one_that_was_not(tmp_path):
    _, values = world()
    first = (values(10**6, 4096), None)
    every = [CodeSettings(name, width=32, k=2, batch=256) for name in ("topk", "jumprelu")]
    whole = train_sweep(every, 50, lambda step: (values(step), None), first)

    def stops(step: int):
        if step == 30:
            raise KeyboardInterrupt
        return values(step), None

    path = tmp_path / "training.pt"
    monkey = pytest.MonkeyPatch()
    monkey.setattr("assay.train.dictionary.sweep.EVERY", -1.0)
    with pytest.raises(KeyboardInterrupt):
        train_sweep(every, 50, stops, first, checkpoint=path)
    asked = []
    again = train_sweep(every, 50, lambda step: asked.append(step) or (values(step), None), first, checkpoint=path)
    monkey.undo()
    assert asked == list(range(30, 50))
    for one, other in zip(whole, again, strict=True):
        assert one.curve == other.curve
        assert all(torch.equal(value, other.code.tensors[name]) for name, value in one.code.tensors.items())
    with pytest.raises(RunError, match="the checkpoint of another training"):
        train_sweep(every[:1], 50, lambda step: (values(step), None), first, checkpoint=path)


def test_values_many_times_as_large_are_left_out():
    _, values = world()
    first = values(10**6, 4096)
    first[::100] *= 1000
    scales = Scales.of(first)
    trainer = CodeTrainer(CodeSettings(width=24, k=2, batch=256), 5, scales)
    batch = values(0)
    batch[7] = 1e6
    trainer.learn(batch)
    code = trainer.code()
    assert code.most == scales.most
    assert code.takes(batch).tolist() == [i != 7 for i in range(256)]
    assert all(bool(torch.isfinite(tensor).all()) for tensor in code.tensors.values())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"architecture": "top-k"}, "unknown architecture 'top-k'; did you mean 'topk' or 'batchtopk'?"),
        ({"k": 0}, "k is 0, and a dictionary of 4096 features has 1 to 4096 active"),
        ({"frozen": "decoders"}, "unknown part to freeze 'decoders'; did you mean 'decoder' or 'encoder'?"),
        ({"width": 1}, "a dictionary has at least 2 features, not 1"),
    ],
)
def test_settings_that_cannot_be(options, said):
    with pytest.raises(UserError) as caught:
        CodeSettings(**options)
    assert str(caught.value) == said


def test_values_that_cannot_be_coded():
    with pytest.raises(UserError, match="are all the same"):
        Scales.of(torch.ones(10, 4))
    with pytest.raises(UserError, match="not finite"):
        Scales.of(torch.full((10, 4), float("nan")))
    one = CodeSettings(width=8, k=2, batch=16)
    with pytest.raises(UserError, match="is asked for twice"):
        train_sweep([one, replace(one)], 1, lambda step: (drawn(16, 4).float(), None), (drawn(16, 4).float(), None))
