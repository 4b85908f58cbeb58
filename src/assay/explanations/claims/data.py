"""Whether a claim's data have what its metric and its ablations need, by their kind and the form of their rows alone:
nothing is tokenised and no model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from assay.errors import ClaimError, TaskError, nearest
from assay.intervene.fill.spec import ABLATIONS
from assay.task.spec import METRICS

if TYPE_CHECKING:
    from assay.explanations.claims.file import ClaimFile

COUNTERFACTUAL, ALSO_INCORRECT = "counterfactual", "logit_diff"


def check_data(claim: ClaimFile, ablations: Sequence[str] | None = None) -> None:
    """Refuses an ablation without counterfactuals, a metric without incorrect answers, and a reference of another form.

    Args:
        ablations: those that flags chose to be measured; None: the file's.

    Raises:
        ClaimError: with file and line, the value and the valid ones.
        TaskError: for prompts that are not rows of one form, with their file and line.
    """
    task, reference = claim.task, claim.reference
    columns = _columns(claim, task.file) if task.kind == "prompts" else ()
    if reference is not None and task.kind in ("repeat", "planted"):
        raise ClaimError(
            f"{claim.where('reference')}a task of kind {task.kind!r} makes its own reference; leave it out"
        )
    if reference is not None and task.kind in ("prompts", "classify") and len(reference.files or ()) != 1:
        raise ClaimError(f"{claim.where('reference')}a task of kind {task.kind!r} takes one file as 'reference'")
    metric = task.metric or (ALSO_INCORRECT if task.kind == "prompts" else "loss")
    if metric == ALSO_INCORRECT and "incorrect" not in columns:
        path = ("task", "file" if task.metric is None else "metric")
        fitting = [name for name in METRICS if name != metric]
        raise ClaimError(
            f"{claim.where(*path)}{_lacks(claim, 'incorrect', 'incorrect answers')}, which the metric {metric!r}"
            f"{'' if task.metric else ', the default,'} needs" + nearest(metric, fitting)
        )
    for i, ablation in enumerate(ablations or claim.ablation or ()):
        if ablation == COUNTERFACTUAL and "corrupted" not in columns and task.kind != "planted":
            # a flag has no line: then the task's says where the lack is
            path = ("ablation", i) if ablation in (claim.ablation or ()) else ("task",)
            fitting = [name for name in ABLATIONS if name != ablation]
            raise ClaimError(
                f"{claim.where(*path)}{_lacks(claim, 'corrupted', 'counterfactuals')}, which the ablation "
                f"{ablation!r} takes" + nearest(ablation, fitting)
            )


def _columns(claim: ClaimFile, file: str) -> tuple[str, ...]:
    from assay.task.prompt_rows import read_rows

    try:
        rows, _ = read_rows(file)  # every row has the first one's columns
    except TaskError as problem:
        named = str(problem).startswith(file)  # its own line says more than the claim file's
        raise TaskError(("" if named else claim.where("task", "file")) + str(problem)) from problem
    return tuple(rows[0].values)


def _lacks(claim: ClaimFile, column: str, what: str) -> str:
    if claim.task.kind == "prompts":
        return f"the file {claim.task.file!r} has no column {column!r}"
    return f"a task of kind {claim.task.kind!r} has no {what}"
