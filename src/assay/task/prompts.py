"""Prompts with one-token answers and counterfactuals, from CSV, JSONL or rows; every mistake names its line."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from assay.errors import TaskError
from assay.task.classify import split
from assay.task.encode import bos_of, context_of, encode, name_of, padding_of, reads_tokens, tokenizer_of
from assay.task.examples import DocumentInfo, Examples, Made, content_hash, fields_of
from assay.task.metrics import Metric, metric_of
from assay.task.prompt_rows import KNOWN, PromptRow, each, read_rows


@dataclass(frozen=True)
class Prompt:
    """A row with its tokens: the prompt, its counterfactual (None where there is none), answers, and named columns.

    `remark`: what the tokenizer makes of an answer that it would not read so, None where there is nothing to say.
    """

    row: PromptRow
    clean: Int[np.ndarray, "length"]
    corrupted: Int[np.ndarray, "length"] | None
    answers: tuple[int, ...]
    columns: dict[str, int]
    remark: str | None = None


def prompts_task(
    make: Callable[..., Made], model: Any, source: Any, *, metric: str | Metric, reference: Any, bos: bool | str
) -> Made:
    """See `Task.prompts`; `make`: the class."""
    reads_tokens(model)
    tokenizer_of(model)
    start = bos_of(model, bos)
    prompts, name = parse(model, source, start)
    metric = metric_of(metric, min(len(prompt.answers) for prompt in prompts))
    others: list[Prompt] = []
    if reference is not None:
        others, _ = parse(model, reference, start)
        agree(prompts, others)
    width = max(len(prompt.clean) for prompt in (*prompts, *others)) + 1  # the answer's column
    scored, keys = rows_of(prompts, width, model, start)
    if reference is None:
        scored, other, how = split(scored, keys, "prompt groups" if prompts[0].row.group is not None else "prompts")
    else:
        other, how = rows_of(others, width, model, start)[0], "given prompts"
    refuse_shared(scored, other)
    remarks = [f"{prompt.row.where}: {prompt.remark}" for prompt in (*prompts, *others) if prompt.remark]
    said = {}
    if remarks:
        of = f"{len(remarks):,} of {len(prompts) + len(others):,}"
        said = {"answers": f"{of} prompts have an answer that may not be what is meant; {remarks[0]}"}
    return make(
        kind="prompts",
        name=name,
        metric=metric,
        tokenizer=model.tokenizer,
        reference=other,
        aligned=True,
        notes={
            "file": name,
            "bos": start is not None,
            "bos_id": start,
            "columns": sorted(scored.columns),
            "reference": how,
            **said,
        },
        **fields_of(scored),
    )


def refuse_shared(scored: Examples, reference: Examples) -> None:
    """Raises `TaskError` when a prompt of the reference is one that is scored, whatever its answer or its group."""
    known: dict[bytes, str] = {}
    for examples in (scored, reference):
        for row, document in enumerate(examples.document):
            prompt = examples.tokens[row][examples.real[row]].numpy().tobytes()
            name = examples.documents[document].name
            if examples is scored:
                known[prompt] = name
            elif prompt in known:
                raise TaskError(
                    f"the reference overlaps what is scored: a prompt of {name!r} equals one of {known[prompt]!r}"
                )


def agree(prompts: Sequence[Prompt], others: Sequence[Prompt]) -> None:
    """Raises `TaskError` when a reference has not the optional columns that the scored prompts have."""
    here, there = prompts[0].row.values, others[0].row.values
    for column in here:
        if column not in there and column != "group":
            raise TaskError(
                f"{others[0].row.where}: the reference has no column {column!r}, which the scored prompts have"
            )


def parse(model: Any, source: Any, bos: int | None) -> tuple[list[Prompt], str]:
    """The prompts of a file or of rows, and a name for them.

    Raises:
        TaskError: with file and line (or the row), for what cannot be read or scored.
    """
    rows, name = read_rows(source)
    clean = encode(model, [row.values["clean"] for row in rows], [row.where for row in rows])
    corrupted: list[Any] = [None] * len(rows)
    if "corrupted" in rows[0].values:
        corrupted = encode(model, [row.values["corrupted"] for row in rows], [row.where for row in rows])
    context = context_of(model, None, bos)
    head = [] if bos is None else [bos]

    def prompt(row: PromptRow, ids: Int[np.ndarray, "length"], other: Int[np.ndarray, "_"] | None) -> Prompt:
        if not len(ids):
            raise TaskError(f"{row.where}: the prompt 'clean' has no tokens")
        if other is not None and len(other) != len(ids):
            raise TaskError(
                f"{row.where}: 'corrupted' has {len(other)} tokens and 'clean' {len(ids)}; a counterfactual has as "
                f"many, position by position"
            )
        if len(head) + len(ids) >= context:
            raise TaskError(
                f"{row.where}: the prompt has {len(head) + len(ids)} tokens, more than the {context - 1} that "
                f"{name_of(model)} reads"
            )
        found = [answer_of(model, row, column, ids) for column in ("correct", "incorrect") if column in row.values]
        answers = tuple(answer for answer, _ in found)
        if len(answers) == 2 and answers[0] == answers[1]:
            raise TaskError(f"{row.where}: 'correct' and 'incorrect' are the same token, {row.values['correct']!r}")
        columns = {c: column_of(model, row, c, len(head), len(ids)) for c in row.values if c not in KNOWN}
        remark = next((remark for _, remark in found if remark), None)
        clean, corrupted = joined(head, ids), None if other is None else joined(head, other)
        return Prompt(row, clean, corrupted, answers, columns, remark)

    return each(zip(rows, clean, corrupted, strict=True), lambda one: prompt(*one)), name


def joined(head: list[int], ids: Int[np.ndarray, "_"]) -> Int[np.ndarray, "_"]:
    return np.concatenate([np.array(head, dtype=np.int64), ids])


def answer_of(model: Any, row: PromptRow, column: str, prompt: Int[np.ndarray, "_"]) -> tuple[int, str | None]:
    """The one token with which an answer goes on from the prompt, or that it is by itself; and a remark where a text of
    prompt and answer would be read otherwise, or the answer is the end of the prompt's last word.

    Raises:
        TaskError: for an answer of several tokens.
    """
    answer, clean = row.values[column], row.values["clean"]
    goes_on, alone, spaced = encode(model, [clean + answer, answer, " " + answer], [row.where] * 3)
    after = goes_on[len(prompt) :] if np.array_equal(goes_on[: len(prompt)], prompt) else goes_on[:0]
    ids = after if len(after) else alone

    def pieces(some: Int[np.ndarray, "_"]) -> str:
        return ", ".join(repr(model.tokenizer.decode([int(i)])) for i in some)

    hint = "" if len(spaced) != 1 or answer[:1].isspace() else f"{' ' + answer!r}, with a space before it, is one"
    if len(ids) != 1:
        tail = f": {hint}" if hint else ""  # no ";": a table of such rows says it too
        raise TaskError(
            f"{row.where}: {column!r} {answer!r} is {len(ids)} tokens ({pieces(ids)}), and an answer must be one{tail}"
        )
    end, begin, remark = clean[-1:], answer[:1], None
    if end == " " and (begin == " " or not len(after)):
        remark = (
            "'clean' ends in a space, which the tokenizer reads as the beginning of the next word; end it before that"
        )
    elif end.lower() != end.upper() and begin.lower() != begin.upper() and hint and spaced[0] != ids[0]:
        remark = f"{column!r} {answer!r} makes {clean.split()[-1] + answer!r} of the prompt's end; {hint} too"
    elif not len(after):
        remark = f"{column!r} {answer!r} is one token alone, and after the prompt it is read as {pieces(goes_on[-2:])}"
    return int(ids[0]), remark


def column_of(model: Any, row: PromptRow, column: str, head: int, length: int) -> int:
    """The column that a named position stands for: a number, or the last token of a word of the prompt.

    Raises:
        TaskError: for a number outside the prompt, and a word that is not in it or is there several times.
    """
    value, clean = row.values[column], row.values["clean"]
    try:
        number = int(value)
    except ValueError:
        pass
    else:
        if not -(head + length) <= number < head + length:
            raise TaskError(
                f"{row.where}: column {column!r} is {number}, but the prompt has columns 0 to {head + length - 1}"
            )
        return number % (head + length)
    word, mark, which = value.rpartition("#")
    if not mark or not re.fullmatch(r"-?[0-9]{1,9}", which) or not word:
        word, which = value, ""
    before, after = (r"(?<!\w)" if word[0].isalnum() else ""), (r"(?!\w)" if word[-1].isalnum() else "")
    starts = [found.start() for found in re.finditer(before + re.escape(word) + after, clean)]
    if not starts:
        raise TaskError(
            f"{row.where}: {value!r} of column {column!r} does not occur in the prompt; a further column names a "
            "position, by its number or by a word there"
        )
    if not which and len(starts) > 1:
        raise TaskError(
            f"{row.where}: {value!r} of column {column!r} occurs {len(starts)} times in the prompt; write "
            f"{word + '#2'!r} for the second"
        )
    place = int(which or 1)
    if not 1 <= abs(place) <= len(starts):
        raise TaskError(
            f"{row.where}: {value!r} of column {column!r}: {word!r} occurs {len(starts)} times in the prompt"
        )
    end = starts[place - 1 if place > 0 else place] + len(word) - 1
    if not model.tokenizer.is_fast:
        raise TaskError(
            f"{row.where}: the tokenizer does not say where its tokens lie; give column {column!r} as a number"
        )
    spans = model.tokenizer(clean, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    return head + max(i for i, (begin, _) in enumerate(spans) if begin <= end)


def rows_of(prompts: Sequence[Prompt], width: int, model: Any, bos: int | None) -> tuple[Examples, list[str]]:
    """Prompts as padded rows with the correct answer in the column after each, and each document's key for the
    split."""
    n = len(prompts)
    padding = padding_of(model, bos)
    tokens = np.full((n, width), padding, dtype=np.int64)
    other = tokens.copy()
    scored, real = np.zeros((n, width), dtype=bool), np.zeros((n, width), dtype=bool)
    for i, prompt in enumerate(prompts):
        end = len(prompt.clean)
        tokens[i, :end], tokens[i, end] = prompt.clean, prompt.answers[0]
        scored[i, end], real[i, :end] = True, True
        if prompt.corrupted is not None:
            other[i, :end], other[i, end] = prompt.corrupted, prompt.answers[0]
    names = [prompt.row.group or prompt.row.where for prompt in prompts]
    order = {name: i for i, name in enumerate(dict.fromkeys(names))}
    document = np.array([order[name] for name in names], dtype=np.int64)
    answers = np.array([prompt.answers for prompt in prompts], dtype=np.int64)
    hashes = []
    for i in range(len(order)):
        rows = document == i
        lengths = real[rows].sum(1)
        hashes.append(content_hash(lengths, *(tokens[r, : real[r].sum()] for r in np.flatnonzero(rows)), answers[rows]))
    grouped = {prompt.row.group for prompt in prompts}
    keys = [hashlib.sha256(name.encode()).hexdigest() if name in grouped else hashes[i] for name, i in order.items()]
    return (
        Examples(
            tokens=torch.from_numpy(tokens),
            scored=torch.from_numpy(scored),
            real=torch.from_numpy(real),
            document=document,
            offset=np.array([int((document[:i] == d).sum()) for i, d in enumerate(document)], dtype=np.int64),
            documents=tuple(DocumentInfo(name, "prompts", hashed) for name, hashed in zip(order, hashes, strict=True)),
            counterfactual=None if prompts[0].corrupted is None else torch.from_numpy(other),
            answers=torch.from_numpy(answers),
            columns={c: np.array([p.columns[c] for p in prompts], dtype=np.int64) for c in prompts[0].columns},
        ),
        keys,
    )
