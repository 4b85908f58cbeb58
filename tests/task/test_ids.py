"""Token ids as documents: scored as the same text is, cut alike, and refused by the document's name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from assay.errors import TaskError
from assay.explanations.components.sets import Keep
from assay.measure.measure import measure
from assay.task.task import Task
from tests.measure.planted import planted, texts
from tests.model.tiny import tiny
from tests.task.handles import Handle, novel

BARE = Handle("bare", None, 0, SimpleNamespace(context=64, vocab=50))
RNG = np.random.default_rng(0)
IDS = [RNG.integers(1, 50, 40) for _ in range(12)]


def encoded(some: tuple[str, ...]) -> list[list[int]]:
    return list(novel().tokenizer(list(some), add_special_tokens=False)["input_ids"])


def test_ids_are_scored_as_the_text_is_that_they_stand_for():
    some, others = texts(6, 0), texts(6, 1)
    text = Task.text(novel(), texts=some, reference=others, context=32)
    ids = Task.from_ids(novel(), encoded(some), reference=encoded(others), context=32)
    for one, other in ((text, ids), (text.reference, ids.reference)):
        assert one is not None
        assert other is not None
        for field in ("tokens", "scored", "real"):
            assert torch.equal(getattr(one, field), getattr(other, field))
        assert one.fingerprint == other.fingerprint
        assert [d.hash for d in one.documents] == [d.hash for d in other.documents]
    assert (ids.kind, ids.name) == ("ids", "6 documents of ids")
    assert [d.name for d in ids.documents] == [f"ids[{i}]" for i in range(6)]


def test_lists_tensors_and_one_array_are_the_same():
    one = Task.from_ids(BARE, IDS)
    for other in (
        [row.tolist() for row in IDS],
        [torch.tensor(row) for row in IDS],
        np.stack(IDS),
        torch.tensor(np.stack(IDS)),
        tuple(row.astype(np.uint16) for row in IDS),
    ):
        assert Task.from_ids(BARE, other).fingerprint == one.fingerprint
    assert one.reference is not None
    assert len(one.documents) + len(one.reference.documents) == 12
    assert not {d.hash for d in one.documents} & {d.hash for d in one.reference.documents}


def test_a_documents_own_bos_is_not_repeated():
    with_bos = [np.concatenate([[0], row]) for row in IDS]
    plain = Task.from_ids(BARE, IDS, reference=[np.arange(1, 30)])
    own = Task.from_ids(BARE, with_bos, reference=[np.arange(0, 30)])
    assert own.fingerprint == plain.fingerprint
    assert (own.tokens[:, 0] == 0).all()
    assert (own.tokens[:, 1] != 0).all()
    kept = Task.from_ids(BARE, with_bos, reference=[np.arange(0, 30)], bos=False)
    assert kept.count == sum(len(row) for row in IDS)  # the first id, here BOS, is context only
    assert (kept.tokens[:, 0] == 0).all()
    assert (Task.from_ids(BARE, IDS, bos=False).tokens[:, 0] != 0).any()


@pytest.mark.parametrize(
    ("ids", "more", "message"),
    [
        ("once", {}, "ids must be a list of lists or arrays of token ids, one document each, not a str"),
        (7, {}, "ids must be a list of lists or arrays of token ids, one document each, not a int"),
        ({0: [1]}, {}, "ids must be a list of lists or arrays of token ids, one document each, not a dict"),
        (None, {}, "ids must be a list of lists or arrays of token ids, one document each, not a NoneType"),
        ([], {}, "ids is empty; give at least one document of token ids"),
        ([1, 2, 3], {}, "ids[0] is int64 of shape (); a document is one list or array of whole numbers"),
        ([IDS[0], []], {}, "ids[1] has 0 tokens; a document needs at least 16 after BOS"),
        ([IDS[0], [0] + [3] * 15], {}, "ids[1] has 15 tokens; a document needs at least 16 after BOS"),
        ([IDS[0], IDS[1] + 0.5], {}, "ids[1] is float64 of shape (40,); a document is one list or array of whole"),
        ([IDS[0], IDS[1] > 9], {}, "ids[1] is bool of shape (40,); a document is one list or array of whole numbers"),
        ([IDS[0], ["a"] * 20], {}, "ids[1] is <U1 of shape (20,); a document is one list or array of whole numbers"),
        ([IDS[0], [[1], [2, 3]]], {}, "ids[1] is a list; a document is one list or array of whole numbers"),
        ([IDS[0], [10**30] * 20], {}, "ids[1] is a list; a document is one list or array of whole numbers"),
        ([IDS[0], None], {}, "ids[1] is a NoneType; a document is one list or array of whole numbers"),
        ([IDS[0], [5] * 16 + [50]], {}, "ids[1] has the id 50 at place 16, but the ids of bare are 0 to 49"),
        ([IDS[0], [5] * 16 + [-1]], {}, "ids[1] has the id -1 at place 16, but the ids of bare are 0 to 49"),
        (IDS[:1], {}, "documents can only be split into reference and scored ones when at least two differ"),
        (IDS, {"reference": [IDS[4]]}, "the reference overlaps what is scored: reference[0] equals ids[4]"),
        (
            IDS,
            {"reference": [np.concatenate([[7], IDS[4], [8]])]},
            "the reference overlaps what is scored: ids[4] stands word for word in reference[0]",
        ),
        (IDS, {"reference": [[1, 2]]}, "reference[0] has 2 tokens; a document needs at least 16 after BOS"),
        (IDS, {"context": 65}, "a context of 65 is longer than the 64 that bare reads"),
        (IDS, {"metric": "logit_diff"}, "the metric 'logit_diff' needs a correct and an incorrect answer"),
        (IDS, {"reference": "train"}, "bare has no tokenizer"),
    ],
)  # fmt: skip
def test_ids_that_cannot_be_scored_are_refused_by_name(ids: Any, more: dict[str, Any], message: str):
    with pytest.raises(TaskError) as refusal:
        Task.from_ids(BARE, ids, **more)
    assert str(refusal.value).startswith(message)


def test_bos_is_refused_where_there_is_none():
    with pytest.raises(TaskError, match=r"^bos is True, but the tokenizer of bare has no BOS token$"):
        Task.from_ids(Handle("bare", None, None, BARE.config), IDS, bos=True)


def test_a_model_without_a_tokenizer_is_measured():
    model = tiny("llama")
    assert model.tokenizer is None
    result = measure(Keep(["a0.h1", "m1"]), model, Task.from_ids(model, IDS), ablation="zero", controls=2)
    assert result.record.task.kind == "ids"
    assert result.recovered.value is not None
    assert result.examples.column("token")[0].as_py().isdigit()


def test_the_planted_heads_are_found_on_ids_as_on_text():
    model = planted()
    rows = model.tokenizer([*texts(20, 0), *texts(20, 1)], add_special_tokens=False)["input_ids"]
    on_ids, on_text = (
        measure(Keep(["a0.h2"]), model, task, ablation="zero", controls=0).recovered.value
        for task in (
            Task.from_ids(model, rows[:20], reference=rows[20:]),
            Task.text(model, texts=texts(20, 0), reference=texts(20, 1)),
        )
    )
    assert on_ids == on_text
