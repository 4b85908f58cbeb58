"""Values from edited runs of other rows, as a scrubbed hypothesis takes them, against plain hooks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from assay.intervene.plan import Edit, EditRun, From, Plan
from assay.names import parse_site
from tests.intervene.naive_cases import assert_close, bench_of, logits, make, tolerance_of
from tests.naive import hooks

LATER = ("a1.h2", "m1")


def taking(names: tuple[str, ...], run: str, rows: np.ndarray | None, **options: Any) -> tuple[Edit, ...]:
    return tuple(Edit(parse_site(name), From(run, rows, **options)) for name in names)


def orders(count: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    return random.integers(0, count, count), random.permutation(count)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_run_whose_values_are_taken_takes_values_itself(kind: str, dtype: torch.dtype):
    workbench, (_, network) = bench_of(kind, dtype), make(kind, dtype)
    tokens = workbench.task.tokens
    mine, theirs = orders(len(tokens))
    inner = EditRun("inner", edits=taking(("a0.h1",), "clean", theirs))
    plan = Plan((EditRun("clean"), inner, EditRun("outer", edits=taking(LATER, "inner", mine))))

    head = hooks.values(network, tokens[theirs], ["a0.h1"])  # of the row that each row of the inner run takes it from
    given = hooks.values(network, tokens, LATER, edits=head)
    wanted = hooks.run(network, tokens, {name: value[mine] for name, value in given.items()})
    assert_close(logits(workbench, plan), wanted, tolerance_of(kind, dtype))
    assert not torch.allclose(logits(workbench, plan).float(), hooks.run(network, tokens, {}).float(), atol=1e-3)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_run_reads_other_rows_and_is_numbered_by_its_own(kind: str):
    """The same part has one datum for all that read it, which depends on the row that is scored."""
    dtype = torch.float64
    workbench, (_, network) = bench_of(kind, dtype), make(kind, dtype)
    tokens = workbench.task.tokens
    mine, theirs = orders(len(tokens))
    runs = (
        EditRun("source", at=theirs),
        EditRun("inner", edits=taking(("a0.h1",), "source", None), at=mine),
        EditRun("outer", edits=taking(LATER, "inner", None)),
    )
    head = hooks.values(network, tokens[theirs], ["a0.h1"])
    given = hooks.values(network, tokens[mine], LATER, edits=head)
    assert_close(logits(workbench, Plan(runs)), hooks.run(network, tokens, given), tolerance_of(kind, dtype))
    read = EditRun("read", at=mine)
    assert_close(logits(workbench, Plan((read,))), hooks.run(network, tokens[mine], {}), tolerance_of(kind, dtype))


def test_all_parts_that_are_taken_from_an_edited_run_cost_one_run_of_each_row():
    workbench = bench_of("gpt2", torch.float32)
    tokens = workbench.task.tokens
    rows = np.zeros(len(tokens), dtype=np.int64)  # one row gives to all
    inner = EditRun("inner", edits=taking(("a0.h1",), "clean", rows))
    plan = Plan((EditRun("clean"), inner, EditRun("outer", edits=taking((*LATER, "a1.h0"), "inner", rows))))
    logits(workbench, plan)
    before = workbench.runner.forwards
    logits(workbench, plan)
    layers = workbench.model.config.layers
    assert workbench.runner.forwards - before <= len(tokens) * (1 - 1 / layers) + 1


def test_a_named_column_is_each_rows_own():
    """Prompts of several lengths: what stands at the end of one is put at the end of another."""
    _, network = make("gpt2", torch.float64)
    workbench = bench_of("gpt2", torch.float64, counterfactual=True)
    task = workbench.task
    last = task.last
    assert len(np.unique(last)) > 1
    rows = np.roll(np.arange(len(last)), 1)
    value = hooks.values(network, task.tokens, ["m0"])["m0"]

    def put(old: Tensor) -> Tensor:
        out = old.clone()
        for row, other in enumerate(rows):
            out[row, last[row]] = value[other, last[other]]
        return out

    plan = Plan((EditRun("clean"), EditRun("end", edits=taking(("m0@-1",), "clean", rows, aligned=True))))
    assert_close(logits(workbench, plan), hooks.run(network, task.tokens, {"m0": put}), 1e-10)
