"""What controls are drawn from: other sets of parts of one profile.

A layer profile says how many parts of each kind a claim has in each layer. Sets of the same profile are enumerated
where fewer than 1,000 exist, and sampled by a keyed generator where there are more.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from assay.explanations.base import Assignment, Label, order
from assay.intervene.fill.ablations import PlanContext
from assay.methods import module_parts
from assay.methods.module_parts import Slot
from assay.model.transformer import Model
from assay.names import Site
from assay.stats.keyed import generator

ENUMERATED = 1_000  # fewer possible controls than this are listed one by one


@dataclass(frozen=True)
class DrawnSets:
    """Controls of one sort.

    Attributes:
        items: the controls, never the claim itself.
        possible: how many exist, without the claim (where they are sampled, at most).
        how: the profile that they share with the claim, in words.
    """

    items: tuple[Assignment, ...]
    possible: int
    how: str = ""

    @property
    def enumerated(self) -> bool:
        """Whether these are all that exist."""
        return len(self.items) == self.possible


def population(model: Model, slot: Slot) -> list[Site]:
    """All parts of a kind in a layer (or in any layer), at the slot's position."""
    kind, layer, position = slot
    layers = [layer] if isinstance(layer, int) else range(model.config.layers + (kind == "stream"))
    if kind == "stream":
        return [Site("stream", at, position=position) for at in layers]
    out: list[Site] = []
    for at in layers:
        width = model.config.d_mlp[at]
        if kind == "head":
            out += [Site("head", at, head, position=position) for head in range(model.config.heads)]
        elif kind == "neuron":
            out += [Site("neuron", at, n, position=position) for n in range(width or 0)]
        elif kind == "mlp" and width is not None:
            out.append(Site("mlp", at, position=position))
    return out


def profile_of(
    workbench: PlanContext, claim: Mapping[Site, Label], anywhere: bool = False
) -> dict[Slot, tuple[list[Label], list[Site]]]:
    """For each kind, layer and position the labels that the claim's parts have, and all parts that could have them.

    Args:
        anywhere: layers do not count.
    """
    out: dict[Slot, tuple[list[Label], list[Site]]] = {}
    model = workbench.model
    for site in sorted(claim, key=order):
        if isinstance(model, Model):
            slot: Slot = (site.kind, None if anywhere else site.layer, site.position)
        else:
            slot = module_parts.slot_of(workbench, site, anywhere)
        if slot not in out:
            found = population(model, slot) if isinstance(model, Model) else module_parts.population(workbench, slot)
            out[slot] = [], found
        out[slot][0].append(claim[site])
    return out


def exchangeable(workbench: PlanContext, claim: Mapping[Site, Label]) -> list[Site]:
    """All parts of the claim's profile, without positions."""
    return list(
        dict.fromkeys(site.at(None) for _, candidates in profile_of(workbench, claim).values() for site in candidates)
    )


def other_sets(workbench: PlanContext, claim: Mapping[Site, Label], most: int, seed: int) -> DrawnSets:
    """Every other set of parts of the claim's kinds and layer profile; where there is none, of its kinds in any layer.

    Parts that have different labels (programs) keep them: each way to hand them out is another control.

    Args:
        claim: the claim's parts, each with its program or None.
        most: how many are given at most; of more a keyed sample is taken.
    """
    for anywhere in (False, True):
        profile = profile_of(workbench, claim, anywhere)
        total = math.prod(_count(len(candidates), labels) for labels, candidates in profile.values())
        if total > 1:
            break
    if isinstance(workbench.model, Model):
        how = "the same kinds, any layer" if anywhere else "the same kinds and layers"
    else:
        how = module_parts.words(profile, anywhere)
    own = _key(claim)

    def fits(item: Assignment) -> bool:
        return _key(item) != own and not module_parts.nested(workbench.model, item)

    if total < ENUMERATED:
        items = [item for item in _all(profile) if fits(item)]
        possible = len(items)
        if len(items) > most:
            chosen = generator(seed, "controls", "sets").choice(len(items), most, replace=False)
            items = [items[i] for i in np.sort(chosen)]
        return DrawnSets(tuple(items), possible, how)
    random = generator(seed, "controls", "sets")
    found: dict[frozenset, Assignment] = {}
    for _ in range(20 * most):
        if len(found) >= most:
            break
        assignment: Assignment = {}
        for labels, candidates in profile.values():
            chosen = random.choice(len(candidates), len(labels), replace=False)
            assignment |= {candidates[int(i)]: label for i, label in zip(chosen, labels, strict=True)}
        if fits(assignment):
            found.setdefault(_key(assignment), dict(sorted(assignment.items(), key=lambda pair: order(pair[0]))))
    return DrawnSets(tuple(found.values()), total - 1, how)


def _count(candidates: int, labels: Sequence[Label]) -> int:
    arrangements = math.factorial(len(labels))
    for often in Counter(labels).values():
        arrangements //= math.factorial(often)
    return math.comb(candidates, len(labels)) * arrangements


def _all(profile: Mapping[Slot, tuple[list[Label], list[Site]]]) -> Iterator[Assignment]:
    choices = []
    for labels, candidates in profile.values():
        ways = list(_arrangements(Counter(labels)))
        sets = itertools.combinations(candidates, len(labels))
        choices.append([dict(zip(sites, way, strict=True)) for sites in sets for way in ways])
    for parts in itertools.product(*choices):
        yield {site: label for part in parts for site, label in part.items()}


def _arrangements(labels: Counter[Label]) -> Iterator[tuple[Label, ...]]:
    """Distinct orders of a multiset."""
    if not labels:
        yield ()
        return
    for label in list(labels):
        rest = labels.copy()
        rest[label] -= 1
        for tail in _arrangements(+rest):
            yield (label, *tail)


def _key(assignment: Mapping[Site, Label]) -> frozenset:
    return frozenset(assignment.items())
