"""A search for dictionaries from the command line: what it writes, that it goes on, and what it refuses."""

from __future__ import annotations

import json
import os

import pytest

import assay
from assay.find.dictionary import search
from assay.record.dictionaries import DictionariesRecord

SMALL = (
    "find dictionary zoo:stories-260k --site r2 --width 64 --k 4 --tokens 12000 --batch 512 --documents 10 --seeds 2"
)


@pytest.fixture
def find(run):
    """Runs the command with further arguments: (exit code, stdout, stderr)."""
    return lambda *more: run(*SMALL.split(), *more)


def test_a_dictionary_its_controls_and_a_claim(find):
    code, out, _ = find("--controls", "embeddings,frozen", "--out", "d", "--json")
    assert code == 0
    record = DictionariesRecord(**json.loads(out))
    names = [(row.network, row.kind) for row in record.rows]
    assert names[:5] == [
        ("trained", "trained"), ("trained", "trained"), ("trained", "random decoder kept"),
        ("trained", "random encoder kept"), ("trained", "decoder near its start"),
    ]  # fmt: skip
    assert [network for network, _ in names[-2:]] == ["embeddings", "embeddings"]
    assert len(record.agreements) == 2
    assert not os.path.exists("d.work")
    assert sorted(os.listdir("d")) == ["claim.yaml", "controls", "dictionaries.json", "dictionary", "others"]
    by_kind = {row.kind: row for row in record.rows if row.network == "trained"}
    first = record.rows[0]
    assert first.explained.value > by_kind["random dictionary"].explained.value
    assert abs(by_kind["the mean"].recovered["mean"].value) < 0.05
    assert first.recovered["mean"].value > by_kind["the mean"].recovered["mean"].value
    assert first.active.value <= 4
    assert assay.Dictionary.load("d/dictionary").scope(assay.load("zoo:stories-260k"))
    result = assay.measure("d/claim.yaml", budget="headline")
    assert result.recovered.value == pytest.approx(first.recovered[result.record.headline.ablation].value, abs=1e-6)


def test_a_search_that_was_stopped_goes_on(find, monkeypatch):
    assert find("--controls", "none", "--out", "whole")[0] == 0
    real, calls = search.store, []

    def stops(*given):
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(*given)

    monkeypatch.setattr(search, "store", stops)
    assert find("--controls", "none", "--out", "d")[0] == 130
    assert sorted(os.listdir("d.work/trained")) == ["activations", "topk-64-4-s0", "training.pt"]
    monkeypatch.setattr(search, "store", real)
    code, _, err = find("--controls", "none", "--out", "d", "--tokens", "13000")
    assert (code, "holds what another search left unfinished" in err) == (2, True)
    assert find("--controls", "none", "--out", "d")[0] == 0
    for path in ("dictionary/dictionary.safetensors", "others/topk-64-4-s1/dictionary.safetensors"):
        with open(f"d/{path}", "rb") as one, open(f"whole/{path}", "rb") as other:
            assert one.read() == other.read()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--architecture", "top-k"), "unknown architecture 'top-k'; did you mean 'topk'"),
        (("--controls", "frozn"), "unknown control 'frozn'; did you mean 'frozen'?"),
        (("--site", "r9"), "layer 9 does not exist"),
        (("--site", "q3"), "'q3' is not a component's name"),
        (("--tokens", "100"), "trained on at least 10,000 tokens, not on 100"),
        (("--k", "65"), "k is 65, and a dictionary of 64 features has 1 to 64 active"),
        (("--skip",), "a linear path beside the features ('skip') is of transcoders"),
        (("--tokens", "900000000"), "tokens of the zoo's training text are asked for, and there are"),
        (("--width", "64", "--width", "64"), "the width 64 is given twice"),
    ],
)
def test_what_is_refused_is_one_sentence(find, more, said):
    code, _, err = find("--out", "d", *more)
    assert (code, said in err) == (2, True), err
    assert not os.path.exists("d")


def test_what_it_would_cost(find):
    found = json.loads(find("--dry-run", "--json")[1])
    assert found["dictionaries"] == 2 + 3 + 3 * 2
    assert found["minutes"] > 0
    assert not os.listdir(".")
