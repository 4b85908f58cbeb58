"""Does each part of a claim matter? Left out, alone, with everything downstream frozen, under knock-outs of others.

A part that can be left out of the claim unnoticed is redundant when it matters somewhere else, frivolous when nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import numpy as np
from jaxtyping import Int

from assay.explanations.answers import KNOCKED, MOST_USES, Presence, Use, Uses
from assay.explanations.base import Explanation
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.residue import CleanRun
from assay.intervene.plan import Edit, Plan
from assay.measure.budget import within
from assay.model.transformer import Model
from assay.names import Site, parse_site
from assay.score.score import score
from assay.stats.keyed import generator
from assay.task.rows import control_rows

ROWS = 24
OWN_ROWS = 8  # for a kind that looks at its own parts


def knockouts(
    workbench: PlanContext,
    explanation: Explanation,
    *,
    ablation: str,
    rows: Int[np.ndarray, "rows"] | None = None,
    contexts: int = 3,
) -> Uses | None:
    """Runs every part of a claim with and without it.

    A part is *there* as the claim has it (its program; its own value) and *not there* when ablated. The rest is as the
    claim has it (`Presence`).

    Args:
        rows: scored rows to run on; by default 24, one a document as far as possible.
        contexts: random knock-outs, each of a quarter of the other components (where the claim takes those away: of the
            other parts of the claim); both by the ablation and by zero.

    Returns:
        None for claims whose parts are not said to matter (constants).
    """
    if not explanation.parts_matter:
        return None
    own = explanation.uses(workbench, ablation, control_rows(workbench.task, OWN_ROWS) if rows is None else rows)
    if own is not None:
        return own
    if not isinstance(workbench.model, Model):
        return Uses((), 0.0, "parts are knocked out, downstream frozen, in transformers only")
    parts = explanation.scope(workbench.model)
    if len(parts) > MOST_USES:
        return Uses((), 0.0, f"{len(parts)} parts; at most {MOST_USES} are knocked out one by one")
    if not parts:
        return Uses((), 0.0, "the claim has no parts")
    presence = explanation.presence(workbench, ablation)
    if presence is None:
        return None
    return Trial(workbench, presence, parts, ablation).run(_some_rows(workbench) if rows is None else rows, contexts)


class Trial:
    """Leaves parts out and adds them, one at a time: alone, with what is downstream frozen, and under knock-outs."""

    def __init__(self, workbench: PlanContext, presence: Presence, parts: list[Site], ablation: str):
        assert isinstance(workbench.model, Model)
        # a refit would hide that a part is missing
        self.workbench, self.model, self.parts, self.ablation = (
            workbench.without_refit(),
            workbench.model,
            parts,
            ablation,
        )
        self.inside, self.present, self.base = presence.inside, presence.there, presence.around
        self.absent = {e.site: e for e in workbench.ablate(parts, ablation)}
        self.whole = [s for s in map(parse_site, workbench.model.components) if s.kind in ("head", "mlp")]
        first = min(part.layer or 0 for part in parts)
        self.clean = CleanRun(workbench, [site for site in self.whole if (site.layer or 0) >= first])
        self.plans: dict[tuple[frozenset[Site], int], tuple[tuple[Edit, ...], Plan]] = {}

    def run(self, rows: Int[np.ndarray, "rows"], contexts: int) -> Uses:
        everything, nothing = set(self.parts), set[Site]()
        pairs: dict[tuple[str, str], list[tuple[Plan, Plan]]] = {}
        scale = (self.plan(everything), self.plan(nothing))
        self.workbench.foresee(
            [s for part in self.parts for i in range(contexts) for s in self.knocked(part, i)], self.ablation
        )
        for part in self.parts:
            name, rest = str(part), everything - {part}
            pairs[name, "left out"] = [(scale[0], self.plan(rest))]
            pairs[name, "alone"] = [(self.plan({part}), scale[1])]
            frozen = self.frozen(part)
            pairs[name, "downstream frozen"] = [
                (self.plan(everything, frozen), self.plan(rest, frozen)),
                (self.plan({part}, frozen), self.plan(nothing, frozen)),
            ]
            # a backup may wake only where what it backs up is silent, which a mean or another example is not
            for index, fill in product(range(contexts), dict.fromkeys((self.ablation, "zero"))):
                knocked = self.knocked(part, index)
                edits = self.workbench.ablate(knocked, fill)
                context = f"under knock-out {index + 1} ({fill})"
                if self.inside:
                    there = everything - set(knocked)
                    pairs[name, context] = [(self.plan(there, edits), self.plan(there - {part}, edits))]
                else:
                    pairs[name, context] = [
                        (self.plan(everything, edits), self.plan(rest, edits)),
                        (self.plan({part}, edits), self.plan(nothing, edits)),
                    ]
        flat = [scale, *(pair for several in pairs.values() for pair in several)]
        rows = within(self.workbench, rows, [plan for pair in flat for plan in pair])
        values = iter(divergences(self.workbench, flat, rows))
        total = next(values)
        worst = {key: max(next(values) for _ in several) for key, several in pairs.items()}
        uses = []
        for part in map(str, self.parts):
            own = {context: value for (name, context), value in worst.items() if name == part}
            uses.append(Use(part, own.pop("left out"), own))
        return Uses(tuple(uses), total, ablation=self.ablation)

    def plan(self, there: Iterable[Site], extra: tuple[Edit, ...] = ()) -> Plan:
        """The run with these parts there and the others ablated; `extra` edits win over the claim's. One for each
        question: of a claim of one part, most pairs are the same two runs."""
        there = frozenset(there)
        known = self.plans.get((there, id(extra)))  # the tuple is kept, and so is its id
        if known is not None:
            return known[1]
        edits = [self.present.get(p) if p in there else self.absent[p] for p in self.parts]
        replaced = {edit.site for edit in extra}
        layers = {s.layer for s in replaced if s.kind == "mlp"}

        def over(edit: Edit) -> bool:
            return edit.site.at(None) in replaced or (edit.site.kind == "neuron" and edit.site.layer in layers)

        plan = self.workbench.plan((*(e for e in (*self.base, *edits) if e is not None and not over(e)), *extra))
        self.plans[there, id(extra)] = extra, plan
        return plan

    def frozen(self, part: Site) -> tuple[Edit, ...]:
        """Everything that could read the part takes its value of the clean run: what is left is the direct effect."""
        layer = part.layer or 0

        def reads(s: Site) -> bool:
            """Whether a part of the same layer does."""
            return part.kind == "stream" or (s.kind == "mlp" and part.kind == "head" and not self.model.config.parallel)

        after = [s for s in self.whole if (s.layer or 0) > layer or (s.layer == layer and reads(s))]
        return tuple(Edit(site, self.clean.source(site)) for site in after)

    def knocked(self, part: Site, index: int) -> list[Site]:
        """A quarter of the other components, at least one, and at each index another quarter of the same random order;
        the same for all parts where they can be."""
        claimed = {p.at(None) for p in self.parts}
        if self.inside:
            others = [p for p in self.parts if p != part]
        else:
            layers = {p.layer for p in claimed if p.kind == "neuron"}
            others = [s for s in self.whole if s not in claimed and not (s.kind == "mlp" and s.layer in layers)]
        if not others:
            return []
        chance = generator(self.workbench.seed, "knock-out")
        order = {site: chance.random() for site in (self.parts if self.inside else others)}
        ordered, size = sorted(others, key=lambda s: order[s]), max(1, round(KNOCKED * len(others)))
        return [ordered[(index * size + i) % len(ordered)] for i in range(size)]


def divergences(workbench: PlanContext, pairs: list[tuple[Plan, Plan]], rows: Int[np.ndarray, "rows"]) -> list[float]:
    """KL(first || second) of each pair of runs, nats per scored token."""
    systems = {index: second for index, (_, second) in enumerate(pairs)}
    found = score(workbench, systems, rows=rows, targets={index: first for index, (first, _) in enumerate(pairs)})
    return [found.mean_kl(index) for index in systems]


def _some_rows(workbench: PlanContext) -> Int[np.ndarray, "rows"]:
    """Rows of as many documents as possible."""
    document = np.asarray(workbench.task.document)
    order = generator(workbench.seed, "knock-out rows").permutation(len(document))
    _, first = np.unique(document[order], return_index=True)
    chosen = order[np.sort(first)][:ROWS]
    if len(chosen) < ROWS:
        rest = order[~np.isin(order, chosen)]
        chosen = np.concatenate([chosen, rest[: ROWS - len(chosen)]])
    return np.sort(chosen)
