"""From a model's tokenizer to ids that the model can read: BOS, context, vocabulary checks, ordinary tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from assay.errors import TaskError, nearest
from assay.model.admit import foreign
from assay.model.families import FAMILIES
from assay.task.documents import SHORTEST_WINDOW
from assay.task.overlap import plain
from assay.task.row_files import LONE

FALLBACK = re.compile("<0x[0-9A-F]{2}>")
LONGEST_CONTEXT = 1_024  # default for models that read more: a row is as wide as the context


def require_loaded(model: Any) -> None:
    """Refuses what `assay.load` did not give, such as a name or a network itself.

    Raises:
        TaskError: says what it is.
    """
    if not hasattr(model, "bos"):
        what = repr(model) if isinstance(model, str | None) else f"a {type(model).__name__}"
        raise TaskError(f"a task is made for a model that assay.load gives, not for {what}; pass assay.load(...) of it")


def reads_tokens(model: Any) -> None:
    """Refuses what is no model that reads token ids.

    Raises:
        TaskError: as `require_loaded`; for a network of no known family.
    """
    require_loaded(model)
    if not hasattr(getattr(model, "config", None), "vocab"):
        names = getattr(getattr(model, "network", None), "state_dict", dict)()
        raise TaskError(
            f"{name_of(model)} is a network of no known family ({', '.join(FAMILIES)}), so which token ids it reads is "
            f"not known; use a task of kind 'classify' (Task.classify){foreign(names)}"
        )


def refuse_other_tokens(model: Any, task: Any) -> None:
    """Refuses a task whose ids are other tokens to this model than to the one that it was made for.

    Raises:
        TaskError: names the first such id.
    """
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is None or task.tokenizer is None or tokenizer is task.tokenizer:
        return
    ids = np.unique(task.tokens).tolist()
    for one, mine, its in zip(ids, *(t.convert_ids_to_tokens(ids) for t in (tokenizer, task.tokenizer)), strict=True):
        if mine != its:
            raise TaskError(
                f"the task {task.name!r} was made for a model with another tokenizer than {name_of(model)}: id {one} "
                f"is {its!r} there and {mine!r} here; make the task for this model"
            )


def tokenizer_of(model: Any) -> Any:
    """The model's tokenizer.

    Raises:
        TaskError: when it has none.
    """
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is None:
        raise TaskError(
            f"{name_of(model)} has no tokenizer, so it cannot read text; use a task of kind 'classify' (Task.classify) "
            "or 'repeat', or load a folder with a tokenizer"
        )
    return tokenizer


def name_of(model: Any) -> str:
    """The model's name for messages."""
    return str(getattr(model, "name", None) or type(model).__name__)


def bos_of(model: Any, bos: bool | str) -> int | None:
    """The id that a row starts with, or None; `bos` is True, False, "auto" (where the model has one) or a token.

    Raises:
        TaskError: for another value; for True where there is none; for what is no single token of the model.
    """
    if isinstance(bos, str) and bos != "auto":
        return _token(model, bos)
    if not isinstance(bos, bool | str):
        raise TaskError(f"bos must be 'auto', True, False or a token such as '<|endoftext|>', not {bos!r}")
    if bos is False:
        return None
    if bos is True and model.bos is None:
        raise TaskError(f"bos is True, but the tokenizer of {name_of(model)} has no BOS token")
    return model.bos


def _token(model: Any, text: str) -> int:
    """The id of one token, special or not."""
    tokenizer = tokenizer_of(model)
    known = tokenizer.get_vocab()
    if text not in known or known[text] >= model.config.vocab:
        special = [token for token in tokenizer.all_special_tokens if token in known]
        raise TaskError(f"bos {text!r} is no token of {name_of(model)}" + nearest(text, ["auto", *special]))
    return int(known[text])


def context_of(model: Any, context: int | None, bos: int | None) -> int:
    """Ids in a row, BOS included.

    Raises:
        TaskError: when it is longer than the model's, or too short for a window.
    """
    longest = int(model.config.context)
    least = SHORTEST_WINDOW + (bos is not None)
    if longest < least:
        raise TaskError(
            f"{name_of(model)} reads {longest} token{'s' * (longest != 1)} at a time; a window has at least "
            f"{SHORTEST_WINDOW} after BOS"
        )
    if context is None:
        return min(longest, LONGEST_CONTEXT)
    if context > longest:
        raise TaskError(f"a context of {context} is longer than the {longest} that {name_of(model)} reads")
    if context < least:
        raise TaskError(
            f"a context of {context} is too short; a window has at least {SHORTEST_WINDOW} tokens after BOS, so {least}"
        )
    return context


def padding_of(model: Any, bos: int | None) -> int:
    """An id for columns that are never read."""
    for candidate in (
        getattr(getattr(model, "tokenizer", None), "pad_token_id", None),
        bos,
        getattr(getattr(model, "tokenizer", None), "eos_token_id", None),
    ):
        if candidate is not None and candidate < model.config.vocab:
            return int(candidate)
    return 0


def encode(model: Any, texts: Sequence[str], names: Sequence[str] | None = None) -> list[Int[np.ndarray, "_"]]:
    """Ids of each text, without special tokens.

    Raises:
        TaskError: for half a character, and for ids that the model does not have; `names` say of which text.
    """
    if not texts:
        return []
    for index, text in enumerate(texts):
        if not text.isascii() and (lone := LONE.search(text)):
            where = names[index] if names else "a text"
            raise TaskError(f"{where}: {lone[0]!r} is half a character, which no tokenizer reads")
    found = tokenizer_of(model)(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)[
        "input_ids"
    ]
    rows = [np.asarray(row, dtype=np.int64) for row in found]
    for index, row in enumerate(rows):
        if len(row) and int(row.max()) >= model.config.vocab:
            where = f" for {names[index]}" if names else ""
            raise TaskError(
                f"the tokenizer gives id {int(row.max())}{where}, but {name_of(model)} has a vocabulary of "
                f"{model.config.vocab}; "
                "tokenizer and model do not belong together"
            )
    return rows


def read_back(tokenizer: Any, ids: Int[np.ndarray, "_"]) -> str:
    """What ids say, with single spaces between words and without special tokens, to compare it with other text that
    was read by the same tokenizer. Half a character at an end, where a work was cut, is left out."""
    text = tokenizer.decode(ids.tolist(), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return plain(text).strip("\ufffd")


def ordinary_tokens(model: Any) -> Int[np.ndarray, "_"]:
    """Ids that stand for text: all but special and added ones, ids past the tokenizer's, and fallbacks for single
    bytes.

    A SentencePiece tokenizer falls back to "<0x41>" for characters that it lacks; models have hardly been trained on
    these."""
    vocab = int(model.config.vocab)
    excluded = {model.bos}
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is not None:
        vocab = min(vocab, len(tokenizer))
        excluded |= set(tokenizer.all_special_ids)
        excluded |= {int(i) for i in getattr(tokenizer, "added_tokens_decoder", {})}
        pieces = tokenizer.convert_ids_to_tokens(list(range(vocab)))
        excluded |= {i for i, piece in enumerate(pieces) if piece is None or FALLBACK.fullmatch(piece)}
    return np.array([i for i in range(vocab) if i not in excluded], dtype=np.int64)
