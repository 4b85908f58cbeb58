"""The yardsticks beside the headline: compute, length, residual, checks, and what the tokens say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from assay.errors import UserError
from assay.explanations.answers import Uses
from assay.explanations.base import Undefined
from assay.intervene.components import complement as everything_but
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.plan import Plan
from assay.measure.checks.checks import run_checks, unknown_checks
from assay.measure.checks.evidence import Evidence, self_match
from assay.measure.checks.knockouts import knockouts
from assay.measure.checks.merges import merges
from assay.measure.checks.off_manifold import OffManifold, off_manifold
from assay.measure.compute.compute import LossSums, compute
from assay.measure.compute.family import LEAST, Endpoint, load_endpoints, load_family
from assay.measure.context import Context
from assay.measure.controls.controls import no_controls
from assay.measure.controls.rivals import Rival, ngram_halves, smaller_members
from assay.measure.headline.agreement import hard_tokens
from assay.measure.headline.parts import sums
from assay.measure.headline.strength import ROLE
from assay.measure.headline.systems import Systems
from assay.measure.headline.table import OTHER_FLOORS
from assay.measure.length.length import claim_alone, length
from assay.measure.settings import NOT_ASKED, Settings
from assay.measure.tokens import residual
from assay.measure.tokens.residual_signal import complement, residual_signal
from assay.measure.tokens.worst import Worst, worst
from assay.methods import module_parts
from assay.model.transformer import Model
from assay.record.about import STOPPED, Check
from assay.record.compute import Compute, Length
from assay.record.controls import Controls, Nearest
from assay.record.headline import Agreement, RunScores
from assay.record.pieces import Pieces
from assay.record.residual import Residual, RestoredPart, Signal
from assay.report.terminal import staged
from assay.report.terminal.progress import Progress
from assay.score.ids import BIGRAM, COMPLEMENT, NOOP, SystemId, rival
from assay.score.scores import Scored
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate
from assay.task.found_on import shared_with
from assay.task.rows import control_rows
from assay.task.task import Task
from assay.zoo import index
from assay.zoo.recipes import RECIPES
from assay.zoo.spec import FAMILIES, NOVEL

LENGTH_ROWS = 24
TRIAL_ROWS = 16  # on which a kind's own block leaves parts out


@dataclass(frozen=True, eq=False)
class Yardsticks:
    """What stands beside the headline; blocks are as in the record. `own`: what only the claim's kind says."""

    controls: Controls
    compute: Compute
    length: Length
    agreement: Agreement
    residual: Residual
    checks: list[Check]
    own: Pieces | None


def none_yet(context: Context, around: Agreement) -> Yardsticks:
    """What stands beside the headline before any of it is measured: the agreement, and reasons."""

    def why(block: str) -> str:
        return STOPPED if context.job.settings.asks(block) else NOT_ASKED

    long = why("bits")
    return Yardsticks(
        controls=no_controls(context.controlled, why("controls")),
        compute=Compute.undefined(why("compute"), n=int(context.used.sum())),
        length=claim_alone(Undefined(long), long),
        agreement=around,
        residual=Residual.undefined(why("residual")),
        checks=unknown_checks(why("checks")),
        own=None,
    )


def with_hard_tokens(context: Context, around: Agreement) -> Agreement:
    """The agreement with that on hard tokens, once the rivals are scored."""
    small = _smaller(context) if context.job.settings.asks("rivals") else {}
    if not small or context.floor is None:
        return around
    hard = hard_tokens(
        context.scored, context.resamples, explained=context.explained, floor=context.floor, smaller=small
    )
    return around.model_copy(update={"hard_tokens": hard})


