"""A labelled concept read in several ways from the same values: a probe, the difference of means, one feature, several
features, the direction that erases it, random directions; and how many labels each needs.

Selecting a feature costs bits (which of m), fitting costs labels: at equal accuracy both stand side by side.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import Tensor

from assay.errors import UserError
from assay.explanations.bits import NUMBER, log2_choose
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate
from assay.stats.keyed import generator

SEVERAL = (4, 16)  # features that are read together
PENALTY = 1.0  # of the probe, on standardised values
ERASED = 0.6  # area under a fresh probe's curve, at most, after erasure

Array = np.ndarray
Scorer = Callable[["Labelled"], Float[Array, "n"]]


@dataclass(frozen=True, eq=False)
class Labelled:
    """Values with a label each.

    Attributes:
        values: [n, d]; features: [n, width] of a dictionary; label: whether the concept is there; document: of each.
    """

    values: Float[Array, "n d"]
    features: Float[Array, "n width"]
    label: Bool[Array, "n"]
    document: Int[Array, "n"]

    def __len__(self) -> int:
        return len(self.label)

    def at(self, index: Int[Array, "some"] | Bool[Array, "n"]) -> Labelled:
        return Labelled(self.values[index], self.features[index], self.label[index], self.document[index])


@dataclass(frozen=True)
class Reading:
    """A reader that was fitted on so many labels, on values that fitted nothing.

    Attributes:
        labels: that it was fitted on; area: under the ROC curve, a mean over draws of the labels; accuracy: at its own
            threshold, balanced, with an interval over documents.
        selection: bits of which of many it is; fitted: bits of the numbers that were fitted.
    """

    reader: str
    labels: int
    area: float
    accuracy: Estimate
    selection: float
    fitted: float


def readings(train: Labelled, test: Labelled, counts: Sequence[int], *, seed: int = 0, draws: int = 3) -> list[Reading]:
    """Every reader at every number of labels.

    Args:
        train: what labels are drawn from, half of them of each class; test: other documents, or shifted data.
        counts: labels; draws: of them, over which figures are means.

    Raises:
        UserError: where a class has too few values for the largest number of labels.
    """
    least = min(int(train.label.sum()), int((~train.label).sum()))
    if max(counts) > 2 * least:
        raise UserError(
            f"{max(counts)} labels, half of each class, are asked for, and the rarer class has {least} values"
        )
    if test.label.all() or not test.label.any():
        raise UserError("what the readers are tested on has one class only")
    out = []
    for count in counts:
        some = [train.at(_drawn(train, count, seed, draw)) for draw in range(draws)]
        readers = [dict(_readers(one, seed + 1000 * draw)) for draw, one in enumerate(some)]
        for name in readers[0]:
            fitted = [one[name] for one in readers]
            scores = [score(test) for score, _, _ in fitted]
            areas = [float(roc_auc_score(test.label, score)) for score in scores]
            right = np.mean([(score > 0) == test.label for score in scores], 0)
            out.append(Reading(name, count, float(np.mean(areas)), _balanced(test, right), *fitted[0][1:]))
    return out


def labels_needed(found: Sequence[Reading], accuracy: float) -> dict[str, int | None]:
    """The fewest labels with which each reader is as accurate as that; None: with none of those that were tried."""
    out: dict[str, int | None] = {one.reader: None for one in found}
    for one in sorted(found, key=lambda one: -one.labels):
        if one.accuracy.value is not None and one.accuracy.value >= accuracy:
            out[one.reader] = one.labels
    return out


def _drawn(data: Labelled, count: int, seed: int, draw: int) -> Int[Array, "some"]:
    random = generator(seed, "labels", count, draw)
    sides = (np.flatnonzero(data.label), np.flatnonzero(~data.label))
    return np.concatenate([random.permutation(side)[: count // 2] for side in sides])


def _balanced(test: Labelled, right: Float[Array, "n"]) -> Estimate:
    """The mean over the classes of the share that is right, with an interval over documents."""
    document = np.unique(test.document, return_inverse=True)[1]
    n = int(document.max()) + 1
    sums = [
        np.bincount(document[side], weights, n)
        for side in (test.label, ~test.label)
        for weights in (right[side], np.ones(int(side.sum())))
    ]
    resamples = Resamples(n, tokens=sums[1] + sums[3])
    found = resamples.function(
        lambda a, b, c, d: (np.divide(a, b, out=np.full_like(a, np.nan), where=b > 0)
                            + np.divide(c, d, out=np.full_like(c, np.nan), where=d > 0)) / 2, *sums
    )  # fmt: skip
    return found.within(0.0, 1.0)


def _readers(some: Labelled, seed: int) -> Iterator[tuple[str, tuple[Scorer, float, float]]]:
    """Every reader, fitted on these labels: its name, what scores, bits of selection, bits of fitting."""
    d, width, label = some.values.shape[1], some.features.shape[1], some.label
    mean, spread = some.values.mean(0), some.values.std(0) + 1e-6

    def along(direction: Float[Array, "d"]) -> Scorer:
        middle = _threshold((some.values - mean) / spread @ direction, label)
        return lambda data: (data.values - mean) / spread @ direction - middle

    scaled = (some.values - mean) / spread
    yield (
        "random direction",
        (along(_signed(generator(seed, "random reader").standard_normal(d), scaled, label)), 1.0, float(NUMBER)),
    )
    yield "mean difference", (along(scaled[label].mean(0) - scaled[~label].mean(0)), 0.0, float((d + 1) * NUMBER))
    probe = _probe(scaled, label)
    yield "probe", (lambda data: probe((data.values - mean) / spread), 0.0, float((d + 1) * NUMBER))
    yield "erasure direction", (along(erasing_direction(scaled, label)), 0.0, float((d + 1) * NUMBER))
    order, sign = _ranked(some)
    best = int(order[0])
    middle = _threshold(sign[best] * some.features[:, best], label)
    yield "one feature", (
        lambda data: sign[best] * data.features[:, best] - middle, math.log2(width) + 1, float(NUMBER),
    )  # fmt: skip
    for count in (one for one in SEVERAL if one <= width):
        several = order[:count]
        size = some.features[:, several].std(0) + 1e-6
        read = _probe(some.features[:, several] / size, label)
        yield f"{count} features", (
            lambda data, several=several, size=size, read=read: read(data.features[:, several] / size),
            log2_choose(width, count), float((count + 1) * NUMBER),
        )  # fmt: skip


def _signed(direction: Array, values: Array, label: Array) -> Array:
    along = values @ direction
    return direction if along[label].mean() >= along[~label].mean() else -direction


def _threshold(score: Float[Array, "n"], label: Bool[Array, "n"]) -> float:
    """Where the two classes are told apart best, balanced, on what was fitted."""
    order = np.argsort(score, kind="stable")
    above = np.concatenate([[0], np.cumsum(label[order])]) / max(label.sum(), 1)
    below = np.concatenate([[0], np.cumsum(~label[order])]) / max((~label).sum(), 1)
    best = int(np.argmax(below - above))
    ends = np.concatenate([[score[order[0]] - 1], score[order], [score[order[-1]] + 1]])
    return float((ends[best] + ends[best + 1]) / 2)


def _ranked(some: Labelled) -> tuple[Int[Array, "width"], Float[Array, "width"]]:
    """Features by how much more often they are active with the label than without, or less, and which of the two."""
    on = some.features > 0
    apart = on[some.label].mean(0) - on[~some.label].mean(0)
    return np.argsort(-np.abs(apart), kind="stable"), np.where(apart >= 0, 1.0, -1.0)


def _probe(values: Float[Array, "n d"], label: Bool[Array, "n"]) -> Callable[[Array], Array]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = LogisticRegression(C=PENALTY / len(label) * 100, max_iter=200).fit(values, label)
    return fitted.decision_function


def erasing_direction(values: Float[Array, "n d"], label: Bool[Array, "n"]) -> Float[Array, "d"]:
    """The direction that least-squares concept erasure reads (Belrose et al. 2023): the covariance's inverse times what
    the label goes with, shrunk towards its diagonal where values are few."""
    centred = values - values.mean(0)
    covariance = centred.T @ centred / len(values)
    share = min(1.0, values.shape[1] / len(values))
    covariance = (1 - share) * covariance + share * np.diag(np.diag(covariance) + 1e-6)
    return np.linalg.solve(
        covariance + 1e-6 * np.eye(len(covariance)), centred.T @ (label - label.mean()) / len(values)
    )


@dataclass(frozen=True)
class Erased:
    """A concept taken out of values by `concept-erasure`.

    Attributes:
        before, after: area under the ROC curve of a fresh probe on other values; erased: whether the second is at
            chance, to within `ERASED`.
        moved: the share of the values' variance that was taken.
    """

    before: float
    after: float
    moved: float

    @property
    def erased(self) -> bool:
        return self.after <= ERASED


def erase(train: Labelled, test: Labelled) -> tuple[Erased, Callable[[Float[Tensor, "n d"]], Tensor]]:
    """Takes a concept out of values with LEACE, and checks with a fresh probe that it is gone.

    Its tolerance is absolute: labels of a small scale are silently not erased at all. Labels are standardised here, so
    that it is relative.

    Raises:
        UserError: where `concept-erasure` is not installed.
    """
    try:
        from concept_erasure import LeaceEraser  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(
            "erasing a concept needs the package concept-erasure; pip install 'assay-nines[erasure]'"
        ) from None
    label = torch.from_numpy(train.label).double()
    x = torch.from_numpy(train.values).double()
    eraser = LeaceEraser.fit(x, ((label - label.mean()) / label.std()).unsqueeze(-1), svd_tol=1e-6)
    tested = torch.from_numpy(test.values).double()
    out = eraser(tested)
    areas = []
    for inside, outside in ((train.values, test.values), (eraser(x).numpy(), out.numpy())):
        mean, spread = inside.mean(0), inside.std(0) + 1e-6
        score = _probe((inside - mean) / spread, train.label)((outside - mean) / spread)
        areas.append(float(roc_auc_score(test.label, score)))
    moved = float((out - tested).square().sum() / (tested - tested.mean(0)).square().sum())
    return Erased(areas[0], areas[1], moved), eraser
