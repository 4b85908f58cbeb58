"""The proof on load: it lets true models of any depth through, and refuses small mistakes in any layer."""

from __future__ import annotations

import pytest
import torch

from assay.errors import ModelError
from assay.model.layer import Layer, Norm
from assay.model.load import load
from assay.model.proof import FACTOR
from assay.model.transformer import Model
from tests.model.tiny import build, tiny_network
from tools.proof import DTYPES, tried, view

TIMES = 10.0  # the library's own rounding of the logits: a mistake that moves them by more is refused


@pytest.mark.parametrize(("family", "dtype"), [("gpt2", "float32"), ("qwen3", "float32"), ("gpt_neox", "bfloat16")])
def test_every_mistake_that_shows_is_refused(family: str, dtype: str) -> None:
    """The long form, every family in both types and a real model: python -m tools.proof."""
    found = tried(view(family, DTYPES[dtype], layers=2))
    assert len(found) >= 20
    assert sum(moved > TIMES for _, moved, _ in found) >= (18 if dtype == "float32" else 4)
    assert [what for what, moved, refused in found if moved > TIMES and not refused] == []


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", ["gpt2", "qwen3", "gpt_neox"])
def test_true_models_pass_well_below_the_limit(family: str, dtype: str) -> None:
    for layers in (1, 2, 12):
        assert view(family, DTYPES[dtype], layers, seed=layers).proof.layers < 0.8 * FACTOR


def test_thirty_layers_pass_like_one() -> None:
    assert view("llama", torch.float32, 30).proof.layers < 0.8 * FACTOR


def test_frequencies_that_a_cast_rounded_are_the_librarys_own() -> None:
    """0.1 is 0.1001 in bfloat16: at a thousand tokens RoPE's angle is off by a tenth of a radian."""
    model = load(build("llama").to(torch.bfloat16).eval())
    assert isinstance(model, Model)
    assert model.weights.frequencies is not None
    assert float(model.weights.frequencies[1]) == float(torch.tensor(0.1).bfloat16())


@pytest.mark.parametrize(
    ("where", "name", "path"),
    [
        (Layer, "project_heads", "one by one"),
        (Layer, "head_outputs", "one by one"),
        (Norm, "quick", "one by one"),
        (Layer, "project_part", "a sweep"),
        (Layer, "attend_windows", "a sweep"),
        (Layer, "_attend_in_two", "a sweep"),
    ],
)
@pytest.mark.parametrize("family", ["gpt2", "qwen3", "gpt_neox"])
def test_a_mistake_on_the_path_of_circuits_or_sweeps_alone_is_refused(
    monkeypatch: pytest.MonkeyPatch, family: str, where: object, name: str, path: str
) -> None:
    own = getattr(where, name)
    monkeypatch.setattr(where, name, lambda *args, **more: own(*args, **more) * 1.01)
    with pytest.raises(ModelError, match=f"fails the proof on load: .*{path}"):
        load(tiny_network(family))
