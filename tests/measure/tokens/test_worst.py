"""The worst examples: which they are, what stands around them, and what each run holds for likeliest there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from assay.explanations import Constant, Keep
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.plan import Plan
from assay.intervene.runner import Runner
from assay.measure.tokens.residual import Partition, partitions
from assay.measure.tokens.worst import worst
from assay.record.residual import WorstRow
from assay.task.task import Task
from tests.measure.ids import EXPLAINED, FLOOR
from tests.measure.test_measure import measured as record_of
from tests.measure.tokens.test_residual import HEADS, measured, world


def test_worst_examples_are_the_rows_with_the_largest_kl():
    workbench = world()
    scored, _ = measured(workbench, Constant(HEADS))
    kl = scored[EXPLAINED].table.kl
    found = worst(workbench, scored, explained=EXPLAINED, floor=FLOOR, count=5)
    totals = np.bincount(scored.row, weights=kl)
    assert [r.row for r in found.rows] == np.argsort(-totals, kind="stable")[:5].tolist()
    for row in found.rows:
        assert row.kl == pytest.approx(kl[scored.row == row.row].max())
        (peak,) = [token for token in row.text if token.kl == row.kl]
        assert peak.token == row.token
        assert row.row_kl == pytest.approx(totals[row.row])


def test_each_token_has_the_figures_of_its_place():
    workbench = world()
    scored, _ = measured(workbench, Constant(HEADS))
    row = worst(workbench, scored, explained=EXPLAINED, floor=FLOOR, count=1).rows[0]
    at = np.flatnonzero(scored.row == row.row)
    known = [token for token in row.text if token.kl is not None]
    for system, kl, loss in ((EXPLAINED, "kl", "loss_explained"), (FLOOR, "kl_floor", "loss_floor")):
        inside = dict(zip(scored[system].table.kl[at].tolist(), scored[system].table.loss[at].tolist(), strict=True))
        assert all(inside[getattr(token, kl)] == getattr(token, loss) for token in known)


def test_the_likeliest_tokens_are_those_of_the_run_itself():
    workbench = world()
    task, claim = workbench.task, Constant(HEADS)
    scored, _ = measured(workbench, claim)
    runs: dict[str, Plan | None] = {"model": None, "explained": claim.plan(workbench, "mean")}
    row = worst(workbench, scored, explained=EXPLAINED, floor=FLOOR, runs=runs, count=3).rows[2]
    place = next(i for i, token in enumerate(row.text) if token.kl == row.kl)
    column = row.position
    with torch.no_grad():
        own = workbench.runner.clean("scored", np.array([row.row])).logits[0, column - 1].softmax(-1)
        explained = workbench.runner.logits(claim.plan(workbench, "mean"), np.array([row.row]))[0, column - 1]
    for name, p in (("top_model", own), ("top_explained", explained.softmax(-1))):
        told = getattr(row.text[place], name)
        values, ids = p.topk(4)
        assert [token for token, _ in told] == [task.tokenizer.decode([int(i)]) for i in ids]
        assert [q for _, q in told] == pytest.approx(values.tolist(), abs=6e-5)
    assert row.text[place].top_floor == ()


def test_every_slice_has_an_example():
    workbench = world()
    scored, _ = measured(workbench, Constant(HEADS))
    parted = partitions(scored, workbench.task)
    found = worst(workbench, scored, explained=EXPLAINED, count=1, more=99)
    seen = {(by, name) for row in (*found.rows, *found.of_slices) for by, name in row.slices.items()}
    assert seen == {(by, str(name)) for by, part in parted.items() for name in set(part.labels.tolist())}
    (first,) = found.rows
    assert all(set(row.slices.items()) - set(first.slices.items()) for row in found.of_slices)
    assert [row.kl for row in found.of_slices] == sorted((row.kl for row in found.of_slices), reverse=True)
    lone = Partition(np.full(len(scored.row), "all"), ["all"])
    assert worst(workbench, scored, explained=EXPLAINED, parted={"source": lone}).of_slices == ()
    assert len(worst(workbench, scored, explained=EXPLAINED, count=1, more=2).of_slices) == 2


def test_an_example_of_a_classifier_is_its_label_with_the_likeliest_classes():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
    task = Task.classify(net, torch.randn(60, 4), torch.arange(60) % 3)
    from assay.model.load import load

    workbench = PlanContext(Runner(load(net), task))
    claim = Keep(["1"])
    scored, _ = measured(workbench, claim)
    runs: dict[str, Plan | None] = {"model": None, "explained": claim.plan(workbench, "mean")}
    rows: tuple[WorstRow, ...] = worst(workbench, scored, explained=EXPLAINED, floor=FLOOR, runs=runs).rows
    assert task.answers is not None
    for row in rows:
        (token,) = row.text
        assert token.token == row.token == str(int(task.answers[row.row, 0]))
        assert {name for name, _ in token.top_model} == {"0", "1", "2"}
        assert sum(p for _, p in token.top_model) == pytest.approx(1, abs=2e-4)


def test_a_measurement_tells_them():
    record = record_of("keep", "transformer").record
    token = next(t for t in record.residual.worst[0].text if t.kl == record.residual.worst[0].kl)
    assert len(token.top_model) == len(token.top_explained) == len(token.top_floor) == 4
    assert token.kl_floor is not None


def test_without_runs_to_ask_nothing_is_run(monkeypatch: pytest.MonkeyPatch):
    workbench = world()
    scored, _ = measured(workbench, Constant(HEADS))
    monkeypatch.setattr(workbench.runner, "clean", None)
    found = worst(workbench, scored, explained=EXPLAINED, floor=FLOOR, count=2)
    assert all(token.top_model == () for row in found.rows for token in row.text)
