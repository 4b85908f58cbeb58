"""`load`, as `assay.load` has it: planted networks by name ("planted:induction"), everything else as `model.load`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from assay.log import log
from assay.model.load import load as load_model
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.planted.worlds import is_world, world


def load(
    source: Any,
    *,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    revision: str | None = None,
    tokenizer: Any = None,
) -> Model | ModuleModel:
    """Opens a model and proves that the component view computes what the library computes.

    Args:
        source: "zoo:NAME", "planted:NAME", a folder in the hub's format, a hub id, a transformers model, a bridge of
            TransformerLens, a handle of nnsight, a peft model (whose adapter is merged into a copy), or any module.
        dtype: float32 (the default for what is read from disk), float64, bfloat16 or float16. A model in memory keeps
            its own; with another dtype or device than its own, a copy is explained.
        device: where to run; default: the CPU for what is read from disk, its own for a model in memory.
        revision: the branch, tag or commit of a hub id.
        tokenizer: for a model in memory that comes without one.

    Returns:
        A `Model` for the families of `assay.model.families`, a `ModuleModel` (named submodules) for anything else.

    Raises:
        ModelError: in one sentence, for what cannot be found, read, supported or proved.

    Example:
        >>> import assay
        >>> model = assay.load("zoo:stories-260k")
        >>> model.components[:3], model.config.layers
        (('input', 'a0.h0', 'a0.h1'), 5)
        >>> len(assay.load("planted:induction").edges)
        46
    """
    if not (isinstance(source, str) and is_world(source)):
        opened = load_model(source, dtype=dtype, device=device, revision=revision, tokenizer=tokenizer)
        log.info("opened %r", opened)
        return opened
    own = world(source).model
    if dtype is not None or device is not None:
        network: Any = own.network if isinstance(own, ModuleModel) else own.source
        own = load_model(network, dtype=dtype, device=device, tokenizer=own.tokenizer)
    return replace(own, name=source)
