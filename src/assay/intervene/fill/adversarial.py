"""The strength *shared adversarial*: of all constants within what ablated parts take on the reference, those that hurt.

Each part takes one weighted mean of the values that it has at some reference tokens, the same in every row; the weights
are found by gradient ascent on KL(model || ablated model) on reference rows (docs/definitions.md#strength).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from assay.intervene.fill.fit_context import FitContext
from assay.intervene.fill.least_kl import POSITIONS, Divergence, fit_rows
from assay.intervene.fill.reference import spread
from assay.intervene.kept import Kept
from assay.intervene.plan import Edit, EditRun, Plan, Value, outside
from assay.model.transformer import Model
from assay.names import Site
from assay.record.about import Fit

STEPS, RATE = 20, 1.0  # of the ascent
ROWS, CANDIDATES = 16, 64  # reference rows, and tokens of theirs, whose values are mixed
CHUNK = 4  # rows that are read at once


class AdversarialConstants(Kept[object, tuple[dict[Site, Tensor], Fit]]):
    """Constants by what they were found against."""


def adversarial_constants(
    workbench: FitContext,
    sites: tuple[Site, ...],
    but: Mapping[Site, Tensor] | None = None,
    *,
    key: object,
    plan: Callable[[tuple[Edit, ...]], Plan] | None = None,
) -> list[Tensor]:
    """The constant of each part ([pos, width], the first position apart) that together hurt most.

    Args:
        but: of some parts an orthonormal basis of a subspace in which they keep their own value.
        key: what else than the parts they are found against, such as a circuit.
        plan: makes of the edits the plan of scored rows that is made worst; None: the edited model.
    """
    if not sites:
        return []
    ordered = tuple(sorted(sites, key=str))
    found, fit = workbench.store.of(AdversarialConstants).once(
        (ordered, key, workbench.frozen_norm), lambda: _found(workbench, ordered, but or {}, plan)
    )
    workbench.note(fit)
    return [found[site] for site in sites]


def _found(
    workbench: FitContext,
    sites: tuple[Site, ...],
    but: Mapping[Site, Tensor],
    plan: Callable[[tuple[Edit, ...]], Plan] | None,
) -> tuple[dict[Site, Tensor], Fit]:
    model, task = workbench.model, workbench.task
    values = _candidates(workbench, sites)
    weights = [one.new_zeros(len(one), one.shape[1]).requires_grad_() for one in values.values()]
    length = task.tokens.shape[1]

    def constants(weights: list[Tensor]) -> list[Tensor]:
        mixed = [
            torch.einsum("pk,pk...->p...", w.softmax(-1), v) for w, v in zip(weights, values.values(), strict=True)
        ]
        if not isinstance(model, Model):
            return [one[0] for one in mixed]
        return [torch.cat([one[:1], one[1:].expand(length - 1, -1)]) for one in mixed]

    def edits() -> tuple[Edit, ...]:
        pairs = zip(sites, constants(weights), strict=True)
        return tuple(Edit(site, outside(but.get(site), Value(one))) for site, one in pairs)

    def edited() -> Plan:
        return Plan((EditRun("ablated", "reference", edits(), frozen_norm=workbench.frozen_norm),))

    size = task.tokens.numel() if isinstance(model, Model) else len(task.tokens)
    fitted, held = fit_rows(workbench, min(POSITIONS, size))
    runner = None if plan is None else type(workbench.runner)(model, task.of_reference())
    made = edited if plan is None else lambda: plan(edits())
    seen, unseen = (Divergence(workbench, made, rows, runner=runner) for rows in (fitted, held))
    optimizer = torch.optim.Adam(weights, lr=RATE, maximize=True)
    start, best, most = unseen(), [one.detach().clone() for one in weights], -1.0
    for step in range(STEPS + 1):
        optimizer.zero_grad()
        now = seen(backward=1.0)
        if now > most:
            best, most = [one.detach().clone() for one in weights], now
        if step < STEPS:
            optimizer.step()
    with torch.no_grad():
        for own, one in zip(weights, best, strict=True):
            own.copy_(one)
        reached = unseen()
        found = {site: one.detach() for site, one in zip(sites, constants(best), strict=True)}
    what = f"adversarial constants of {len(sites)} part{'s' * (len(sites) > 1)}"
    counts = {"rows": len(fitted), "held": len(held), "evaluations": STEPS + 1}
    return found, Fit(what=what, start=start, reached=reached, settled=True, **counts)


def _candidates(workbench: FitContext, sites: tuple[Site, ...]) -> dict[Site, Float[Tensor, "starts some ..."]]:
    """Values of each part at some reference tokens: at the first position, and beyond it; of a module's part on some
    rows."""
    reference = workbench.task.reference
    assert reference is not None
    total, whole = len(reference.tokens), [site.at(None) for site in sites]
    tokens = isinstance(workbench.model, Model)
    rows = spread(total, ROWS if tokens else CANDIDATES)
    parts: dict[Site, list[Tensor]] = {site: [] for site in sites}
    random = np.random.default_rng([workbench.seed, 73])
    share = -(-CANDIDATES // len(rows))
    clean = EditRun("clean", "reference")
    for start in range(0, len(rows), CHUNK):
        some = rows[start : start + CHUNK]
        with torch.no_grad():
            found = workbench.runner.values(Plan((clean,)), clean, list(dict.fromkeys(whole)), some)
        places = (
            [random.choice(np.flatnonzero(reference.real[row].numpy())[1:], share) for row in some] if tokens else []
        )
        for site, part in zip(sites, whole, strict=True):
            value = found[part]
            if not tokens:
                parts[site].append(value.unsqueeze(0))
                continue
            for own, at in zip(value, places, strict=True):
                parts[site].append(torch.stack([own[:1].expand(share, -1), own[torch.from_numpy(at)]]))
    return {site: torch.cat(some, 1) for site, some in parts.items()}
