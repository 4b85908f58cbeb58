"""What a search is asked to look at: a model and a task by flags, or those of a claim file; checked before loading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.errors import TaskError, UserError, nearest
from assay.explanations.claims.checks import model_problem
from assay.explanations.claims.data import COUNTERFACTUAL
from assay.explanations.claims.file import load_claim
from assay.model.spec import DTYPES
from assay.planted.worlds import is_world
from assay.store import inputs
from assay.task.row_files import ROWS
from assay.task.spec import metric_problem
from assay.task.text_files import expand

KINDS = ("text", "repeat", "planted")
LENGTH = 32  # of a repeated span, where none is given


@dataclass(frozen=True)
class SearchRequest:
    """A model's name, and its task as fields of a claim file.

    Attributes:
        reference: fields of other examples; ablations, seed, documents, draws: of a claim file, empty or None where it
            is silent.
    """

    model: str
    task: Mapping[str, Any]
    reference: Mapping[str, Any] | None = None
    ablations: tuple[str, ...] = ()
    seed: int | None = None
    documents: int | None = None
    draws: int | None = None

    def ablation(self, source: str) -> str | None:
        """The one ablation of the claim file `source`; None where it is silent.

        Raises:
            UserError: where it has several.
        """
        if len(self.ablations) > 1:
            raise UserError(
                f"{source!r} has {len(self.ablations)} ablations, and a search takes one; give --ablation "
                f"{self.ablations[0]}"
            )
        return self.ablations[0] if self.ablations else None

    def check(self, ablation: str, dtype: str | None) -> None:
        """Raises a `UserError` for an ablation that the task has no data for, and for an unknown dtype."""
        if ablation == COUNTERFACTUAL and self.task["kind"] in ("text", "repeat"):
            raise UserError(
                f"a task of kind {self.task['kind']!r} has no counterfactuals, which the ablation {ablation!r} takes; "
                "prompts with a column 'corrupted' have"
            )
        if dtype is not None and dtype not in DTYPES:
            raise UserError(f"unknown dtype {dtype!r}" + nearest(dtype, DTYPES))


def request(source: str, task: str | None, texts: Sequence[str], options: Mapping[str, Any]) -> SearchRequest:
    """From flags, or from a claim file where `source` is one (then `task` and `texts` stay out).

    Args:
        task: "text", "repeat", "planted", or a file of prompts; None: that of the model, or of the claim file.
        texts: files, one document each.
        options: fields of the task (split, length, context, metric, ...) that were given.

    Raises:
        UserError: for a model or a task that cannot be; one sentence.
    """
    if Path(source).suffix.lower() in (".yaml", ".yml"):
        return _of_claim(source, task, texts, options)
    problem = model_problem(source)
    if problem:
        raise UserError(problem)
    kind = task or ("planted" if is_world(source) else "text" if texts else "repeat")
    fields: dict[str, Any] = {"kind": kind}
    if kind not in KINDS:
        if inputs.suffix(kind) not in ROWS:
            raise TaskError(
                f"unknown task {kind!r}; give {', '.join(KINDS)}, or a file of prompts ({', '.join(ROWS)})"
                + _meant(kind)
            )
        if not inputs.is_file(kind):
            raise TaskError(f"there is no file of prompts {kind!r}" + inputs.similar_files(kind, ROWS))
        fields = {"kind": "prompts", "file": kind}
    if fields["kind"] == "planted" and not is_world(source):
        raise TaskError(f"the task 'planted' is of a model such as 'planted:induction', not of {source!r}")
    if texts and fields["kind"] != "text":
        raise TaskError(f"text files are given for a task of kind {fields['kind']!r}; leave them out, or --task text")
    for entry in texts:
        for file in expand(entry):
            if not inputs.is_file(file):
                raise TaskError(f"there is no text file {file!r}")
    if texts:
        fields["files"] = list(texts)
    if fields["kind"] == "text" and not texts and not source.startswith("zoo:"):
        raise TaskError(f"{source!r} has no text of its own; give --text FILE, several times")
    fields |= options
    _fits(fields)
    if fields["kind"] == "repeat":
        fields.setdefault("length", LENGTH)
    return SearchRequest(source, fields)


def _of_claim(source: str, task: str | None, texts: Sequence[str], options: Mapping[str, Any]) -> SearchRequest:
    for name, value in (("task", task), ("text", texts), *options.items()):
        if value:
            raise UserError(f"{name!r} is given, and so is the claim file {source!r}, which has a task; leave one out")
    claim = load_claim(source)
    for name in ("frozen_norm", "refit"):
        if getattr(claim, name):
            raise UserError(f"{name!r} is set in {source!r}, and a search does not have it; leave it out")
    reference = None if claim.reference is None else claim.reference.model_dump(exclude_none=True)
    fields = claim.task.model_dump(exclude_none=True)
    documents = claim.documents if claim.documents is not None else fields.get("n")
    return SearchRequest(
        claim.model, fields, reference, tuple(claim.ablation or ()), claim.seed, documents, claim.draws
    )


_TAKES = {
    "text": ("split", "context", "metric", "bos"),
    "repeat": ("length", "metric", "bos"),
    "planted": ("metric",),
    "prompts": ("metric", "bos"),
}


def _fits(fields: Mapping[str, Any]) -> None:
    kind = fields["kind"]
    for name in fields:
        if name not in ("kind", "file", "files") and name not in _TAKES[kind]:
            raise TaskError(f"{name!r} means nothing for a task of kind {kind!r}" + nearest(name, _TAKES[kind]))
    metric = fields.get("metric")
    if metric is not None and (clause := metric_problem(metric)):
        raise TaskError(clause)
    if fields.get("split") is not None and fields.get("files"):
        raise TaskError(f"split {fields['split']!r} and text files are both given; give one")


def _meant(kind: str) -> str:
    if Path(kind).is_dir():
        return f"; a folder of texts is --task text --text {kind}"
    tail = inputs.similar_files(kind, ROWS) or nearest(kind, KINDS)
    return tail if "did you mean" in tail else ""
