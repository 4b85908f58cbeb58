"""Rivals: simpler systems that compete for the same credit. N-grams, smaller members of the model's family, and for
component claims sets of as many parts chosen without insight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from assay.errors import TaskError, UserError
from assay.explanations.base import Explanation
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.kept import Kept
from assay.intervene.output import Distribution, Output, System
from assay.measure.settings import Settings
from assay.methods.part_sets import other_sets
from assay.methods.similar_claims import search
from assay.model.load import load
from assay.model.meter import weighed
from assay.model.transformer import Model
from assay.record import controls as blocks
from assay.score.ids import SystemId, rival
from assay.score.scores import Scored
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate
from assay.task.documents import Windows
from assay.task.examples import Examples
from assay.task.ngrams.ngrams import NGram, zoo
from assay.task.task import Task
from assay.zoo import index
from assay.zoo.recipes import RECIPES, VOCABULARY
from assay.zoo.spec import NOVEL

HELD_OUT = 8  # one document in so many chooses the order and weighs the cache of an n-gram fitted on a reference
ORDER, WEIGHT_BITS = 5, 16
RANDOM_SETS = 4  # random sets of as many parts, whose mean is one rival


@dataclass(frozen=True, eq=False)
class Rival:
    """A system and what the record says about it.

    Attributes:
        bits: its stand-alone length, None where it has none of its own (it is made of the model's parts).
        weak: whether an n-gram was fitted on fewer than 20 tokens a vocabulary entry.
        tokens: how many it was fitted on.
    """

    name: str
    what: str
    system: System | Sequence[System]
    bits: float | None = None
    weak: bool = False
    tokens: int | None = None

    @property
    def id(self) -> SystemId:
        """Its key among the scored."""
        return rival(self.name)


class Unchanging(Kept[str, list[Rival]]):
    """Rivals that are the same for every claim: n-grams, and smaller models."""


def ngrams(workbench: PlanContext) -> list[Rival]:
    """N-grams of every order that is compared, fitted once; of a module, which predicts no tokens, there are none."""
    model = workbench.model
    if not isinstance(model, Model):
        return []
    return workbench.store.of(Unchanging).once("n-grams", lambda: _ngrams(model, workbench.task))


class Halves(Kept[str, tuple[NGram, ...]]):
    """N-grams of one half of the reference each."""


def ngram_halves(workbench: PlanContext) -> tuple[NGram, ...]:
    """Two n-grams, of every other document of the reference each; none where it holds fewer than two texts."""
    task, model = workbench.task, workbench.model
    if not isinstance(model, Model) or task.reference is None or task.kind == "classify":
        return ()
    reference = task.reference
    owners = np.unique(np.asarray(reference.document))
    if len(owners) < 2:
        return ()

    def fit() -> tuple[NGram, ...]:
        bos = task.notes.get("bos_id", model.bos)
        starts = "cut" if np.asarray(reference.offset).any() else "document"
        texts = (_texts(reference, half, bos) for half in (owners[::2], owners[1::2]))
        return tuple(NGram.fit(text, model.config.vocab, ORDER, bos, starts=starts) for text in texts if text)

    return workbench.store.of(Halves).once("halves", fit)


def smaller_models(workbench: PlanContext) -> list[Rival]:
    """Smaller members of the model's family, opened once; of a module there are none."""
    model = workbench.model
    if not isinstance(model, Model):
        return []
    return workbench.store.of(Unchanging).once("smaller models", lambda: _smaller(model))


def rivals(
    field: Sequence[Rival],
    scored: Scored[SystemId],
    resamples: Resamples,
    *,
    floor: SystemId | None,
) -> tuple[blocks.RivalRecord, ...]:
    """Rows of the record, in the order given, for those that were scored.

    Args:
        floor: over which R_D is given; None where there is none.
        resamples: those of the documents with a scored token.
    """
    here = np.flatnonzero(scored.count > 0)
    count = scored.count[here]
    rows: list[blocks.RivalRecord] = []
    for one in field:
        if one.id not in scored.systems:
            continue
        its = scored[one.id]
        if floor is None:
            recovered = Estimate.undefined("the claim has no floor on this task", len(here))
        elif float(scored[floor].kl[here].sum()) / max(float(count.sum()), 1.0) <= 1e-6:
            recovered = Estimate.undefined("the floor is within 10⁻⁶ nats of the model", len(here))
        else:
            recovered = resamples.recovered(its.kl[here], scored[floor].kl[here])
        figures: dict[str, Any] = {"kl": resamples.mean(its.kl[here], count, least=0.0), "recovered": recovered}
        figures |= {"loss": resamples.mean(its.loss[here], count), "bits": one.bits, "weak": one.weak}
        rows.append(blocks.RivalRecord(name=one.name, what=one.what, **figures))
    return tuple(rows)


# -- n-grams -----------------------------------------------------------------------------------------------------------


def ngram_of(model: Model, task: Task) -> tuple[NGram, int, str]:
    """An n-gram model for this vocabulary (with a cache where one could be fitted), its strongest order, what it saw.

    The novel family's own ships with the zoo; for other models one is fitted on the task's reference.

    Raises:
        TaskError: when there is nothing to fit it on.
    """
    if model.name.removeprefix(index.PREFIX) in RECIPES and model.config.vocab == VOCABULARY:
        try:
            shipped = zoo(NOVEL, cache=True)
            return shipped, shipped.order, "counted on the family's training text"
        except TaskError:
            pass  # none ships: fit one, as for any other model
    return fitted(task, model.config.vocab, task.notes.get("bos_id", model.bos))


def fitted(task: Task, vocab: int, bos: int | None) -> tuple[NGram, int, str]:
    """An n-gram fitted on the reference; a held-out eighth of its documents chooses the order and weighs the cache."""
    reference = task.reference
    if reference is None or task.kind == "classify":
        raise TaskError(f"the task {task.name!r} has no reference text to fit n-grams on")
    starts = "document" if not np.asarray(reference.offset).any() else "cut"
    owner = np.asarray(reference.document)
    kept = np.unique(owner)
    everything = NGram.fit(_texts(reference, kept, bos), vocab, ORDER, bos, starts=starts)
    what = f"fitted on the reference, {everything.tokens:,} tokens"
    held = kept[HELD_OUT - 1 :: HELD_OUT]
    rest = np.setdiff1d(kept, held)
    windows = _windows(reference, np.flatnonzero(np.isin(owner, held)))
    if not len(held) or not windows.scored.any() or not len(_texts(reference, rest, bos)):
        return everything, everything.order, what
    trial = NGram.fit(_texts(reference, rest, bos), vocab, ORDER, bos, starts=starts)
    order = min(range(2, ORDER + 1), key=lambda n: trial.loss(windows, n))
    return everything.with_cache(trial.with_cache(windows).cache or 0.0), order, what


def _texts(reference: Examples, documents: Int[np.ndarray, "kept"], bos: int | None) -> list[np.ndarray]:
    """Each document's tokens; windows that do not follow on from each other are texts of their own."""
    out: list[list[np.ndarray]] = []
    tokens, real = reference.tokens.numpy(), reference.real.numpy()
    owner, offset = np.asarray(reference.document), np.asarray(reference.offset)
    before, end = -1, 0
    for row in np.lexsort((offset, owner)):
        if owner[row] not in documents:
            continue
        text = tokens[row][real[row]]
        text = text[1:] if bos is not None and len(text) and text[0] == bos else text
        if owner[row] == before and offset[row] == end:
            out[-1].append(text)
        else:
            out.append([text])
        before, end = owner[row], int(offset[row]) + len(text)
    return [joined for joined in (np.concatenate(parts) for parts in out) if len(joined)]


def _windows(examples: Examples, rows: Int[np.ndarray, "rows"]) -> Windows:
    scored = examples.real.numpy()[rows].copy()  # every real token is predicted, also where only answers are scored
    scored[:, 0] = False
    return Windows(
        examples.tokens.numpy()[rows], scored, np.asarray(examples.document)[rows], np.asarray(examples.offset)[rows]
    )


def distribution(ngram: NGram, order: int | None = None) -> Distribution:
    """An n-gram as a system: log-probabilities of the next token at every position, on the inputs' device."""

    def log_probs(tokens: Tensor, rows: Int[np.ndarray, "batch"]) -> Tensor:
        return ngram.distribution(tokens, order).log().to(tokens.device)

    return log_probs


def _ngrams(model: Model, task: Task) -> list[Rival]:
    try:
        ngram, order, what = ngram_of(model, task)
    except TaskError:
        return []
    plain = replace(ngram, cache=None)
    weak = "; weak: under 20 tokens a vocabulary entry" if ngram.weak else ""
    named = ((1, "unigram"), (min(2, order), "bigram"), (order, "ngram"))
    out = [
        Rival(
            name,
            f"Kneser–Ney of order {n}, {what}{weak}",
            distribution(plain, n),
            _bits(plain, n),
            ngram.weak,
            ngram.tokens,
        )
        for n, name in named
        if n <= ngram.order
    ]
    if ngram.cache is not None:
        words = f"Kneser–Ney of order {order} with a cache of the window's own tokens, {what}{weak}"
        out.append(
            Rival("ngram+cache", words, distribution(ngram, order), _bits(ngram, order), ngram.weak, ngram.tokens)
        )
    return out


def _bits(ngram: NGram, order: int) -> float:
    """The stand-alone length of the model that only has orders up to this one."""
    if order == ngram.order:
        return ngram.bits
    tables = ngram.tables
    cut = replace(tables, keys=tables.keys[:order], counts=tables.counts[:order], ends=tables.ends[: order - 1])
    return replace(ngram, tables=cut, discounts=ngram.discounts[:order]).bits


# -- smaller models ----------------------------------------------------------------------------------------------------


def smaller_members(model: Model) -> tuple[str, ...]:
    """Built-in models of the same family and tokenizer with fewer parameters, smallest first; none for other models."""
    own = model.name.removeprefix(index.PREFIX)
    if own not in RECIPES:
        return ()
    there = {entry.name: entry.parameters for entry in index.entries()}
    plain = [n for n, recipe in RECIPES.items() if not recipe.attention_only and not recipe.repeats and not recipe.seed]
    small = [name for name in plain if name != own and there.get(name, model.parameters) < model.parameters]
    return tuple(index.PREFIX + name for name in sorted(small, key=lambda name: there[name]))


def model_distribution(small: Model, beside: Model) -> Distribution:
    """Another model of the same tokenizer as a system; of a pass of the one that it stands beside it costs a share."""

    def run(tokens: Tensor, rows: Int[np.ndarray, "batch"]) -> Output:
        with torch.no_grad(), weighed(small.parameters / max(beside.parameters, 1)):
            return Output(small, small.normed(tokens.to(small.device)))

    return run


def _smaller(model: Model) -> list[Rival]:
    out = []
    for name in smaller_members(model):
        with weighed(0.0):  # its proof on load is no part of the measurement, and is made once a process
            small = load(name, device=model.device)
        if not isinstance(small, Model) or small.config.vocab != model.config.vocab:
            continue
        what = f"a smaller member of the family: {small.config.layers} layers, {small.parameters:,} parameters"
        out.append(Rival(name, what, model_distribution(small, model), float(small.parameters * WEIGHT_BITS)))
    return out


# -- sets of parts -----------------------------------------------------------------------------------------------------


def sets(
    workbench: PlanContext, settings: Settings, explanation: Explanation, ablation: str, rows: Int[np.ndarray, "rows"]
) -> list[Rival]:
    """Claims of the same kind and size from searches without insight, and the mean of a few random ones: of sets that
    are kept or removed. As in `contestants`."""
    whole = explanation.removal or explanation.floor_takes == "everything"
    if not whole or workbench.task.reference is None:
        return []
    claim = explanation.assignment(workbench.model)
    if claim is not None and not claim:
        return []
    doing = "removed" if explanation.removal else "kept"
    out: list[Rival] = []
    for words, name in explanation.simple_searches:
        try:
            found = search(name, workbench, explanation, ablation=ablation, rows=rows)
        except UserError:
            continue  # the group of controls of this name says why
        out.append(Rival(f"top {words}", f"{found.what}, {doing} instead", found.claim.plan(workbench, ablation)))
    count = min(RANDOM_SETS, max(settings.controls, 1))
    plans: list[System]
    if claim is not None:
        draws = other_sets(workbench, claim, count, settings.seed)
        plans = [explanation.like(item).plan(workbench, ablation) for item in draws.items]
        what, name = f"the mean of {len(plans)} random sets with {draws.how}, {doing} instead", "random parts"
    else:
        group = next(explanation.neighbours(workbench, ablation, count), None)
        if group is None:
            return out
        plans = [plan for _, plan in group.plans(workbench)]
        what, name = f"the mean of {len(plans)} {group.what}", group.name
    return [*out, Rival(name, what, plans)] if plans else out
