"""Folders of other libraries, written here as they write them, are read as the codes that they are."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from assay.errors import ClaimError
from assay.explanations import Dictionary
from assay.explanations.dictionary.foreign import load_code
from assay.train.dictionary.stored import store
from tests.explanations.dictionary.made import code

WIDTH, D, K = 48, 32, 6


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return 0.4 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


X = drawn(20, D, seed=9)


def saelens(folder: Path, tensors: dict[str, Tensor], **cfg) -> str:
    folder.mkdir(exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps({"d_in": D, "d_sae": WIDTH, "dtype": "float32", **cfg}))
    return str(folder)


PLAIN = {"W_enc": drawn(D, WIDTH), "b_enc": drawn(WIDTH), "W_dec": drawn(WIDTH, D), "b_dec": drawn(D)}


def decoded(features: Tensor) -> Tensor:
    return features @ PLAIN["W_dec"] + PLAIN["b_dec"]


def test_saelens_standard(tmp_path):
    cfg = {"architecture": "standard", "metadata": {"hook_name": "blocks.3.hook_resid_post"}}
    found = load_code(saelens(tmp_path / "a", PLAIN, apply_b_dec_to_input=True, **cfg))
    wanted = decoded(torch.relu((X - PLAIN["b_dec"]) @ PLAIN["W_enc"] + PLAIN["b_enc"]))
    assert torch.allclose(found.code(X), wanted, atol=1e-5)
    assert (found.form, found.site) == ("SAELens", "r4")
    found = load_code(saelens(tmp_path / "a", PLAIN, apply_b_dec_to_input=False, **cfg))
    assert torch.allclose(found.code(X), decoded(torch.relu(X @ PLAIN["W_enc"] + PLAIN["b_enc"])), atol=1e-5)


def test_saelens_rescales(tmp_path):
    cfg = {"architecture": "standard", "apply_b_dec_to_input": False}
    encoded = lambda x: decoded(torch.relu(x @ PLAIN["W_enc"] + PLAIN["b_enc"]))  # noqa: E731
    found = load_code(saelens(tmp_path / "a", PLAIN, normalize_activations="layer_norm", **cfg))
    mean = X.mean(-1, keepdim=True)
    spread = (X - mean).std(-1, keepdim=True)
    assert torch.allclose(found.code(X), encoded((X - mean) / (spread + 1e-5)) * spread + mean, atol=1e-4)
    found = load_code(saelens(tmp_path / "a", PLAIN, normalize_activations="constant_norm_rescale", **cfg))
    by = D**0.5 / X.norm(dim=-1, keepdim=True)
    assert torch.allclose(found.code(X), encoded(X * by) / by, atol=1e-5)
    with pytest.raises(ClaimError, match="rescales its values by 'covariance_whitening'"):
        load_code(saelens(tmp_path / "a", PLAIN, normalize_activations="covariance_whitening", **cfg))


@pytest.mark.parametrize("rescale", [False, True])
def test_saelens_topk(tmp_path, rescale):
    cfg = {"architecture": "topk", "k": K, "apply_b_dec_to_input": True, "rescale_acts_by_decoder_norm": rescale}
    found = load_code(saelens(tmp_path / "a", PLAIN, **cfg))
    pre = (X - PLAIN["b_dec"]) @ PLAIN["W_enc"] + PLAIN["b_enc"]
    norms = PLAIN["W_dec"].norm(dim=-1) if rescale else torch.ones(WIDTH)
    value, column = (pre * norms).topk(K)
    features = torch.zeros_like(pre).scatter(1, column, value.relu())
    assert torch.allclose(found.code(X), decoded(features / norms), atol=1e-5)


def test_saelens_jump_and_gate(tmp_path):
    threshold = drawn(WIDTH, seed=5).abs()
    cfg = {"architecture": "jumprelu", "apply_b_dec_to_input": False}
    found = load_code(saelens(tmp_path / "a", {**PLAIN, "threshold": threshold}, **cfg))
    pre = X @ PLAIN["W_enc"] + PLAIN["b_enc"]
    assert torch.allclose(found.code(X), decoded(torch.relu(pre) * (pre > threshold)), atol=1e-5)
    gates = {"b_gate": drawn(WIDTH, seed=6), "b_mag": drawn(WIDTH, seed=7), "r_mag": drawn(WIDTH, seed=8)}
    tensors = {name: tensor for name, tensor in PLAIN.items() if name != "b_enc"} | gates
    found = load_code(saelens(tmp_path / "b", tensors, architecture="gated", apply_b_dec_to_input=True))
    inside = X - PLAIN["b_dec"]
    on = (inside @ PLAIN["W_enc"] + gates["b_gate"]) > 0
    size = torch.relu(inside @ (PLAIN["W_enc"] * gates["r_mag"].exp()) + gates["b_mag"])
    assert torch.allclose(found.code(X), decoded(on * size), atol=1e-5)


@pytest.mark.parametrize("transcode", [False, True])
def test_sparsify(tmp_path, transcode):
    folder = tmp_path / ("layers.2.mlp" if transcode else "layers.2")
    folder.mkdir()
    tensors = {
        "encoder.weight": drawn(WIDTH, D),
        "encoder.bias": drawn(WIDTH),
        "W_dec": drawn(WIDTH, D),
        "b_dec": drawn(D),
    }
    tensors |= {"W_skip": drawn(D, D)} if transcode else {}
    save_file(tensors, folder / "sae.safetensors")
    cfg = {"activation": "topk", "expansion_factor": 2, "k": K, "d_in": D, "transcode": transcode}
    (folder / "cfg.json").write_text(json.dumps(cfg))
    found = load_code(folder)
    inside = X if transcode else X - tensors["b_dec"]
    value, column = torch.relu(inside @ tensors["encoder.weight"].T + tensors["encoder.bias"]).topk(K)
    features = torch.zeros(len(X), WIDTH).scatter(1, column, value)
    wanted = features @ tensors["W_dec"] + tensors["b_dec"] + (X @ tensors["W_skip"].T if transcode else 0)
    assert torch.allclose(found.code(X), wanted, atol=1e-5)
    assert (found.site, found.reads) == (("m2", "m2.in") if transcode else ("r3", "r3"))


LINEAR = {"encoder.weight": drawn(WIDTH, D), "encoder.bias": drawn(WIDTH), "decoder.weight": drawn(D, WIDTH)}


def learned(folder: Path, name: str, tensors: dict[str, Tensor], **trainer) -> str:
    folder.mkdir(exist_ok=True)
    torch.save(tensors, folder / "ae.pt")
    (folder / "config.json").write_text(json.dumps({"trainer": {"dict_class": name, **trainer}, "buffer": {}}))
    return str(folder)


def test_dictionary_learning(tmp_path):
    found = load_code(learned(tmp_path / "a", "AutoEncoder", {**LINEAR, "bias": PLAIN["b_dec"]}))
    inside = (X - PLAIN["b_dec"]) @ LINEAR["encoder.weight"].T + LINEAR["encoder.bias"]
    out = lambda features: features @ LINEAR["decoder.weight"].T + PLAIN["b_dec"]  # noqa: E731
    assert torch.allclose(found.code(X), out(torch.relu(inside)), atol=1e-5)
    assert torch.allclose(found.code.decoder.norm(dim=-1), torch.ones(WIDTH), atol=1e-5)
    tensors = {**LINEAR, "b_dec": PLAIN["b_dec"], "k": torch.tensor(K), "threshold": torch.tensor(0.2)}
    found = load_code(learned(tmp_path / "a", "AutoEncoderTopK", tensors, submodule_name="resid_post_layer_3"))
    value, column = torch.relu(inside).topk(K)
    assert torch.allclose(found.code(X), out(torch.zeros_like(inside).scatter(1, column, value)), atol=1e-5)
    assert found.site == "r4"
    found = load_code(learned(tmp_path / "a", "BatchTopKSAE", tensors, k=K))
    assert torch.allclose(found.code(X), out(torch.relu(inside) * (inside > 0.2)), atol=1e-5)
    tensors = {**PLAIN, "threshold": drawn(WIDTH, seed=5).abs()}
    found = load_code(learned(tmp_path / "a", "JumpReluAutoEncoder", tensors))
    pre = X @ PLAIN["W_enc"] + PLAIN["b_enc"]
    assert torch.allclose(found.code(X), decoded(torch.relu(pre) * (pre > tensors["threshold"])), atol=1e-5)
    gates = {"gate_bias": drawn(WIDTH), "mag_bias": drawn(WIDTH, seed=1), "r_mag": drawn(WIDTH, seed=2)}
    linear = {name: tensor for name, tensor in LINEAR.items() if name != "encoder.bias"}
    found = load_code(learned(tmp_path / "a", "GatedAutoEncoder", {**linear, **gates, "decoder_bias": PLAIN["b_dec"]}))
    x = (X - PLAIN["b_dec"]) @ LINEAR["encoder.weight"].T
    features = torch.relu(gates["r_mag"].exp() * x + gates["mag_bias"]) * (x + gates["gate_bias"] > 0)
    assert torch.allclose(found.code(X), out(features), atol=1e-5)


def test_its_own_form_comes_back(tmp_path):
    for rule in ("relu", "topk", "threshold", "gated"):
        own = code(rule=rule)
        store(own, tmp_path / rule, {"site": "r1", "reads": "r1"})
        found = load_code(tmp_path / rule)
        assert torch.equal(found.code(X), own(X))
        assert Dictionary.load(str(tmp_path / rule)).fields() == {
            "components": {"r1": {"folder": str(tmp_path / rule)}}
        }


class Danger:
    def __reduce__(self):
        return (print, ("run",))


def test_what_cannot_be_opened_is_one_sentence(tmp_path, capsys):
    def said(folder: str | Path) -> str:
        with pytest.raises(ClaimError) as caught:
            load_code(folder)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert (
        said(tmp_path / "none") == f"the dictionary '{tmp_path / 'none'}' has no description; there is no such folder"
    )
    (tmp_path / "empty").mkdir()
    assert "it has no file" in said(tmp_path / "empty")
    folder = saelens(tmp_path / "a", PLAIN, architecture="standrd")
    assert "has the unknown architecture 'standrd'; did you mean 'standard'" in said(folder)
    lacking = {name: tensor for name, tensor in PLAIN.items() if name != "W_dec"}
    assert "has no tensor 'W_dec'" in said(saelens(tmp_path / "a", lacking, architecture="standard"))
    (tmp_path / "a" / "sae_weights.safetensors").unlink()
    assert "has no 'sae_weights.safetensors'" in said(folder)
    spoiled = {**PLAIN, "b_dec": torch.full((D,), float("nan"))}
    assert "'decoder_bias' of" in said(saelens(tmp_path / "a", spoiled, architecture="standard"))
    other = {**PLAIN, "b_enc": drawn(WIDTH + 1)}
    assert f"has the shape [{WIDTH + 1}], where [{WIDTH}] is needed" in said(
        saelens(tmp_path / "a", other, architecture="standard")
    )
    assert "and its k is None" in said(saelens(tmp_path / "a", PLAIN, architecture="topk"))
    assert "has no tensor 'threshold', which a jumprelu has" in said(
        saelens(tmp_path / "a", PLAIN, architecture="jumprelu")
    )
    folder = learned(tmp_path / "p", "AutoEncoder", LINEAR)
    (tmp_path / "p" / "ae.pt").write_bytes(pickle.dumps({"encoder.weight": Danger()}))
    assert "is not opened" in said(folder)
    assert capsys.readouterr().out == ""
    folder = learned(tmp_path / "p", "AutoEncodr", LINEAR)
    assert "unknown dict_class 'AutoEncodr'; did you mean 'AutoEncoder'" in said(folder)
    store(code(), tmp_path / "nowhere", {})
    with pytest.raises(ClaimError, match="does not say where its dictionary stands; give site='r9'"):
        Dictionary.load(str(tmp_path / "nowhere"))
    store(code(), tmp_path / "elsewhere", {"site": "r2", "reads": "r2"})
    with pytest.raises(ClaimError, match="was trained at 'r2', not at 'r1'; name the site 'r2'"):
        Dictionary({"r1": str(tmp_path / "elsewhere")}).code("r1")
