"""Opening models: what is accepted, what is refused in which words, and that nothing is changed or run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from assay.errors import ModelError, UserError
from assay.model.load import load
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from tests.model.tiny import build, tiny, tiny_network, tiny_tokenizer, tokens


def refused(source: Any, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        load(source, **options)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    build("llama").half().save_pretrained(tmp_path / "saved")
    tiny_tokenizer().save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def test_folder_opens_in_float32_with_its_tokenizer(folder: Path) -> None:
    model = load(folder)
    assert isinstance(model, Model)
    assert (model.dtype, model.bos, model.name) == (torch.float32, 0, str(folder))
    assert model.tokenizer.encode("w3 w7") == [3, 7]
    assert load(folder, dtype="float64").dtype == torch.float64
    assert "float33" in refused(folder, dtype="float33")


@pytest.mark.filterwarnings("ignore")  # torch warns of its own unpickler
def test_weights_only_checkpoints_open(folder: Path) -> None:
    from safetensors.torch import load_file

    expected = load(folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    model = load(folder)
    assert isinstance(model, Model)
    assert model.fingerprint == expected.fingerprint


def test_nothing_that_is_opened_runs_code(folder: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    config = json.loads((folder / "config.json").read_text())
    own = {"model_type": "strange", "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}}
    (folder / "config.json").write_text(json.dumps(config | own))
    (folder / "code.py").write_text(f"open({str(mark)!r}, 'w')\nclass C: pass\nclass M: pass\n")
    assert "needs code of its own to run, which assay never runs" in refused(folder)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").unlink()

    import pickle

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (open, (str(mark), "w"))

    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Evil()))
    assert "cannot be read as a model" in refused(folder)
    assert not mark.exists()


def test_missing_and_damaged_folders_are_refused_in_one_sentence(folder: Path, tmp_path: Path) -> None:
    assert refused(tmp_path / "nowhere") == f"the folder '{tmp_path}/nowhere' does not exist"
    assert "is a file; give the folder" in refused(folder / "config.json")
    (tmp_path / "empty").mkdir()
    assert "holds no config.json" in refused(tmp_path / "empty")
    stored = folder / "model.safetensors"
    whole = stored.read_bytes()
    stored.write_bytes(whole[: len(whole) // 2])
    assert "cannot be read as a model (" in refused(folder)
    stored.unlink()
    assert "cannot be read as a model (" in refused(folder)


def test_missing_weights_are_refused_by_name(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert "lacks 1 of its weights, the first of them 'model.layers.1.mlp.up_proj.weight'" in refused(folder)


def test_unknown_zoo_name_gets_the_nearest() -> None:
    assert refused("zoo:storys-260k") == "there is no built-in model 'storys-260k'; did you mean 'stories-260k'?"


def test_hub_out_of_reach_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    message = refused("stories-260k")
    assert message.startswith("there is no folder 'stories-260k' here, and the model hub cannot be reached")
    assert message.endswith("(`save_pretrained` writes one), or a built-in model such as 'zoo:stories-260k'")
    assert "give the folder that holds config.json and model.safetensors (" in refused("gpt2")
    assert refused("gpt2").endswith("or a built-in model such as 'zoo:stories-260k' or 'zoo:novel-attn2'")


@pytest.mark.parametrize(
    ("family", "options", "wording"),
    [
        (
            "llama",
            {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
            "RoPE of type 'dynamic'",
        ),
        ("llama", {"num_local_experts": 8}, "experts (num_local_experts=8)"),
        ("qwen2", {"final_logit_softcapping": 30.0}, "soft-capping (final_logit_softcapping=30.0)"),
        ("gpt2", {"add_cross_attention": True}, "cross-attention"),
    ],
)
def test_unsupported_features_are_refused_by_name(family: str, options: dict[str, Any], wording: str) -> None:
    assert wording in refused(build(family, **options))


def test_sliding_window_shorter_than_the_input_is_refused_and_a_longer_one_runs() -> None:
    model = tiny("mistral", sliding_window=8)
    assert (model.config.context, model.window) == (8, 8)
    ids = tokens(model, length=8)
    with torch.no_grad():
        assert torch.allclose(model(ids), model.source(ids, use_cache=False).logits, atol=1e-4)
    with pytest.raises(ModelError, match=r"9 tokens and .* sliding window of 8, which is not supported; give at most"):
        model(tokens(model, length=9))
    sliding = tiny("qwen2", use_sliding_window=True, sliding_window=8, max_window_layers=1)
    assert sliding.window == 8
    assert tiny("qwen2", use_sliding_window=True, sliding_window=8, max_window_layers=2).window is None


def test_nan_and_infinite_weights_are_refused_by_name() -> None:
    for value in (float("nan"), float("inf")):
        network = build("gpt2")
        network.transformer.h[1].mlp.c_fc.weight.data[3, 4] = value
        assert "the weights 'transformer.h.1.mlp.c_fc.weight' hold 1 NaN or infinite values" in refused(network)


def test_vocabulary_mismatch_is_refused_with_both_sizes() -> None:
    message = refused(build("llama", vocab=50), tokenizer=tiny_tokenizer(60))
    assert "the tokenizer has 60 entries but the model's vocabulary only 50" in message


def test_a_model_that_computes_something_else_fails_the_proof_with_numbers() -> None:
    network = build("llama").float()
    network.model.layers[1].mlp.register_forward_hook(lambda module, args, output: output * 1.001)
    message = refused(network)
    assert "fails the proof on load: the MLP of layer 1 differs from the library's by 1.0e-03 of its RMS, " in message
    assert "times the library's own rounding (at most 5)" in message


def test_an_adapter_in_place_of_a_map_is_refused() -> None:
    network = build("llama").float()
    network.model.layers[0].self_attn.q_proj = nn.Sequential(network.model.layers[0].self_attn.q_proj)
    assert "a Sequential stands where a linear map is expected" in refused(network)


def test_inputs_and_taps_that_cannot_be_are_refused() -> None:
    model = tiny("gpt2")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"tokens": torch.zeros(1, 65, dtype=torch.long)}, "65 tokens; .* has positions for 64"),
        ({"tokens": torch.full((1, 3), 50)}, r"token id 50 is outside the vocabulary of .* \(0 to 49\)"),
        ({"tokens": torch.full((1, 3), -1)}, "token id -1 is outside"),
        ({"tokens": torch.zeros(1, 0, dtype=torch.long)}, "no tokens"),
        ({"tokens": torch.zeros(1, 3, dtype=torch.long), "taps": {("z", 2): torch.clone}}, "'z' at layer 2 to tap"),
        (
            {"tokens": torch.zeros(1, 3, dtype=torch.long), "taps": {("patern", 0): torch.clone}},
            "did you mean 'pattern'",
        ),
    ]
    for arguments, wording in wrong:
        with pytest.raises(ModelError, match=wording):
            model.forward(**arguments)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox"])
def test_a_model_in_memory_is_not_changed(family: str) -> None:
    network = build(family).float().train()
    network.get_submodule("lm_head").training = False
    before = {name: value.clone() for name, value in network.state_dict().items()}
    flags = {name: module.training for name, module in network.named_modules()}
    model = load(network)
    assert isinstance(model, Model)
    start = torch.zeros(2, 12, model.config.d_model, requires_grad=True)
    logits = model.forward(tokens(model, rows=2), {("stream", 1): lambda value: value + start})
    logits.square().sum().backward()
    assert start.grad is not None
    assert {name: module.training for name, module in network.named_modules()} == flags
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())
    assert not model(tokens(model)).requires_grad


def test_a_model_in_memory_keeps_its_type_and_a_copy_is_explained_on_request() -> None:
    network = build("llama")
    assert load(network).dtype == torch.float64
    copied = load(network, dtype="float32")
    assert copied.dtype == torch.float32
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float64}


def test_fingerprint_knows_weights_and_configuration() -> None:
    one, same, other = load(build("llama")), load(build("llama")), load(build("llama", seed=1))
    scaled = load(build("llama", rms_norm_eps=1e-4))
    assert one.fingerprint == same.fingerprint
    assert len({one.fingerprint, other.fingerprint, scaled.fingerprint}) == 3


def test_attention_only_layers_have_no_mlp_and_names_are_in_order() -> None:
    assert tiny("llama").components == (
        *("input", "a0.h0", "a0.h1", "a0.h2", "a0.h3", "m0"),
        *("a1.h0", "a1.h1", "a1.h2", "a1.h3", "m1"),
    )
    bare = tiny("gpt2", d_mlp=None)
    assert bare.config.d_mlp == (None, None)
    assert not any(name.startswith("m") for name in bare.components)


def test_networks_of_no_supported_family_are_explained_at_their_submodules(caplog: pytest.LogCaptureFixture) -> None:
    import transformers as library

    config = library.OPTConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=1,
        ffn_dim=16,
        num_attention_heads=2,
        max_position_embeddings=32,
        word_embed_proj_dim=16,
    )
    network = library.OPTForCausalLM(config)
    model = load(network)
    assert isinstance(model, ModuleModel)
    ids = torch.arange(1, 9)[None]
    with torch.no_grad():
        assert torch.equal(model(ids), network.eval()(ids).logits)
    assert isinstance(load(tiny_network("gpt2").transformer), ModuleModel)
    assert isinstance(load(torch.nn.Linear(2, 2)), ModuleModel)  # of which nobody expects heads: nothing is said
    opt, body = (record.getMessage() for record in caplog.records if record.name == "assay")
    assert opt.startswith("note: 'OPTForCausalLM' is of the family 'opt', so it is opened as a network of named submod")
    assert opt.endswith("of language models of the families gpt2, gpt_neox, llama, mistral, qwen2, qwen3")
    assert body.startswith("note: 'GPT2Model' has no language-model head (lm_head), so it is opened as a network of ")


def test_folder_of_no_supported_family_opens_with_its_own_head(tmp_path: Path) -> None:
    import transformers as library

    config = library.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    network = library.BertForSequenceClassification(config).eval()
    network.save_pretrained(tmp_path)
    model, ids = load(tmp_path), torch.arange(1, 9)[None]
    assert isinstance(model, ModuleModel)
    with torch.no_grad():
        assert torch.allclose(model(ids), network(ids).logits, atol=1e-6)
    assert "bert.encoder.layer.0.output.dense" in model.components
