"""A world from outside keeps what a world promises, and those that break a promise are refused; assay's own: see
`tests/planted/test_worlds.py`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from assay.planted.world import Truth
from assay.stats.estimate import Undefined
from assay.testing import check_world

pytestmark = pytest.mark.usefixtures("plugins")


def test_a_world_from_outside_by_its_name_and_by_itself():
    import echo

    check_world("echo")
    check_world(echo.Echo())


def _task(**changed: Any):
    import echo

    def task(self, n=64, seed=0, *, metric="loss"):
        made = echo.Echo().task(**{"n": n, "seed": seed, "metric": metric, **changed})
        return replace(made, reference=made) if changed == {"metric": "loss"} else made

    return task


@pytest.mark.parametrize(
    ("members", "promise"),
    [
        ({"name": 3}, "it has a name, a model, a task and a truth: "),
        ({"model": None}, "'model' of the world 'echo' gives None; wanted: Model or ModuleModel"),
        (
            {"task": {"seed": 1}},
            "its rows are drawn by their seed, and none is in the reference: another seed gives",
        ),
        ({"task": {"n": 5}}, "none is in the reference: 5 rows where 8 were asked for"),
        ({"task": {"metric": "loss"}}, "none is in the reference: 8 of them are in the reference"),
        ({"task": {"metric": "loss"}}, "a metric that there is not is refused: 'no_such_metric' was taken"),
        (
            {"task": {}, "truth": lambda self, ablation: None},
            "its truth under zero is one: 'truth' of the world 'ech",
        ),
        (
            {"truth": lambda self, ablation: Undefined("it is not known")},
            "its truth is known under some ablation: it is",
        ),
        ({"truth": lambda self, ablation: Truth(edges=("input->a0.h9<v>",))}, "its truth under mean is one: "),
        ({"truth": lambda self, ablation: Truth(edges=())}, "its truth under mean is one: no edge is right"),
        (
            {"truth": lambda self, ablation: Truth(edges=("input->logits",), neutral=("input->logits",))},
            "its truth under mean is one: an edge is named twice",
        ),
        (
            {"truth": lambda self, ablation: Truth(edges=("input->a0.h0<v>", "a0.h0->logits"))},
            "its truth under mean is one: with all other edges cut, ",
        ),
    ],
)
def test_a_world_that_breaks_a_promise_is_refused(members, promise):
    import echo

    if isinstance(members.get("task"), dict):
        members = {**members, "task": _task(**members["task"])}
    with pytest.raises(AssertionError) as said:
        check_world(type("Wrong", (echo.Echo,), members)())
    assert promise in str(said.value)


def test_a_world_whose_network_does_nothing_is_refused():
    import echo

    class Shuffled(echo.Echo):
        @property
        def model(self):
            model = echo.Echo().model
            model.W_U.copy_(model.W_U.roll(1, 1))
            return model

    with pytest.raises(AssertionError, match=r"its network does what it is made for: it loses .* and to guess costs"):
        check_world(Shuffled())
