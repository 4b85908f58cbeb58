"""Which distinctions of a claim cost nothing to merge: a longer prefix or n-gram, a label, a part's own program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from assay.explanations.base import Explanation
from assay.explanations.program import Program, source
from assay.explanations.programs import AnyProgram, AttentionProgram, LabelProgram, NGramProgram
from assay.intervene.ablations import Workbench
from assay.intervene.plan import Edit
from assay.measure.score import Scored, System, score
from assay.model.transformer import Model
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate

MOST_PARTS = 16  # parts whose own program is given up one by one


def coarser(program: AnyProgram) -> tuple[str, AnyProgram] | None:
    """The next coarser program of the same kind, and what was merged in words; None where there is none.

    Example:
        >>> from assay.explanations import programs
        >>> coarser(programs.induction(match="prefix", prefix=3))[0]
        'prefix 3 → recent'
    """
    match program:
        case AttentionProgram(match="prefix", prefix=n) if n > 1:
            return f"prefix {n} → recent", replace(program, match="recent", prefix=1)
        case NGramProgram(n=n) if n > 1:
            return f"ngram({n}) → ngram({n - 1})", replace(program, n=n - 1)
    return None


def merged(bench: Workbench, explanation: Explanation) -> dict[str, tuple[Edit, ...]]:
    """Every merge of one distinction of a `Program` claim: its name -> the edits of the merged run."""
    if not isinstance(explanation, Program):
        return {}
    assert isinstance(bench.model, Model)
    assigned = explanation.assigned(bench.model)
    edits = explanation.edits(bench)
    strengths = explanation.strengths(bench, assigned)
    out: dict[str, tuple[Edit, ...]] = {}

    def swap(index: int, edit: Edit) -> tuple[Edit, ...]:
        return (*edits[:index], edit, *edits[index + 1 :])

    for index, (site, program) in enumerate(assigned):
        coarse = coarser(program)
        if coarse is not None:
            what, simpler = coarse
            # the α that was fitted for the finer rule serves the coarser one
            out[f"{site}: {what}"] = swap(index, Edit(site, source(bench, site, simpler, strengths.get(site))))
        elif isinstance(program, (LabelProgram, NGramProgram)) or 1 < len(assigned) <= MOST_PARTS:
            what = "both sides of the label" if isinstance(program, LabelProgram) else "its program"
            out[f"{site}: {what} → mean"] = swap(index, bench.ablate([site], "mean")[0])
    return out


def merges(
    bench: Workbench,
    explanation: Explanation,
    scored: Scored,
    resamples: Resamples,
    *,
    explained: str = "explained:mean",
    floor: str = "floor:mean",
) -> dict[str, Estimate]:
    """What each merge costs, (KL(M‖merged) − KL(M‖E)) / KL(M‖F), paired; empty where nothing can be merged."""
    plans: dict[str, System | Sequence[System]] = {
        name: bench.plan(edits) for name, edits in merged(bench, explanation).items()
    }
    if not plans:
        return {}
    more = score(bench, plans, rows=np.unique(scored.row))
    kept = scored.count > 0
    base, below = scored[explained].kl[kept], scored[floor].kl[kept]
    return {name: resamples.ratio(more[name].kl[kept] - base, below) for name in plans}
