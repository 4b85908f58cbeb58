"""What makes two networks the same for a record: a hash of the configuration and of every weight's bytes."""

from __future__ import annotations

import hashlib
import json

import torch
from torch import nn


def fingerprint(module: nn.Module) -> str:
    """sha256 of a network's configuration (or printed structure), and of its weights' names, types and bytes."""
    digest = hashlib.sha256()
    config = getattr(module, "config", None)
    if config is not None and hasattr(config, "to_dict"):
        volatile = {"transformers_version", "_name_or_path", "dtype", "torch_dtype", "architectures", "use_cache"}
        settings = {key: value for key, value in config.to_dict().items() if key not in volatile}
        digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    else:
        digest.update(repr(module).encode())
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
