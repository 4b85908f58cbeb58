"""A claim file against a loaded model: its task is built, and its components must be the model's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from assay.errors import ClaimError, TaskError
from assay.planted.worlds import world
from assay.task.text_files import expand, read_texts

if TYPE_CHECKING:
    from assay.explanations.claims.file import ClaimFile
    from assay.task.task import Task


def build_task(claim: ClaimFile, model: Any, documents: int | None = None, seed: int = 0) -> Task:
    """The task that a claim file describes, on a loaded model. See `ClaimFile.build_task`."""
    from assay.task.task import Task

    fields, reference = claim.task, claim.reference
    options: dict[str, Any] = fields.model_dump(exclude={"kind", "file"}, exclude_none=True)
    if fields.kind == "text":
        try:
            if reference is not None and reference.files is not None:
                options["reference"] = read_texts(reference.files, reference.column)
            elif reference is not None:
                options["reference"] = reference.split or reference.texts
            return Task.text(model, **options, max_documents=documents, seed=seed)
        except TaskError as problem:
            raise TaskError(_placed(claim, str(problem))) from problem
    try:
        if fields.kind == "repeat":
            return Task.repeat(model, **options)
        if fields.kind == "planted":
            return world(claim.model).task(**options)
    except TaskError as problem:
        raise TaskError(claim.where("task") + str(problem)) from problem
    other = None if reference is None or reference.files is None else reference.files[0]  # `check_data`: just one
    if fields.kind == "prompts":
        return Task.prompts(model, fields.file, reference=other, **options)
    return Task.classify(model, fields.file, reference=other, **options)


def _placed(claim: ClaimFile, problem: str) -> str:
    """A message with the claim file's line: that of `texts[0]` or `reference[0]`, or of the entry of a file, that it
    names."""
    found = re.search(r"\b(texts|reference)\[(\d+)\]", problem)
    if found is not None:
        return claim.where("task" if found[1] == "texts" else "reference", "texts", int(found[2])) + problem
    for field in ("reference", "task"):
        for index, entry in enumerate(getattr(getattr(claim, field), "files", None) or ()):
            if any(file in problem for file in expand(entry)):
                return claim.where(field, "files", index) + problem
    return claim.where("task") + problem


def check_on_model(claim: ClaimFile, model: Any) -> None:
    """Raises `ClaimError`, with file and line, for what a loaded model does not have."""
    from assay.intervene.fill.ablations import NEEDS_STREAM
    from assay.model.transformer import Model

    for option in ("frozen_norm", "refit"):
        if getattr(claim, option) and not isinstance(model, Model):
            raise ClaimError(
                f"{claim.where(option)}the option {option!r} {NEEDS_STREAM}; {claim.model} is none, so leave it out"
            )
    claim.explanation.check_model(claim, model)
