"""Wrappers of other libraries, as far as they can be told without these; `tests/test_neighbours.py` has the real."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from assay.errors import ModelError
from assay.model.load import load
from tests.model.tiny import build, tiny_network


def made_by(library: str, name: str, *bases: type, **members: Any) -> Any:
    """An object of a class that says that it is of a library."""
    kind = type(name, bases, {"__module__": f"{library}.some_module"})
    made = kind()
    for member, value in members.items():
        object.__setattr__(made, member, value)
    return made


def refused(source: Any) -> str:
    with pytest.raises(ModelError) as refusal:
        load(source)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_the_network_of_a_handle_is_opened_without_what_was_put_into_it():
    network = tiny_network("gpt2")
    traced = copy.deepcopy(network)
    for module in traced.modules():
        module.__dict__["forward"] = made_by("nnsight", "Controller")
    for source in (made_by("nnsight", "NNsight", _module=traced, tokenizer=None, _edits=[]), traced):
        model = load(source)
        assert model.family == "gpt2"
        ids = torch.arange(8)[None]
        with torch.no_grad():
            torch.testing.assert_close(model(ids), network(input_ids=ids).logits)
    assert type(traced.__dict__["forward"]).__name__ == "Controller"  # as it was


def test_handles_that_are_no_network_here_are_refused_with_what_to_give():
    with torch.device("meta"):
        empty = nn.Linear(2, 2)
    assert refused(made_by("nnsight", "LanguageModel", _module=empty)) == (
        "the nnsight LanguageModel has not loaded its weights yet; make it with dispatch=True"
    )
    edited = made_by("nnsight", "NNsight", _module=nn.Linear(2, 2), _edits=[1])
    assert "has edits of its own (model.edit), which are no weights" in refused(edited)
    assert "without a network in this process" in refused(made_by("nnsight", "VLLM"))


def test_networks_of_transformer_lens_itself_are_refused_with_what_to_give():
    said = refused(made_by("transformer_lens", "HookedTransformer", nn.Module))
    assert said.startswith(
        "a HookedTransformer is TransformerLens' own network; these are TransformerLens' names: give"
    )


class Merged(nn.Module):
    """A peft model as far as it is looked at: its own logits, and the network that a merge gives."""

    def __init__(self, network: nn.Module, shift: float):
        super().__init__()
        self.network, self.shift = network, shift

    def forward(self, input_ids: torch.Tensor) -> Any:
        return SimpleNamespace(logits=self.network(input_ids=input_ids).logits + self.shift)

    def merge_and_unload(self) -> nn.Module:
        return self.network


def adapted(shift: float, **members: Any) -> Any:
    network = tiny_network("llama")
    kind = type("PeftModel", (Merged,), {"__module__": "peft.peft_model"})
    made = kind(network, shift)
    own = {"peft_config": {"default": SimpleNamespace(peft_type="LORA")}, "active_adapters": ["default"]}
    for member, value in {**own, "base_model": made, **members}.items():
        object.__setattr__(made, member, value)
    return made


def test_an_adapter_is_merged_into_a_copy_and_that_is_said(caplog: pytest.LogCaptureFixture):
    source = adapted(0.0)
    model = load(source)
    assert model.family == "llama"
    assert model.name.endswith(" with the adapter default")
    assert model.source is not source.network  # type: ignore[union-attr]
    assert caplog.records[-1].getMessage() == (
        "note: the adapter 'default' is merged into a copy of the weights, and that copy is explained"
    )


def test_an_adapter_whose_merge_computes_something_else_is_refused():
    said = refused(adapted(0.1))
    assert said.startswith("the PeftModel computes other logits than the transformers network that has its adapter in")
    assert "they differ by 1.0e-01, where rounding explains " in said


def test_an_adapter_that_is_no_change_of_weights_is_refused_by_its_kind():
    source = adapted(
        0.0, peft_config={"default": SimpleNamespace(peft_type="PROMPT_TUNING")}, base_model=nn.Linear(1, 1)
    )
    assert "has an adapter of the kind PROMPT_TUNING, which cannot be merged into weights" in refused(source)


def test_a_network_with_an_adapter_inside_is_refused():
    network = build("gpt2")
    layer = type("LoraLinear", (nn.Linear,), {"__module__": "peft.tuners.lora"})
    network.transformer.h[0].mlp.c_fc = layer(2, 2)
    said = refused(network)
    assert said.startswith(
        "GPT2LMHeadModel holds an adapter of peft at 'transformer.h.0.mlp.c_fc'; give the peft model"
    )
