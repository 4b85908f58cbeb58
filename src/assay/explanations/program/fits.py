"""What programs fit on the reference: outputs without a match, n-gram tables, label means, strengths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.errors import ClaimError
from assay.explanations.program.library import AnyProgram, Attention, AttentionProgram, LabelProgram, NGramProgram
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.fit_context import Fit
from assay.intervene.fill.least_kl import fit_by_kl
from assay.intervene.kept import Kept
from assay.intervene.plan import Batch, Call, Edit, Stream
from assay.model.transformer import Model
from assay.names import Site


class WithoutMatch(Kept[tuple[Site, str], Tensor]):
    """A head's mean where a rule says nothing, by the rule's name."""


class FittedStrengths(Kept[tuple[tuple[tuple[Site, AnyProgram], ...], bool], tuple[list[Tensor], Fit]]):
    """The α of every head of level `full`, by all programs of the claim and whether norms were frozen."""


class NGramTables(Kept[tuple[Site, NGramProgram], "NGramMeans"]):
    """Tables of n-gram programs."""

    room = 1 << 30


class LabelMeans(Kept[tuple[Site, LabelProgram], Tensor]):
    """A part's mean where a label holds and where it does not: [first position, holds, width]."""


def wants_values(workbench: PlanContext, site: Site, program: AnyProgram) -> bool:
    """Whether a program is still to be fitted on the part's values on the reference."""
    match program:
        case AttentionProgram(name=name, level=level, without_match=without) if level == "full" or without == "mean":
            return (site, name) not in workbench.store.of(WithoutMatch)
        case NGramProgram():
            return (site, program) not in workbench.store.of(NGramTables)
        case LabelProgram():
            return (site, program) not in workbench.store.of(LabelMeans)
    return False


def _reference_values(workbench: PlanContext, site: Site) -> tuple[Tensor, Tensor, Tensor]:
    """Values of a site on all reference rows [rows, pos, width], their tokens, and which positions are real."""
    assert workbench.task.reference is not None
    return workbench.store.values(site), workbench.task.reference.tokens, workbench.task.reference.real


def without_match(workbench: PlanContext, site: Site, program: AttentionProgram) -> Float[Tensor, "pos width"]:
    """The mean of the head's z over reference tokens about which the rule says nothing; the first position apart."""
    return workbench.store.of(WithoutMatch).once((site, program.name), lambda: _without_match(workbench, site, program))


def _without_match(workbench: PlanContext, site: Site, program: AttentionProgram) -> Float[Tensor, "pos width"]:
    values, tokens, real = _reference_values(workbench, site)
    silent = torch.cat([~program.attend(chunk).matched for chunk in tokens.split(32)]) & real
    length, width = values.shape[1:]
    out = torch.zeros(length, width)
    for columns in (slice(0, 1), slice(1, None)):
        chosen = values[:, columns][silent[:, columns]]
        if len(chosen):
            out[columns] = chosen.double().mean(0).float()
        elif columns.start:  # a rule that always matches: never used
            out[columns] = 0
    return out


def attended(
    model: Model, attention: Attention, tokens: Int[Tensor, "batch pos"]
) -> Float[Tensor, "batch pos d_model"]:
    """The sum of W_U[x] − mean W_U over the tokens x that each query attends to."""
    rows = model.W_U.T
    directions = (rows[tokens] - rows.mean(0)).detach()
    return attention.weights.to(directions) @ directions


def strengths(
    workbench: PlanContext, full: list[tuple[Site, AttentionProgram]], others: tuple[Edit, ...]
) -> tuple[list[Float[Tensor, ""]], Fit]:
    """The α of each `full` head that together minimise KL on the reference; each starts at its least-squares value."""
    assert isinstance(workbench.model, Model)
    model = workbench.model
    starts: list[Tensor] = []
    for site, program in full:
        values, tokens, real = _reference_values(workbench, site)
        attention = program.attend(tokens[:64])
        chosen = attention.matched & real[:64]
        written = (values[:64] @ model.W_O(site.layer or 0)[site.index])[chosen]
        claimed = attended(model, attention, tokens[:64])[chosen]
        size = claimed.square().sum()
        starts.append(((written * claimed).sum() / size) if float(size) else torch.zeros(()))
    unit = [start.abs().clamp(min=1e-2) for start in starts]
    shifts = [torch.zeros(()) for _ in full]

    def edits() -> tuple[Edit, ...]:
        out = []
        for (site, program), start, size, shift in zip(full, starts, unit, shifts, strict=True):
            output = model.W_O(site.layer or 0)[site.index]
            rest = without_match(workbench, site, program).to(output) @ output

            def run(batch: Batch, program=program, rest=rest, alpha=start + size * shift) -> Stream:
                attention = program.attend(batch.tokens)
                out = alpha * attended(model, attention, batch.tokens)
                return Stream(torch.where(attention.matched.unsqueeze(-1), out, rest))

            out.append(Edit(site, Call(run)))
        return (*others, *out)

    best, fit = fit_by_kl(workbench, shifts, edits, f"strengths of {len(full)} program{'s' * (len(full) > 1)}")
    return [(start + size * shift).detach() for start, size, shift in zip(starts, unit, best, strict=True)], fit


