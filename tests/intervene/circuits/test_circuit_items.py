"""Nodes that the scored items alone depend on may be computed there alone; that changes nothing."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from assay.intervene.circuits.engine import CircuitBatch, Circuits
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.rows import EXACT
from assay.intervene.runner import Runner
from tests.intervene.naive_cases import DEEPER, KINDS, assert_close, make, prompt_task, text_task

ROWS = np.array([0, 2, 3])
DOUBLE = torch.float64


def bench_of(kind: str, each: int, frozen: bool = False) -> PlanContext:
    """Prompts with one scored item (at different columns), or text with so many, differently placed, in each row."""
    model, _ = make(kind, DOUBLE)
    task = prompt_task(model) if each == 1 else text_task(model)
    if each > 1:
        columns = np.random.default_rng(each).permuted(np.tile(np.arange(2, 9), (len(task.tokens), 1)), axis=1)
        scored = torch.zeros_like(task.scored)
        scored[torch.arange(len(scored))[:, None], torch.from_numpy(columns[:, :each])] = True
        task = replace(task, scored=scored & task.real)
    return PlanContext(Runner(model, task), seed=5, frozen_norm=frozen)


def both(circuits: Circuits) -> tuple[CircuitBatch, CircuitBatch]:
    """A batch that may leave positions out, and one that may not."""
    fast, plain = circuits.batch(ROWS), circuits.batch(ROWS)
    plain.items.few = 0
    return fast, plain


@pytest.mark.parametrize("ablation", ["zero", "resample_joint"])
@pytest.mark.parametrize("each", [1, 2])
@pytest.mark.parametrize("kind", [*KINDS, *DEEPER])
def test_a_state_changed_step_by_step_is_the_same_with_and_without_the_other_positions(kind, each, ablation):
    circuits = Circuits(bench_of(kind, each), ablation)
    fast, plain = both(circuits)
    assert fast.items.few == each
    edges, rng = circuits.edges, np.random.default_rng([len(kind), each])
    reader, _ = edges.ends(np.arange(len(edges)))
    keys = np.array([edges.readers[r].part in "kv" for r in reader])
    narrowed = widened = 0
    with torch.no_grad():
        for start in (True, False):
            state, known = (deepcopy(batch.clean if start else batch.empty) for batch in (fast, plain))
            mask = np.full(len(edges), start)
            for step in range(16):
                masks = np.repeat(mask[None], 3, axis=0)
                for change in masks:
                    some = rng.choice(len(edges), max(3, len(edges) // 8), replace=False)
                    change[some] = rng.random(len(some)) < 0.5
                if step % 4 < 2:  # few keys and values are read: most nodes matter at the items alone
                    masks[:, keys] &= rng.random(keys.sum()) < 0.1
                got = fast.vary(state, fast.matrix(masks))
                wanted = plain.vary(known, plain.matrix(masks))
                assert_close(got.logits, wanted.logits, 1e-10)
                before = state.narrow
                got.into(state, 1)
                wanted.into(known, 1)
                mask = masks[1]
                narrowed += int((~before & state.narrow).sum())
                widened += int((before & ~state.narrow & ~state.stale).sum())
            assert_close(fast.vary(state, fast.matrix(mask[None])).logits, plain.logits(mask[None]), 1e-10)
    assert narrowed
    assert widened


@pytest.mark.parametrize("kind", ["gpt2", "qwen3"])
def test_frozen_norms_are_those_of_the_items(kind):
    fast, plain = both(Circuits(bench_of(kind, 2, frozen=True), "mean"))
    masks = np.random.default_rng(0).random((6, len(fast.edges))) < np.linspace(0.1, 0.9, 6)[:, None]
    with torch.no_grad():
        for mask in masks:
            assert_close(fast.logits(mask[None]), plain.logits(mask[None]), 1e-10)


def test_rows_with_other_numbers_of_items_are_computed_everywhere():
    workbench = bench_of("gpt2", 2)
    scored = workbench.task.scored.clone()
    scored[0] = False
    scored[0, 3] = True
    task = replace(workbench.task, scored=scored)
    assert Circuits(PlanContext(Runner(workbench.model, task), seed=5), "zero").batch(ROWS).items.few == 0


def test_a_head_that_the_logits_alone_read_costs_the_items_alone():
    circuits = Circuits(bench_of("deep", 1), "zero")
    fast, plain = both(circuits)
    mask = circuits.edges.mask(["input->a0.h0<q>", "a0.h0->m1", "m1->logits"])
    taken = []
    with torch.no_grad():
        for batch in (fast, plain):
            _ = batch.empty, batch.clean
            before = circuits.workbench.runner.forwards
            batch.logits(mask[None])
            taken.append(circuits.workbench.runner.forwards - before)
    assert taken[0] == pytest.approx(taken[1] / fast.tokens.shape[1], abs=1 / EXACT)  # each is counted in such parts
