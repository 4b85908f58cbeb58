"""The text that dictionaries are trained on, as rows of tokens: training text of the zoo, or a user's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from assay.errors import TaskError, UserError
from assay.find.dictionary.plan import DictionaryPlan
from assay.find.split import split_task
from assay.intervene.wide_sites import wide_site
from assay.model.load import load
from assay.model.transformer import Model
from assay.stats.keyed import generator
from assay.task.documents import BLOCK
from assay.task.encode import bos_of
from assay.task.examples import Examples
from assay.task.task import Task
from assay.task.text import cut
from assay.task.zoo_text import pieces, zoo_documents

CONTEXT = 256  # tokens of a row, its first one included


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """Rows that a dictionary is trained on, in random order.

    Attributes:
        tokens: [rows, pos] ids; real: which are no padding; how: in words, what they are.
    """

    tokens: Int[Tensor, "rows pos"]
    real: Bool[Tensor, "rows pos"]
    how: str


@dataclass(frozen=True, eq=False)
class DictionaryData:
    """What dictionaries are trained on, and measured on.

    Attributes:
        rows: of training text; task: other text. claim: fields of a claim file that give the task again; files: name ->
            text, what these name inside the run folder.
    """

    rows: TrainingRows
    task: Task
    claim: Mapping[str, Any]
    files: Mapping[str, str]


def data_of(
    name: str, wanted: Mapping[str, Any], plan: DictionaryPlan, *, documents: int, folder: str,
    device: str | None = None, dtype: str | None = None,
) -> tuple[Model, DictionaryData]:  # fmt: skip
    """The model, opened, and its data: of the zoo's text its training text and another split, of a user's text a half
    for training and what is left for measuring.

    Args:
        wanted: the task's fields, as in a claim file; documents: how many are scored at most.

    Raises:
        UserError: for a model that cannot be opened or has no such site, and for too little text.
    """
    model = load(name, dtype=dtype, device=device)
    if not isinstance(model, Model):
        raise UserError(f"{model.name} is no transformer, and dictionaries stand at a transformer's sites")
    wide_site(plan.site, model)
    wide_site(plan.reads or plan.site, model)
    bos = wanted.get("bos", "auto")
    own = bool(wanted.get("files") or wanted.get("texts"))
    found = split_task(model, wanted, documents=documents, select=10**9 if own else 1, seed=plan.seed, folder=folder)
    if own:
        rows = rows_of(found.selection, plan.tokens, "your text", plan.seed)
    else:
        rows = zoo_rows(model, plan.tokens, seed=plan.seed, context=plan.context, bos=bos)
    return model, DictionaryData(rows, found.evaluation, found.claim, found.files)


def zoo_rows(
    model: Model, tokens: int, *, seed: int = 0, context: int | None = None, bos: bool | str = "auto"
) -> TrainingRows:
    """So many tokens of the zoo's training text, in whole rows.

    Args:
        tokens: how many; the first of a row, which no dictionary sees, is not counted.
        context: tokens of a row; bos: its first token, as in tasks.

    Raises:
        TaskError: where there are fewer tokens, with how many there are.
    """
    wanted, width = -(-tokens * 5 // (4 * BLOCK)) + 8, min(context or CONTEXT, model.config.context)
    before = 0
    while True:  # documents are shorter than a block at their ends, and stories are all over
        documents = [piece for document in zoo_documents(model, "train", wanted, seed)[0] for piece in pieces(document)]
        examples = cut(documents, width, bos_of(model, bos), model)
        there = int(examples.real.sum()) - len(examples.tokens)
        if there >= tokens or there <= before:
            break
        before, wanted = there, wanted * 4
    return rows_of(examples, tokens, "the zoo's training text", seed)


def rows_of(examples: Examples, tokens: int, what: str, seed: int = 0) -> TrainingRows:
    """So many tokens of some rows, in random order.

    Raises:
        TaskError: where there are fewer.
    """
    order = torch.from_numpy(generator(seed, "training rows").permutation(len(examples.tokens)))
    sums = (examples.real[order].sum(1) - 1).cumsum(0)
    there = int(sums[-1]) if len(sums) else 0
    if there < tokens:
        raise TaskError(f"{tokens:,} tokens of {what} are asked for, and there are {there:,}; give more text, or fewer")
    order = order[: int((sums < tokens).sum()) + 1]
    width = examples.tokens.shape[1]
    how = f"{len(order):,} rows of {width} tokens of {what}, seed {seed}"
    return TrainingRows(examples.tokens[order], examples.real[order], how)
