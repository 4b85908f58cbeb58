"""The residual signal: what is left of the explained parts, alone in their place, as KL recovered.

It is 0 where the explanation gives the part's own value, and all that the parts carry where it gives the mean
(docs/definitions.md#residual). Beside it:
Gaussian noise of the same covariance, the residual of another document, and what a small fixed reader predicts of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float64, Int
from torch import Tensor

from assay.explanations.base import Explanation, Undefined
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.residue import Residue
from assay.intervene.fill.spec import is_random
from assay.intervene.output import System
from assay.intervene.plan import Batch
from assay.record.residual import Signal
from assay.score.ids import COMPLEMENT, SystemId
from assay.score.score import score
from assay.score.scores import Scored
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate
from assay.stats.keyed import generator, torch_generator

SHRINKAGE = 4.0  # reference tokens that the shorter context counts for
LARGEST_TABLE = 30_000_000  # numbers in the two-token table
RESIDUAL, NOISE, SHUFFLED, READER = map(SystemId, ("residual", "noise", "shuffled", "reader"))
MEAN = SystemId("floor", "mean")
FIGURES = ("value", "noise", "shuffled", "reader", "share")
DRAWS = 2  # of noise, of shuffled documents, and of a random ablation for the complement


def residual_signal(
    workbench: PlanContext,
    explanation: Explanation,
    scored: Scored[SystemId],
    resamples: Resamples,
    *,
    floor: SystemId | None,
    rest: Scored[SystemId] | None = None,
) -> Signal:
    """The residual signal of all parts of the claim together.

    Args:
        scored: what was scored before; gives the rows, and floors that need not be run again.
        resamples: over the documents with scored tokens, in order.
        rest: the `complement` of a set that is kept, which is its residual; floor: the floor that it is measured over.
    """
    if rest is not None:
        assert floor is not None  # what is kept is measured over the run that keeps nothing
        return _of_complement(rest, scored, resamples, floor)
    edits = explanation.values(workbench)
    if isinstance(edits, Undefined):
        return Signal.undefined(edits.reason)
    residue = Residue(workbench, edits)
    rows = np.unique(scored.row)
    reader = TokenReader(residue)
    systems: dict[SystemId, System | Sequence[System]] = {
        RESIDUAL: residue.plan(lambda batch: residue.centred(batch.data, batch.rows)),
        NOISE: [residue.plan(_noise(residue, draw)) for draw in range(DRAWS)],
        READER: residue.plan(reader.predict),
    }
    if MEAN not in scored.systems:
        systems[MEAN] = workbench.plan(workbench.ablate([edit.site for edit in edits], "mean"))
    partners = [other_documents(workbench, rows, draw) for draw in range(DRAWS)]
    if all(p is not None for p in partners):
        systems[SHUFFLED] = [residue.plan(_shuffled(residue, p)) for p in partners if p is not None]
    more = score(workbench, systems, rows=rows)
    kept = scored.count > 0
    known = {**scored.systems, **more.systems}
    below, kl = known[MEAN].kl[kept], {one: its.kl[kept] for one, its in more.systems.items()}
    own, noise, read = (resamples.recovered(kl[one], below) for one in (RESIDUAL, NOISE, READER))
    shuffled = (
        resamples.recovered(kl[SHUFFLED], below)
        if SHUFFLED in kl
        else Estimate.undefined("no other document is long enough to take a residual from")
    )
    share = _share(resamples, below, kl[RESIDUAL], kl[READER], own)
    text = _words(own, noise, shuffled, share)
    return Signal(value=own, noise=noise, shuffled=shuffled, reader=read, share=share, text=text)


def other_documents(workbench: PlanContext, rows: Int[np.ndarray, "rows"], draw: int) -> Int[np.ndarray, "n"] | None:
    """For each row of the task one of `rows` of another document, as long if there is one; None for a lone document."""
    task = workbench.task
    length = task.real.sum(1).numpy()
    document = np.asarray(task.document)
    if len(np.unique(document[rows])) < 2:
        return None
    out = np.zeros(len(document), dtype=np.int64)
    for row in range(len(document)):
        others = rows[document[rows] != document[row]]
        others = others[length[others] >= min(length[row], length[others].max())]
        name = task.documents[document[row]].name
        keyed = generator(workbench.seed, "residual shuffle", draw, name, int(task.offset[row]))
        out[row] = others[keyed.integers(len(others))]
    return out


class TokenReader:
    """E[y − ŷ | the last two tokens], fitted on the reference: shrunk to the last token's mean, and that to 0.

    The small fixed reader of docs/definitions.md#residual: what it predicts is structure that the explanation left out.
    """

    def __init__(self, residue: Residue):
        reference = residue.workbench.task.reference
        assert reference is not None
        self.residue = residue
        tokens = reference.tokens.numpy()
        real = reference.real.numpy().copy()
        real[:, 0] = False  # the first position's residual is a constant, which centring has taken
        total = sum(residue.widths)
        self._one, ones, count_one = np.unique(tokens[real], return_inverse=True, return_counts=True)
        pairs = _pairs(tokens)
        two, count_two = np.unique(pairs[real], return_counts=True)
        order = np.argsort(-count_two, kind="stable")[: max(LARGEST_TABLE // total, 1)]
        chosen = np.sort(order[count_two[order] >= 2])
        self._two, count_two = two[chosen], count_two[chosen]
        sum_one = torch.zeros(len(self._one), total)
        sum_two = torch.zeros(len(self._two), total)
        place = np.full(tokens.shape, -1)
        place[real] = ones
        for batch in residue.workbench.runner.batches(np.arange(len(tokens))):
            value = torch.cat(residue.centred("reference", batch), -1).float().cpu()
            inside = torch.from_numpy(real[batch])
            sum_one.index_add_(0, torch.from_numpy(place[batch])[inside], value[inside])
            index, hit = _find(self._two, pairs[batch])
            hit = torch.from_numpy(hit) & inside
            sum_two.index_add_(0, torch.from_numpy(index)[hit], value[hit])
        self._mean_one = sum_one / (torch.from_numpy(count_one) + SHRINKAGE).unsqueeze(1).float()
        last, _ = _find(self._one, self._two & 0xFFFFFFFF)
        weight = torch.from_numpy(count_two).unsqueeze(1).float()
        shorter = self._mean_one[torch.from_numpy(last)] if len(self._two) else sum_two
        self._mean_two = (sum_two + SHRINKAGE * shorter) / (weight + SHRINKAGE)

    def predict(self, batch: Batch) -> list[Tensor]:
        """The predicted centred residual of each part, [batch, pos, width]."""
        tokens = batch.tokens.cpu().numpy()
        out = torch.zeros(*tokens.shape, sum(self.residue.widths))
        for table, means, codes in ((self._one, self._mean_one, tokens), (self._two, self._mean_two, _pairs(tokens))):
            index, hit = _find(table, codes)
            out[torch.from_numpy(hit)] = means[torch.from_numpy(index[hit])]
        out[:, 0] = 0
        return list(out.to(batch.tokens.device).split(self.residue.widths, -1))


def _pairs(tokens: Int[np.ndarray, "rows pos"]) -> Int[np.ndarray, "rows pos"]:
    codes = tokens.astype(np.int64)
    codes[:, 1:] |= tokens[:, :-1].astype(np.int64) << 32
    codes[:, 0] = -1
    return codes


def _find(table: Int[np.ndarray, "n"], codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where codes stand in a sorted table, and whether they do."""
    if not len(table):
        return np.zeros(codes.shape, dtype=np.int64), np.zeros(codes.shape, dtype=bool)
    index = np.searchsorted(table, codes).clip(max=len(table) - 1)
    return index, table[index] == codes


