"""Explanations as claim files: what is written is read and checked before it is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from assay.errors import ClaimError
from assay.explanations.claims.file import as_yaml, claim_of
from assay.explanations.claims.sentences import validated
from assay.explanations.claims.source import LARGEST, parse
from assay.explanations.kinds import block, kinds

if TYPE_CHECKING:
    from assay.explanations.base import Explanation

NAME = "the claim"  # in messages


def written(explanation: Explanation, model: Any, task: Any, more: Mapping[str, Any]) -> str:
    """See `Explanation.to_yaml`."""
    kind, loaded = explanation.kind, None if isinstance(model, str) or not hasattr(model, "components") else model
    if kind not in kinds():
        raise ClaimError(f"no claim file can hold the kind {kind!r}: it is not registered as a plug-in (assay.kinds)")
    fields = {"kind": kind, **explanation.fields(loaded)}
    if task is None:
        if more:
            raise ClaimError(
                f"a claim file with {next(iter(more))!r} names a model and a task: to_yaml(model, task, ...)"
            )
        text = as_yaml({"explanation": fields})
        source = parse(text, NAME)
        validated(block(kind), source, ("explanation",), source.data["explanation"])  # type: ignore[arg-type]
    elif not isinstance(task, Mapping):
        raise ClaimError(
            "a claim file names its data: give the task's block, such as {'kind': 'text', 'split': 'test'}, "
            f"not {task!r}"
        )
    elif model is None:
        raise ClaimError("a claim file names its model: to_yaml(model, task)")
    else:
        name = str(model if loaded is None else loaded.name)
        text = claim_of({"model": name, "task": dict(task), "explanation": fields, **more}, NAME).to_yaml()
    if len(text.encode()) > LARGEST:
        raise ClaimError(
            f"the claim would be a file of {len(text.encode()):,} bytes, and claim files have {LARGEST:,} at most; "
            "write a circuit as a circuit file, and name that"
        )
    return text
