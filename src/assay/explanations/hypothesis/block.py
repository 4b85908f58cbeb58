"""What only a hypothesis says: how its score moves with what the rest takes, which rows agree with no other, and on
which inputs it is exact."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from jaxtyping import Int
from torch import Tensor

from assay.errors import TaskError
from assay.explanations.hypothesis.disagreements import side_by_side
from assay.explanations.hypothesis.example import Example, examples_of
from assay.explanations.hypothesis.guards import RIVALS, ROUNDS, SWAPS, rivals_counted, worst_swaps
from assay.explanations.hypothesis.maps import BITS, numbers, size
from assay.explanations.hypothesis.scrub import LEFT, SHARED, Graph, Scrub
from assay.explanations.hypothesis.subset import MOST, Subset, agreeing, by_chance, largest, rows_of
from assay.intervene.fill.ablations import PlanContext
from assay.model import meter
from assay.model.transformer import Model
from assay.record.pieces import Pieces, Sentence, TablePiece
from assay.score.score import score
from assay.stats.estimate import Estimate, Undefined
from assay.stats.keyed import generator

STRENGTHS = {
    LEFT: "left alone",
    "mean": "its means",
    SHARED: "resampled, one row for all runs",
    "resample_joint": "resampled, one row for all of a run",
    "resample_independent": "resampled, a row for each part",
}
WORST = {"shared_adversarial": "the worst constants that it could take (shared adversarial)"}
TABLES, ROW_RUNS = 3, 10  # tables that share what is given, and runs of a row for the one of three scores
SHOWN, MOST_SAID = 3, 60  # rows of a table, and letters of an input that are shown
LEAST, MOST_THOROUGH = 12, 100  # inputs that are swapped with each other; the most where nothing limits them
TERMS = {
    "the rest": "All parts that carry no variable. A hypothesis that holds only where they are left alone says little: "
    "they may do what the claim says of its places.",
}


def hypothesis_block(
    workbench: PlanContext, graph: Graph, treeify: bool, rows: Int[np.ndarray, "rows"], perturbed: str
) -> Pieces:
    """The table of strengths, on some of these rows, which share of rows agrees with no other, and on which inputs the
    claim is exact.

    Args:
        perturbed: what everything takes that carries nothing, where all swaps have to go as the claim says.
    """
    width = workbench.task.tokens.shape[1] if isinstance(workbench.model, Model) else 1
    runs = 2 * len(STRENGTHS) * len(graph.reads)  # each run of a plan once, at most, for the claim and its floor
    given = meter.meant() / (TABLES * width)  # rows, for each table
    few = rows[: max(1, int(min(len(rows), given / runs)))]
    return Pieces(
        block="hypothesis",
        title="The hypothesis",
        pieces=(
            strengths(workbench, graph, treeify, few, thorough=math.isinf(given)),
            *_side_by_side(workbench, graph, treeify, perturbed, rows[: max(1, int(min(len(rows), given / ROW_RUNS)))]),
            Sentence(text=_alone(graph)),
            *_drawn(workbench, graph),
            *_maps(graph),
            _exact(workbench, graph, given, perturbed),
            *_guards(workbench, graph, treeify, perturbed, given),
        ),
        terms=TERMS,
    )


def _side_by_side(
    workbench: PlanContext, graph: Graph, treeify: bool, rest: str, rows: Int[np.ndarray, "rows"]
) -> list[TablePiece | Sentence]:
    """Three scores on the same rows, and examples on which swaps and scrubbing say different things."""
    try:
        found = side_by_side(workbench, graph, treeify, rest, rows)
    except TaskError as problem:
        return [Sentence(text=f"Swaps and scrubbing are not held against each other, because {problem}.")]
    both = int((found.right == found.holds).sum())
    text = (
        f"One swap of {', '.join(found.names)} for each of {len(rows)} rows, the rest {STRENGTHS[rest]}: "
        f"{found.right.sum()} answers become the claim's. Scrubbed, {found.holds.sum()} rows are within a tenth of the "
        f"KL of unconditioned data ({found.floor:.3g} nats). {both} rows pass both or neither; shown are the worst of "
        "the others. Beside them all places kept, everything else at its mean."
    )
    examples = examples_of(workbench.task)
    lines: list[tuple[str | Estimate, ...]] = [
        ("the scrubbed run, R_D", found.recovered),
        ("all places kept (plain ablation), R_D", found.kept),
    ]
    order = np.argsort(-found.scrubbed)
    differ = {
        "swap right, scrubbed not": found.right & ~found.holds,
        "scrubbed well, swap missed": found.holds & ~found.right,
    }
    for what, which in differ.items():
        for at in order[which[order]][:SHOWN].tolist():
            answer = f"wanted {found.wanted[at]!r}, got {found.given[at]!r}; " if not found.right[at] else ""
            said = f"{_said(examples[int(rows[at])])}: {answer}scrubbed {found.scrubbed[at]:.3g} nats"
            lines.append((what, said))
    return [TablePiece(title="Side by side", text=text, columns=("what", "it gives"), rows=tuple(lines))]


def _maps(graph: Graph) -> list[TablePiece]:
    """What of a place carries a variable, where that is not all of it, and what it takes to say it."""
    lines = []
    for name, some in graph.places.items():
        for one in some:
            if one.place.map is not None:
                free, wide = numbers(one.place.map), size(one.place.map)
                sort = "a subspace" if isinstance(one.place.map, Tensor) else "coordinates of a reversible map"
                lines.append((name, one.place.name, sort, wide, free, BITS * free))
    if not lines:
        return []
    text = (
        "A map that has many numbers finds nearly any variable in nearly any network: these figures stand for the "
        "claim only where random subspaces, permuted variables and a network with random weights have much lower ones."
    )
    columns = ("variable", "place", "what of it", "dimensions", "numbers", f"bits, {BITS} a number")
    return [TablePiece(title="Maps", text=text, columns=columns, rows=tuple(lines))]


def _exact(workbench: PlanContext, graph: Graph, given: float, rest: str) -> TablePiece | Sentence:
    """The largest sets of inputs on which swaps are exact, of as many inputs as may be swapped with each other."""
    runs = 4 * len(graph.carried)  # of the claim and of a permuted variable, with what the rest takes
    most = MOST_THOROUGH if math.isinf(given) else math.isqrt(int(given / runs))
    count = min(most, MOST, len(graph.values.rows))
    if count < LEAST:
        return Sentence(
            text="The largest set of inputs on which the claim is exact was not looked for: the budget allows swaps "
            f"between {count} inputs, and it takes {LEAST}; --thorough looks for it."
        )
    rows = rows_of(count, len(graph.values.rows), workbench.seed)
    lines: list[tuple[str | Estimate, ...]] = []
    try:
        for name in graph.carried:
            random = generator(workbench.seed, "permuted variable, exact subset", name)
            other = replace(graph, values=graph.values.permuted(name, random))
            agree, permuted = (agreeing(workbench, one, (name,), rows, rest) for one in (graph, other))
            chance = [one.high for one in by_chance(agree, workbench.seed)]
            lines.append((name, _size(largest(agree)), f"{min(chance)} to {max(chance)}", _size(largest(permuted))))
    except TaskError as problem:
        return Sentence(text=f"On which inputs the claim is exact is undefined, because {problem}.")
    text = (
        f"Of {count} inputs, the most between any two of which both swaps go as the claim says (the rest "
        f"{STRENGTHS[rest]}); beside it as many pairs that agree at random, and a permuted variable."
    )
    columns = ("variable", "exact on", "by chance, at most", "a permuted variable")
    return TablePiece(title="Where it is exact", text=text, columns=columns, rows=tuple(lines))


def _guards(
    workbench: PlanContext,
    graph: Graph,
    treeify: bool,
    rest: str,
    given: float,
) -> list[TablePiece | Sentence]:
    """Rivals and the worst swaps, where what is given for a table is enough."""
    every = len(graph.values.rows)
    some = np.unique(np.linspace(0, every - 1, min(SWAPS, every)).round().astype(int))
    swaps = RIVALS * SWAPS * (len(graph.carried) + 1)
    worst = ROUNDS * len(some) * len(graph.reads)
    if given < swaps + worst:
        text = f"how many of {RIVALS} other alignments do as well, nor which allowed data do the most damage"
        return [Sentence(text=f"It was not asked {text}: the budget has no room for it; --thorough asks.")]
    try:
        return [_rivals(workbench, graph, rest, some), _worst(workbench, graph, rest, treeify, some)]
    except TaskError as problem:
        return [Sentence(text=f"Whether other places do as well is undefined, because {problem}.")]


def _rivals(workbench: PlanContext, graph: Graph, rest: str, rows: Int[np.ndarray, "rows"]) -> TablePiece | Sentence:
    found = rivals_counted(workbench, graph, rest, rows)
    if isinstance(found, Undefined):
        return Sentence(text=f"Rivals: none, because {found.reason}.")
    text = (
        f"{found.within} of {len(found.found)} other alignments of the same variables (as many places in the same "
        "layers, under a quarter of the heads and neurons the same) lie within the claim's interval or above, by "
        f"swaps of {len(rows)} inputs with the rest {STRENGTHS[rest]}: a share of {found.share}."
    )
    text += f" {found.undefined} have no accuracy." if found.undefined else ""
    best = [(f"rival: {name}", value) for name, value in found.found[:SHOWN]]
    columns = ("places", "interchange accuracy")
    return TablePiece(title="Rivals counted", text=text, columns=columns, rows=(("the claim", found.own), *best))


def _worst(workbench: PlanContext, graph: Graph, rest: str, treeify: bool, rows: Int[np.ndarray, "rows"]) -> TablePiece:
    found = worst_swaps(workbench, graph, rest, treeify, rows)
    examples = examples_of(workbench.task)
    lines = []
    for at in np.argsort(-found.worst)[:SHOWN].tolist():
        taken = [
            f"{path[-1]} from {_said(examples[int(data[at])])}"
            for path, data in found.taken.items()
            if path[-1] in graph.carried
        ]
        lines.append((_said(examples[int(rows[at])]), float(found.drawn[at]), float(found.worst[at]), "; ".join(taken)))
    text = (
        f"Of the data that a scrubbed run may draw, those that do the most damage to each of {len(rows)} rows (the "
        f"rest {STRENGTHS[rest]}): {found.drawn.mean():.3g} nats as drawn at first, {found.worst.mean():.3g} at the "
        f"worst of {found.runs} runs, in each of which one variable's data were drawn again. Shown are the worst rows."
    )
    columns = ("row", "KL, as drawn", "KL, worst", "at the worst")
    return TablePiece(title="The worst data", text=text, columns=columns, rows=tuple(lines))


def _said(example: Example) -> str:
    text = "".join(example.tokens)
    return repr(text if len(text) <= MOST_SAID else f"…{text[-MOST_SAID:]}") if text else "an input"


def _size(found: Subset) -> str:
    bounds = f"{found.low}" if found.low == found.high else f"{found.low} to {found.high}"
    return f"{bounds} of {found.of}"


def strengths(
    workbench: PlanContext, graph: Graph, treeify: bool, rows: Int[np.ndarray, "rows"], *, thorough: bool = False
) -> TablePiece:
    """The scrubbed run by what the rest takes; `thorough`: the worst constants too."""
    every = STRENGTHS | (WORST if thorough else {})
    plans = {
        (strength, conditioned): Scrub(workbench, graph, strength, conditioned=conditioned, treeify=treeify).plan()
        for strength in every
        for conditioned in (True, False)
    }
    found = score(workbench, plans, rows=rows)
    used = found.count > 0
    resamples = workbench.task.resamples(np.flatnonzero(used), workbench.seed, found.count[used])
    lines: list[tuple[str | Estimate, ...]] = []
    for strength, words in every.items():
        explained, floor = (found[strength, conditioned].kl[used] for conditioned in (True, False))
        left = resamples.ratio(explained, floor, nonnegative=True, undefined="unconditioned data change nothing")
        mean = [resamples.mean(one, found.count[used], least=0.0) for one in (floor, explained)]
        lines.append((words, left.map(lambda share: 1 - share, decreasing=True), *mean))
    columns = ("the rest", "recovered", "KL, unconditioned", "KL, scrubbed")
    text = f"One draw, on {len(rows)} rows. Over the same run with unconditioned data."
    return TablePiece(title="How hard the rest is ablated", text=text, columns=columns, rows=tuple(lines))


def _drawn(workbench: PlanContext, graph: Graph) -> list[Sentence]:
    """What was generated, and from how many data each variable draws, where that is not from all rows."""
    out, made = list[Sentence](), graph.values.beside
    if made is not None:
        said = [f"{count} for {names}" for names, count in made.counts.items()]
        rows = f"{made.asked} group{'s' * (made.asked > 1)} of rows had too few others that agree"
        short = f"; {made.short} of them still have too few" if made.short else ""
        out.append(Sentence(text=f"Inputs were generated, as {rows}: {', '.join(said) or 'none were found'}{short}."))
    if graph.pool is not None:
        sizes = {}
        for name in graph.carried:
            codes = graph.values.drawable((name,), layout=graph.whole(name))
            sizes[name] = codes.pool(graph.pool, generator(workbench.seed, "pool", 0, name)).size, codes.size
        said = [f"{name} {some} of {every}" for name, (some, every) in sizes.items()]
        text = f"Data come from pools of at most {graph.pool}, but two of each value: {', '.join(said)}."
        out.append(Sentence(text=text))
    return out


def alone(graph: Graph) -> dict[str, float]:
    """For every condition under which data are drawn the share of rows that agree with no other: a variable's name, or
    those that are loose."""
    loose, every = graph.loose[graph.answer], np.arange(len(graph.values.rows))
    drawn = {name: graph.values.drawable((name,), layout=graph.whole(name)) for name in graph.carried}
    drawn |= {", ".join(loose): graph.values.drawable(loose, layout=True)} if loose else {}
    return {names: float((codes.others(every) == 0).mean()) for names, codes in drawn.items()}


def _alone(graph: Graph) -> str:
    """Which rows keep their own value, as no other agrees with them."""
    shares = alone(graph)
    said = [f"{100 * shares[name]:.0f} % of {name}" for name in graph.carried if shares[name] > 0]
    text = (
        "Another row was drawn for every value."
        if not said
        else (f"Values that no other row has keep their own datum, which hides what is wrong: {', '.join(said)}.")
    )
    loose = graph.loose[graph.answer]
    if not loose:
        return text
    on, own = ", ".join(loose), 100 * shares[", ".join(loose)]
    return (
        f"{text} {own:.0f} % of rows agree with no other on {on} and in their columns: what carries nothing is their "
        "own there."
    )
