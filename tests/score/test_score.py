"""Scores are those of the plain definitions, and cost no pass and no logits that nothing needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from assay.explanations import Keep, Remove
from assay.intervene import output
from assay.intervene.edits.engine import CleanRuns
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.runner import Runner
from assay.measure.checks.knockouts import divergences, knockouts
from assay.measure.headline.systems import systems
from assay.methods.part_sizes import sizes
from assay.model.transformer import Model
from assay.score.score import score
from assay.task.metrics import METRICS, Metric
from tests.measure.ids import EXPLAINED
from tests.measure.planted import planted, text_task, workbench
from tests.naive.scores import scores as naive

LAST = planted().config.layers - 1
CLAIMS = {"remove": Remove([f"a{LAST}.h1", f"m{LAST}"]), "keep": Keep(["a0.h2", "a0.h5", "m0"])}


@contextmanager
def counted() -> Iterator[dict[str, int]]:
    """Layers that are run and positions that are unembedded, times rows."""
    found = {"layers": 0, "unembedded": 0}
    layer, unembed = Model.run_layer, Model.unembed

    def one(model: Model, x: torch.Tensor, *rest: Any) -> torch.Tensor:
        found["layers"] += len(x)
        return layer(model, x, *rest)

    def last(model: Model, normed: torch.Tensor) -> torch.Tensor:
        found["unembedded"] += normed[..., 0].numel()
        return unembed(model, normed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Model, "run_layer", one)
        patch.setattr(Model, "unembed", last)
        yield found


@pytest.mark.parametrize("kind", CLAIMS)
@pytest.mark.parametrize("block", [1_000, output.BLOCK])
def test_scores_are_those_of_whole_distributions(kind: str, block: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(output, "BLOCK", block)
    at, rows = workbench(), np.arange(len(text_task()))
    plans = systems(at, CLAIMS[kind], ("mean", "resample_joint"), 3).plans
    chosen = np.array([7, 2])
    scored = score(at, plans, keep=list(plans), chosen=chosen)
    targets = dict.fromkeys(plans, plans[EXPLAINED][0])
    apart = score(at, plans, keep=list(plans), targets=targets)
    task = at.task
    items = task.items(rows)
    targets = task.targets(rows, items)
    answers = torch.stack([targets, targets], 1)

    def whole(plan: Any) -> torch.Tensor:
        with torch.no_grad():
            return task.gather(at.runner.logits(plan, rows), items)

    own, beside = whole(at.plan(())), whole(plans[EXPLAINED][0])
    for name, draws in plans.items():
        found = [naive("loss", whole(plan), own, answers) for plan in draws]
        loss, kl, agree, correct = (torch.stack([f[i].double() for f in found]).mean(0).numpy() for i in range(4))
        table = scored[name].tokens
        assert table is not None
        np.testing.assert_allclose(table.loss, loss, atol=1e-6, rtol=1e-6)
        np.testing.assert_allclose(table.kl, kl, atol=1e-6, rtol=1e-6)
        np.testing.assert_array_equal(table.agree, agree.astype(np.float32))
        np.testing.assert_array_equal(table.correct, correct.astype(np.float32))
        logits = torch.stack([whole(plan)[:, chosen].double() for plan in draws]).mean(0)
        np.testing.assert_allclose(scored[name].logits, logits, atol=1e-5)
        far = torch.stack([naive("loss", whole(plan), beside, answers)[1] for plan in draws]).mean(0)
        np.testing.assert_allclose(apart[name].table.kl, far, atol=1e-6, rtol=1e-6)
        np.testing.assert_allclose(apart[name].draw_loss, scored[name].draw_loss, rtol=1e-7)
    assert apart[EXPLAINED].logits is None
    model = naive("loss", own, own, answers)
    np.testing.assert_allclose(scored.model.loss.sum(), float(model[0].sum()), rtol=1e-7)
    assert not scored.model.kl.any()


@pytest.mark.parametrize("metric", ["kl", "accuracy", "own"])
def test_a_loss_that_looks_at_whole_distributions_is_scored_by_them(metric: str):
    entropy = Metric("own", "nats", lambda log_probs, answers: -(log_probs.exp() * log_probs).sum(-1))
    task = text_task()
    object.__setattr__(task, "metric", METRICS.get(metric, entropy))
    try:
        at = workbench()
        plan = at.plan(at.ablate(CLAIMS["remove"].scope(at.model), "zero"))
        scored = score(at, {"it": plan})
        items = task.items(np.arange(len(task)))
        with torch.no_grad():
            logits = task.gather(at.runner.logits(plan, np.arange(len(task))), items).double()
            own = task.gather(at.runner.logits(at.plan(()), np.arange(len(task))), items).double()
        q, p = logits.log_softmax(-1), own.log_softmax(-1)
        right = task.targets(np.arange(len(task)), items)
        wanted = {
            "kl": float((p.exp() * (p - q)).sum()),
            "accuracy": float((q.argmax(-1) != right).sum()),
            "own": -float((q.exp() * q).sum()),
        }
        assert float(scored["it"].loss.sum()) == pytest.approx(wanted[metric], rel=1e-5)
        model = {"kl": 0.0, "accuracy": float((p.argmax(-1) != right).sum()), "own": -float((p.exp() * p).sum())}
        assert float(scored.model.loss.sum()) == pytest.approx(model[metric], rel=1e-5)
    finally:
        object.__setattr__(task, "metric", METRICS["loss"])


def test_a_run_starts_at_its_first_edit_and_unembeds_what_is_scored():
    at = workbench()
    layers, rows, items = planted().config.layers, len(text_task()), text_task().count
    edits = at.ablate(CLAIMS["remove"].scope(planted()), "zero")
    with counted() as cost:
        score(at, {})
    assert cost == {"layers": layers * rows, "unembedded": items}
    before = at.runner.forwards
    with counted() as cost:
        score(at, {"removed": [at.plan(edits), at.plan(edits[:1])], "kept": CLAIMS["keep"].plan(at, "zero")})
    assert cost["layers"] == (2 + layers) * rows  # the last layer twice; all of them; the clean run is known
    assert cost["unembedded"] == 4 * items  # and the model's own
    assert at.runner.forwards - before == pytest.approx((2 / layers + 1) * rows)
    with counted() as cost:
        pairs = [(at.plan(edits), at.plan(edits[:1])), (at.plan(edits), at.plan(edits[1:]))]
        divergences(at, pairs, np.arange(rows))
    assert cost["unembedded"] == 4 * items
    assert cost["layers"] == 4 * rows


def test_values_of_an_edited_run_start_at_its_first_edit_where_the_clean_run_is_known():
    at, rows = workbench(), np.arange(len(text_task()))
    edits = at.ablate(CLAIMS["remove"].scope(planted()), "zero")
    plan = at.plan(edits)
    site = edits[1].site
    lower = CLAIMS["keep"].scope(planted())[0]
    wanted = at.runner.values(plan, plan.final, [site, lower], rows)
    at.runner.clean("scored", rows)
    with counted() as cost:
        got = at.runner.values(plan, plan.final, [site], rows)[site]
    assert cost == {"layers": len(rows), "unembedded": 0}
    assert torch.equal(got, wanted[site])
    assert torch.equal(at.runner.values(plan, plan.final, [lower, site], rows)[lower], wanted[lower])


def test_clean_runs_are_kept_within_their_room(monkeypatch: pytest.MonkeyPatch):
    at = PlanContext(Runner(planted(), text_task()))
    size = at.runner.clean("scored", np.arange(2)).nbytes
    monkeypatch.setattr(CleanRuns, "room", 2 * size)
    for start in (2, 4, 0):
        at.runner.clean("scored", np.arange(start, start + 2))
    assert len(at.runner.cleans) == 2
    monkeypatch.setattr(CleanRuns, "room", size - 1)
    other = PlanContext(Runner(planted(), text_task()))
    assert other.runner.clean("scored", np.arange(2)).nbytes == size
    assert not other.runner.cleans


def test_some_of_the_scored_rows_start_from_the_run_of_all_of_them():
    at, some = PlanContext(Runner(planted(), text_task())), np.array([1, 4, 6])
    at.runner.batch = 4
    alone = at.runner.clean("scored", some)
    at.runner.cleans = CleanRuns()
    for batch in at.runner.batches(np.arange(8)):
        at.runner.clean("scored", batch)
    before = at.runner.forwards
    found = at.runner.clean("scored", some)
    assert at.runner.forwards == before
    torch.testing.assert_close(found.output.values, alone.output.values)
    for layer, stream in alone.streams.items():
        torch.testing.assert_close(found.streams[layer], stream)
    assert at.runner.known("scored", np.array([1, 8])) is None  # not all of them were run


def test_scales_of_the_clean_run_are_taken_once():
    at = PlanContext(Runner(planted(), text_task()), frozen_norm=True)
    plans = [at.plan(at.ablate(CLAIMS["remove"].scope(planted()), ablation)) for ablation in ("zero", "mean", "zero")]
    rows = np.arange(4)
    before = at.runner.forwards
    with torch.no_grad():
        first, _, again = (at.runner.logits(plan, rows) for plan in plans)
    assert at.runner.forwards - before == 4 * len(rows)  # the scales, and every run
    assert torch.equal(first, again)


def test_sizes_of_the_same_parts_are_computed_once():
    at = workbench()
    sites = CLAIMS["keep"].scope(planted())
    with counted() as cost:
        first = sizes(at, sites)
    assert cost["layers"] > 0
    assert at.task.reference is not None
    assert cost["unembedded"] == at.task.reference.count  # what is scored, and no more
    with counted() as cost:
        assert sizes(at, sites) is first
    assert cost == {"layers": 0, "unembedded": 0}


def test_equal_runs_of_knock_outs_are_made_once():
    """One part: with it and without it, alone, with what follows frozen, and under two fills of one knock-out."""
    at, rows = workbench(), np.arange(4)
    items = len(at.task.items(rows).row)
    with counted() as cost:
        found = knockouts(at, Remove(["a1.h1"]), ablation="mean", contexts=1, rows=rows)
    assert cost["unembedded"] == (2 + 2 + 2 * 2) * items
    assert found is not None
    (use,) = found.uses
    assert use.left_out == found.scale > 0
    assert use.contexts["alone"] == use.left_out
