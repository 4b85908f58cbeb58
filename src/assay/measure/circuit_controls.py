"""Controls and rivals of a circuit: random paths of as many live edges, simple searches, and the search re-run on
shuffled data and on random weights (DEFINITIONS §8)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from assay.errors import ComponentError, ModelError, TaskError
from assay.explanations.circuit import Circuit, circuit_plan
from assay.intervene.ablations import Workbench
from assay.intervene.circuit_scores import CircuitScores
from assay.intervene.circuits import Circuits, transformer_of
from assay.intervene.runner import Runner
from assay.measure.circuit_trials import against, score_sets
from assay.measure.control_figures import Group, Sample, row_of
from assay.measure.nearest import Nearest, nearest, shares_near
from assay.measure.path_sampled import different
from assay.measure.random_weights import How, beside, randomised
from assay.measure.rivals import Rival
from assay.measure.score import Scored, Scores, score
from assay.measure.settings import Settings
from assay.measure.thresholds import THRESHOLDS
from assay.methods.edge_methods import EDGE_METHODS, edge_scores
from assay.methods.edge_sizes import sized_circuits
from assay.model.edge_sets import EdgeSet
from assay.model.transformer import Model
from assay.stats.keyed import generator

DEFAULT = "attribution"  # the search that stands for one that is not known
SEARCHES = 5  # on shuffled tasks
SEARCH_ROWS = 8  # that a control's search sees
RANDOM_SETS = 4  # whose mean is one rival
MANY = 10**9  # path-sampled circuits are not counted
LOOKED = 20  # circuits of a group that are compared with the claim token by token
NAMED = 24  # edges of a found circuit that the record names
WAYS: dict[How, str] = {"permuted": "every matrix's entries in random order", "drawn": "every matrix drawn anew"}
ON_SHUFFLED = "search on a shuffled task"
SIMPLE = (("weight norm", "weight_norm"), ("activation norm", "activation_norm"), ("attribution", "attribution"))

Rows = Int[np.ndarray, "rows"]


@dataclass(frozen=True)
class Search:
    """The search that a control runs again.

    Attributes:
        method: its name; known: whether the claim says that this one found it.
    """

    method: str
    known: bool

    @property
    def words(self) -> str:
        known = f"the search that found the claim ({self.method})"
        return known if self.known else f"{self.method} (the claim does not say which search found it)"


def search_of(circuit: Circuit) -> Search | None:
    """The claim's own search where its file names one that can be run again from here; None where it cannot."""
    named = None if circuit.file is None else circuit.file.method
    if named is None:
        return Search(DEFAULT, False)
    return Search(named, True) if named in EDGE_METHODS else None


def not_again(circuit: Circuit) -> str:
    """Why there is no control by the circuit's own search."""
    method = circuit.file.method if circuit.file else None
    return f"the search {method!r} that found the circuit cannot be run again from here"


def live_edges(bench: Workbench, circuit: Circuit) -> int:
    """How many edges of the circuit lie on a path."""
    model = transformer_of(bench)
    return int(model.edges.pruned(circuit.mask(model)).sum())


def found_by(bench: Workbench, method: str, ablation: str, rows: Rows, size: int) -> EdgeSet:
    """The circuit of as many live edges that a search gives on a few of these rows.

    Raises:
        TaskError: for a search that the task's metric has no gradient for.
    """
    few = rows[np.linspace(0, len(rows) - 1, min(len(rows), SEARCH_ROWS)).round().astype(int)]
    scores = edge_scores(method, Circuits(bench, ablation), few, seed=bench.seed)
    sized = sized_circuits(transformer_of(bench).edges, scores, np.array([size]), fill_up=True)
    return EdgeSet.whole(sized.masks[0])


def sampled(bench: Workbench, circuit: Circuit, count: int, seed: int) -> list[EdgeSet]:
    """Path-sampled circuits like this one, all different, none of them it itself; with positions as its edges have.

    Raises:
        ComponentError: when none was found.
    """
    model = transformer_of(bench)
    edges = circuit.kept(model)
    like = edges.kept if edges.by_position else edges.anywhere
    masks = different(model.edges, like, count, seed)
    masks = masks[..., None] if masks.ndim == 2 else masks
    return [EdgeSet(mask, edges.positions if edges.by_position else (None,)) for mask in masks]


