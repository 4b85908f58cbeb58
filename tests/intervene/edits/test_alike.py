"""Edited runs that begin alike: the second goes on where it parts from the first, and reads what it would alone."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from assay.intervene.fill.ablations import PlanContext
from assay.intervene.plan import Call, Edit, EditRun, Mix, Own, Plan, Value
from assay.intervene.runner import Runner
from assay.model.transformer import Model
from assay.names import parse_site
from assay.task.task import Task
from tests.model.tiny import tiny

ROWS = np.arange(3)


def bench_of(family: str = "gpt2") -> PlanContext:
    model = tiny(family, layers=4, tokenizer=True)
    assert isinstance(model, Model)
    random = np.random.default_rng(0)
    ids = [random.integers(1, model.config.vocab, 19) for _ in range(6)]
    return PlanContext(Runner(model, Task.from_ids(model, ids[:3], reference=ids[3:], context=20)))


def ablated(workbench: PlanContext, names: str, ablation: str = "mean", **options: Any) -> Plan:
    return workbench.plan(workbench.ablate([parse_site(name) for name in names.split()], ablation, **options))


def edited(workbench: PlanContext, name: str, source: Any) -> Plan:
    return workbench.plan((*ablated(workbench, "a0.h1").final.edits, Edit(parse_site(name), source)))


@pytest.fixture
def layers_run(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    count: Counter[str] = Counter()
    layer = Model.run_layer

    def counted(view: Model, x: torch.Tensor, *rest: Any) -> torch.Tensor:
        count["layers"] += 1
        return layer(view, x, *rest)

    monkeypatch.setattr(Model, "run_layer", counted)
    return count


@torch.no_grad()
def last_of(workbench: PlanContext, *plans: Plan) -> torch.Tensor:
    return [workbench.runner.logits(plan, ROWS) for plan in plans][-1]


PAIRS = {
    "a part more": ("a0.h1 m1", "a0.h1 m1 a3.h0", 1),
    "a part less": ("a0.h1 a2.h1 m3", "a0.h1 m3", 2),
    "another in its place": ("a0.h1 m1", "a0.h1 a2.h3", 3),
    "in another order": ("m2 a0.h1", "a0.h1 m2", 0),
    "from layer 0 on": ("a0.h1 m1", "a0.h2 m1", 4),
    "behind the clean run": ("a0.h1 m3", "m3", 1),
}


@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox"])
@pytest.mark.parametrize("ablation", ["mean", "resample_joint", "zero"])
@pytest.mark.parametrize("pair", PAIRS)
def test_a_run_goes_on_where_it_parts_from_the_one_before(pair: str, ablation: str, family: str, layers_run: Counter):
    first, second, layers = PAIRS[pair]
    workbench, alone = bench_of(family), bench_of(family)
    for one in (workbench, alone):
        one.runner.clean("scored", ROWS)
    plans = [ablated(workbench, names, ablation) for names in (first, second)]
    last_of(workbench, *plans[::-1])  # donors of both are there
    layers_run.clear()
    before = workbench.runner.forwards
    found = last_of(workbench, plans[1])
    assert layers_run["layers"] == layers
    assert workbench.runner.forwards - before == len(ROWS) * layers / 4
    assert torch.equal(found, last_of(alone, plans[1]))


APART = {
    "draws": lambda workbench: [ablated(workbench, "a0.h1 m2", "resample_joint", draw=draw) for draw in range(2)],
    "values": lambda workbench: [edited(workbench, "m2", Value(torch.tensor(value))) for value in (0.0, 1.0)],
    "a value of another shape": lambda workbench: [
        edited(workbench, "m2", Value(torch.zeros(*shape))) for shape in ((1,), (20, 1))
    ],
    "its own and a value": lambda workbench: [
        edited(workbench, "m2", one) for one in (Own(), Value(torch.tensor(0.0)))
    ],
    "programs": lambda workbench: [
        edited(workbench, "m2", Call(lambda batch, by=by: batch.read(parse_site("m2")) * by, (parse_site("m2"),)))
        for by in (0.5, 2.0)
    ],
    "sides of a mix": lambda workbench: [
        edited(workbench, "m2", Mix(torch.eye(32)[:, :3], Own(), Value(torch.tensor(by)))) for by in (0.0, 1.0)
    ],
    "frozen norms": lambda workbench: [
        Plan((EditRun("explained", edits=ablated(workbench, "a0.h1 m2").final.edits, frozen_norm=frozen),))
        for frozen in (False, True)
    ],
    "other rows' examples": lambda workbench: [
        ablated(workbench, "a0.h1 m2", ablation) for ablation in ("resample_joint", "resample_independent")
    ],
}


@pytest.mark.parametrize("what", APART)
def test_runs_that_differ_are_told_apart(what: str):
    workbench, alone = bench_of(), bench_of()
    for order in (1, -1):
        plans = APART[what](workbench)[::order]
        assert torch.equal(last_of(workbench, *plans), last_of(alone, plans[-1]))
        alone = bench_of()


def test_what_a_program_reads_of_a_lower_layer_is_run_again(layers_run: Counter):
    """The second run's program in layer 3 reads layer 1, which both have in common."""
    workbench = bench_of()
    site = parse_site("m1")
    first = ablated(workbench, "a0.h1")
    second = edited(workbench, "m3", Call(lambda batch: batch.read(site) * 2, (site,)))
    expected = last_of(bench_of(), second)
    last_of(workbench, first)
    layers_run.clear()
    assert torch.equal(last_of(workbench, second), expected)
    assert layers_run["layers"] == 3


def test_with_gradients_nothing_is_taken_from_the_run_before():
    """A fit changes its constants in place between runs."""
    workbench, constant = bench_of(), torch.zeros(1, requires_grad=True)
    plan = edited(workbench, "m2", Value(constant))
    before = workbench.runner.logits(plan, ROWS)
    with torch.no_grad():
        constant += 1.0
    assert not torch.equal(before, workbench.runner.logits(plan, ROWS))
