"""What a measurement asks of an explanation, asked once before anything is scored, of kinds from outside of assay.

What such a kind answers wrongly (see `Explanation`) would otherwise end a measurement whose runs are all made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from torch import Tensor

from assay.errors import PluginError, UserError, said
from assay.explanations.answers import Neighbours
from assay.explanations.base import Explanation, from_outside
from assay.explanations.floors import NGRAMS
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.output import Output, OwnTarget
from assay.intervene.plan import Plan
from assay.measure.settings import Settings
from assay.methods import module_parts
from assay.model.meter import OverBudgetError
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.promises import held
from assay.record.pieces import Pieces
from assay.task.rows import control_rows

Question = tuple[str, Callable[[], Any]]
Answer = TypeVar("Answer")


def rehearse(workbench: PlanContext, explanation: Explanation, settings: Settings) -> None:
    """Asks all that the settings want to know, what needs no run first.

    Raises:
        PluginError: at the first answer that is none, and where it fails.
    """
    if from_outside(type(explanation)):
        if explanation.removal and explanation.headline_floor not in NGRAMS:
            raise PluginError(
                f"the kind {explanation.kind!r} says what is lost without its parts (its 'removal' is true), so "
                f"its 'headline_floor' is one of {', '.join(map(repr, NGRAMS))}, not {explanation.headline_floor!r}"
            )
        for member, ask in questions(workbench, explanation, settings):
            answer(explanation, member, ask)


def answer(explanation: Explanation, member: str, ask: Callable[[], Answer]) -> Answer:
    """What an explanation answers.

    Raises:
        PluginError: where a kind from outside fails, with its name and the member's.
    """
    try:
        return ask()
    except (UserError, OverBudgetError):
        raise
    except Exception as problem:
        own = type(explanation)
        if not from_outside(own):
            raise
        who = f"{explanation.kind!r} ({own.__module__}:{own.__qualname__})"
        raise PluginError(f"{member!r} of the kind {who} fails on this claim: {said(problem)}") from problem


def questions(workbench: PlanContext, explanation: Explanation, settings: Settings) -> Iterator[Question]:
    """Members of an explanation, and what asks for each; runs are planned for few rows, and none of them is made.

    Where a kind looks at its parts itself (`uses`, `block`), it is given one row. `interchange` is not asked twice: it
    comes first of what is run (`workbench.py`).
    """
    model, ablation, asks = workbench.model, settings.ablation[0], settings.asks
    transformer = isinstance(model, Model)
    yield "check", explanation.check
    yield "sentence", lambda: explanation.sentence(model.name)
    yield "scope", lambda: explanation.scope(model)
    if asks("parts"):
        yield "alone", lambda: explanation.alone(model)
    if asks("bits"):
        yield (
            "claim_bits",
            lambda: explanation.claim_bits(model, 0 if transformer else module_parts.channels(workbench)),
        )
        if isinstance(model, Model):
            yield "unread", lambda: _listed(explanation.unread(model, ablation))
            yield "everything_bits", lambda: explanation.everything_bits(model)
    if asks("controls"):
        yield "named", lambda: explanation.named(model)
        yield "search", lambda: explanation.search(model)
        yield "searched_by", lambda: explanation.searched_by(model)
        yield "again", explanation.again
        yield "costly", lambda: explanation.costly(ablation)
        yield "assignment", lambda: explanation.assignment(model)
        yield "like", lambda: _alike(explanation, model)
    yield "plan", lambda: explanation.plan(workbench, ablation)
    if not explanation.removal:
        yield "floor", lambda: explanation.floor(workbench, ablation)
    yield "target", lambda: _target(workbench, explanation)
    yield "unedited", lambda: explanation.unedited(workbench, ablation)
    if asks("controls"):
        yield "neighbours", lambda: _first_of_each(workbench, explanation, ablation)
    if asks("bits") and transformer:
        yield "constants_bits", lambda: explanation.constants_bits(workbench, ablation)
    if asks("residual"):
        yield "values", lambda: explanation.values(workbench)
        yield "complement", lambda: explanation.complement(workbench, ablation)
        yield "restored", lambda: _first_restored(workbench, explanation, ablation)
    if asks("checks"):
        yield "coarser", lambda: explanation.coarser(workbench, ablation)
        if explanation.parts_matter:
            yield "presence", lambda: explanation.presence(workbench, ablation)
            yield "uses", lambda: explanation.uses(workbench, ablation, control_rows(workbench.task, 1))
    yield "unmatched", lambda: explanation.unmatched(workbench)
    if asks("own"):
        yield "block", lambda: _block(workbench, explanation, ablation)


def _target(workbench: PlanContext, explanation: Explanation) -> OwnTarget | None:
    """Its target, whose distribution is asked for on one row."""
    found = explanation.target(workbench)
    if found is not None and not isinstance(found.system, Plan):
        rows = control_rows(workbench.task, 1)
        who = f"'target' of the kind {explanation.kind!r}, asked for {len(rows)} rows of {workbench.task.name},"
        given = held(found.system(workbench.runner.inputs("scored", rows), rows), Tensor | Output, who)
        values = given.logits if isinstance(given, Output) else given
        if isinstance(workbench.model, Model):
            wanted = [len(rows), workbench.task.tokens.shape[1], workbench.model.config.vocab]
            if list(values.shape) != wanted:
                raise PluginError(f"{who} gives shape {list(values.shape)}; wanted: {wanted}")
        if bool(values.isnan().any()):
            raise PluginError(f"{who} gives log-probabilities that are not a number")
    return found


def _listed(found: Any) -> Any:
    return list(found) if isinstance(found, Iterator) else found


def _alike(explanation: Explanation, model: Model | ModuleModel) -> Explanation | None:
    assignment = explanation.assignment(model)
    return explanation.like(assignment) if assignment else None


def _block(workbench: PlanContext, explanation: Explanation, ablation: str) -> Pieces | None:
    found = explanation.block(workbench, ablation, control_rows(workbench.task, 1), lambda: None)
    if found is not None and found.block != explanation.kind:
        raise PluginError(f"'block' of the kind {explanation.kind!r} gives pieces under the name {found.block!r}")
    return found


def _first_of_each(workbench: PlanContext, explanation: Explanation, ablation: str) -> list[Neighbours]:
    """Groups of one neighbour each, whose runs are planned where that takes no fit."""
    groups = list(explanation.neighbours(workbench, ablation, 1))
    if not explanation.costly(ablation):
        for group in groups:
            group.plans(workbench)
    return groups


def _first_restored(workbench: PlanContext, explanation: Explanation, ablation: str) -> None:
    for site in explanation.restorable(workbench, ablation)[:1]:
        explanation.restored(workbench, ablation, site)
