"""The ROC of each method's scores against the edges that are right of a world."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from assay.errors import UserError
from assay.find.request import SearchRequest
from assay.methods.edge_scores import EdgeScores
from assay.model.edges import Edges
from assay.planted.world import Truth
from assay.planted.worlds import world
from assay.record.search import MethodRoc, RocPoint, RocRecord
from assay.stats.estimate import Undefined
from assay.stats.roc import roc


def truth_of(wanted: SearchRequest, ablation: str) -> Truth | Undefined:
    """What is right of the world that is searched.

    Raises:
        UserError: where the task is not the world's own, of which alone anything is known.
    """
    if wanted.task["kind"] != "planted":
        raise UserError(
            f"a ROC needs the task of a world whose truth is known, such as that of 'planted:induction', not one of "
            f"kind {wanted.task['kind']!r} on {wanted.model!r}"
        )
    return world(wanted.model).truth(ablation)


def roc_block(truth: Truth | Undefined, edges: Edges, several: Sequence[EdgeScores]) -> RocRecord:
    """The record's block: how many edges are right, others and neutral, and for each method its curve, the area under
    it, and how many of its best edges are right, of as many as there are right ones."""
    if isinstance(truth, Undefined):
        return RocRecord(right=None, others=None, neutral=None, reason=truth.reason, methods=())
    counts, mask = ~edges.mask(truth.neutral), edges.mask(truth.edges)
    right = mask[counts]
    methods = []
    for one in several:
        scores = one.scores[counts]
        best = np.argsort(-scores, kind="stable")[: int(right.sum())]
        curve = roc(scores, right)
        columns = zip(curve.size.tolist(), curve.true.tolist(), curve.false.tolist(), strict=True)
        points = tuple(RocPoint(size=size, true=true, false=false) for size, true, false in columns)
        found = int(right[best].sum())
        methods.append(MethodRoc(method=one.method, area=curve.area, points=points, found=found))
    sizes = {"right": int(right.sum()), "others": int((~right).sum()), "neutral": int((~counts).sum())}
    return RocRecord(**sizes, reason=None, methods=tuple(methods))
