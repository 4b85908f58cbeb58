"""Do edits put the stream where the model never is? A classifier that tells patched from clean inputs of the reader.

The reader's input is the stream that enters the layer after the last edit. Mahalanobis distances stand beside.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from assay.intervene.fill.ablations import PlanContext
from assay.intervene.plan import CircuitRun, EditRun, Plan, Run
from assay.measure.budget import fewer
from assay.model.transformer import Model
from assay.names import Site
from assay.stats.keyed import generator

ROWS, POSITIONS = 128, 8  # rows, and positions of each, that are looked at
SQUARES = 16  # directions whose squared coordinates the classifier sees
SHRINKAGE = 0.05  # of the covariance towards its diagonal's mean


@dataclass(frozen=True)
class OffManifold:
    """How well patched reader inputs can be told from clean ones, on held-out documents.

    Attributes:
        auroc: 0.5 when not at all.
        patched, clean: mean squared Mahalanobis distance per dimension to the clean inputs of the training half.
        site: the stream that was looked at; documents, samples: how many were held out.
        reason: why there is no figure.
    """

    auroc: float | None
    patched: float | None = None
    clean: float | None = None
    site: str = ""
    documents: int = 0
    samples: int = 0
    reason: str | None = None

    def __str__(self) -> str:
        if self.auroc is None:
            return f"undefined, because {self.reason}"
        return (
            f"AUROC {self.auroc:.2f} at {self.site} ({self.documents} held-out documents); Mahalanobis "
            f"{self.patched:.2f} patched, {self.clean:.2f} clean"
        )


def off_manifold(workbench: PlanContext, plan: Plan) -> OffManifold:
    """Trains the classifier on half of the documents and scores it on the other half."""
    edits = plan.final.edits
    circuit = isinstance(plan.final, CircuitRun)
    if not isinstance(workbench.model, Model) or not (edits or circuit):
        edited = edits or circuit
        return OffManifold(None, reason="the model has no residual stream" if edited else "nothing is edited")
    if circuit:  # each reader has an input of its own; all lead to that of the logits
        site = Site("stream", workbench.model.config.layers)
    else:
        last = max(edit.site.layer or 0 for edit in edits)
        after = all(e.site.kind == "stream" for e in edits if e.site.layer == last)
        site = Site("stream", last if after else last + 1)
    task = workbench.task
    chance = generator(workbench.seed, "off-manifold")
    chosen = np.sort(chance.permutation(len(task.tokens))[:ROWS])
    chosen = fewer(workbench, chosen, 2.0)
    document = np.asarray(task.document)[chosen]
    unique = np.unique(document)
    if len(unique) < 4:
        return OffManifold(None, reason=f"{len(unique)} documents cannot be split into training and held-out ones")
    held = np.isin(document, chance.permutation(unique)[: len(unique) // 2])
    columns = [_columns(workbench, int(row), POSITIONS, chance) for row in chosen]
    owner = np.repeat(np.arange(len(chosen)), [len(c) for c in columns])
    clean = _sampled(workbench, plan, EditRun("clean", "scored"), site, chosen, columns)
    patched = _sampled(workbench, plan, plan.final, site, chosen, columns)
    if not np.ptp(clean[~held[owner]], axis=0).any():  # nothing to hold a distance against
        return OffManifold(None, reason=f"{site} has the same clean value wherever it was looked at")
    auroc, far, near = separation(clean, patched, held[owner])
    return OffManifold(auroc, far, near, str(site), len(np.unique(document[held])), 2 * int(held[owner].sum()))


def separation(
    clean: Float[np.ndarray, "n width"], patched: Float[np.ndarray, "n width"], held: np.ndarray
) -> tuple[float, float, float]:
    """Held-out AUROC of a logistic classifier, and mean squared Mahalanobis distances (patched, clean) per dimension.

    It sees coordinates whitened by the clean inputs, and the squares of those along which the patched inputs' spread
    differs most: an ablation to the mean changes no mean, only spreads.
    """
    train = ~held
    mean = clean[train].mean(0)
    covariance = np.atleast_2d(np.cov(clean[train], rowvar=False, ddof=1))
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.diag(covariance).mean() * np.eye(len(mean))
    values, vectors = np.linalg.eigh(covariance)
    white = vectors / np.sqrt(np.maximum(values, 1e-12 * values.max()))
    a, b = (clean - mean) @ white, (patched - mean) @ white
    spread, directions = np.linalg.eigh(_moment(b[train]) - _moment(a[train]))
    directions = directions[:, np.argsort(-np.abs(spread), kind="stable")[:SQUARES]]

    def features(x: np.ndarray) -> np.ndarray:
        return np.concatenate([x, (x @ directions) ** 2], axis=1)

    x_train = np.concatenate([features(a[train]), features(b[train])])
    centre, scale = x_train.mean(0), x_train.std(0) + 1e-6
    labels = np.repeat([0, 1], int(train.sum()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=0.03, max_iter=300).fit((x_train - centre) / scale, labels)
    x_held = np.concatenate([features(a[held]), features(b[held])])
    judged = model.decision_function((x_held - centre) / scale)
    auroc = roc_auc_score(np.repeat([0, 1], int(held.sum())), judged)
    return float(auroc), float((b[held] ** 2).mean()), float((a[held] ** 2).mean())


def _moment(x: np.ndarray) -> np.ndarray:
    return x.T @ x / len(x)


def _columns(workbench: PlanContext, row: int, count: int, chance: np.random.Generator) -> Int[np.ndarray, "n"]:
    """Positions of a row whose logits are scored."""
    scored = np.flatnonzero(workbench.task.scored[row].numpy()) - 1
    return np.sort(chance.permutation(scored)[:count])


def _sampled(
    workbench: PlanContext, plan: Plan, run: Run, site: Site, rows: Int[np.ndarray, "rows"], columns: list[np.ndarray]
) -> Float[np.ndarray, "n width"]:
    out = []
    at = dict(zip(rows.tolist(), columns, strict=True))
    with torch.no_grad():
        for batch in workbench.runner.batches(rows):
            value = workbench.runner.values(plan, run, [site], batch)[site].float().cpu().numpy()
            out += [value[i, at[int(row)]] for i, row in enumerate(batch)]
    return np.concatenate(out).astype(float)
