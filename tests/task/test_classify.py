import gzip
import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

from assay.errors import TaskError
from assay.task.classify import examples
from assay.task.metrics import token_scores
from assay.task.task import Task

X = torch.randn(20, 3, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(20) % 3
NET = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))


def test_each_example_is_a_document_scored_once():
    task = Task.classify(NET, X, Y)
    assert len(task.documents) == len(task.tokens) == task.count == 14
    assert task.reference is not None
    assert len(task.reference.tokens) == 6
    assert not {d.hash for d in task.documents} & {d.hash for d in task.reference.documents}
    assert "30/70" in task.description.reference.how


def test_loss_is_cross_entropy_and_accuracy_the_share_wrong():
    rows = np.arange(14)
    for metric in ("loss", "accuracy"):
        task = Task.classify(NET, X, Y, metric=metric)
        items = task.items(rows)
        with torch.no_grad():
            logits = NET(task.tokens)
        own = task.gather(logits, items).log_softmax(-1)
        targets = task.targets(rows, items)
        found = token_scores(task.metric, own, own, targets).loss
        assert task.answers is not None
        labels = task.answers[:, 0]
        expected = (
            nn.functional.cross_entropy(logits, labels, reduction="none")
            if metric == "loss"
            else (logits.argmax(1) != labels)
        )
        torch.testing.assert_close(found, expected.double(), atol=1e-6, rtol=0)


def test_groups_are_documents_and_stay_together():
    groups = [f"person {i // 2}" for i in range(20)]
    task = Task.classify(NET, X, Y, groups=groups)
    assert len(task.documents) == 7
    assert np.bincount(task.document).tolist() == [2] * 7
    assert task.offset.tolist() == [0, 1] * 7


def test_given_reference_is_used_and_must_not_overlap():
    task = Task.classify(NET, X[:10], Y[:10], reference=(X[10:], Y[10:]))
    assert len(task.tokens) == 10
    assert task.reference is not None
    assert len(task.reference.tokens) == 10
    overlaps = r"^the reference overlaps what is scored: an input of reference\[0\] equals one of "
    with pytest.raises(TaskError, match=overlaps + r"example\[9\]$"):
        Task.classify(NET, X[:10], Y[:10], reference=(X[9:], Y[9:]))
    with pytest.raises(TaskError, match=overlaps + r"g4$"):  # as part of a group, and with another label
        Task.classify(NET, X[:10], Y[:10], groups=[f"g{i // 2}" for i in range(10)], reference=(X[9:], (Y[9:] + 1) % 3))
    with pytest.raises(TaskError, match=r"^the reference's inputs have shape \(4,\), those that are scored \(3, 4\)$"):
        Task.classify(NET, X[:10], Y[:10], reference=(X[10:, 0], Y[10:]))


def test_arrays_and_lists_are_taken():
    task = Task.classify(NET, X.numpy(), Y.tolist())
    assert task.fingerprint == Task.classify(NET, X, Y).fingerprint


@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        (X[:0], Y[:0], "inputs are empty; a task needs at least one example"),
        (X, Y[:5], "inputs have 20 examples, but there are 5 labels"),
        (X, Y.float(), "labels must be whole numbers, one for each example, not torch.float32 of shape (20,)"),
        (X, Y - 1, "label -1 of example 0 is negative; classes are counted from 0"),
        (
            X.clone().index_fill_(0, torch.tensor([4]), torch.nan),
            Y,
            "example 4 of inputs holds a value that is not finite",
        ),
    ],
)
def test_examples_that_cannot_be_scored_are_refused(inputs, labels, message):
    with pytest.raises(TaskError) as refusal:
        Task.classify(NET, inputs, labels)
    assert str(refusal.value) == message


def test_labels_and_outputs_that_do_not_fit_are_refused_when_the_output_is_seen():
    task = Task.classify(NET, X, Y)
    items = task.items(np.arange(14))
    with pytest.raises(TaskError, match=r"^label 2 is not one of the module's 2 classes, counted from 0$"):
        task.gather(torch.zeros(14, 2), items)
    with pytest.raises(
        TaskError, match=r"^the module's output has shape \(14, 5, 2\); a classifier gives \[batch, classes\]$"
    ):
        task.gather(torch.zeros(14, 5, 2), items)


