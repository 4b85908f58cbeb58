"""What programs fit on the reference: outputs without a match, n-gram tables, label means, strengths."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from assay.errors import ClaimError
from assay.explanations.bits import width_of
from assay.explanations.program.library import AnyProgram, AttentionProgram, LabelProgram, NGramProgram
from assay.intervene.ablations import Workbench
from assay.intervene.fit_context import KEPT, RAW
from assay.intervene.least_kl import fit_by_kl
from assay.intervene.plan import Batch, Call, Edit, Stream
from assay.model.transformer import Model
from assay.names import Site


def gather(bench: Workbench, sites: Sequence[Site]) -> None:
    """The reference's values of all these parts in one pass, where they fit in memory; fits find them. The other heads
    of their layers are kept too, as controls ask for them next."""
    model = bench.model
    assert isinstance(model, Model)
    assert bench.task.reference is not None
    missing = [site for site in dict.fromkeys(sites) if (RAW, site) not in bench.fitted]
    layers = dict.fromkeys(site.layer for site in missing if site.kind == "head")
    beside = [Site("head", layer, head) for layer in layers for head in range(model.config.heads)]
    both = [site for site in dict.fromkeys((*missing, *beside)) if (RAW, site) not in bench.fitted]
    columns = bench.task.reference.tokens.numel()
    for wanted in (both, missing):
        if wanted and sum(4 * columns * width_of(model, site) for site in wanted) <= KEPT:
            bench.fitted.update({(RAW, site): value for site, value in bench.statistics.values(wanted).items()})
            return


def key_of(site: Site, program: AnyProgram) -> tuple | None:
    """What is fitted for a program on a part's values is kept under this; None where nothing is."""
    match program:
        case AttentionProgram(name=name, level=level, without_match=without) if level == "full" or without == "mean":
            return "without match", site, name
        case NGramProgram():
            return "ngram table", site, program
        case LabelProgram():
            return "label", site, program
    return None


def _reference_values(bench: Workbench, site: Site) -> tuple[Tensor, Tensor, Tensor]:
    """Values of a site on all reference rows [rows, pos, width], their tokens, and which positions are real."""
    assert bench.task.reference is not None
    key = (RAW, site)
    if key not in bench.fitted:
        bench.fitted[key] = bench.statistics.values([site])[site]
    return bench.fitted[key], bench.task.reference.tokens, bench.task.reference.real


def without_match(bench: Workbench, site: Site, program: AttentionProgram) -> Float[Tensor, "pos width"]:
    """The mean of the head's z over reference tokens about which the rule says nothing; the first position apart."""
    key = "without match", site, program.name
    if key not in bench.fitted:
        values, tokens, real = _reference_values(bench, site)
        silent = torch.cat([~program.attend(chunk).matched for chunk in tokens.split(32)]) & real
        length, width = values.shape[1:]
        out = torch.zeros(length, width)
        for columns in (slice(0, 1), slice(1, None)):
            chosen = values[:, columns][silent[:, columns]]
            if len(chosen):
                out[columns] = chosen.double().mean(0).float()
            elif columns.start:  # a rule that always matches: never used
                out[columns] = 0
        bench.fitted[key] = out
    return bench.fitted[key]


def unembedding_directions(bench: Workbench) -> Float[Tensor, "vocab d_model"]:
    """W_U[x] − mean W_U for every token x."""
    assert isinstance(bench.model, Model)
    key = "unembedding directions"
    if key not in bench.fitted:
        rows = bench.model.W_U.T
        bench.fitted[key] = (rows - rows.mean(0)).detach()
    return bench.fitted[key]