def measure_yardsticks(
    context: Context,
    found: Yardsticks,
    say: Progress,
    told: Callable[[str], None],
    done: Callable[[Context, str, Yardsticks], None],
) -> Yardsticks:
    """Runs every yardstick that applies to the claim.

    Args:
        found: what stands already; done: called with the stage (of `STAGES`) and what stands after it.
        told: as in `measured`.
    """
    scored, asks, run, before = context.scored, context.job.settings.asks, context.budget.run, context.before
    say("checks", 0, None)
    near = found.controls.nearest
    if near is None and before is not None:
        near = before.record.controls.nearest
    if asks("checks"):
        found = replace(found, checks=_checks(context, near))
    done(context, "checks", found)
    told(staged.checks(found.checks))
    say("residual", 0, None)
    apart = cache(lambda: complement(context.workbench, context.explanation, scored, context.ablation))
    if asks("residual"):
        found = replace(found, residual=_residual(context, apart))
    done(context, "residual", found)
    if found.residual.slices:
        told(staged.residual(found.residual))
    found = replace(found, own=run("own", asks("own"), lambda: _own(context, apart), lambda _: None))
    done(context, "own", found)
    say("length in bits", 0, None)
    long = run("bits", asks("bits"), lambda: _length(context), lambda reason: claim_alone(Undefined(reason), reason))
    found = replace(found, length=long)
    done(context, "bits", found)
    if long.reason != NOT_ASKED:
        told(staged.length(long))
    if asks("compute"):
        found = replace(found, compute=compute_block(context))
    if found.compute.share_explained.defined:
        told(staged.compute(found.compute))
    return found


def _smaller(context: Context) -> dict[str, np.ndarray]:
    """Losses of smaller members of the model's family on the scored tokens; where there are none, of n-grams that were
    fitted on one half of the reference each, so that the one that selects tokens is not the one compared with."""
    model, task, scored = context.workbench.model, context.workbench.task, context.scored
    if not isinstance(model, Model) or task.metric.name != "loss":
        return {}
    members = [name for name in smaller_members(model) if rival(name) in scored.systems]
    if members:
        return {name: scored[rival(name)].table.loss for name in members}
    return {
        f"an n-gram of {half} half of the reference": -ngram.log_prob(task.tokens)[scored.row, scored.position]
        for half, ngram in zip(("one", "the other"), ngram_halves(context.workbench), strict=False)
    }


def _residual(context: Context, apart: Callable[[], Scored[SystemId] | None]) -> Residual:
    """The record's block; `apart`: the run of what was not kept, where something is."""
    workbench, explanation, scored, resamples = (
        context.workbench,
        context.explanation,
        context.scored,
        context.resamples,
    )
    explained, floor, task = context.explained, context.floor, context.workbench.task
    over = context.plans.floors.get(context.ablation)
    parted = residual.partitions(scored, task)
    found = residual.slices(scored, task, resamples, explained=explained, parted=parted)
    own, below = context.own
    runs = {"model": None, "explained": own} | ({"floor": below} if below else {})

    def examples_of(runs: Mapping[str, Plan | None]) -> Worst:
        return worst(workbench, scored, explained=explained, floor=floor, runs=runs, parted=parted)

    def restored() -> list[RestoredPart]:
        given = {"ablation": context.ablation, "explained": explained, "plan": own}
        return residual.parts(workbench, explanation, scored, resamples, **given)

    def signal() -> Signal:
        return residual_signal(workbench, explanation, scored, resamples, floor=over, rest=apart())

    def unrestored(reason: str) -> list[RestoredPart]:
        return [RestoredPart(part="each", closes=Estimate.undefined(reason))]

    run = context.budget.run
    examples = run("worst examples", True, lambda: examples_of(runs), lambda _: examples_of({}))
    return Residual(
        slices={by: tuple(rows) for by, rows in found.items()},
        worst=examples.rows,
        worst_of_slices=examples.of_slices,
        parts=tuple(run("restored parts", True, restored, unrestored)),
        signal=run("residual signal", True, signal, Signal.undefined),
    )


def _own(context: Context, apart: Callable[[], Scored[SystemId] | None]) -> Pieces | None:
    """What only the claim's kind says."""

    def sides() -> tuple[RunScores, RunScores] | None:
        rest, over = apart(), context.plans.floors.get(context.ablation)
        if rest is None or over is None:
            return None
        both = context.scored.with_systems(rest)
        kept = _run_figures(both, context.resamples, context.explained, over)
        return kept, _run_figures(both, context.resamples, COMPLEMENT, over)

    rows = control_rows(context.workbench.task, TRIAL_ROWS)
    return context.explanation.block(context.workbench, context.ablation, rows, sides)


