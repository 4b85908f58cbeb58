"""The residual of an explanation: KL and loss gap by slice, and what restoring each part closes.

Works on the `Scored` token tables of the model, the explained run and its floor (docs/definitions.md#residual).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from assay.explanations.base import Explanation
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.plan import Plan
from assay.measure.budget import within
from assay.record.residual import RestoredPart, Slice
from assay.score.ids import SystemId
from assay.score.score import score
from assay.score.scores import Scored
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate
from assay.task.rows import ROWS, control_rows
from assay.task.task import Task

FEWEST = 20  # scored tokens that a token's or a document's own slice needs
MOST_ABLATED = 64  # components of a complement that are restored one by one
MOST_RUNS = 2_048  # rows times parts that are run for that; more parts are restored on fewer rows, of all documents
CLASSES = ("word start", "continuation", "digit", "punctuation", "whitespace", "newline")


def token_class(text: str) -> str:
    """What kind of token a string is.

    newline: only white space, with a line break; whitespace: other white space; punctuation: no letter and no digit;
    digit: digits and no letter; word start: a letter or digit after white space; continuation: everything else.

    Example:
        >>> [token_class(t) for t in (" the", "ing", " 42", ");", "  ", "\\n\\n")]
        ['word start', 'continuation', 'digit', 'punctuation', 'whitespace', 'newline']
    """
    body = text.strip()
    if not body:
        return "newline" if "\n" in text or "\r" in text else "whitespace"
    if not any(c.isalnum() for c in body):
        return "punctuation"
    if not any(c.isalpha() for c in body):
        return "digit"
    return "word start" if text[0].isspace() or text[0] in "▁Ġ" else "continuation"


class Tokens:
    """The strings of token ids, decoded once each; a task without a tokenizer shows the ids."""

    def __init__(self, tokenizer: Any):
        self._decode: Callable[[int], str] = lru_cache(maxsize=None)(
            (lambda i: str(i)) if tokenizer is None else (lambda i: str(tokenizer.decode([i])))
        )

    def __call__(self, ids: Iterable[int] | Int[np.ndarray, "n"]) -> list[str]:
        return [self._decode(int(i)) for i in ids]


def scored_tokens(task: Task, scored: Scored[SystemId]) -> Int[np.ndarray, "tokens"]:
    """The id of each scored token (for prompts the correct answer's), in the order of the token tables."""
    if task.answers is not None:
        return task.answers.numpy()[scored.row, 0]
    return task.tokens.numpy()[scored.row, scored.position]


def by_document(
    scored: Scored[SystemId], values: Float[np.ndarray, "tokens"], where: Bool[np.ndarray, "tokens"] | None = None
) -> Float64[np.ndarray, "documents"]:
    """Sums of per-token values over the documents that have scored tokens, in order (as `Resamples` expects them)."""
    values = values.astype(float) if where is None else values * where.astype(float)
    return np.bincount(scored.document, weights=values, minlength=len(scored.count))[scored.count > 0]


@dataclass(frozen=True, eq=False)
class Partition:
    """A name for every scored token, and the names in their order."""

    labels: np.ndarray
    order: Sequence[str]


def partitions(scored: Scored[SystemId], task: Task) -> dict[str, Partition]:
    """Ways to part the scored tokens: "source", "position", and of text "token_class", "frequency" and "repeat"."""
    ids = scored_tokens(task, scored)
    source = np.array([task.documents[d].source for d in scored.document])
    ranges = buckets(scored)
    ends = [f"{first}–{last}" if last > first else f"{first}" for first, last in ranges]
    place = np.searchsorted([last for _, last in ranges], scored.position)
    found = {
        "source": Partition(source, sorted(set(source.tolist()))),
        "position": Partition(np.array(ends)[place] if ends else np.array([], dtype=str), ends),
    }
    if task.tokenizer is not None:
        unique, inverse = np.unique(ids, return_inverse=True)
        classes = np.array([token_class(text) for text in Tokens(task.tokenizer)(unique)])
        found["token_class"] = Partition(classes[inverse], CLASSES)
        if task.reference is not None and task.answers is None:
            known = task.reference.tokens.numpy()[task.reference.real.numpy()]
            counts = np.bincount(known, minlength=int(ids.max()) + 1)
            found["frequency"] = Partition(frequency(counts)[ids], FREQUENCIES)
        if task.answers is None:
            found["repeat"] = Partition(repeats(task, scored), REPEATS)
    return found


def slices(
    scored: Scored[SystemId],
    task: Task,
    resamples: Resamples,
    *,
    explained: SystemId,
    most: int = 12,
    parted: Mapping[str, Partition] | None = None,
) -> dict[str, list[Slice]]:
    """KL(model || explained) and the loss gap of every slice of the scored tokens.

    Args:
        explained: the explained run's system, whose token table was kept, as was the model's.
        most: how many documents and tokens are listed: those with the largest share of the KL.
        parted: as `partitions` gives them, where they were made.

    Returns:
        Each partition's slices in fixed order, and "document" and "token" (the worst only); rows as in the record:
        slice, tokens, kl and gap (nats per token), and share (of the KL).
    """
    ids = scored_tokens(task, scored)
    mine = scored[explained].table
    kl, gap = mine.kl, mine.loss - scored.model.table.loss
    total = float(kl.sum(dtype=float))

    def row(name: str, where: Bool[np.ndarray, "tokens"]) -> Slice:
        count = by_document(scored, np.ones(len(kl)), where)
        return Slice(
            slice=name,
            tokens=int(where.sum()),
            kl=resamples.mean(by_document(scored, kl, where), count, least=0.0),
            gap=resamples.mean(by_document(scored, gap, where), count),
            share=float(kl[where].sum(dtype=float)) / total if total > 0 else None,
        )

    out = {
        by: [row(name, part.labels == name) for name in part.order if (part.labels == name).any()]
        for by, part in (parted or partitions(scored, task)).items()
    }
    if task.tokenizer is not None:
        strings = Tokens(task.tokenizer)
        named = ((i, row(repr(strings([i])[0]), ids == i)) for i in _worst_groups(ids, kl, most))
        out["token"] = [found.model_copy(update={"id": int(i)}) for i, found in named]
    hardest = _worst_groups(scored.document, kl, most)
    out["document"] = [row(task.documents[d].name, scored.document == d) for d in hardest]
    return out


FREQUENCIES = ("frequent", "middle", "rare", "unseen")
REPEATS = ("after the same token before", "elsewhere in the window before", "new in the window")


def frequency(counts: Int[np.ndarray, "vocab"]) -> np.ndarray:
    """The class of each token by its count in the reference: the most frequent that make up half of it; the next, up to
    nine tenths; the rest; and those that never occur."""
    order = np.argsort(-counts, kind="stable")
    before = np.concatenate([[0], np.cumsum(counts[order])[:-1]]) / max(counts.sum(), 1)
    out = np.full(len(counts), "unseen", dtype="<U8")
    out[order] = np.where(before < 0.5, "frequent", np.where(before < 0.9, "middle", "rare"))
    out[counts == 0] = "unseen"
    return out


def repeats(task: Task, scored: Scored[SystemId]) -> np.ndarray:
    """Whether each scored token stood earlier in its window, and whether after the same token (what induction sees)."""
    tokens = task.tokens.numpy()
    out = np.full(len(scored.row), REPEATS[2], dtype="<U32")
    edges = np.flatnonzero(np.diff(scored.row, prepend=-1))
    for start, end in zip(edges, [*edges[1:], len(scored.row)], strict=True):
        row = tokens[scored.row[start]]
        seen: set[int] = set()
        pairs: set[tuple[int, int]] = set()
        done = 0  # columns that have been taken into `seen`
        for item in range(start, end):
            column = int(scored.position[item])
            for t in range(done, column):
                seen.add(int(row[t]))
                if t:
                    pairs.add((int(row[t - 1]), int(row[t])))
            done = max(done, column)
            token = int(row[column])
            if (int(row[column - 1]), token) in pairs:
                out[item] = REPEATS[0]
            elif token in seen:
                out[item] = REPEATS[1]
    return out


def buckets(scored: Scored[SystemId]) -> list[tuple[int, int]]:
    """Ranges of positions that double in width, as far as there are scored tokens."""
    out, start = [], 1
    if not len(scored.position):
        return []
    last = int(scored.position.max())
    if last == 0:  # a classifier
        return [(0, 0)]
    while start <= last:
        end = min(2 * start - 1, last)
        if ((scored.position >= start) & (scored.position <= end)).any():
            out.append((start, end))
        start *= 2
    return out


def _worst_groups(groups: np.ndarray, kl: Float[np.ndarray, "tokens"], most: int) -> list[int]:
    """The groups with the largest total KL among those with enough tokens (all, where none has)."""
    unique, inverse, count = np.unique(groups, return_inverse=True, return_counts=True)
    sums = np.bincount(inverse, weights=kl.astype(float))
    enough = count >= min(FEWEST, int(count.max()))
    order = [i for i in np.argsort(-sums, kind="stable") if enough[i]]
    return [int(unique[i]) for i in order[:most]]


def parts(
    workbench: PlanContext,
    explanation: Explanation,
    scored: Scored[SystemId],
    resamples: Resamples,
    *,
    explained: SystemId,
    ablation: str,
    plan: Plan | None = None,
) -> list[RestoredPart]:
    """For each edited part, the share of the explained KL that closes when it alone is restored to the model's own.

    Exact: the run is made again without that part's edit. For `Keep` these are the ablated components, if at most 64.
    Many parts are restored on a subset of the rows. A random ablation is that of the first draw.

    Args:
        explained: the run that parts are restored in; plan: its first draw, where that was made.
    """
    sites = explanation.restorable(workbench, ablation)
    if not sites:
        return []
    if len(sites) > MOST_ABLATED:
        reason = f"{len(sites)} parts are edited; at most {MOST_ABLATED} are restored one by one"
        return [RestoredPart(part="each", closes=Estimate.undefined(reason))]
    rows = np.unique(scored.row)
    if len(rows) * len(sites) > MOST_RUNS:
        rows = np.intersect1d(rows, control_rows(workbench.task, max(ROWS, MOST_RUNS // len(sites))))
    own, restored = SystemId("explained"), {site: SystemId("restored", part=str(site)) for site in sites}
    systems = {one: explanation.restored(workbench, ablation, site) for site, one in restored.items()}
    rows = within(workbench, rows, systems.values(), 1.0)
    kept, partly = scored.count > 0, len(rows) < len(np.unique(scored.row))
    if partly:
        systems[own] = explanation.plan(workbench, ablation) if plan is None else plan
    more = score(workbench, systems, rows=rows)
    known = more[own].kl if partly else scored[explained].draw_kl[:, 0]
    base, counts = known[kept], more.count[kept]
    return [
        RestoredPart(part=str(site), closes=resamples.recovered(more[one].kl[kept], base, counts))
        for site, one in restored.items()
    ]
