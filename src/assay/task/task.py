"""Tasks: examples, which of their tokens are scored and by what metric, and the reference that fills ablations.

Made by `Task.text`, `.from_ids`, `.repeat`, `.prompts` and `.classify`; everything lies in plain tensors on the CPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Int, Integer, Shaped
from torch import Tensor

from assay.errors import TaskError, notice
from assay.record import about
from assay.task.examples import Examples, Items, take
from assay.task.metrics import Metric

if TYPE_CHECKING:
    from assay.task.overlap import Overlap

Bos = str | bool  # "auto", a token, whether
TaskKind = Literal["text", "ids", "repeat", "prompts", "classify"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Task(Examples):
    """What is scored, how, and the reference.

    Attributes:
        kind, name: "text", "ids", "repeat", "prompts" or "classify", and a short name for messages.
        metric: what is lost on an item.
        tokenizer: the model's; None for a classifier.
        reference: other examples, as wide as these; they share no document with what is scored. They fill ablations and
            fit floors, programs and rivals.
        aligned: whether a column means the same in every row of one length.
        notes: how the data was made: split, sampling, seed, and under "reference" how the reference was chosen.
    """

    kind: TaskKind
    name: str
    metric: Metric
    tokenizer: Any
    reference: Examples | None
    aligned: bool = False
    notes: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        other = "none" if self.reference is None else f"{len(self.reference.documents):,} documents"
        return f"<Task {self.name}: {self._sizes()}, metric {self.metric.name}, reference: {other}>"

    @property
    def description(self) -> about.TaskRecord:
        """What was scored and against what, for the record."""
        notes = dict(self.notes)
        how = notes.pop("reference", None)
        reference = None if self.reference is None else about.Reference(how=how, **self.reference.summary())
        own: dict[str, Any] = self.summary() | {"kind": self.kind, "name": self.name, "metric": self.metric.name}
        return about.TaskRecord(**own, notes=notes, reference=reference)

    def of_reference(self) -> Task:
        """The task whose scored examples are the reference."""
        assert self.reference is not None
        return replace(self, **{one.name: getattr(self.reference, one.name) for one in fields(Examples)})

    def subset(self, documents: Sequence[int] | Integer[np.ndarray, "_"]) -> Task:
        """The task with only these documents (indices), in their old order; the reference stays.

        Raises:
            IndexError: for an index that the task does not have.
            TaskError: when no document is left.
        """
        chosen = np.unique(np.asarray(documents, dtype=np.int64))
        if not len(chosen):
            raise TaskError(f"a subset of the task {self.name!r} needs at least one document")
        if chosen[0] < 0 or chosen[-1] >= len(self.documents):
            raise IndexError(f"the task {self.name!r} has documents 0 to {len(self.documents) - 1}")
        if len(chosen) == len(self.documents):
            return self
        rows = np.flatnonzero(np.isin(self.document, chosen))
        return replace(
            self,
            **take(self, rows, chosen),
            notes={**self.notes, "subset": f"{len(chosen)} of {len(self.documents)} documents"},
        )

    def items(self, rows: Integer[np.ndarray, "rows"]) -> Items:
        """The scored items of these rows."""
        row, position = np.nonzero(self.scored.numpy()[rows])
        return Items(row, position)

    def gather(self, values: Shaped[Tensor, "rows ... vocab"], items: Items) -> Shaped[Tensor, "items vocab"]:
        """What predicts each item, out of logits (or log-probabilities) [rows, pos, vocab], or [rows, classes] of a
        classifier.

        Raises:
            TaskError: when a classifier's output is not [rows, classes], or has fewer classes than the labels.
        """
        row = torch.from_numpy(items.row).to(values.device)
        if self.kind != "classify":
            return values[row, torch.from_numpy(items.position - 1).to(values.device)]
        if values.ndim != 2:
            raise TaskError(f"the module's output has shape {tuple(values.shape)}; a classifier gives [batch, classes]")
        assert self.answers is not None
        if int(self.answers.max()) >= values.shape[1]:
            raise TaskError(
                f"label {int(self.answers.max())} is not one of the module's {values.shape[1]} classes, counted from 0"
            )
        return values[row]

    def targets(self, rows: Integer[np.ndarray, "rows"], items: Items) -> Int[Tensor, "items"] | Int[Tensor, "items 2"]:
        """The correct answer of each item, or [items, 2] with an incorrect one beside it where the examples have
        one."""
        row = torch.from_numpy(np.asarray(rows, dtype=np.int64)[items.row])
        if self.answers is None:
            return self.tokens[row, torch.from_numpy(items.position)]
        answers = self.answers[row]
        return answers[:, 0] if answers.shape[1] == 1 else answers

    def overlap(self) -> Overlap:
        """What the reference shares with what is scored."""
        from assay.task.overlap import overlap

        return overlap(self, self.reference)

    @classmethod
    def text(
        cls,
        model: Any,
        *,
        split: str | None = None,
        texts: Any = None,
        files: str | Path | Sequence[str | Path] | None = None,
        column: str | None = None,
        reference: Any = None,
        metric: str | Metric = "loss",
        bos: Bos = "auto",
        context: int | None = None,
        max_documents: int | None = None,
        seed: int = 0,
    ) -> Task:
        """Next-token prediction on text.

        Args:
            model: gives tokenizer, BOS, context and vocabulary; a zoo model also its own text.
            split: a zoo model's "test" (default), "unseen" or "train".
            texts: one document each, instead of a split: a list, or a table (of datasets, pyarrow, pandas or polars) or
                list of rows with a column of texts.
            files: instead of these: text files, one document each; CSV, TSV and JSONL files, one a row; folders, and
                globs such as "data/**/*.txt"; packed or not (.gz, .bz2, .xz).
            column: that of the texts in rows; None: "text".
            reference: as `texts`, a `Path` or a list of them, or a zoo split; by default 512 windows of the zoo's
                training text, or three tenths of the own documents.
            bos: whether windows start with BOS; "auto": where the tokenizer has one; or the token that they start with.
            context: ids in a window, BOS included; by default the model's, at most 1,024.
            max_documents: at most so many, sampled in proportion to their sources; `seed` keys all sampling.

        Raises:
            TaskError: for text that is empty or too short, an unknown split, a tokenizer that does not fit the model,
            or a
                reference that overlaps what is scored.
        """
        from assay.task.text import text_task

        task = text_task(
            cls,
            model,
            split=split,
            texts=texts,
            files=files,
            column=column,
            reference=reference,
            metric=metric,
            bos=bos,
            context=context,
            max_documents=max_documents,
            seed=seed,
        )
        return told(task, split=(texts is not None or files is not None) and reference is None)

    @classmethod
    def from_ids(
        cls,
        model: Any,
        ids: Any,
        *,
        reference: Any = None,
        metric: str | Metric = "loss",
        bos: Bos = "auto",
        context: int | None = None,
        max_documents: int | None = None,
        seed: int = 0,
    ) -> Task:
        """Next-token prediction on token ids; no tokenizer is needed.

        Args:
            ids: one list or array of whole numbers for each document (or an array [documents, length]), without
                padding.
            reference: as `ids`, or a zoo split; by default three tenths of the documents, by content hash.
            bos: whether windows start with BOS; "auto": where the model has one. Then a document's own BOS at its
                beginning is taken for it, and not repeated; with False all ids are taken as they are.
            metric, context, max_documents, seed: as in `Task.text`.

        Raises:
            TaskError: for ids that the model does not have, a document of fewer than 16, or a reference that overlaps
                what is scored; the document is named.
        """
        from assay.task.ids import ids_task

        task = ids_task(
            cls,
            model,
            ids,
            reference=reference,
            metric=metric,
            bos=bos,
            context=context,
            max_documents=max_documents,
            seed=seed,
        )
        return told(task, reference is None)

    @classmethod
    def repeat(
        cls,
        model: Any,
        *,
        n: int = 256,
        length: int = 64,
        seed: int = 0,
        metric: str | Metric = "loss",
        bos: Bos = "auto",
    ) -> Task:
        """BOS, r, r with r of `length` random ordinary tokens, scored on the second copy but for its first token.

        The reference is up to 256 other repeats from another random stream.

        Raises:
            TaskError: when two copies do not fit the model's context, or nothing would be scored.
        """
        from assay.task.repeat import repeat_task

        return repeat_task(cls, model, n=n, length=length, seed=seed, metric=metric, bos=bos)

    @classmethod
    def prompts(
        cls,
        model: Any,
        source: Any,
        *,
        metric: str | Metric = "logit_diff",
        reference: Any = None,
        bos: Bos = "auto",
    ) -> Task:
        """Prompts with one-token answers, scored after their last token.

        Args:
            source: a CSV or JSONL file, a table (of datasets, pyarrow, pandas or polars) or a list of rows: `clean`,
                `correct`, and where there are any `corrupted` (the counterfactual, of as many tokens), `incorrect`,
                `group` (the document), and further columns that name positions: a column number (BOS is 0; -1 the
                prompt's last token), a word of the prompt (its last token), or `John#2` for its second
                occurrence.
            reference: prompts that are not scored; by default three tenths of the groups, by hash.

        Raises:
            TaskError: for a file that cannot be read, and, with its line, for a row that cannot be scored.
        """
        from assay.task.prompts import prompts_task

        return told(prompts_task(cls, model, source, metric=metric, reference=reference, bos=bos), reference is None)

    @classmethod
    def classify(
        cls,
        module: Any,
        inputs: Any,
        labels: Any = None,
        *,
        groups: Sequence[object] | None = None,
        reference: Any = None,
        metric: str | Metric = "loss",
    ) -> Task:
        """Examples and labels for any module whose output is [batch, classes].

        Args:
            inputs: [n, ...] tensor or array; labels: [n] class numbers. Or, without labels, both in one: an .npz file
                with arrays `inputs`, `labels` and perhaps `groups`; a CSV or JSONL file, a table (of datasets, pyarrow,
                pandas or polars) or a list of rows with columns `label`, perhaps `group`, and `input` (numbers, nested
                to any depth) or one number in each further column.
            groups: what each example belongs to, for instance a person; each is a document. By default each example is
                one.
            reference: (inputs, labels), or as `inputs`, that are not scored; by default three tenths of the groups, by
                hash.

        Raises:
            TaskError: for inputs and labels that do not fit, are not finite, or are not numbers of classes.
        """
        from assay.task.classify import classify_task

        return told(
            classify_task(cls, module, inputs, labels, groups=groups, reference=reference, metric=metric),
            reference is None,
        )


def told(task: Task, split: bool) -> Task:
    """The task itself, of which is said what nobody asked for.

    Args:
        split: whether the reference was taken from the data.
    """
    if split and task.reference is not None:
        what = str(task.notes["reference"]).partition(" split")[0]
        notice(
            f"{len(task.reference.documents):,} of the {what} of {task.name!r} are the reference, which fills "
            "ablations and fits floors and is never scored (three tenths, by content hash); 'reference' names others"
        )
    for note, what in (("answers", ""), ("texts_left_out", "left out: "), ("reference_left_out", "left out: ")):
        if note in task.notes:
            notice(f"{task.name}: {what}{task.notes[note]}")
    return task
