"""What controls are drawn from: other sets of parts of one profile, other programs, shuffled tokens.

A layer profile says how many parts of each kind a claim has in each layer. Sets of the same profile are enumerated
where fewer than 1,000 exist, and sampled by a keyed generator where there are more.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from assay.explanations.programs import (
    ATTENTION,
    AnyProgram,
    AttentionProgram,
    CustomProgram,
    LabelProgram,
    NGramProgram,
)
from assay.intervene.ablations import Workbench
from assay.intervene.plan import Batch, Call, Data, Edit, Origin, Source, Stream, changed
from assay.measure import module_parts
from assay.measure.module_parts import Slot
from assay.model.transformer import Model
from assay.names import Site
from assay.stats.keyed import generator

ENUMERATED = 1_000  # fewer possible controls than this are listed one by one
SHUFFLED = "shuffled tokens"

Label = Hashable  # what a site is given: its program, or None where the claim names parts only
Assignment = dict[Site, Any]  # site -> label


@dataclass(frozen=True)
class Draws:
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
    layers = [layer] if isinstance(layer, int) else range(model.config.layers)
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
    bench: Workbench, claim: Mapping[Site, Label], anywhere: bool = False
) -> dict[Slot, tuple[list[Label], list[Site]]]:
    """For each kind, layer and position the labels that the claim's parts have, and all parts that could have them.

    Args:
        anywhere: layers do not count.
    """
    out: dict[Slot, tuple[list[Label], list[Site]]] = {}
    model = bench.model
    for site in sorted(claim, key=order):
        if isinstance(model, Model):
            slot: Slot = (site.kind, None if anywhere else site.layer, site.position)
        else:
            slot = module_parts.slot_of(bench, site, anywhere)
        if slot not in out:
            found = population(model, slot) if isinstance(model, Model) else module_parts.population(bench, slot)
            out[slot] = [], found
        out[slot][0].append(claim[site])
    return out


def exchangeable(bench: Workbench, claim: Mapping[Site, Label]) -> list[Site]:
    """All parts of the claim's profile, without positions."""
    return list(dict.fromkeys(site.at(None) for _, people in profile_of(bench, claim).values() for site in people))


def other_sets(bench: Workbench, claim: Mapping[Site, Label], most: int, seed: int) -> Draws:
    """Every other set of parts of the claim's kinds and layer profile; where there is none, of its kinds in any layer.

    Parts that have different labels (programs) keep them: each way to hand them out is another control.

    Args:
        claim: the claim's parts, each with its program or None.
        most: how many are given at most; of more a keyed sample is taken.
    """
    for anywhere in (False, True):
        profile = profile_of(bench, claim, anywhere)
        total = math.prod(_count(len(people), labels) for labels, people in profile.values())
        if total > 1:
            break
    if isinstance(bench.model, Model):
        how = "the same kinds, any layer" if anywhere else "the same kinds and layers"
    else:
        how = module_parts.words(profile, anywhere)
    own = _key(claim)

    def fits(item: Assignment) -> bool:
        return _key(item) != own and not module_parts.nested(bench.model, item)

    if total < ENUMERATED:
        items = [item for item in _all(profile) if fits(item)]
        possible = len(items)
        if len(items) > most:
            chosen = generator(seed, "controls", "sets").choice(len(items), most, replace=False)
            items = [items[i] for i in np.sort(chosen)]
        return Draws(tuple(items), possible, how)
    random = generator(seed, "controls", "sets")
    found: dict[frozenset, Assignment] = {}
    for _ in range(20 * most):
        if len(found) >= most:
            break
        assignment: Assignment = {}
        for labels, people in profile.values():
            chosen = random.choice(len(people), len(labels), replace=False)
            assignment |= {people[int(i)]: label for i, label in zip(chosen, labels, strict=True)}
        if fits(assignment):
            found.setdefault(_key(assignment), dict(sorted(assignment.items(), key=lambda pair: order(pair[0]))))
    return Draws(tuple(found.values()), total - 1, how)


def _count(people: int, labels: Sequence[Label]) -> int:
    arrangements = math.factorial(len(labels))
    for often in Counter(labels).values():
        arrangements //= math.factorial(often)
    return math.comb(people, len(labels)) * arrangements


def _all(profile: Mapping[Slot, tuple[list[Label], list[Site]]]) -> Iterator[Assignment]:
    choices = []
    for labels, people in profile.values():
        ways = list(_arrangements(Counter(labels)))
        sets = itertools.combinations(people, len(labels))
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


def order(site: Site) -> tuple[int, bool, str, int, str]:
    """Sorts parts by layer (or submodule), kind, index and position."""
    return site.layer or 0, site.kind != "head", site.module or "", site.index or 0, str(site.position)


# -- other programs ----------------------------------------------------------------------------------------------------


def other_programs(program: AnyProgram, site: Site, bench: Workbench) -> list[AnyProgram]:
    """The library's programs of another rule that can stand for the part, as much of the model's weights kept."""
    head = site.kind == "head"
    tables: list[AnyProgram] = [NGramProgram(1), NGramProgram(2)]
    match program:
        case AttentionProgram():
            return [*rules(program), *tables]
        case NGramProgram():
            orders: list[AnyProgram] = [NGramProgram(n) for n in range(1, 6) if n != program.n]
            return [*orders, *(labels(bench) if not head else []), *(rules(AttentionProgram("")) if head else [])]
        case LabelProgram(source=source, tokens=tokens):
            if source is not None:
                return [label for label in labels(bench) if label != program]
            return token_labels(bench, len(tokens))
        case CustomProgram(returns=returns):
            return [*(rules(AttentionProgram("")) if returns == "pattern" else []), *tables]
    raise TypeError(program)


