"""What can be said about a claim file without loading anything: names, programs, files, and layers and heads where the
model's configuration lies on this disk."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from assay.errors import ClaimError, ModelError, TaskError, nearest
from assay.explanations.claims.data import check_data
from assay.explanations.claims.shapes import known_shape
from assay.explanations.floors import floor_models
from assay.model.folder import check_folder
from assay.planted import worlds
from assay.store import inputs
from assay.task.text_files import expand
from assay.zoo import index
from assay.zoo.spec import FAMILIES, NOVEL, SPLITS, text_of

if TYPE_CHECKING:
    from assay.explanations.claims.file import ClaimFile

_HUB = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")


def check_claim(claim: ClaimFile) -> None:
    """Raises `ClaimError`, one sentence with file and line, at the first thing that cannot be right."""
    where = claim.where("model")
    problem = model_problem(claim.model)
    if problem:
        raise ClaimError(where + problem)
    for name in floor_models(claim.floors):
        problem = floor_model_problem(claim.model, name) or (
            f"a {claim.kind} claim has no floor, so no model can be one" if claim.explanation.removal else None
        )
        if problem:
            raise ClaimError(claim.where("floors") + problem)
    claim.explanation.check(claim, known_shape(claim.model))
    _task(claim)
    check_data(claim)
    family = claim.family
    if family is not None and family not in FAMILIES and not inputs.is_file(family):
        tail = nearest(family, FAMILIES)
        raise ClaimError(f"{claim.where('family')}the family {family!r} is neither built in nor a file here{tail}")
    _expect(claim)


def model_problem(model: str) -> str | None:
    """One clause on a model's name that cannot be one, or None."""
    known = index.known()
    if model.startswith("zoo:"):
        name = model.removeprefix("zoo:")
        return None if name in known else f"unknown model {model!r}" + nearest(model, [f"zoo:{n}" for n in known])
    if worlds.is_world(model):
        return worlds.problem(model)
    if model in known:
        return f"unknown model {model!r}; did you mean 'zoo:{model}'?"
    if os.path.exists(place := str(inputs.place(model))):
        try:
            check_folder(place)
        except ModelError as problem:
            return str(problem)
        return None
    if _HUB.match(model) and not model.startswith("."):
        return None  # a name on the hub is known to exist only when it is loaded
    return f"the model {model!r} is neither a folder here, nor a zoo name such as 'zoo:novel-4l', nor a name on the hub"


def floor_model_problem(model: str, floor: str) -> str | None:
    """One clause on a model that cannot be a floor for another, as far as their names tell, or None."""
    problem = model_problem(floor)
    if problem:
        return f"as a floor: {problem}"
    if model == floor:
        return f"the model {floor!r} cannot be a floor for itself"
    families = [name.removeprefix("zoo:").partition("-")[0] for name in (model, floor) if name.startswith("zoo:")]
    if len(set(families)) > 1:
        return f"the floor {floor!r} has another tokenizer than {model!r}, so their predictions cannot be compared"
    return None


def _task(claim: ClaimFile) -> None:
    if claim.task.kind == "planted" and not worlds.is_world(claim.model):
        where = claim.where("task", "kind")
        raise ClaimError(
            f"{where}a task of kind 'planted' is of a model such as 'planted:induction', not {claim.model!r}"
        )
    for field, value in (("task", claim.task), ("reference", claim.reference)):
        if value is None:
            continue
        given = [n for n in ("split", "texts", "files") if getattr(value, n, None) is not None]
        if len(given) > 1:
            raise ClaimError(
                f"{claim.where(field, given[1])}{field!r} has both {given[0]!r} and {given[1]!r}; give one"
            )
        for i, text in enumerate(getattr(value, "texts", None) or []):
            if not text.strip():
                raise ClaimError(f"{claim.where(field, 'texts', i)}the text {text!r} is empty")
        column, files = getattr(value, "column", None), getattr(value, "files", None)
        if column is not None and (files is None or claim.task.kind != "text"):
            raise ClaimError(f"{claim.where(field, 'column')}'column' goes with 'files' of a task of kind 'text' alone")
        for entry in ("file", "files"):
            paths = getattr(value, entry, None) or []
            for i, path in enumerate([paths] if isinstance(paths, str) else paths):
                _files(claim.where(field, entry, i), path, several=claim.task.kind == "text")
        _split(claim, field, getattr(value, "split", None))
    _reference(claim)


def _expect(claim: ClaimFile) -> None:
    """Refuses an expectation of both figures, of none, or of the one that a claim of this kind has not."""
    if claim.expect is None:
        return
    given = [name for name in ("recovered", "costs") if getattr(claim.expect, name) is not None]
    has, what = ("costs", "nats a scored token") if claim.explanation.removal else ("recovered", "a share")
    if given != [has]:
        where = claim.where("expect", next((name for name in given if name != has), "by"))
        asked = " and ".join(map(repr, given)) or "nothing"
        raise ClaimError(f"{where}of a {claim.kind} claim {has!r} can be expected ({what}), not {asked}")


def _real(entry: str) -> set[str]:
    return {os.path.realpath(inputs.place(file)) for file in expand(entry)}


def _files(where: str, entry: str, several: bool) -> None:
    try:
        files = expand(entry) if several else [entry]
    except TaskError as problem:
        raise ClaimError(f"{where}{problem}") from None
    for file in files:
        if not inputs.read_head(file, f"{where}the file", ClaimError).strip() and file == entry:
            raise ClaimError(f"{where}the file {file!r} is empty")


def _split(claim: ClaimFile, field: str, split: str | None) -> None:
    if split is None:
        return
    where = claim.where(field, "split")
    valid = SPLITS[text_of(claim.model) or NOVEL]
    if split not in valid:
        raise ClaimError(f"{where}unknown split {split!r} of the text of {claim.model}" + nearest(split, valid))


def _reference(claim: ClaimFile) -> None:
    """Refuses a reference that is what is scored, by its name; the data itself is compared when it is opened."""
    task, reference = claim.task, claim.reference
    if reference is None:
        return
    if reference.split is not None and reference.split == getattr(task, "split", None) != "train":
        where = claim.where("reference", "split")
        raise ClaimError(
            f"{where}the reference overlaps what is scored: both are the split {reference.split!r}; "
            "the default reference is 'train'"
        )
    scored = getattr(task, "files", None) or [name for name in [getattr(task, "file", None)] if name is not None]
    known = set().union(*map(_real, scored)) if reference.files else set()
    for i, path in enumerate(reference.files or []):
        if _real(path) & known:
            raise ClaimError(
                f"{claim.where('reference', 'files', i)}the reference overlaps what is scored: {path!r} is in both; "
                "leave 'reference' out, and three tenths of the documents are held apart for it"
            )
