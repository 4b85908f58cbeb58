"""What a task is made for: a model that was opened, and for tokens one that reads them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from assay.errors import TaskError
from assay.model.load import load
from assay.task.encode import context_of
from assay.task.task import Task

NETWORK = torch.nn.Linear(4, 2)
MAKERS = {
    "text": lambda model: Task.text(model, texts=["a river and a stone " * 20] * 3),
    "split": lambda model: Task.text(model, split="test"),
    "ids": lambda model: Task.from_ids(model, [[1] * 20, [2] * 20], bos=False),
    "repeat": lambda model: Task.repeat(model, n=4, length=8),
    "prompts": lambda model: Task.prompts(model, [{"clean": "a river", "correct": " and"}] * 2),
    "classify": lambda model: Task.classify(model, torch.randn(10, 4), torch.arange(10) % 2),
}


@pytest.mark.parametrize("maker", MAKERS)
def test_what_was_not_opened_is_refused_in_one_sentence_by_every_kind_of_task(maker: str):
    for given, what in ((NETWORK, "a Linear"), ("gpt2", "'gpt2'"), (None, "None"), ({}, "a dict")):
        if maker == "classify" and given is NETWORK:
            assert MAKERS[maker](given).count == 7  # any module classifies
            continue
        with pytest.raises(TaskError) as caught:
            MAKERS[maker](given)
        assert str(caught.value) == (
            f"a task is made for a model that assay.load gives, not for {what}; pass assay.load(...) of it"
        )


@pytest.mark.parametrize("maker", sorted(set(MAKERS) - {"classify"}))
def test_a_network_of_no_known_family_has_no_tasks_on_tokens(maker: str):
    with pytest.raises(
        TaskError, match=r"^Linear is a network of no known family \(gpt2, .*\), so which token ids it reads is not"
    ):
        MAKERS[maker](load(NETWORK))


def test_a_model_that_reads_no_whole_window_is_refused():
    """As in a folder whose configuration says so: one position is that of BOS, and nothing would be left."""
    model = SimpleNamespace(name="short", config=SimpleNamespace(context=1, vocab=50), bos=0)
    with pytest.raises(TaskError, match=r"^short reads 1 token at a time; a window has at least 16 after BOS$"):
        context_of(model, None, 0)
