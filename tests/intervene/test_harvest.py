"""Harvests: the values are the library's, a harvest that was stopped goes on, and what cannot be is one sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from assay.errors import ComponentError, RunError
from assay.intervene import harvest as module
from assay.intervene.harvest import Activations, batches, harvest
from assay.intervene.wide_sites import wide_site
from tests.intervene.naive_cases import make
from tests.naive import hooks

TOKENS = torch.randint(3, 40, (20, 9), generator=torch.Generator().manual_seed(0))
REAL = torch.arange(9) < torch.tensor([9, 6] * 10)[:, None]


@pytest.mark.parametrize("kind", ["gpt2", "llama", "parallel"])
def test_values_are_those_of_the_library(kind, tmp_path):
    model, network = make(kind, torch.float32)
    names = ("r1", "r2", "m0", "a1.h2", "a1", "m1.hidden", "m1.in")
    found = harvest(model, TOKENS, REAL, [wide_site(name, model) for name in names], tmp_path / "h")
    taken = REAL.clone()
    taken[:, 0] = False
    assert len(found) == int(taken.sum())
    every = np.arange(len(found))
    heads = [f"a1.h{head}" for head in range(model.config.heads)]
    neurons = [f"m1.n{n}" for n in range(model.config.d_mlp[1])]
    own = hooks.values(network, TOKENS, ["m0", "a1.h2", *heads, *neurons])
    own["a1"] = torch.cat([own[head] for head in heads], -1)
    own["m1.hidden"] = torch.cat([own[name] for name in neurons], -1)
    read = {}
    mlp = hooks._modules(hooks._layers(network)[1])[1]
    mlp.register_forward_pre_hook(lambda module, args: read.update({"m1.in": args[0]}))
    for layer in (1, 2):
        reader = hooks._layers(network)[1] if layer == 1 else hooks._last_norm(network)
        reader.register_forward_pre_hook(lambda module, args, layer=layer: read.update({f"r{layer}": args[0]}))
    with torch.no_grad():
        network(TOKENS)
    own |= {name: value.detach() for name, value in read.items()}
    for name in names:
        assert torch.allclose(found.take(name, every), own[name][taken].float(), atol=1e-5), name
    for reader in (mlp, *hooks._layers(network), hooks._last_norm(network)):
        reader._forward_pre_hooks.clear()


def test_a_harvest_that_was_stopped_goes_on(tmp_path, monkeypatch):
    model, _ = make("gpt2", torch.float32)
    sites = [wide_site("r1", model)]
    whole = harvest(model, TOKENS, REAL, sites, tmp_path / "whole", dtype=torch.bfloat16)
    monkeypatch.setattr(module, "AT_ONCE", 27)  # three rows

    def stops(done, total):
        if done > 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        harvest(model, TOKENS, REAL, sites, tmp_path / "h", dtype=torch.bfloat16, advance=stops)
    with pytest.raises(RunError, match="has 12 of 20 rows; run it again"):
        Activations(tmp_path / "h")
    seen = []
    again = harvest(
        model, TOKENS, REAL, sites, tmp_path / "h", dtype=torch.bfloat16, advance=lambda *at: seen.append(at)
    )
    assert seen[0][0] > 60
    every = np.arange(len(whole))
    assert torch.allclose(again.take("r1", every), whole.take("r1", every), rtol=2**-7, atol=1e-3)
    assert (tmp_path / "h" / "r1.bin").stat().st_size == len(whole) * 32 * 2


def test_a_full_disk_and_another_harvest_are_one_sentence(tmp_path, monkeypatch):
    model, _ = make("gpt2", torch.float32)
    sites = [wide_site("r1", model)]
    monkeypatch.setattr(module, "SPARE", 1 << 60)
    with pytest.raises(RunError, match=r"needs 0\.00 GB in .* GB are free there; take fewer tokens"):
        harvest(model, TOKENS, REAL, sites, tmp_path / "h")
    monkeypatch.undo()
    harvest(model, TOKENS, REAL, sites, tmp_path / "h")
    with pytest.raises(RunError, match="holds a harvest of another model, text, site or type"):
        harvest(model, TOKENS.flip(0), REAL, sites, tmp_path / "h")

    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_file", full)
    with pytest.raises(RunError, match="cannot be written to"):
        harvest(model, TOKENS, REAL, sites, tmp_path / "other")


def test_a_disk_that_fills_leaves_what_is_there(tmp_path, monkeypatch):
    model, _ = make("gpt2", torch.float32)
    sites = [wide_site("r1", model)]
    monkeypatch.setattr(module, "AT_ONCE", 27)
    real, calls = module.write_file, []

    def fills(path, content):
        calls.append(path)
        if len(calls) == 4:
            raise OSError(28, "No space left on device")
        real(path, content)

    monkeypatch.setattr(module, "write_file", fills)
    with pytest.raises(RunError, match=r"stopped after 60 of .* tokens .*what is there stays"):
        harvest(model, TOKENS, REAL, sites, tmp_path / "h")
    monkeypatch.undo()
    assert len(harvest(model, TOKENS, REAL, sites, tmp_path / "h")) == int(REAL.sum()) - 20


def test_batches_take_each_place_once_an_epoch():
    order = batches(2_000, 64, seed=3)
    epoch = np.concatenate([order(step) for step in range(2_000 // 64)])
    assert len(np.unique(epoch)) == len(epoch) == 31 * 64
    assert not np.array_equal(order(0), order(31))
    assert np.array_equal(order(5), batches(2_000, 64, seed=3)(5))
    assert np.abs(np.diff(order(0))).mean() > 100  # neighbours of a text are far apart
    assert len(batches(10, 64, 0)(0)) == 64


@pytest.mark.parametrize("name", ["a1.h3.q", "input", "r2@5", "logits", "m1.n3"])
def test_what_is_no_site_of_a_dictionary(name):
    with pytest.raises(ComponentError, match=r"is no site of a dictionary|is not a component"):
        wide_site(name)
