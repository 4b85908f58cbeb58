"""Whether what is given is a model that can be opened, and in which words it is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from assay.errors import ModelError, nearest, said
from assay.model.families import FAMILIES

LENS = re.compile(
    r"blocks\.\d+\.(attn\.(W|b)_[QKVO]|mlp\.W_(in|out))|embed\.W_E|unembed\.W_U"
)  # TransformerLens' names
LENS_ADVICE = (
    "; these are TransformerLens' names: give the transformers model that they were made from, as a folder, a hub id "
    "or the network itself"
)


def check_device(device: str | torch.device) -> None:
    """Raises `ModelError` for a device that this machine, or this build of torch, does not have."""
    try:
        torch.zeros(1, device=device)
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        valid = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        valid += ["mps"] if torch.backends.mps.is_available() else []
        raise ModelError(f"the device {str(device)!r} is not available here" + nearest(device, valid)) from error


def reading_failed(name: str, error: Exception) -> str:
    if "trust_remote_code" in str(error) or "custom code" in str(error):
        return f"{name} needs code of its own to run, which assay never runs"
    unknown = re.search(r"model type `([^`]+)`", str(error))
    if unknown:  # the library adds advice of five lines
        import transformers

        return f"{name} is of the kind {unknown[1]!r}, which transformers {transformers.__version__} does not know"
    return f"{name} cannot be read as a model ({said(error)})"


def not_a_model(source: Any) -> str:
    """Why something that is neither a name nor a network is refused, and what to give in its place."""
    if not isinstance(source, Mapping):
        return f"a model is a name, a folder or a network (a torch.nn.Module), not a {type(source).__name__}"
    tensors = [str(key) for key, value in source.items() if isinstance(value, Tensor)]
    if not tensors:
        return "a mapping without tensors is no model; give a name, a folder or a network (a torch.nn.Module)"
    return (
        f"a state dict of {len(tensors)} tensors is no model: give the network that they belong to"
        f"{foreign(tensors) or ', with the weights loaded into it'}"
    )


def foreign(names: Iterable[str]) -> str:
    """A tail for weights that another library named: what to give in their place."""
    return LENS_ADVICE if any(LENS.fullmatch(str(name)) for name in names) else ""


def check_held(network: nn.Module, name: str) -> None:
    """Raises `ModelError` for a network in memory that holds no numbers."""
    later = not _known(network) and any(hasattr(module, "_hf_hook") for module in network.modules())
    for key, tensor in (*network.named_parameters(), *network.named_buffers()):
        if tensor.device.type == "meta" and not later:
            raise ModelError(f"{name}: {key!r} is on the meta device, which holds no numbers; load the weights first")


def check_types(network: nn.Module, name: str) -> None:
    """Raises `ModelError` for a transformer of a known family whose weights are of several types."""
    types: dict[torch.dtype, str] = {}
    for key, tensor in network.named_parameters():
        if tensor.is_floating_point():
            types.setdefault(tensor.dtype, key)
    if _known(network) and len(types) > 1:
        listed = " and ".join(f"{str(dtype).removeprefix('torch.')} ({key!r})" for dtype, key in types.items())
        raise ModelError(f"{name} has weights of several types, {listed}; give one, such as dtype='float32'")


def _known(network: nn.Module) -> bool:
    return getattr(getattr(network, "config", None), "model_type", None) in FAMILIES


def check_finite(network: nn.Module, name: str) -> None:
    for key, parameter in network.named_parameters():
        values = parameter.detach()
        if values.device.type != "meta" and not bool(torch.isfinite(values).all()):
            bad = int((~torch.isfinite(values)).sum())
            raise ModelError(f"{name}: the weights {key!r} hold {bad} NaN or infinite values")


def check_vocabulary(name: str, tokenizer: Any, vocab: int) -> None:
    if tokenizer is None:
        return
    largest = max(tokenizer.get_vocab().values(), default=-1) + 1
    if largest > vocab:
        raise ModelError(f"{name}: the tokenizer has {largest} entries but the model's vocabulary only {vocab}")
