"""Runs compared with a first one, on the tokens that both scored: takes stored records and per-token tables, and gives
paired differences with intervals. It reads what was stored; no model is needed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from assay.errors import RunError
from assay.measure.headline.recovered import recovered_kl
from assay.record.compared import ComparedFigure, ComparedRun
from assay.record.measurement import MeasurementRecord
from assay.record.read import read_run
from assay.report import words
from assay.stats.bootstrap import Resamples, share_difference
from assay.stats.estimate import Estimate
from assay.stats.fits import holm
from assay.store.files import given_path

FIGURES = ("recovered", "kl", "loss")
SIGNIFICANT = 0.05
_KL = "kl_explained_"


@dataclass(frozen=True, eq=False)
class StoredRun:
    """A stored run.

    Attributes:
        name: what it is called, for instance its folder.
        record: its `measurement.json`; table: its `examples.parquet`.
    """

    name: str
    record: MeasurementRecord
    table: pa.Table

    @property
    def removal(self) -> bool:
        return self.record.removal

    @property
    def floor(self) -> tuple[object, ...]:
        """What shares are shares of: runs with equal floors may be called better and worse under one ablation."""
        head = self.record.headline
        scope = self.record.claim.scope if head.floor == "ablated" else ()
        return self.record.model.fingerprint, head.floor, scope

    @property
    def ablations(self) -> list[str]:
        """Those that it was measured under, the headline's first."""
        lead = self.record.headline.ablation
        kept = [name.removeprefix(_KL) for name in self.table.column_names if name.startswith(_KL)]
        return sorted(kept, key=lambda name: name != lead)

    def column(self, name: str) -> np.ndarray:
        """A column of the table.

        Raises:
            RunError: when the table does not have it.
        """
        if name not in self.table.column_names:
            raise RunError(
                f"the run {self.name!r} has no column {name!r} in examples.parquet; measure again with --overwrite"
            )
        column = self.table[name]
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        return column.to_numpy()


@dataclass(frozen=True, eq=False)
class Shared:
    """The tokens that two runs scored, and the sums of both over the same documents.

    Attributes:
        first, second: indices of the shared tokens in either table, in the same order.
        document: [tokens] number of the document; names: what the numbers mean.
        resamples: one set of these documents, for everything that is compared.
    """

    first: np.ndarray
    second: np.ndarray
    document: np.ndarray
    names: list[str]
    resamples: Resamples

    @property
    def counts(self) -> np.ndarray:
        return np.bincount(self.document).astype(float)

    def sums(self, values: np.ndarray, which: np.ndarray) -> np.ndarray:
        """[documents] sums of a run's column over the shared tokens."""
        return np.bincount(self.document, weights=values[which])


def read_runs(folders: Sequence[str]) -> list[StoredRun]:
    """The runs of these folders, two or more.

    Raises:
        RunError: for fewer, for one that is named twice, and for what is no run.
    """
    if len(folders) < 2:
        raise RunError("compare needs two runs or more, and only " + "".join(map(repr, folders)) + " was given")
    places: dict[Path, str] = {}
    for folder in folders:
        place = Path(os.path.realpath(given_path(folder, "the run")))
        if place in places:
            raise RunError(f"the run {folder!r} is given twice, first as {places[place]!r}; name two different ones")
        places[place] = folder
    return [StoredRun(folder, *read_run(folder)) for folder in folders]


def compare(runs: Sequence[StoredRun]) -> list[ComparedRun]:
    """Every run after the first against the first.

    Raises:
        RunError: for a table that lacks a column.
    """
    pairs = [_pair(runs[0], run) for run in runs[1:]]
    adjusted: list[dict[str, ComparedFigure]] = [dict(pair.figures) for pair in pairs]
    for name in FIGURES:
        tested = [figures for figures in adjusted if name in figures and figures[name].p is not None]
        for figures, p in zip(tested, holm([f[name].p or 0.0 for f in tested]) if tested else [], strict=True):
            figures[name] = figures[name].model_copy(update={"p_holm": float(p)})
    found = []
    for run, pair, figures in zip(runs[1:], pairs, adjusted, strict=True):
        pair = pair.model_copy(update={"figures": figures})
        said = _sentence(runs[0], run, pair, sum(not other.reason for other in pairs))
        found.append(pair.model_copy(update={"sentence": said}))
    return found


