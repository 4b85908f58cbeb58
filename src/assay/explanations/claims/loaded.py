"""A claim file against a loaded model: its task is built, and its components must be the model's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from assay.errors import ClaimError, TaskError
from assay.planted.worlds import world
from assay.task.text_files import read_documents

if TYPE_CHECKING:
    from assay.explanations.claims.file import ClaimFile, ReferenceFields, TextTask
    from assay.task.task import Task


def _texts(fields: TextTask | ReferenceFields, claim: ClaimFile, field: str) -> list[str] | None:
    if fields.texts is not None:
        return list(fields.texts)
    if fields.files is None:
        return None
    return read_documents(fields.files, lambda i: claim.where(field, "files", i))


def build_task(claim: ClaimFile, model: Any, documents: int | None = None, seed: int = 0) -> Task:
    """The task that a claim file describes, on a loaded model. See `ClaimFile.build_task`."""
    from assay.task.arrays import read_arrays
    from assay.task.task import Task

    fields, reference = claim.task, claim.reference
    options: dict[str, Any] = fields.model_dump(exclude={"kind", "files", "file"}, exclude_none=True)
    if fields.kind == "text":
        texts = _texts(fields, claim, "task")
        if texts is not None:
            options["texts"] = texts
        if reference is not None:
            held = _texts(reference, claim, "reference")
            options["reference"] = held if reference.split is None else reference.split
        try:
            return Task.text(model, **options, max_documents=documents, seed=seed)
        except TaskError as problem:
            raise TaskError(_placed(claim, str(problem))) from problem
    if fields.kind == "repeat":
        return Task.repeat(model, **options)
    if fields.kind == "planted":
        return world(claim.model).task(**options)
    other = None if reference is None or reference.files is None else reference.files[0]  # `check_data`: just one
    if fields.kind == "prompts":
        return Task.prompts(model, fields.file, reference=other, **options)
    arrays = read_arrays(fields.file, ("inputs", "labels"), ("groups",))
    if other is not None:
        held = read_arrays(other, ("inputs", "labels"))
        options["reference"] = (held["inputs"], held["labels"])
    groups = arrays.get("groups")
    if groups is not None and groups.ndim != 1:
        where = claim.where("task", "file")
        raise TaskError(f"{where}the array 'groups' must have one entry for each example, not shape {groups.shape}")
    return Task.classify(
        model, arrays["inputs"], arrays["labels"], groups=None if groups is None else groups.tolist(), **options
    )


def _placed(claim: ClaimFile, problem: str) -> str:
    """A message about `texts[0]` or `reference[0]`, with the claim file's line and the text file's name instead."""
    found = re.search(r"\b(texts|reference)\[(\d+)\]", problem)
    if found is None:
        return claim.where("task") + problem

    def name(match: re.Match[str]) -> str:
        fields: Any = claim.task if match[1] == "texts" else claim.reference
        return match[0] if fields is None or fields.files is None else f"the file {fields.files[int(match[2])]!r}"

    field = "task" if found[1] == "texts" else "reference"
    fields: Any = claim.task if field == "task" else claim.reference
    entry = "texts" if fields.texts is not None else "files"
    return claim.where(field, entry, int(found[2])) + re.sub(r"\b(texts|reference)\[(\d+)\]", name, problem)


def check_on_model(claim: ClaimFile, model: Any) -> None:
    """Raises `ClaimError`, with file and line, for what a loaded model does not have."""
    from assay.intervene.ablations import NEEDS_STREAM
    from assay.model.transformer import Model

    for option in ("frozen_norm", "refit"):
        if getattr(claim, option) and not isinstance(model, Model):
            raise ClaimError(
                f"{claim.where(option)}the option {option!r} {NEEDS_STREAM}; {claim.model} is none, so leave it out"
            )
    claim.explanation.check_model(claim, model)
