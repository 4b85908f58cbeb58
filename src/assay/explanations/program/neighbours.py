"""Programs in the place of a claim's own that should not score as well: other rules, shuffled tokens, near misses."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from assay.explanations.answers import Neighbours
from assay.explanations.base import Explanation, order
from assay.explanations.program.library import (
    ATTENTION,
    AnyProgram,
    AttentionProgram,
    CustomProgram,
    LabelProgram,
    NGramProgram,
    words,
)
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.plan import Batch, Call, Data, Edit, Origin, Plan, Source, Stream, changed
from assay.names import Site
from assay.stats.keyed import generator

ENUMERATED = 1_000  # fewer possible ways than this are listed one by one
SHUFFLED = "shuffled tokens"
SHUFFLES = 20  # draws of shuffled tokens
TRIED = 8  # rows

Programs = dict[Site, AnyProgram]


def neighbours(
    claim: Explanation, own: Mapping[Site, AnyProgram], workbench: PlanContext, most: int
) -> Iterator[Neighbours]:
    """Other programs, the same program fed shuffled tokens, and the same rule with other options.

    Args:
        own: the claim's parts with their programs.
    """

    def planned(item: Mapping[Site, AnyProgram]) -> Callable[[PlanContext], Plan]:
        return lambda aside: claim.like(item).plan(aside, "mean")

    several, possible = program_sets(workbench, own, most)
    what = f"{len(several):,} of the {possible:,} ways to give the same parts other programs of the library"
    yield Neighbours("other programs", what, [(named(item), planned(item)) for item in several], possible)
    draws = range(
        min(SHUFFLES, most)
        if any(_reads_tokens(program, workbench.task.tokens[:TRIED]) for program in own.values())
        else 0
    )
    fed = [
        (f"shuffle {draw}", lambda aside, draw=draw: aside.plan(shuffled(aside, claim.edits(aside, "mean"), draw)))
        for draw in draws
    ]
    yield Neighbours(SHUFFLED, "the same program fed a permuted copy of the window's tokens", fed, 10**9)
    near = variant_sets(own)[:most]
    what = "the same rule with other options (near misses, no controls)"
    yield Neighbours("variants", what, [(_variant(item), planned(item)) for item in near], len(near), near=True)


def named(programs: Mapping[Site, AnyProgram]) -> str:
    """The programs in words, once where all parts have the same."""
    said = [words(program) for program in programs.values()]
    return said[0] if len(set(said)) == 1 else ", ".join(said)


def _reads_tokens(program: AnyProgram, rows: Int[Tensor, "rows pos"]) -> bool:
    """Whether other tokens could change what a program does: fed shuffled ones, a rule on positions is itself.

    Args:
        rows: of different tokens, on which a program of one's own is tried.
    """
    if isinstance(program, AttentionProgram):
        return program.level != "pattern" or program.name in ("induction", "duplicate_token")
    if isinstance(program, CustomProgram) and not program.reads:
        return not torch.equal(program.function(rows), program.function(rows.roll(1, 0)))
    return not (isinstance(program, LabelProgram) and program.source is not None)


def _variant(programs: Mapping[Site, AnyProgram]) -> str:
    program = next(p for p in programs.values() if isinstance(p, AttentionProgram))
    return f"{words(program)}, {program.without_match} without a match"


def other_programs(program: AnyProgram, site: Site, workbench: PlanContext) -> list[AnyProgram]:
    """The library's programs of another rule that can stand for the part, as much of the model's weights kept."""
    head = site.kind == "head"
    tables: list[AnyProgram] = [NGramProgram(1), NGramProgram(2)]
    match program:
        case AttentionProgram():
            return [*rules(program), *tables]
        case NGramProgram():
            orders: list[AnyProgram] = [NGramProgram(n) for n in range(1, 6) if n != program.n]
            return [*orders, *(labels(workbench) if not head else []), *(rules(AttentionProgram("")) if head else [])]
        case LabelProgram(source=source, tokens=tokens):
            if source is not None:
                return [label for label in labels(workbench) if label != program]
            return token_labels(workbench, len(tokens))
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


def labels(workbench: PlanContext) -> list[AnyProgram]:
    """A label for each source of the reference, where there are several."""
    assert workbench.task.reference is not None
    reference = workbench.task.reference
    sources = sorted({reference.documents[int(d)].source for d in reference.document})
    return [LabelProgram(source) for source in sources] if len(sources) > 1 else []


def token_labels(workbench: PlanContext, size: int, count: int = 20) -> list[AnyProgram]:
    """Random sets of as many token ids, drawn from those that the reference holds."""
    assert workbench.task.reference is not None
    known = workbench.task.reference.tokens.unique().numpy()
    out: list[AnyProgram] = []
    for index in range(count):
        random = generator(workbench.seed, "controls", "token labels", index)
        chosen = random.choice(known, min(size, len(known)), replace=False)
        out.append(LabelProgram(None, tuple(int(t) for t in np.sort(chosen))))
    return out


def program_sets(workbench: PlanContext, own: Mapping[Site, AnyProgram], most: int) -> tuple[list[Programs], int]:
    """The same parts with other programs, every part its own choice: all of them, or a keyed sample; how many exist."""
    sites = sorted(own, key=order)
    options = [other_programs(own[site], site, workbench) for site in sites]
    possible = math.prod(len(option) for option in options)
    if possible <= min(most, ENUMERATED - 1):
        return [dict(zip(sites, choice, strict=True)) for choice in itertools.product(*options)], possible
    random = generator(workbench.seed, "controls", "programs")
    found: dict[tuple[int, ...], None] = {}
    for _ in range(20 * most):
        if len(found) >= most:
            break
        found.setdefault(tuple(int(random.integers(len(option))) for option in options))
    return [{s: o[i] for s, o, i in zip(sites, options, choice, strict=True)} for choice in found], possible


def variant_sets(own: Mapping[Site, AnyProgram]) -> list[Programs]:
    """All parts of the claim's first attention rule given one of its variants together, others left."""
    first = next((p for p in own.values() if isinstance(p, AttentionProgram)), None)
    if first is None:
        return []
    return [{s: variant if p == first else p for s, p in own.items()} for variant in variants(first)]