def shared_tokens(first: StoredRun, second: StoredRun) -> Shared | None:
    """Tokens at the same place (document, window of the document, position) that are the same token; None: there are
    none. A window in which any token differs is another text, and is left out whole."""
    places, tokens, documents = [], [], {}
    for run in (first, second):
        names = run.column("document")
        known = {name: documents.setdefault(name, len(documents)) for name in dict.fromkeys(names.tolist())}
        places.append((np.array([known[name] for name in names.tolist()], dtype=np.int64), _windows(run, names)))
        tokens.append((run.column("token_id"), run.column("token")))
    positions = [run.column("position").astype(np.int64) for run in (first, second)]
    most = 1 + max(int(column.max(initial=0)) for column in positions)
    windows = 1 + max(int(window.max(initial=0)) for _, window in places)
    keys = [
        (document * windows + window) * most + position
        for (document, window), position in zip(places, positions, strict=True)
    ]
    _, mine, other = np.intersect1d(*keys, return_indices=True)
    equal = np.all([a[mine] == b[other] for a, b in zip(*tokens, strict=True)], axis=0)
    window = keys[0][mine] // most
    kept = ~np.isin(window, window[~equal])
    mine, other = mine[kept], other[kept]
    if not len(mine):
        return None
    used, number, index = np.unique(places[0][0][mine], return_index=True, return_inverse=True)
    names = list(documents)
    strata = first.column("source")[mine][number].tolist() if "source" in first.table.column_names else None
    seed = first.record.arguments.resolved.get("seed")
    seed = seed if isinstance(seed, int) else 0
    clusters = first.column("cluster")[mine][number].tolist() if "cluster" in first.table.column_names else None
    tokens = np.bincount(index).astype(float)
    resamples = Resamples(len(used), strata, seed, clusters=clusters, tokens=tokens)
    return Shared(mine, other, index, [names[i] for i in used], resamples)


def _windows(run: StoredRun, names: np.ndarray) -> np.ndarray:
    """[tokens] the number of a token's row among its document's rows: the same whatever else was scored."""
    row = run.column("row").astype(np.int64)
    document = np.unique(names, return_inverse=True)[1].astype(np.int64)
    found, index = np.unique(document * (row.max(initial=0) + 1) + row, return_inverse=True)
    owner = found // (row.max(initial=0) + 1)
    return (np.arange(len(found)) - np.searchsorted(owner, owner))[index]


def _pair(first: StoredRun, second: StoredRun) -> ComparedRun:
    names: dict[str, Any] = {"run": second.name, "against": first.name}
    names["shared"] = {run.name: run.table.num_rows for run in (first, second)}
    shared = shared_tokens(first, second)
    if shared is None:
        tasks = [run.record.task.name for run in (first, second)]
        ours = tasks[0] if tasks[0] == tasks[1] else f"{tasks[0]} and {tasks[1]}"
        return ComparedRun(
            **names, documents=0, tokens=0, figures={}, reason=f"they scored no token in common ({ours})"
        )
    known = [name for name in first.ablations if name in second.ablations]
    if not known:
        each = "; ".join(f"{run.name}: {', '.join(run.ablations)}" for run in (first, second))
        why = f"they were measured under no ablation in common ({each}), and one says nothing of another"
        return ComparedRun(**names, documents=0, tokens=0, figures={}, reason=why)
    ablation = known[0]
    figures = {"recovered": _recovered(first, second, shared, ablation)}
    metrics = [run.record.task.metric for run in (first, second)]
    for name, column in (("kl", "kl_explained"), ("loss", "loss_explained")):
        mine, other = (shared.sums(run.column(f"{column}_{ablation}"), at) for run, at in _both(first, second, shared))
        if name == "loss" and metrics[0] != metrics[1]:
            none = Estimate.undefined(f"the metrics differ ({metrics[0]} and {metrics[1]})", len(shared.names))
            figures[name] = ComparedFigure(first=none, second=none, difference=none)
            continue
        means = [shared.resamples.mean(sums, shared.counts) for sums in (mine, other)]
        difference = shared.resamples.difference(other, mine, shared.counts)
        p = shared.resamples.p_zero(
            np.divide, other - mine, shared.counts
        )  # of the mean: a sum varies with lengths too
        figures[name] = ComparedFigure(first=means[0], second=means[1], difference=difference, p=p)
    return ComparedRun(
        **names, documents=len(shared.names), tokens=len(shared.first), ablation=ablation, figures=figures
    )


def _both(
    first: StoredRun, second: StoredRun, shared: Shared
) -> tuple[tuple[StoredRun, np.ndarray], tuple[StoredRun, np.ndarray]]:
    return (first, shared.first), (second, shared.second)