def strengths(
    bench: Workbench, full: list[tuple[Site, AttentionProgram]], others: tuple[Edit, ...]
) -> list[Float[Tensor, ""]]:
    """The α of each `full` head that together minimise KL on the reference; each starts at its least-squares value."""
    assert isinstance(bench.model, Model)
    model, directions = bench.model, unembedding_directions(bench)
    starts: list[Tensor] = []
    for site, program in full:
        values, tokens, real = _reference_values(bench, site)
        attention = program.attend(tokens[:64])
        chosen = attention.matched & real[:64]
        written = (values[:64] @ model.W_O(site.layer or 0)[site.index])[chosen]
        claimed = (attention.weights.to(directions) @ directions[tokens[:64]])[chosen]
        size = claimed.square().sum()
        starts.append(((written * claimed).sum() / size) if float(size) else torch.zeros(()))
    unit = [start.abs().clamp(min=1e-2) for start in starts]
    shifts = [torch.zeros(()) for _ in full]

    def edits() -> tuple[Edit, ...]:
        out = []
        for (site, program), start, size, shift in zip(full, starts, unit, shifts, strict=True):
            rest = without_match(bench, site, program).to(directions) @ model.W_O(site.layer or 0)[site.index]

            def run(batch: Batch, program=program, rest=rest, alpha=start + size * shift) -> Stream:
                attention = program.attend(batch.tokens)
                out = alpha * (attention.weights.to(directions) @ directions[batch.tokens])
                return Stream(torch.where(attention.matched.unsqueeze(-1), out, rest))

            out.append(Edit(site, Call(run)))
        return (*others, *out)

    best = fit_by_kl(bench, shifts, edits, f"strengths of {len(full)} program{'s' * (len(full) > 1)}")
    return [(start + size * shift).detach() for start, size, shift in zip(starts, unit, best, strict=True)]


def ngram_table(bench: Workbench, site: Site, program: NGramProgram) -> Callable[[Tensor], Tensor]:
    """E[value | last n tokens] with back-off: a function of tokens [batch, pos] giving [batch, pos, width]."""
    key = key_of(site, program)
    if key not in bench.fitted:
        values, tokens, real = _reference_values(bench, site)
        bench.fitted[key] = torch.zeros(())
        base = values[real].double().mean(0).float()
        tables: list[tuple[np.ndarray, Tensor]] = []
        for order in range(1, program.n + 1):
            codes, valid = _codes(tokens, order)
            chosen = (valid & real).numpy()
            unique, inverse, count = np.unique(codes[chosen], return_inverse=True, return_counts=True)
            sums = torch.zeros(len(unique), values.shape[-1], dtype=torch.float64)
            sums.index_add_(0, torch.from_numpy(inverse), values[torch.from_numpy(chosen)].double())
            seen = count >= program.smallest
            tables.append((unique[seen], (sums / torch.from_numpy(count).unsqueeze(1))[torch.from_numpy(seen)].float()))
        bench.fitted[key, "base"] = base
        bench.fitted[key, "rows"] = torch.tensor(float(sum(len(t[0]) for t in tables)))
        bench.fitted[key, "tables"] = tables  # type: ignore[assignment]
    base, tables = bench.fitted[key, "base"], bench.fitted[key, "tables"]

    def look_up(batch: Tensor) -> Tensor:
        out = base.expand(*batch.shape, -1).clone()
        for order, (known, means) in enumerate(tables, start=1):  # type: ignore[arg-type]
            if not len(known):
                continue
            codes, valid = _codes(batch, order)
            place = np.searchsorted(known, codes).clip(max=len(known) - 1)
            hit = torch.from_numpy(known[place] == codes) & valid
            out[hit] = means[torch.from_numpy(place)][hit]
        return out

    return look_up


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


def label_constants(bench: Workbench, site: Site, program: LabelProgram) -> Callable[[Batch], Tensor]:
    """The part's mean where the label holds and where it does not, the first position apart in both."""
    task, reference = bench.task, bench.task.reference
    assert reference is not None

    def holds(ids: Tensor, sources: list[str]) -> Tensor:
        if program.source is not None:
            return torch.tensor([s == program.source for s in sources]).unsqueeze(1).expand_as(ids)
        return torch.isin(ids, torch.tensor(program.tokens))

    key = key_of(site, program)
    if key not in bench.fitted:
        values, tokens, real = _reference_values(bench, site)
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
        bench.fitted[key] = means
    means = bench.fitted[key]

    def run(batch: Batch) -> Tensor:
        data = task if batch.data == "scored" else reference
        state = holds(batch.tokens, [data.documents[data.document[row]].source for row in batch.rows]).long()
        out = means[0][state]
        out[:, 0] = means[1][state[:, 0]]
        return out

    return run