@dataclass(frozen=True, eq=False)
class NGramMeans:
    """E[value | last n tokens] with back-off.

    Attributes:
        base: the mean over everything; orders: for contexts of 1, 2, ... tokens their codes, in order, and their means.
    """

    base: Float[Tensor, "width"]
    orders: list[tuple[np.ndarray, Tensor]]

    @property
    def nbytes(self) -> int:
        return sum(codes.nbytes + means.nbytes for codes, means in self.orders)

    @property
    def rows(self) -> int:
        """Contexts of all orders."""
        return sum(len(codes) for codes, _ in self.orders)

    def look_up(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos width"]:
        out = self.base.expand(*tokens.shape, -1).clone()
        for order, (known, means) in enumerate(self.orders, start=1):
            if not len(known):
                continue
            codes, valid = _codes(tokens, order)
            place = np.searchsorted(known, codes).clip(max=len(known) - 1)
            hit = torch.from_numpy(known[place] == codes) & valid
            out[hit] = means[torch.from_numpy(place)][hit]
        return out


def ngram_table(workbench: PlanContext, site: Site, program: NGramProgram) -> NGramMeans:
    """The program's table, counted on the reference."""

    def made() -> NGramMeans:
        values, tokens, real = _reference_values(workbench, site)
        base = values[real].double().mean(0).float()
        orders: list[tuple[np.ndarray, Tensor]] = []
        for order in range(1, program.n + 1):
            codes, valid = _codes(tokens, order)
            chosen = (valid & real).numpy()
            unique, inverse, count = np.unique(codes[chosen], return_inverse=True, return_counts=True)
            sums = torch.zeros(len(unique), values.shape[-1], dtype=torch.float64)
            sums.index_add_(0, torch.from_numpy(inverse), values[torch.from_numpy(chosen)].double())
            seen = count >= program.smallest
            orders.append((unique[seen], (sums / torch.from_numpy(count).unsqueeze(1))[torch.from_numpy(seen)].float()))
        return NGramMeans(base, orders)

    return workbench.store.of(NGramTables).once((site, program), made)


def _codes(tokens: Tensor, order: int) -> tuple[np.ndarray, Tensor]:
    """One number for the last `order` tokens at each position, and where that many exist."""
    ids = tokens.numpy().astype(np.uint64)
    base = np.uint64(1_000_003)
    codes = np.zeros_like(ids)
    with np.errstate(over="ignore"):
        for back in reversed(range(order)):
            shifted = np.zeros_like(ids)
            shifted[:, back:] = ids[:, : ids.shape[1] - back]
            codes = codes * base + shifted + np.uint64(1)
        if order > 3:  # beyond what 64 bits hold exactly the code is a hash; mix it so that collisions stay rare
            codes ^= codes >> np.uint64(29)
            codes *= np.uint64(0xBF58476D1CE4E5B9)
    valid = torch.arange(tokens.shape[1]).expand_as(tokens) >= order - 1
    return codes, valid


def label_constants(workbench: PlanContext, site: Site, program: LabelProgram) -> Callable[[Batch], Tensor]:
    """The part's mean where the label holds and where it does not, the first position apart in both."""
    task, reference = workbench.task, workbench.task.reference
    assert reference is not None

    def holds(ids: Tensor, sources: list[str]) -> Tensor:
        if program.source is not None:
            return torch.tensor([s == program.source for s in sources]).unsqueeze(1).expand_as(ids)
        return torch.isin(ids, torch.tensor(program.tokens))

    def fitted() -> Tensor:
        values, tokens, real = _reference_values(workbench, site)
        known = holds(tokens, [reference.documents[d].source for d in reference.document])
        means = torch.zeros(2, 2, values.shape[-1])
        for first in (0, 1):
            for state in (0, 1):
                where = (known == bool(state)) & real
                where[:, 1:] &= not first
                where[:, :1] &= bool(first)
                if not first and not bool(where.any()):
                    when = "never" if state else "always"
                    raise ClaimError(f"label {program.source or program.tokens!r} {when} holds on the reference")
                if bool(where.any()):
                    means[first, state] = values[where].double().mean(0).float()
                else:
                    means[first, state] = values[:, 0].double().mean(0).float()
        return means

    means = workbench.store.of(LabelMeans).once((site, program), fitted)

    def run(batch: Batch) -> Tensor:
        data = task if batch.data == "scored" else reference
        state = holds(batch.tokens, [data.documents[data.document[row]].source for row in batch.rows]).long()
        out = means[0][state]
        out[:, 0] = means[1][state[:, 0]]
        return out

    return run