def test_a_group_of_half_a_character_is_refused_before_anything_is_measured():
    with pytest.raises(TaskError, match="is half a character, which no name can have"):
        examples("example", torch.zeros(2, 3), torch.tensor([0, 1]), ["a", "\ud800"])


FLAT = X.flatten(1)[:, :3].contiguous()
ROWS = [
    {"input": x.tolist(), "label": int(y), "group": f"g{i // 2}"} for i, (x, y) in enumerate(zip(X, Y, strict=True))
]


def test_files_tables_and_rows_give_the_task_of_their_arrays(tmp_path, caplog):
    groups = [row["group"] for row in ROWS]
    wanted = Task.classify(NET, X, Y, groups=groups)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "rows.csv.gz").write_bytes(
        gzip.compress(
            ("input,label,group\n" + "".join(f'"{r["input"]}",{r["label"]},{r["group"]}\n' for r in ROWS)).encode()
        )
    )
    np.savez(tmp_path / "arrays.npz", inputs=X.numpy(), labels=Y.numpy(), groups=np.array(groups))
    for source in (
        ROWS,
        pa.Table.from_pylist(ROWS),
        tmp_path / "rows.jsonl",
        str(tmp_path / "rows.csv.gz"),
        tmp_path / "arrays.npz",
    ):
        task = Task.classify(NET, source)
        assert task.fingerprint == wanted.fingerprint
        assert task.tokens.dtype == torch.float32
    assert caplog.records[-1].getMessage().startswith("note: 3 of the groups of 'classify with Sequential' are the ref")


def test_columns_of_numbers_are_features_and_whole_lists_stay_whole(tmp_path):
    names = "a,b,label,c\n"
    (tmp_path / "t.csv").write_text(names + "".join(f"{a!r},{b!r},{y},{c!r}\n" for (a, b, c), y in zip(
        FLAT.tolist(), Y.tolist(), strict=True)))  # fmt: skip
    reference = [{"a": 1.0, "b": 2, "label": 0, "c": 3}, {"a": 0, "b": 0, "label": 1, "c": 0.5}]
    task = Task.classify(NET, tmp_path / "t.csv", reference=reference)
    assert torch.equal(task.tokens, FLAT)
    assert task.reference is not None
    assert task.reference.tokens.tolist() == [[1, 2, 3], [0, 0, 0.5]]
    ids = Task.classify(NET, [{"input": [i, i + 1], "label": i % 2} for i in range(10)])
    assert ids.tokens.dtype == torch.int64


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"input": [1.0], "lable": 0}], "row 0: there is no column 'label'; did you mean 'lable'?"),
        ([{"label": 0}], "row 0: there is no column 'input', and no other one beside 'label'"),
        ([{"input": [1.0], "label": "cat"}], "row 0: 'label' must be the number of a class, not 'cat'"),
        ([{"input": [1.0], "label": 0.5}], "row 0: 'label' must be the number of a class, not 0.5"),
        ([{"input": "no", "label": 0}], "row 0: the input must be a number or a list of numbers, not {'input': 'no'}"),
        ([{"a": "x", "label": 0}], "row 0: the input must be a number or a list of numbers, not {'a': 'x'}"),
        (
            [{"input": [1.0], "label": 0}, {"input": [1.0, 2.0], "label": 0}],
            r"row 1: the input must be a list of numbers of shape \(1,\), not {'input': \[1.0, 2.0\]}",
        ),
        ([{"a": 1, "label": 0}, {"b": 1, "label": 0}], "row 1: the columns are not those of row 0, 'a', 'label'"),
        ([], "the examples have no labels; give inputs and labels, rows with a column 'label', or a file of them"),
        (X, "the examples have no labels"),
        ("x.txt", r"the examples \(or .npz\) 'x.txt' must be a file that ends in .csv, .tsv, .jsonl, .ndjson"),
    ],
)
def test_rows_that_are_no_examples_are_refused_in_one_sentence(rows, message):
    with pytest.raises(TaskError, match=f"^{message}"):
        Task.classify(NET, rows)


def test_groups_beside_rows_are_refused():
    with pytest.raises(TaskError, match="'groups' are given beside rows or a file"):
        Task.classify(NET, ROWS, groups=["a"] * 20)