def coarser(program: AnyProgram, several: bool = False) -> tuple[str, AnyProgram | None] | None:
    """One distinction of a program merged, in words, and the coarser program of its kind (None: the part's mean).

    Args:
        several: other parts have programs too, so that this one's own may be given up.

    Example:
        >>> from assay.explanations import programs
        >>> coarser(programs.induction(match="prefix", prefix=3))[0]
        'prefix 3 → recent'
    """
    match program:
        case AttentionProgram(match="prefix", prefix=n) if n > 1:
            return f"prefix {n} → recent", replace(program, match="recent", prefix=1)
        case NGramProgram(n=n) if n > 1:
            return f"ngram({n}) → ngram({n - 1})", replace(program, n=n - 1)
        case LabelProgram():
            return "both sides of the label → mean", None
        case NGramProgram():
            return "its program → mean", None
    return ("its program → mean", None) if several else None


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


def shuffled(workbench: PlanContext, edits: tuple[Edit, ...], draw: int) -> tuple[Edit, ...]:
    """The same programs, fed a permuted copy of the window's tokens, while the model runs on the true ones.

    BOS and padding stay where they are. A program that goes by the document's source sees another document's.
    """

    def fed(source: Origin) -> Source:
        if not isinstance(source, Call):
            return source
        program = source.program

        def run(batch: Batch) -> Tensor | Stream:
            return program(Permuted(*_permutation(workbench, batch, draw), batch.data, batch))

        return Call(run, source.reads)

    return tuple(Edit(edit.site, changed(edit.source, fed)) for edit in edits)


def _permutation(workbench: PlanContext, batch: Batch, draw: int) -> tuple[Tensor, np.ndarray]:
    data = workbench.task if batch.data == "scored" else workbench.task.reference
    assert data is not None
    tokens, rows = batch.tokens.clone(), batch.rows.copy()
    real = data.real.numpy()
    for index, row in enumerate(batch.rows):
        document = data.documents[data.document[row]].name
        random = generator(workbench.seed, SHUFFLED, str(batch.data), draw, document, int(data.offset[row]))
        columns = 1 + np.flatnonzero(real[row, 1:])
        tokens[index, torch.from_numpy(columns)] = batch.tokens[index, torch.from_numpy(random.permutation(columns))]
        rows[index] = int(random.integers(len(data)))
    return tokens, rows
