"""Random weights as a control: the search re-run on a copy of the model whose matrices were permuted or drawn anew.

A claim that scores as well there says nothing about what was learned. Transplanting the claim's own heads would be no
control: on the copy another head may be the best one by chance, and the search is what finds it.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Literal

import torch
from torch import nn

from assay.errors import ModelError
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.runner import Runner
from assay.methods import module_parts
from assay.model.load import load
from assay.model.module import ModuleModel
from assay.model.sketch import Sketch
from assay.model.transformer import Model
from assay.stats.keyed import torch_generator

How = Literal["permuted", "drawn"]


def randomised(
    model: Model | ModuleModel, how: How = "permuted", seed: int = 0, *, embeddings: bool = False
) -> Model | ModuleModel:
    """A copy of the model whose matrices carry no learned structure; the model itself is left alone.

    Args:
        how: "permuted": every matrix's entries in random order; "drawn": Gaussian with the matrix's own spread.
            Norms and biases are kept.
        embeddings: embeddings and unembedding are randomised too; else they are kept.

    Raises:
        ModelError: when the copy fails the proof on load; when a module has no matrix that could be randomised.

    Example:
        >>> randomised.__name__
        'randomised'
    """
    if isinstance(model, Sketch):
        return model.again()  # its weights are random
    if isinstance(model, ModuleModel) and not module_parts.has_matrices(model):
        raise ModelError(f"{model.name} has no weight matrix that could be randomised")
    source = copy.deepcopy(model.network if isinstance(model, ModuleModel) else model.source)
    kept = {id(p) for m in source.modules() if isinstance(m, nn.Embedding) for p in m.parameters() if not embeddings}
    for name in ("get_input_embeddings", "get_output_embeddings") if not embeddings else ():
        found = getattr(source, name, lambda: None)()
        kept |= {id(p) for p in found.parameters()} if isinstance(found, nn.Module) else set()
    with torch.no_grad():
        for name, parameter in source.named_parameters():
            if parameter.ndim < 2 or id(parameter) in kept:
                continue
            random = torch_generator(seed, "random weights", how, name)
            if how == "permuted":
                order = torch.randperm(parameter.numel(), generator=random).to(parameter.device)
                parameter.copy_(parameter.flatten()[order].view_as(parameter))
            else:
                spread = parameter.float().std(correction=0)
                fresh = torch.randn(parameter.shape, generator=random).to(parameter.device) * spread
                parameter.copy_(fresh.to(parameter.dtype))
    if isinstance(model, ModuleModel):
        return replace(model, network=source, seen=None)
    found = load(source, tokenizer=model.tokenizer)
    return replace(found, name=model.name)


def workbench_of(workbench: PlanContext, model: Model | ModuleModel) -> PlanContext:
    """A workbench for another model on the same task, with the same options and nothing fitted yet."""
    runner = Runner(model, workbench.task)
    return PlanContext(runner, workbench.seed, frozen_norm=workbench.frozen_norm, refit=workbench.refit)