def _noise(residue: Residue, draw: int):
    task = residue.workbench.task

    def noise(batch: Batch) -> list[Tensor]:
        rows = []
        for row in batch.rows:
            document = task.documents[task.document[row]].name
            keyed = torch_generator(residue.workbench.seed, "residual noise", draw, document, int(task.offset[row]))
            rows.append(torch.randn(batch.tokens.shape[1], sum(residue.widths), generator=keyed))
        return [value.to(batch.tokens.device) for value in residue.sample(torch.stack(rows))]

    return noise


def _shuffled(residue: Residue, partners: Int[np.ndarray, "n"]):
    return lambda batch: residue.centred("scored", partners[batch.rows])


Columns = Float64[np.ndarray, "documents"]


def _share(resamples: Resamples, floor: Columns, own: Columns, reader: Columns, signal: Estimate) -> Estimate:
    if signal.value is None or signal.low is None or signal.low <= 0:
        return Estimate.undefined("the residual alone restores nothing that a reader could predict", n=signal.n)
    return resamples.function(lambda f, o, r: (f - r) / (f - o), floor, own, reader)


def complement(
    workbench: PlanContext, explanation: Explanation, scored: Scored[SystemId], ablation: str
) -> Scored[SystemId] | None:
    """The run of everything that was not kept, scored beside what was scored before; None where nothing is kept."""
    draws = range(DRAWS if is_random(ablation) else 1)
    plans = [plan for draw in draws if (plan := explanation.complement(workbench, ablation, draw)) is not None]
    return score(workbench, {COMPLEMENT: plans}, rows=np.unique(scored.row)) if plans else None


def _of_complement(rest: Scored[SystemId], scored: Scored[SystemId], resamples: Resamples, floor: SystemId) -> Signal:
    kept = scored.count > 0
    value = resamples.recovered(rest[COMPLEMENT].kl[kept], scored[floor].kl[kept])
    none = Estimate.undefined("for a set that is kept the residual is the complement's own run")
    text = f"Everything that was not kept, without what was, recovers {value}."
    return Signal(**dict.fromkeys(FIGURES, none) | {"value": value}, text=text)


def _words(own: Estimate, noise: Estimate, shuffled: Estimate, share: Estimate) -> str:
    text = (
        f"What the explanation leaves out, put alone in its parts' place, recovers {own} of the KL over mean; "
        f"noise of its covariance {noise}; the residual of another document {shuffled}."
    )
    if share.value is not None:
        text += f" A table of the last two tokens predicts {share} of its effect."
    return text