def rules(claimed: AttentionProgram) -> list[AnyProgram]:
    """Every other attention rule at the claim's level; options that change nothing for a rule are not varied."""
    out: list[AnyProgram] = []
    for name in ATTENTION:
        if name == claimed.name:
            continue
        without = ("mean", "first", "zero") if name in ("induction", "duplicate_token") else (claimed.without_match,)
        out += [AttentionProgram(name, claimed.level, without_match=option) for option in without]
    return out


def variants(program: AnyProgram) -> list[AnyProgram]:
    """The same rule with its other options: near misses, not controls."""
    if not isinstance(program, AttentionProgram):
        return []
    matches = [("recent", 1)]
    if program.name == "induction":
        matches += [("all", 1), ("prefix", 2), ("prefix", 4)]
    out: list[AnyProgram] = [
        AttentionProgram(program.name, program.level, match, prefix, without)
        for match, prefix in matches
        for without in ("mean", "first", "zero")
    ]
    return [other for other in out if other != program]


def labels(bench: Workbench) -> list[AnyProgram]:
    """A label for each source of the reference, where there are several."""
    assert bench.task.reference is not None
    reference = bench.task.reference
    sources = sorted({reference.documents[int(d)].source for d in reference.document})
    return [LabelProgram(source) for source in sources] if len(sources) > 1 else []


def token_labels(bench: Workbench, size: int, count: int = 20) -> list[AnyProgram]:
    """Random sets of as many token ids, drawn from those that the reference holds."""
    assert bench.task.reference is not None
    known = bench.task.reference.tokens.unique().numpy()
    out: list[AnyProgram] = []
    for index in range(count):
        random = generator(bench.seed, "controls", "token labels", index)
        chosen = random.choice(known, min(size, len(known)), replace=False)
        out.append(LabelProgram(None, tuple(int(t) for t in np.sort(chosen))))
    return out


def program_sets(bench: Workbench, claim: Mapping[Site, AnyProgram], most: int, seed: int) -> Draws:
    """The same parts with other programs, every part its own choice: all of them, or a keyed sample."""
    sites = sorted(claim, key=order)
    options = [other_programs(claim[site], site, bench) for site in sites]
    possible = math.prod(len(option) for option in options)
    if possible <= min(most, ENUMERATED - 1):
        items = [dict(zip(sites, choice, strict=True)) for choice in itertools.product(*options)]
    else:
        random = generator(seed, "controls", "programs")
        found: dict[tuple[int, ...], None] = {}
        for _ in range(20 * most):
            if len(found) >= most:
                break
            found.setdefault(tuple(int(random.integers(len(option))) for option in options))
        items = [{s: o[i] for s, o, i in zip(sites, options, choice, strict=True)} for choice in found]
    return Draws(tuple(items), possible, "the library's other rules, each part its own")


def variant_sets(claim: Mapping[Site, AnyProgram]) -> list[Assignment]:
    """All parts of the claim's first attention rule given one of its variants together, others left."""
    first = next((p for p in claim.values() if isinstance(p, AttentionProgram)), None)
    if first is None:
        return []
    return [{s: variant if p == first else p for s, p in claim.items()} for variant in variants(first)]


# -- shuffled tokens --------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Permuted:
    """A micro-batch as a program sees it whose tokens were shuffled: the values that it reads are the true run's."""

    tokens: Int[Tensor, "batch pos"]
    rows: Int[np.ndarray, "batch"]
    data: Data
    of: Batch

    def read(self, site: Site) -> Tensor:
        return self.of.read(site)


def shuffled(bench: Workbench, edits: tuple[Edit, ...], draw: int) -> tuple[Edit, ...]:
    """The same programs, fed a permuted copy of the window's tokens, while the model runs on the true ones.

    BOS and padding stay where they are. A program that goes by the document's source sees another document's.
    """

    def fed(source: Origin) -> Source:
        if not isinstance(source, Call):
            return source
        program = source.program

        def run(batch: Batch) -> Tensor | Stream:
            return program(Permuted(*_permutation(bench, batch, draw), batch.data, batch))

        return Call(run, source.reads)

    return tuple(Edit(edit.site, changed(edit.source, fed)) for edit in edits)


def _permutation(bench: Workbench, batch: Batch, draw: int) -> tuple[Tensor, np.ndarray]:
    data = bench.task if batch.data == "scored" else bench.task.reference
    assert data is not None
    tokens, rows = batch.tokens.clone(), batch.rows.copy()
    real = data.real.numpy()
    for index, row in enumerate(batch.rows):
        document = data.documents[data.document[row]].name
        random = generator(bench.seed, SHUFFLED, batch.data, draw, document, int(data.offset[row]))
        columns = 1 + np.flatnonzero(real[row, 1:])
        tokens[index, torch.from_numpy(columns)] = batch.tokens[index, torch.from_numpy(random.permutation(columns))]
        rows[index] = int(random.integers(len(data)))
    return tokens, rows