def _checks(context: Context, near: Nearest | None) -> list[Check]:
    workbench, explanation, scored, resamples = (
        context.workbench,
        context.explanation,
        context.scored,
        context.resamples,
    )
    ablation, explained, numbers = context.ablation, context.explained, context.numbers
    model, task, settings = workbench.model, workbench.task, context.job.settings
    over, found = context.plans.floors.get(ablation), context.job.found
    run = context.budget.run

    def knocked() -> Uses | None:
        return knockouts(workbench, explanation, ablation=ablation)

    def merged() -> dict[str, Estimate]:
        return merges(workbench, explanation, scored, resamples, explained=explained, floor=over, ablation=ablation)

    def apart() -> dict[str, OffManifold]:
        return _off_manifold(context)

    ablated = everything_but([], model) if explanation.floor_takes == "everything" else explanation.scope(model)
    evidence = Evidence(
        ablation=ablation,
        removal=explanation.removal,
        floor_takes=explanation.floor_takes,
        parts_matter=explanation.parts_matter,
        recovered={a: row.necessity or row.recovered for a, row in numbers.own.items()},
        recovered_loss={a: row.recovered_loss for a, row in numbers.own.items() if row.necessity is None},
        gap=numbers.row.nats or numbers.row.gap,  # of the run in which the scope is ablated
        scored=scored,
        resamples=resamples,
        equal=_equal(task, scored),
        scope=explained if explanation.removal else context.floor,
        noise=numbers.noise_loss,
        nearest=near,
        self_match=self_match(workbench, settings.ablation, settings.draws, ablated),
        matched_alone=explanation.matched_alone(workbench),
        swapped=context.interchange,
        ngram_tokens=_ngram_tokens(model.config.vocab, context.rivals) if isinstance(model, Model) else None,
        found_on=settings.found_on,
        overlap=None if found is None else shared_with(task, found),
        tried=None,
        knockouts=run("knock-outs", True, knocked, lambda reason: Uses((), 0.0, reason)),
        merges=run("merges", True, merged, lambda reason: {"each": Estimate.undefined(reason)}),
        off_manifold=run("off-manifold", True, apart, lambda reason: {"each": OffManifold(None, reason=reason)}),
    )
    return run_checks(evidence)


def _run_figures(scored: Scored[SystemId], resamples: Resamples, run: SystemId, floor: SystemId) -> RunScores:
    used = scored.count > 0
    count, its = scored.count[used], scored[run]
    return RunScores(
        kl=resamples.mean(its.kl[used], count, least=0.0),
        loss=resamples.mean(its.loss[used], count),
        recovered=resamples.recovered(its.kl[used], scored[floor].kl[used]),
        nats=resamples.difference(its.loss[used], scored.model.loss[used], count),
    )


def _length(context: Context) -> Length:
    workbench, explanation, model = context.workbench, context.explanation, context.workbench.model
    claim = explanation.claim_bits(model, 0 if isinstance(model, Model) else module_parts.channels(workbench))
    if isinstance(claim, Undefined):
        return claim_alone(claim, f"the claim's own length is undefined: {claim.reason}")
    if not isinstance(model, Model):
        return claim_alone(claim, "which of a module's weights a run still reads is known for transformers only")
    if explanation.removal:
        return claim_alone(
            claim, f"a {explanation.kind} claim says what is lost, and puts nothing in the model's place"
        )
    unread = explanation.unread(model, context.ablation)
    if isinstance(unread, Undefined):
        return claim_alone(claim, unread.reason)
    others = {r.name: (r.system, r.bits) for r in context.rivals if r.bits is not None and callable(r.system)}
    rows, seed = control_rows(workbench.task, LENGTH_ROWS), context.job.settings.seed
    return length(workbench, explanation, context.ablation, claim, context.own[0], rows=rows, others=others, seed=seed)


def _equal(task: Task, scored: Scored[SystemId]) -> int:
    """How many scored documents have the tokens of another one before them."""
    hashes = [task.documents[i].hash for i in np.flatnonzero(scored.count > 0)]
    return len(hashes) - len(set(hashes))


