"""Random weights as a control: the search re-run on a copy of the model whose matrices were permuted or drawn anew.

A claim that scores as well there says nothing about what was learned. Transplanting the claim's own heads would be no
control: on the copy another head may be the best one by chance, and the search is what finds it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import torch
from torch import nn

from assay.errors import ModelError
from assay.explanations.base import Assignment, Explanation, Label
from assay.intervene.ablations import Workbench
from assay.intervene.runner import Runner
from assay.measure import module_parts
from assay.measure.control_draws import exchangeable
from assay.measure.control_sizes import largest, sizes
from assay.methods.head_scores import KINDS, head_scores
from assay.model.load import load
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.names import Site, parse_site
from assay.stats.keyed import torch_generator

How = Literal["permuted", "drawn"]


def randomised(model: Model | ModuleModel, how: How = "permuted", seed: int = 0) -> Model | ModuleModel:
    """A copy of the model whose matrices carry no learned structure; the model itself is left alone.

    Args:
        how: "permuted": every matrix's entries in random order; "drawn": Gaussian with the matrix's own spread.
            Embeddings, unembedding, norms and biases are kept.

    Raises:
        ModelError: when the copy fails the proof on load; when a module has no matrix that could be randomised.

    Example:
        >>> randomised.__name__
        'randomised'
    """
    if isinstance(model, ModuleModel) and not module_parts.has_matrices(model):
        raise ModelError(f"{model.name} has no weight matrix that could be randomised")
    source = copy.deepcopy(model.network if isinstance(model, ModuleModel) else model.source)
    kept = {id(p) for m in source.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    for name in ("get_input_embeddings", "get_output_embeddings"):
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


def beside(bench: Workbench, model: Model | ModuleModel) -> Workbench:
    """A workbench for another model on the same task, with the same options and nothing fitted yet."""
    runner = Runner(model, bench.task)
    return Workbench(runner, bench.seed, frozen_norm=bench.frozen_norm, refit=bench.refit)


def search(
    bench: Workbench, claim: Mapping[Site, Label], rules: Mapping[Site, str], *, shuffle: int | None = None
) -> tuple[Assignment, str]:
    """What `assay init` would find on this model in place of the claim's parts; and how, in words.

    Heads with an attention program are replaced by those with the highest score for its rule, in whichever layer. Parts
    without one (and rules that have no score) are replaced by those of the highest attribution in the same layers.

    Args:
        shuffle: score heads on a shuffled repeat task, in which there is nothing to find.

    Raises:
        ModelError: for a module that gives no gradient.
    """
    wanted: dict[str, list[Label]] = {}
    rest: dict[Site, Label] = {}
    for site, label in claim.items():
        if site in rules:
            wanted.setdefault(rules[site], []).append((label, site.position))
        else:
            rest[site] = label
    out: Assignment = {}
    if wanted:
        assert isinstance(bench.model, Model)
        scores = head_scores(bench.model, seed=bench.seed, shuffle=shuffle)
        for rule, given in wanted.items():
            ranked = [parse_site(name) for name, _ in scores.top(rule, count=10**6)]
            free = [site for site in ranked if site not in {found.at(None) for found in out}]
            for site, (label, position) in zip(free, given, strict=False):  # type: ignore[misc]
                out[site.at(position)] = label
    if rest:
        _, attribution = sizes(bench, exchangeable(bench, rest))
        taken = {site.at(None) for site in out}
        if not attribution:
            raise ModelError(f"{bench.model.name} gives no gradient, so no part has an attribution to search by")
        out |= largest(bench, rest, {s: (-1.0 if s in taken else a) for s, a in attribution.items()})
    how = [f"the highest {' and '.join(wanted)} scores" if wanted else "", "the highest attribution" if rest else ""]
    return out, " and ".join(part for part in how if part)


def findable(explanation: Explanation, model: Model | ModuleModel) -> dict[Site, str]:
    """Parts of the claim that are searched for by how heads attend, each with the rule that heads are scored by."""
    return {site: rule for site, rule in explanation.searched_by(model).items() if rule in KINDS}