def _recovered(first: StoredRun, second: StoredRun, shared: Shared, ablation: str) -> ComparedFigure:
    """R_D of both under one ablation, each over its own floor, and the difference."""
    shares, sums = [], []
    for run, at in _both(first, second, shared):
        if f"kl_floor_{ablation}" not in run.table.column_names:
            why = "a remove claim has no recovered share" if run.removal else "its floor was not kept"
            shares.append(Estimate.undefined(why, len(shared.names)))
            continue
        explained, floor = (shared.sums(run.column(f"{name}_{ablation}"), at) for name in ("kl_explained", "kl_floor"))
        noise = run.record.model.noise
        shares.append(recovered_kl(shared.resamples, explained, floor, shared.counts, noise=noise.kl if noise else 0.0))
        sums.append((np.maximum(explained, 0.0), np.maximum(floor, 0.0)))
    for run, share in zip((first, second), shares, strict=True):
        if share.value is None:
            none = Estimate.undefined(f"that of {run.name} is undefined: {share.reason}", share.n)
            return ComparedFigure(first=shares[0], second=shares[1], difference=none)
    explained, floor = zip(sums[1], sums[0], strict=True)
    difference = shared.resamples.recovered_difference(explained, floor)
    p = None if difference.low is None else shared.resamples.p_zero(share_difference, *sums[1], *sums[0])
    return ComparedFigure(first=shares[0], second=shares[1], difference=difference, p=p)


def _sentence(first: StoredRun, second: StoredRun, pair: ComparedRun, runs: int) -> str:
    """Which of the two is better, by how much, and whether that is resolved."""
    a, b = first.name, second.name
    if pair.reason:
        return f"{b} is not compared with {a} token by token, because {pair.reason}."
    removes = [run.removal for run in (first, second)]
    name = "recovered" if pair.figures["recovered"].difference.value is not None else "kl"
    lead = ""
    if name == "kl" and not any(removes):
        lead = f"Recovered cannot be compared, because {pair.figures['recovered'].difference.reason}. "
    figure = pair.figures[name]
    found = figure.difference
    assert found.value is not None
    n, one, per = pair.documents, words.item(first.record), words.per(first.record)
    of = f" of {n:,} document{'s' * (n != 1)}" if n != pair.tokens else ""
    tail = f", under {pair.ablation}, on the {pair.tokens:,} {one}s{of} that both scored"
    if figure.p_holm is not None and runs > 1:
        tail += f"; p = {figure.p_holm:.2g}, adjusted by Holm for {runs} comparisons with the first run"
    resolved = is_resolved(figure)
    size = found if found.value >= 0 else found.map(lambda x: -x, decreasing=True)
    what = "recovered" if name == "recovered" else f"KL in {per}"
    if not resolved:
        if found.low == found.high == found.value == 0:
            return f"{lead}{b} and {a} are equal in {what}{tail}."
        return f"{lead}It is not shown which of {b} and {a} is better: their difference in {what} is {found}{tail}."
    more, less = (b, a) if found.value > 0 else (a, b)
    if all(removes):
        said = f"Removing the parts of {more} costs more than removing those of {less}: {size} more KL in {per}"
    elif any(removes):
        said = f"Neither is better, since only one of them is a remove claim; the KL of {more} is larger by {size} nats"
    elif name == "kl":
        said = f"{less} is closer to the model than {more}: by {size} in KL, {per}"
    elif first.floor == second.floor:
        said = f"{more} is better than {less}: it recovers {size} more of what is lost at the floor"
    else:
        said = f"{more} recovers {size} more of its own floor than {less}"
        tail += f"; the floors are not the same, so that is not to be better: {_nearer(a, b, pair.figures['kl'])}"
    return f"{lead}{said}{tail}."


def _nearer(first: str, second: str, kl: ComparedFigure) -> str:
    """Which explained run is closer to the model: what can be said whatever the floors are."""
    found = kl.difference
    if found.low == found.high == found.value == 0:
        return "the KL of the explained runs is equal"
    if found.value is None or not is_resolved(kl):
        return f"it is not shown which explained run is closer to the model (their KLs differ by {found} nats a token)"
    near, far = (first, second) if found.value > 0 else (second, first)
    size = found if found.value > 0 else found.map(lambda x: -x, decreasing=True)
    return f"in KL {near} is closer to the model than {far}, by {size} nats a token"


def is_resolved(figure: ComparedFigure) -> bool:
    """Whether a difference's interval leaves out 0 and its adjusted p is under 0.05."""
    found = figure.difference
    if found.value is None or found.low is None or found.high is None:
        return False
    p = figure.p_holm
    return (found.low > 0 or found.high < 0) and (p is None or p < SIGNIFICANT)