def _ngram_tokens(vocab: int, rivals: Sequence[Rival]) -> float | None:
    """Tokens a vocabulary entry that the n-gram floors were fitted on; None where there are none."""
    fitted = [one.tokens for one in rivals if one.id == BIGRAM and one.tokens is not None]
    return fitted[0] / vocab if fitted else None


def _off_manifold(context: Context) -> dict[str, OffManifold]:
    """By ablation; a run that has none, a program's or a constant's, is "explained"."""
    plans = context.plans
    once = context.explanation.once
    named = {str(one) if once else ablation: one for ablation, one in plans.explained.items()}
    return {name: off_manifold(context.workbench, plans.plans[one][0]) for name, one in named.items()}


def compute_block(context: Context) -> Compute:
    """The compute block, with each component's own figures, on the zoo's own family or on a family file."""
    workbench, scored, plans, settings = context.workbench, context.scored, context.plans, context.job.settings
    used, resamples, floor, explained = context.used, context.resamples, context.floor, context.explained
    n = int(used.sum())
    if workbench.task.metric.name != "loss":
        return Compute.undefined(
            f"the family's losses are in nats, and the task's metric is {workbench.task.metric.name!r}", n=n
        )
    try:
        name, endpoints = family_of(workbench, settings)
    except UserError as problem:
        if settings.family is not None:
            raise
        return Compute.undefined(str(problem), n=n)
    if floor is None:
        return Compute.undefined("the claim has no floor on this task", n=n)
    names = [document.name for document in workbench.task.documents]
    stored = used & np.array([all(name in endpoint.documents for endpoint in endpoints) for name in names])
    partly = 2 * stored.sum() >= n and int(stored.sum()) < n  # with fewer the reason why there is no figure is given
    if partly:
        used = stored
        resamples = workbench.task.resamples(np.flatnonzero(used), settings.seed, scored.count[used])
    inside = stored[scored.count > 0] if partly else np.ones(n, dtype=bool)
    loss = LossSums(
        documents=[names[i] for i in np.flatnonzero(used)],
        counts=scored.count[used],
        model=scored.model.loss[used],
        explained=scored[explained].loss[used],
        floor=scored[floor].loss[used],
        parts={part: (own[inside], lost[inside]) for part, (own, lost) in sums(plans.parts, scored, floor).items()},
        others={one: scored[one].loss[used] for one in _placed(scored, plans)}
        | {SystemId(ROLE, name): scored[one].loss[used] for name, one in context.strength.systems.items()},
        floors={
            one: scored[one].loss[used]
            for one in dict.fromkeys((floor, *map(rival, OTHER_FLOORS)))
            if one in scored.systems
        },
    )
    found = compute(name, endpoints, loss, resamples, seed=settings.seed)
    if not partly:
        return found
    where = f"on the {used.sum()} of {n} documents whose losses the family has"
    return found.model_copy(update={"text": f"{found.text} ({where})", "documents": where})


def _placed(scored: Scored[SystemId], plans: Systems) -> list[SystemId]:
    """Systems whose place on the curve is shown: floors, rivals and smaller members."""
    skipped = {NOOP, *plans.explained.values(), *plans.parts.ids}
    return [one for one in scored.systems if one not in skipped]


def family_of(workbench: PlanContext, settings: Settings) -> tuple[str, list[Endpoint]]:
    """The family that a model belongs to, or that the settings name, and its endpoints."""
    if settings.family not in (None, *FAMILIES):
        assert settings.family is not None
        return load_family(settings.family)
    own = workbench.model.name.removeprefix(index.PREFIX)
    if settings.family is None and own not in RECIPES:
        raise UserError(f"no family of models trained alike is known for {workbench.model.name}")
    members = [one for one in index.entries() if one.name in RECIPES and RECIPES[one.name].scaling]
    if len(members) < LEAST:
        raise UserError(f"the family {NOVEL!r} has {len(members)} of the {LEAST} trained members that a curve needs")
    out: list[Endpoint] = []
    for member in members:
        out += load_endpoints(member.folder, member.name, member.parameters, ("test", "unseen"))
    return NOVEL, out


__all__ = ["Yardsticks", "measure_yardsticks"]
