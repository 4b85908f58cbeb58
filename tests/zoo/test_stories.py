"""The stories model is the published one: its greedy text, its loss, and llama2.c's token ids."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from assay.model.load import load
from assay.model.transformer import Model
from assay.zoo.corpus import stories
from assay.zoo.index import entries, folder, names


@cache
def stories_model() -> Model:
    model = load("zoo:stories-260k")
    assert isinstance(model, Model)
    return model


def ids_of(tokenizer: Any, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False)


@torch.no_grad()
def test_greedy_text_is_the_published_one() -> None:
    model, ids = stories_model(), [1]
    assert model.bos == 1
    for _ in range(48):
        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    text = model.tokenizer.decode(ids[1:])
    assert text.startswith(
        "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."
    )


@torch.no_grad()
def test_loss_on_the_first_60_validation_stories_is_1_2747() -> None:
    model, total, count = stories_model(), 0.0, 0
    for story in stories("test")[:60]:
        ids = torch.tensor([[1, *ids_of(model.tokenizer, story.text)][:256]])
        total += float(cross_entropy(model(ids)[0, :-1], ids[0, 1:], reduction="sum"))
        count += ids.shape[1] - 1
    assert count == 14_971
    assert total / count == pytest.approx(1.2747, abs=0.001)


@pytest.mark.parametrize("text", ["", "Lily", " two  spaces", "Café ★ 日本\n\ttab", "aaaababab ththe the"])
def test_tokenizer_is_llama2_c_merging_the_best_pair_first(text: str) -> None:
    tokenizer = stories_model().tokenizer
    assert ids_of(tokenizer, text) == merged(tokenizer, text)
    assert tokenizer.decode(ids_of(tokenizer, text)) == text
    assert tokenizer.encode(text) == [1, *ids_of(tokenizer, text)]


def test_tokenizer_is_llama2_c_on_stories() -> None:
    tokenizer = stories_model().tokenizer
    for story in stories("train")[:8]:
        assert ids_of(tokenizer, story.text) == merged(tokenizer, story.text)


def merged(tokenizer: Any, text: str) -> list[int]:
    """llama2.c's loop: characters (or bytes), then the leftmost best pair; here a lower id is a better score."""
    vocab = tokenizer.get_vocab()
    ids: list[int] = []
    for character in f" {text}".replace(" ", "▁") if text else "":
        ids += [vocab[character]] if character in vocab else [3 + byte for byte in character.encode()]
    pieces = {index: name for name, index in vocab.items()}
    while True:
        pairs = [(vocab.get(pieces[a] + pieces[b], 1_000), at) for at, (a, b) in enumerate(pairwise(ids))]
        best, at = min(pairs, default=(1_000, 0))
        if best == 1_000:
            return ids
        ids[at : at + 2] = [best]


def test_stories_begin_where_the_text_says_so() -> None:
    train, test = stories("train"), stories("test")
    assert (len(train), len(test)) == (540, 714)
    assert test[0].name == "stories/valid#0"
    assert all(story.text.startswith("Once upon a time") and story.text == story.text.strip() for story in test)
    assert stories("valid") == test
    assert not {story.text for story in train} & {story.text for story in test}


def test_index_lists_what_is_there() -> None:
    assert "stories-260k" in names()
    assert folder("zoo:stories-260k") == folder("stories-260k")
    entry = next(entry for entry in entries() if entry.name == "stories-260k")
    assert (entry.parameters, entry.licence) == (stories_model().parameters, "MIT")
    assert (folder("stories-260k") / "README.md").read_text().count("Karpathy")
