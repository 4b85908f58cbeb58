import numpy as np
import pytest
import torch

from assay.errors import TaskError
from assay.task.task import Task
from tests.task.handles import Handle, novel, stories


def test_rows_are_bos_r_r_scored_on_the_second_copy_but_for_its_first_token():
    task = Task.repeat(novel(), n=8, length=10)
    assert task.tokens.shape == (8, 21)
    assert (task.tokens[:, 0] == 0).all()
    assert torch.equal(task.tokens[:, 1:11], task.tokens[:, 11:21])
    expected = torch.zeros(8, 21, dtype=torch.bool)
    expected[:, 12:21] = True
    assert torch.equal(task.scored, expected)
    assert task.real.all()
    assert task.document.tolist() == list(range(8))


def test_without_bos_rows_are_r_r():
    task = Task.repeat(Handle("gpt", novel().tokenizer, None), n=4, length=10)
    assert task.tokens.shape == (4, 20)
    assert task.scored.sum(1).tolist() == [9] * 4
    assert task.scored[:, 11:].all()


@pytest.mark.parametrize("model", [novel(), stories()], ids=lambda m: m.name)
def test_tokens_are_ordinary(model):
    task = Task.repeat(model, n=64, length=64)
    body = task.tokens[:, 1:]
    assert not np.isin(body.numpy(), model.tokenizer.all_special_ids).any()
    assert int(body.max()) < len(model.tokenizer)
    assert not any(
        piece.startswith("<") and len(piece) > 1
        for piece in model.tokenizer.convert_ids_to_tokens(body.flatten().tolist())
    )


def test_reference_is_other_repeats():
    task = Task.repeat(novel(), n=300, length=16)
    assert task.reference is not None
    assert len(task.reference.tokens) == 256
    assert len(Task.repeat(novel(), n=3).reference or ()) == 3
    assert not {d.hash for d in task.documents} & {d.hash for d in task.reference.documents}
    assert task.overlap().shared == 0


def test_rows_are_keyed_by_seed_and_number():
    task, more, other = Task.repeat(novel(), n=4), Task.repeat(novel(), n=9), Task.repeat(novel(), n=4, seed=1)
    assert torch.equal(task.tokens, more.tokens[:4])
    assert task.fingerprint == Task.repeat(novel(), n=4).fingerprint != other.fingerprint
    assert len(np.unique(more.tokens.numpy(), axis=0)) == 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "'n' of a repeat task must be at least 1, not 0"),
        ({"n": 10**9}, "'n' of a repeat task must be at most 20,000, not 1,000,000,000"),
        ({"length": 1}, "'length' of a repeat task must be at least 2, not 1"),
        ({"length": 128}, "two copies of 128 tokens do not fit the context of 256 of zoo:novel-attn2-rep; at most 127"),
    ],
)
def test_repeats_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(TaskError) as refusal:
        Task.repeat(novel(), **arguments)
    assert str(refusal.value) == message


def test_too_few_tokens_for_distinct_rows_are_refused():
    with pytest.raises(
        TaskError, match=r"^2 ordinary tokens do not give 8 scored and reference rows of length 2 that differ"
    ):
        Task.repeat(novel(vocab=3), n=8, length=2)
