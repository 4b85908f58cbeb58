"""A configuration is held against the weights' own shapes before anything is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from assay.model import load as opener
from assay.model.load import load
from assay.model.stored import shapes
from tests.model.test_admit import configured
from tests.model.test_admit import folder as folder  # a fixture
from tests.model.test_load import refused


@pytest.mark.parametrize(
    ("changes", "wording"),
    [
        ({"num_hidden_layers": 10_000_000}, "num_hidden_layers = 10,000,000, and its weights are those of 2"),
        ({"num_hidden_layers": 3}, "num_hidden_layers = 3, and its weights are those of 2"),
        ({"text_config": {"num_layers": 10**30}}, "text_config.num_layers = a number of more than 15 digits"),
        (
            {"num_attention_heads": 10**9},
            "num_attention_heads = 1,000,000,000, and no axis of its weights is longer than 50",
        ),
        ({"num_local_experts": 10**7}, "num_local_experts = 10,000,000, and no axis"),
        ({"vocab_size": 10**8}, "its configuration asks for 3,2"),
        ({"intermediate_size": 10**7}, "its configuration asks for 1,92"),
        ({"hidden_size": 4_000_000}, "its configuration asks for"),
    ],
)
def test_what_the_weights_do_not_hold_is_refused_before_it_is_built(
    changes: dict[str, Any], wording: str, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    import transformers

    def built(*args: Any, **options: Any) -> Any:
        raise AssertionError("weights were read")

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", built)
    said = refused(configured(folder, **changes))
    assert wording in said
    assert "\n" not in said


def test_numbers_that_are_none_are_one_sentence(folder: Path):
    before = (folder / "config.json").read_text()
    for changes in (
        {"num_attention_heads": 0}, {"hidden_size": -1}, {"num_hidden_layers": "x"}, {"vocab_size": None},
        {"head_dim": 7},
        {"rope_parameters": 3}, {"hidden_act": "none"}, {"rms_norm_eps": "x"}, {"num_key_value_heads": 3},
    ):  # fmt: skip
        assert "\n" not in refused(configured(folder, **changes))
        (folder / "config.json").write_text(before)
    (folder / "config.json").write_text("[" * 100_000)
    assert "config.json is no JSON" in refused(folder)
    (folder / "config.json").write_text("[]")
    assert "config.json holds a list, no JSON object" in refused(folder)


def test_shapes_are_those_of_every_way_to_store(folder: Path):
    from safetensors.torch import load_file

    expected = {name: tuple(value.shape) for name, value in load_file(folder / "model.safetensors").items()}
    assert shapes(folder) == expected
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    load(folder).source.save_pretrained(folder / "parts", max_shard_size="20KB")
    assert (folder / "parts" / "model.safetensors.index.json").exists()
    assert shapes(folder / "parts") == expected
    (folder / "model.safetensors").unlink()
    assert shapes(folder) == expected
    (folder / "pytorch_model.bin").unlink()
    assert shapes(folder) is None
    assert opener.load(folder / "parts", tokenizer=None).fingerprint == load(folder / "parts").fingerprint
