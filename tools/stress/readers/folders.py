"""Model folders in the hub's format: configurations, weight files and tokenizers that say what is not so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch

from assay.model.load import load
from assay.task.task import Task
from assay.zoo.index import folder as zoo_folder
from tools.stress import mutate

TEXTS = [
    "Once upon a time there was a little girl named Lily who had three red balls and liked them all very much.",
    "The dog ran into the garden, and the big cat that sat under a tree looked at him and went home to sleep.",
    "One day Tom and his mother went to the park, where they saw a boat on the water and some birds in the sky.",
    "It rained all night. In the morning Sam put on his boots, took a bucket and made a lake in the warm sand.",
]
SIZES = (
    *(0, 1, 2, 3, 5, 7, 31, 64, 10**4, 10**6, 10**7, 10**9, 2**31, 10**12, 2**63, 10**20, -1, -(2**31)),
    *(0.5, None, "2", True),
)  # fmt: skip
FIELDS = (*SIZES, [], [0], [10**9, 10**9], [16, 16], [0, 0], [0, 2**63], "F16", "I64", "F8_E4M3")
KINDS = ("config", "config", "config", "weights", "weights", "tokenizer", "tokenizer", "other", "gone", "swapped")
Files = dict[str, bytes]


def networks() -> dict[str, Any]:
    """A tiny model of every family, and one of none; random weights."""
    import transformers as lib

    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 528}
    gated = sizes | {"num_key_value_heads": 1, "intermediate_size": 24, "max_position_embeddings": 64}
    torch.manual_seed(0)
    return {
        "gpt2": lib.GPT2LMHeadModel(lib.GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=64, vocab_size=528)),
        "neox": lib.GPTNeoXForCausalLM(lib.GPTNeoXConfig(**sizes, intermediate_size=24, max_position_embeddings=64)),
        "llama": lib.LlamaForCausalLM(lib.LlamaConfig(**gated)),
        "mistral": lib.MistralForCausalLM(lib.MistralConfig(**gated, sliding_window=32)),
        "qwen2": lib.Qwen2ForCausalLM(lib.Qwen2Config(**gated)),
        "qwen3": lib.Qwen3ForCausalLM(lib.Qwen3Config(**gated, head_dim=8)),
        "opt": lib.OPTForCausalLM(
            lib.OPTConfig(**sizes, ffn_dim=24, max_position_embeddings=64, word_embed_proj_dim=16)
        ),
    }


def seeds(folder: Path) -> list[Files]:
    """Every network's files, with the tokenizer of stories-260k; one in pieces, one pickled."""
    words = {
        name: (zoo_folder("zoo:stories-260k") / name).read_bytes()
        for name in ("tokenizer.json", "tokenizer_config.json")
    }
    out: list[Files] = []
    for name, network in networks().items():
        place = folder / f"seed-{name}"
        network.save_pretrained(place, max_shard_size="30KB" if name == "mistral" else "1GB")
        if name == "qwen2":
            torch.save(network.state_dict(), place / "pytorch_model.bin")
            (place / "model.safetensors").unlink()
        out.append(words | {file.name: file.read_bytes() for file in place.iterdir()})
        shutil.rmtree(place)
    return out


class Folders:
    """A folder of which one or two files were changed."""

    known: Sequence[Files] = ()

    def prepare(self, folder: Path) -> None:
        self.known = seeds(folder)

    def write(self, rng: Random, folder: Path, index: int) -> Path:
        known = index < len(self.known)
        files = dict(self.known[index] if known else rng.choice(self.known))
        for _ in range(0 if known else rng.choice((1, 1, 1, 2))):
            self.change(rng, files)
        place = folder / "model"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for name, content in files.items():
            (place / name).write_bytes(content)
        return place

    def change(self, rng: Random, files: Files) -> None:
        kind = rng.choice(KINDS)
        named = {
            "config": [name for name in files if name == "config.json"],
            "weights": [name for name in files if name.endswith((".safetensors", ".bin"))],
            "tokenizer": [name for name in files if name.startswith("tokenizer")],
            "other": [name for name in files if name.endswith(".json")],
        }.get(kind) or sorted(files)
        name = rng.choice(named or ["config.json"])
        content = files.get(name, b"{}")
        if kind == "gone":
            files.pop(name, None)
        elif kind == "swapped":
            files[name] = rng.choice([*files.values(), b""])
        elif name.endswith(".safetensors"):
            files[name] = header(rng, content)
        elif name.endswith(".json"):
            files[name] = sized(rng, content) if name == "config.json" and rng.random() < 0.5 else as_json(rng, content)
        else:
            files[name] = mutate.raw(rng, content)

    def read(self, case: Path) -> object:
        model = load(case)
        if model.tokenizer is not None and model.family != "module":
            Task.text(model, texts=TEXTS[:2], reference=TEXTS[2:])
        return model


def as_json(rng: Random, content: bytes) -> bytes:
    """JSON with other data, or what is none any more with other bytes."""
    try:
        return mutate.as_json(rng, content)
    except (ValueError, RecursionError):
        return mutate.raw(rng, content)


def sized(rng: Random, content: bytes) -> bytes:
    """A configuration with other numbers."""
    try:
        data = json.loads(content)
        places = [key for key, value in data.items() if isinstance(value, int | float | str | list)]
    except (ValueError, AttributeError):
        return content
    for key in rng.sample(places, min(len(places), rng.choice((1, 1, 2, 3)))):
        data[key] = rng.choice(SIZES)
    return json.dumps(data).encode()


def header(rng: Random, content: bytes) -> bytes:
    """A safetensors file with another header, of the right length or not; or with other bytes."""
    if rng.random() < 0.4 or len(content) < 8:
        return mutate.raw(rng, content)
    length = int.from_bytes(content[:8], "little")
    head = content[8 : 8 + length]
    if rng.random() < 0.5:
        head = as_json(rng, head)
    else:
        try:
            data = json.loads(head)
            entry = data[rng.choice(sorted(data))]
            field = rng.choice(sorted(entry))
            entry[field] = rng.choice(FIELDS)
            head = json.dumps(data).encode()
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            head = mutate.raw(rng, head)
    size = len(head) if rng.random() < 0.9 else rng.choice((0, 2**63, 2**40, length + 1))
    return size.to_bytes(8, "little") + head + content[8 + length :]


FOLDERS = Folders()
