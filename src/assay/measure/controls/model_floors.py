"""Floors that are other models: "x % of the difference between this model and that one", where both run on the task."""

from __future__ import annotations

from collections.abc import Sequence

from assay.errors import ClaimError, TaskError, UserError
from assay.explanations.base import Explanation
from assay.explanations.claims.checks import floor_model_problem
from assay.explanations.floors import floor_models as named_models
from assay.measure.controls.rivals import WEIGHT_BITS, Rival, model_distribution
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.planted.load import load
from assay.task.task import Task


def check_names(explanation: Explanation, model: object, floors: Sequence[str] | None) -> None:
    """What names alone tell, before anything is loaded.

    Raises:
        ClaimError: for a model that cannot be a floor for this claim.
    """
    for name in named_models(floors):
        if explanation.removal:
            raise ClaimError(f"a {explanation.kind} claim has no floor, so the model {name!r} cannot be one")
        own = model if isinstance(model, str) else str(getattr(model, "name", ""))
        problem = floor_model_problem(own, name)
        if problem:
            raise ClaimError(problem)


def floor_models(
    model: Model | ModuleModel, task: Task, floors: Sequence[str] | None
) -> dict[str, Model | ModuleModel]:
    """The models that are floors, opened.

    Raises:
        UserError: in one sentence, for one that cannot be opened or does not run on the same tokens.
    """
    out = {}
    for name in named_models(floors):
        try:
            other = load(name, device=model.device)
        except UserError as problem:
            raise type(problem)(f"the floor {name!r} cannot be opened: {problem}") from problem
        _check(model, other, name, task)
        out[name] = other
    return out


def _check(model: Model | ModuleModel, other: Model | ModuleModel, name: str, task: Task) -> None:
    if not isinstance(model, Model) or not isinstance(other, Model):
        which = model.name if not isinstance(model, Model) else name
        raise ClaimError(f"the floor {name!r} is a model that predicts tokens beside another, and {which} is none")
    if model.config.vocab != other.config.vocab:
        sizes = f"{other.config.vocab:,} and {model.config.vocab:,} tokens"
        raise ClaimError(f"the floor {name!r} has another vocabulary than {model.name} ({sizes})")
    vocabularies = [None if m.tokenizer is None else m.tokenizer.get_vocab() for m in (model, other)]
    if None not in vocabularies and vocabularies[0] != vocabularies[1]:
        raise ClaimError(
            f"the floor {name!r} has another tokenizer than {model.name}, so their predictions cannot be compared"
        )
    length = task.tokens.shape[1]
    if other.config.context is not None and other.config.context < length:
        raise TaskError(
            f"the floor {name!r} reads {other.config.context} tokens at most, and the task's rows have {length}; "
            "make the task with a shorter context"
        )


def as_rivals(
    models: dict[str, Model | ModuleModel], rivals: Sequence[Rival], beside: Model | ModuleModel
) -> list[Rival]:
    """The models as rivals, but for those that are there."""
    there = {rival.name for rival in rivals}
    out = []
    for name, model in models.items():
        if name not in there:
            assert isinstance(model, Model)
            assert isinstance(beside, Model)
            what = f"the model that is named as a floor: {model.config.layers} layers, {model.parameters:,} parameters"
            out.append(Rival(name, what, model_distribution(model, beside), float(model.parameters * WEIGHT_BITS)))
    return out