def circuit_controls(
    bench: Workbench,
    circuit: Circuit,
    settings: Settings,
    *,
    ablation: str,
    rows: Rows,
    rivals: Sequence[Rival] = (),
    random_weights: bool = True,
    advance: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """The record's `controls` block, less the fields that every kind of claim has; see `controls.controls`."""
    model = transformer_of(bench)
    nothing = EdgeSet.whole(np.zeros(len(model.edges), dtype=bool))
    sets: dict[str, EdgeSet] = {"claim": circuit.kept(model), "claim floor": nothing}
    groups: list[Group] = []
    for group, several in _groups(bench, circuit, settings, ablation, rows):
        for index, (name, edges) in enumerate(several):
            sets[f"{len(groups)}.{index}"] = edges
            group.plans.append((name, circuit_plan(bench, edges, ablation), circuit_plan(bench, nothing, ablation)))
        groups.append(group)
    found = score_sets(bench, list(sets.values()), ablation, rows=rows)
    if advance:
        advance(len(rows))
    sample = Sample(as_scored(found, list(sets)), bench.task, settings.seed)
    out: dict[str, Any] = {"tokens": int(found.count.sum()), "random_weights": None, "random_weights_reason": None}
    out["groups"] = [row_of(sample, g, group, False) for g, group in enumerate(groups)]
    looked = {f"{group.name} ({name})": sets[f"{g}.{i}"] for g, group in enumerate(groups) if group.competes
              for i, (name, _, _) in enumerate(group.plans[:LOOKED])}  # fmt: skip
    looked["the floor, no edge kept"] = nothing
    near = _nearest(bench, sets["claim"], looked, rivals, ablation, rows)
    out["nearest"] = None if near is None else near.to_json()
    search = search_of(circuit)
    if random_weights and search is None:
        out["random_weights_reason"] = not_again(circuit)
    elif random_weights and search is not None:
        try:
            out["random_weights"] = _random_weights(bench, circuit, settings, search, ablation, rows, sample)
        except (ModelError, TaskError, ComponentError) as problem:
            out["random_weights_reason"] = str(problem)
    return out


def _nearest(
    bench: Workbench, claim: EdgeSet, others: dict[str, EdgeSet], rivals: Sequence[Rival], ablation: str, rows: Rows
) -> Nearest | None:
    """The circuit or rival whose predictions are nearest to the claim's."""
    epsilon = THRESHOLDS.vacuous_epsilon
    found = against(bench, claim, list(others.values()), ablation, rows=rows, epsilon=epsilon)
    tokens = float(found.count.sum())
    shares = {name: float(near.sum()) / tokens for name, near in zip(others, found.near, strict=True)}
    apart = {rival.name: rival.system for rival in rivals if callable(rival.system)}
    if apart:
        systems = {"claim": circuit_plan(bench, claim, ablation), **apart}
        scored = score(bench, systems, rows=rows, beside="claim")
        shares |= shares_near(scored, {name: name for name in apart}, epsilon)
    return nearest(shares, epsilon, int(tokens))


def as_scored(found: CircuitScores, names: Sequence[str]) -> Scored:
    """Sums by document in the form in which other systems have them; there are no figures by token."""
    none = np.zeros(0, dtype=np.int64)
    systems = {}
    for index, name in enumerate(names):
        kl, loss = found.draw_kl[:, index].T, found.draw_loss[:, index].T
        sums = (found.loss[index], found.kl[index], found.agree[index], found.correct[index])
        systems[name] = Scores(*sums, kl, loss)
    return Scored(found.count, none, none, none, systems)


def _groups(
    bench: Workbench, circuit: Circuit, settings: Settings, ablation: str, rows: Rows
) -> list[tuple[Group, list[tuple[str, EdgeSet]]]]:
    if not settings.controls:
        return []
    size = live_edges(bench, circuit)
    out: list[tuple[Group, list[tuple[str, EdgeSet]]]] = []
    what = f"unions of random paths from input to logits with about {size:,} live edges, as many in each layer"
    group = Group("path-sampled circuits", what, possible=MANY)
    try:
        several = sampled(bench, circuit, settings.controls, settings.seed)
        if len(several) < settings.controls:
            group.what += "; more that differ were not found"
        out.append((group, [(f"sample {i}", one) for i, one in enumerate(several)]))
        group.reason = "the only circuit of this profile is the claim itself"
    except ComponentError as problem:
        group.reason = str(problem)
        out.append((group, []))
    for name, method in SIMPLE:
        what = f"the circuit of {size:,} live edges with the highest {name}" + _seen(method)
        group = Group(f"top {name}", what, possible=1, near=True, rival=True)
        try:
            out.append((group, [(name, found_by(bench, method, ablation, rows, size))]))
        except TaskError as problem:
            group.reason = str(problem)
            out.append((group, []))
    search = search_of(circuit)
    if search is not None:
        out.append(_on_shuffled(bench, search, settings, ablation, rows, size))
    else:
        out.append((Group(ON_SHUFFLED, "", near=True, reason=not_again(circuit)), []))
    return out


def _seen(method: str) -> str:
    return "" if method == "weight_norm" else f", chosen on up to {SEARCH_ROWS} of the rows that are scored"


def _on_shuffled(
    bench: Workbench, search: Search, settings: Settings, ablation: str, rows: Rows, size: int
) -> tuple[Group, list[tuple[str, EdgeSet]]]:
    several: list[tuple[str, EdgeSet]] = []
    group = Group(ON_SHUFFLED, "", near=True)
    try:
        for draw in range(min(SEARCHES, settings.controls)):
            other = shuffled(bench, settings.seed, draw)
            several.append((f"shuffle {draw}", found_by(other, search.method, ablation, rows, size)))
    except TaskError as problem:
        group.reason = str(problem)
    different = {one.kept.tobytes(): (name, one) for name, one in reversed(several)}
    group.what = (
        f"{search.words} on {len(several)} shuffled tasks, with nothing to find: {len(different)} different circuits "
        f"of {size:,} live edges"
    )
    group.possible = len(different)
    return group, sorted(different.values(), key=lambda pair: pair[0])


def shuffled(bench: Workbench, seed: int, draw: int) -> Workbench:
    """A workbench on the same task with each window's tokens in random order (answers of prompts: among the rows)."""
    task = bench.task
    random = generator(seed, "circuit search on shuffled data", draw)
    if task.answers is not None:
        other = replace(task, answers=task.answers[torch.from_numpy(random.permutation(len(task.answers)))])
    else:
        tokens, real = task.tokens.clone(), task.real.numpy()
        for row in range(len(tokens)):
            columns = 1 + np.flatnonzero(real[row, 1:])
            tokens[row, torch.from_numpy(columns)] = task.tokens[row, torch.from_numpy(random.permutation(columns))]
        other = replace(task, tokens=tokens)
    out = Workbench(Runner(bench.model, other), bench.seed, frozen_norm=bench.frozen_norm)
    out._statistics = bench._statistics  # of the reference, which is the same
    return out


def _random_weights(
    bench: Workbench,
    circuit: Circuit,
    settings: Settings,
    search: Search,
    ablation: str,
    rows: Rows,
    sample: Sample,
) -> dict[str, Any]:
    """The search on randomised copies, its circuit scored by KL to the copy; the first way leads."""
    size, blocks = live_edges(bench, circuit), []
    hows: tuple[How, ...] = ("permuted",) if settings.quick else ("permuted", "drawn")
    for how in hows:
        copied = beside(bench, randomised(bench.model, how, settings.seed))
        assert isinstance(copied.model, Model)
        edges = found_by(copied, search.method, ablation, rows, size)
        nothing = EdgeSet.whole(np.zeros(len(copied.model.edges), dtype=bool))
        scored = as_scored(score_sets(copied, [edges, nothing], ablation, rows=rows), ["control", "control floor"])
        names = copied.model.edges.names(edges.anywhere)
        its = sample.kl("control", scored), sample.kl("control floor", scored)
        block: dict[str, Any] = {"how": how, "found": names[:NAMED], "edges": len(names)}
        block["what"] = (
            f"{WAYS[how]}, embeddings, norms and biases kept; {search.words} on up to "
            f"{SEARCH_ROWS} rows there, {len(names):,} live edges, scored by KL to that copy"
        )
        blocks.append(block | sample.beside((sample.kl("claim"), sample.kl("claim floor")), its))
    return {**blocks[0], "also": blocks[1:]}


def circuit_rivals(bench: Workbench, settings: Settings, circuit: Circuit, ablation: str, rows: Rows) -> list[Rival]:
    """Circuits of as many live edges from searches without insight, scored on all rows beside the claim."""
    size, out = live_edges(bench, circuit), []
    for name, method in SIMPLE:
        try:
            edges = found_by(bench, method, ablation, rows, size)
        except TaskError:
            continue  # the group of controls of this name says why
        what = f"the circuit of {size:,} live edges with the highest {name}{_seen(method)}"
        out.append(Rival(f"top {name}", what, circuit_plan(bench, edges, ablation)))
    try:
        several = sampled(bench, circuit, min(RANDOM_SETS, max(settings.controls, 1)), settings.seed)
    except ComponentError:
        several = []
    if several:
        what = f"the mean of {len(several)} path-sampled circuits of about {size:,} live edges"
        out.append(Rival("random circuits", what, [circuit_plan(bench, one, ablation) for one in several]))
    return out
