"""What is refused in words before anything is built or run: no numbers, several types, folders that name others."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from assay.model.load import load
from assay.model.transformer import Model
from tests.model.test_load import refused
from tests.model.tiny import build, tiny_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    build("llama").save_pretrained(tmp_path / "saved")
    tiny_tokenizer().save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def configured(folder: Path, **changes: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def test_weights_without_numbers_are_refused():
    with torch.device("meta"):
        empty = build("llama")
    assert "is on the meta device, which holds no numbers; load the weights first" in refused(empty)
    assert "'0.weight' is on the meta device" in refused(nn.Sequential(nn.Linear(2, 2, device="meta")))


def test_weights_of_several_types_are_refused_and_can_be_converted():
    network = build("llama").float()
    network.model.layers[1].half()
    said = refused(network)
    assert "has weights of several types, float32 ('model.embed_tokens.weight') and float16 ('model.layers.1." in said
    assert "give one, such as dtype='float32'" in said
    model = load(network, dtype="float32")
    assert isinstance(model, Model)
    assert {p.dtype for p in model.source.parameters()} == {torch.float32}
    assert network.model.layers[1].mlp.up_proj.weight.dtype == torch.float16


def test_a_state_dict_is_told_what_to_give_instead():
    names = ["embed.W_E", "blocks.0.attn.W_Q", "blocks.0.mlp.W_in", "unembed.W_U"]
    lens = {name: torch.zeros(2, 2) for name in names}
    said = refused(lens)
    assert said.startswith(
        "a state dict of 4 tensors is no model: give the network that they belong to; these are Trans"
    )
    assert said.endswith("the transformers model that they were made from, as a folder, a hub id or the network itself")
    assert refused(dict(nn.Linear(2, 2).state_dict())).endswith("with the weights loaded into it")
    assert refused(3) == "a model is a name, a folder or a network (a torch.nn.Module), not a int"


def test_a_folder_of_anothers_names_is_told_what_to_give_instead(folder: Path):
    from safetensors.torch import save_file

    save_file(
        {f"blocks.{i}.attn.W_Q": torch.zeros(99, 99) for i in range(2)}, folder / "model.safetensors", {"format": "pt"}
    )
    assert "of its weights, the first of them" in (said := refused(folder))
    assert "these are TransformerLens' names" in said


def test_a_folder_loads_nothing_that_it_names(folder: Path, monkeypatch: pytest.MonkeyPatch):
    import transformers.modeling_utils as library

    asked: list[str] = []

    def fetch(name: str, *args: Any, **options: Any) -> Any:
        asked.append(name)
        raise ImportError("a kernel was asked for")

    monkeypatch.setattr(library, "lazy_import_flash_attention", fetch)
    plain = load(folder)
    for field in ("attn_implementation", "_attn_implementation", "experts_implementation"):
        named = load(configured(folder, **{field: "someone/kernel"}))
        assert named.fingerprint == plain.fingerprint or field == "_attn_implementation"
        assert asked == []
        configured(folder, **{field: None})
    assert "quantised ('quantization_config')" in refused(
        configured(folder, quantization_config={"quant_method": "mxfp4"})
    )
    configured(folder, quantization_config=None)
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/else"}')
    assert "an adapter of another model" in refused(folder)
    (folder / "adapter_config.json").unlink()
    (folder / "model.safetensors").rename(folder / "elsewhere")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../../elsewhere"}}')
    assert "names '../../elsewhere', which is no file of this folder" in refused(folder)


def test_what_the_library_says_of_a_configuration_is_not_printed(folder: Path, caplog, capfd):
    assert "cannot be read as a model" in refused(configured(folder, use_return_dict=False, hidden_act="\u202eevil"))
    assert "use_return_dict" not in capfd.readouterr().err + caplog.text


def test_a_pipe_in_a_folder_is_refused_and_not_waited_for(folder: Path):
    os.mkfifo(folder / "tokenizer_config.jsonl")
    assert "holds 'tokenizer_config.jsonl', which is no file: a pipe or a device" in refused(folder)


@pytest.mark.parametrize("name", ["~nosuchuser/x", "a\0b/c/d", "./" + "x" * 300])
def test_names_that_no_folder_can_have_are_not_found(name: str):
    assert "does not exist" in refused(name)


def test_a_model_in_memory_asks_the_hub_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import socket

    from huggingface_hub import HfApi, constants

    def refuse(*args: Any, **options: Any) -> Any:
        raise AssertionError("the network was asked")

    kept = tmp_path / "models--someone--model" / "snapshots" / "0123456789abcdef"
    tiny_tokenizer().save_pretrained(kept)
    (kept.parents[1] / "refs").mkdir()
    (kept.parents[1] / "refs" / "main").write_text(kept.name)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(HfApi, "model_info", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    network = build("mistral")
    network.config._name_or_path = network.name_or_path = "someone/model"
    model = load(network)
    assert model.name == "someone/model"
    assert model.tokenizer.encode("w3 w7") == [3, 7]
    network.config._name_or_path = network.name_or_path = "someone/absent"
    assert load(network).tokenizer is None
