"""A claim file against a loaded model: its task is built, and its components must be the model's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.errors import ClaimError, ComponentError, TaskError, nearest

if TYPE_CHECKING:
    from assay.explanations.claim import ClaimFile, ReferenceFields, TextTask
    from assay.task.task import Task


def _texts(fields: TextTask | ReferenceFields) -> list[str] | None:
    if fields.texts is not None:
        return list(fields.texts)
    if fields.files is None:
        return None
    texts = []
    for file in fields.files:
        try:
            texts.append(Path(file).read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError) as problem:
            raise TaskError(f"the file {file!r} cannot be read as UTF-8 text: {problem}") from problem
    return texts


def build_task(claim: ClaimFile, model: Any, documents: int | None = None, seed: int = 0) -> Task:
    """The task that a claim file describes, on a loaded model. See `ClaimFile.build_task`."""
    from assay.task.task import Task

    fields, reference = claim.task, claim.reference
    options: dict[str, Any] = fields.model_dump(exclude={"kind", "files", "file"}, exclude_none=True)
    if fields.kind == "text":
        texts = _texts(fields)
        if texts is not None:
            options["texts"] = texts
        if reference is not None:
            options["reference"] = _texts(reference) if reference.split is None else reference.split
        return Task.text(model, **options, max_documents=documents, seed=seed)
    if fields.kind == "repeat":
        if reference is not None:
            raise TaskError(f"{claim.where('reference')}a task of kind 'repeat' makes its own reference; leave it out")
        return Task.repeat(model, **options)
    other = None
    if reference is not None:
        if reference.files is None or len(reference.files) != 1:
            raise TaskError(f"{claim.where('reference')}a task of kind {fields.kind!r} takes one file as 'reference'")
        other = reference.files[0]
    if fields.kind == "prompts":
        return Task.prompts(model, fields.file, reference=other, **options)
    arrays = _arrays(fields.file)
    if other is not None:
        held = _arrays(other)
        options["reference"] = (held["inputs"], held["labels"])
    groups = arrays.get("groups")
    return Task.classify(
        model, arrays["inputs"], arrays["labels"], groups=None if groups is None else groups.tolist(), **options
    )


def _arrays(file: str) -> dict[str, Any]:
    """The arrays of an .npz file; nothing in the file can run."""
    import numpy as np

    try:
        with np.load(file, allow_pickle=False) as arrays:
            for name in ("inputs", "labels"):
                if name not in arrays.files:
                    raise TaskError(f"the file {file!r} has no array {name!r}" + nearest(name, arrays.files))
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, AttributeError, TypeError) as problem:  # a lone .npy has no `files`
        raise TaskError(f"the file {file!r} cannot be read as an .npz file of plain arrays: {problem}") from problem


def check_components(claim: ClaimFile, model: Any) -> None:
    """Raises `ClaimError`, with file and line, for a component that a loaded model does not have."""
    from assay.intervene.components import check
    from assay.model.transformer import Model

    listed = isinstance(claim.explanation.components, list)
    for index, name in enumerate(claim.scope):
        where = claim.where("explanation", "components", index if listed else name)
        if isinstance(model, Model):
            try:
                check(name, model)
            except ComponentError as problem:
                raise ClaimError(f"{where}{problem}") from problem
        elif name.partition("@")[0].partition("[")[0] not in model.components:
            raise ClaimError(f"{where}{name!r} is not a submodule of {claim.model}" + nearest(name, model.components))
