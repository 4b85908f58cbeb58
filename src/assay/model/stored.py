"""What a model folder's weight files hold, by their headers, and whether its configuration asks for no more than that.

A configuration is a few numbers that anybody can write, and building what it says can take hours and all memory. So it
is held against the weights' shapes before anything is built.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from assay.errors import ModelError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED, PICKLED_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
LONGEST = 64 << 20  # bytes of a JSON file beside the weights
DEEPEST = 10  # configurations within configurations
LAYERS = re.compile(r"(n|num|encoder|decoder|num_encoder|num_decoder|num_hidden)_?(layers?|groups)|depth")
EXPERTS = re.compile(r"(n|num)_([a-z]+_)?experts|(n|num)_([a-z]+_)?heads?")
NAMED = re.compile(r"(?:^|\.)(?:h|layers?|blocks?)\.(\d+)\.")

Shapes = dict[str, tuple[int, ...]]


def configuration(folder: Path) -> dict[str, Any]:
    """The folder's configuration, as plain data.

    Raises:
        ModelError: for one that is no JSON object, or that names other models, kernels or files to be loaded.
    """
    data = _json(folder / "config.json")
    if data.get("quantization_config") is not None:
        raise ModelError(
            "its weights are quantised ('quantization_config'), which is not supported; give plain weights"
        )
    if (folder / "adapter_config.json").exists():
        raise ModelError(
            "it holds an adapter of another model (adapter_config.json); merge the two and give the result"
        )
    return data


def shapes(folder: Path) -> Shapes | None:
    """Every stored tensor's shape, of the files that transformers would read; None where there are none.

    Raises:
        ModelError: for files that cannot be read, or that lie outside the folder.
    """
    if (folder / SINGLE).is_file():
        return dict(_safetensors(folder / SINGLE))
    if (folder / INDEX).is_file():
        return {name: shape for shard in _shards(folder, INDEX) for name, shape in _safetensors(shard)}
    if (folder / PICKLED).is_file():
        return dict(_pickled(folder / PICKLED))
    if (folder / PICKLED_INDEX).is_file():
        return {name: shape for shard in _shards(folder, PICKLED_INDEX) for name, shape in _pickled(shard)}
    return None


def check_counts(config: dict[str, Any], stored: Shapes) -> None:
    """Raises `ModelError` where the configuration has more layers, experts or heads than the weights could hold."""
    found = [int(match[1]) for name in stored if (match := NAMED.search(name))]
    layers = len(set(found)) if found else len(stored)
    widest = max([len(stored), *(size for shape in stored.values() for size in shape)], default=0)
    for path, value in _numbers(config):
        name = path.rpartition(".")[2]
        if LAYERS.fullmatch(name) and value > layers:
            raise ModelError(f"its configuration says {path} = {_short(value)}, and its weights are those of {layers}")
        if EXPERTS.fullmatch(name) and value > widest:
            raise ModelError(
                f"its configuration says {path} = {_short(value)}, and no axis of its weights is longer than {widest}"
            )


def check_size(network: torch.nn.Module, stored: Shapes) -> None:
    """Raises `ModelError` where a network (on the meta device) has far more parameters than were stored."""
    wanted = sum(parameter.numel() for parameter in network.parameters())
    held = sum(math.prod(shape) for shape in stored.values())
    if wanted > 2 * held + (1 << 20):  # tied weights are stored once, and what is missing is said by name
        raise ModelError(f"its configuration asks for {wanted:,} numbers, and its weights hold {held:,}")


def _numbers(data: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, int]]:
    if depth > DEEPEST:
        raise ModelError(f"its configuration is nested more than {DEEPEST} deep")
    for key, value in data.items():
        name = f"{path}.{key}" if path else str(key)
        if isinstance(value, int) and not isinstance(value, bool):
            yield name, value
        elif isinstance(value, dict):
            yield from _numbers(value, name, depth + 1)


def _short(value: int) -> str:
    return f"{value:,}" if abs(value) < 10**15 else "a number of more than 15 digits"


def _json(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    if size > LONGEST:
        raise ModelError(f"{path.name} has {size:,} bytes; at most {LONGEST:,} are read")
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as problem:
        raise ModelError(f"{path.name} is no JSON: {problem}") from None
    if not isinstance(data, dict):
        raise ModelError(f"{path.name} holds a {type(data).__name__}, no JSON object")
    return data


def _shards(folder: Path, index: str) -> list[Path]:
    files = _json(folder / index).get("weight_map")
    if not isinstance(files, dict):
        raise ModelError(f"{index} has no 'weight_map'")
    names = list(dict.fromkeys(files.values()))
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or "\0" in name:
            raise ModelError(f"{index} names {str(name)[:100]!r}, which is no file of this folder")
        if not (folder / name).is_file():
            raise ModelError(f"{index} names {name[:100]!r}, which is not there")
    return [folder / name for name in names]


def _safetensors(path: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:  # it checks the header against the file's length
        for name in file.keys():  # noqa: SIM118
            yield name, tuple(file.get_slice(name).get_shape())


def _pickled(path: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    data = torch.load(path, map_location="meta", weights_only=True)
    if not isinstance(data, dict):
        raise ModelError(f"{path.name} holds a {type(data).__name__}, no weights by name")
    for name, value in data.items():
        if isinstance(value, torch.Tensor):
            yield str(name), tuple(value.shape)
