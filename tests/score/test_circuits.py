"""Scores of many circuits equal those of each circuit run alone, however rows and circuits are put together."""

from __future__ import annotations

from threading import Event

import numpy as np
import pytest
import torch

from assay.intervene.circuits.engine import Circuits
from assay.intervene.circuits.groups import budget, grouped, live_shares
from assay.intervene.circuits.plans import circuit_plan
from assay.intervene.fill.ablations import PlanContext
from assay.model.edge_sets import EdgeSet
from assay.score.circuits import score_circuits
from assay.score.score import score
from assay.score.side_by_side import side_by_side
from assay.task.metrics import token_scores
from tests.intervene.naive_cases import bench_of

DOUBLE = torch.float64


def circuits_in(workbench: PlanContext, count: int, seed: int = 0) -> np.ndarray:
    """Random circuits of all sizes: nested ones, unrelated ones, none, all, and all but one edge."""
    chance = np.random.default_rng(seed)
    edges = len(workbench.model.edges)
    order = chance.random(edges)
    nested = order[None] < np.linspace(0, 1, count // 2)[:, None]
    apart = chance.random((count - count // 2, edges)) < chance.random((count - count // 2, 1))
    apart[0] = True
    apart[0, 7] = False
    return np.concatenate([nested, apart])


def naive_scores(workbench: PlanContext, masks: np.ndarray, ablation: str, draw: int, rows: np.ndarray) -> np.ndarray:
    """[columns, variants, documents], a row and a circuit at a time, against the model's own forward pass."""
    task, circuits = workbench.task, Circuits(workbench, ablation, draw)
    out = np.zeros((4, len(masks), len(task.documents)))
    for row in rows:
        one = np.array([row])
        items = task.items(one)
        own = task.gather(workbench.model(task.tokens[one]), items).log_softmax(-1)
        for variant, mask in enumerate(masks):
            with torch.no_grad():
                logits = circuits.batch(one).logits(mask[None])[0]
            found = token_scores(task.metric, logits, own, task.targets(one, items), given="logits")
            for column, values in enumerate((found.loss, found.kl, found.agree, found.correct)):
                out[column, variant, task.document[row]] += float(values.double().sum())
    return out


@pytest.mark.parametrize("kind", ["gpt2", "parallel"])
@pytest.mark.parametrize("ablation", ["mean", "resample_joint", "resample_independent"])
def test_scores_are_those_of_each_circuit_alone(kind, ablation):
    workbench = bench_of(kind, DOUBLE)
    masks, rows = circuits_in(workbench, 8), np.array([0, 2, 3])
    found = score_circuits(workbench, masks, ablation, draws=(0, 3), rows=rows)
    draws = (0,) if ablation == "mean" else (0, 3)
    naive = np.stack([naive_scores(workbench, masks, ablation, draw, rows) for draw in draws])
    for column, name in enumerate(("draw_loss", "draw_kl", "draw_agree", "draw_correct")):
        values = found.stacked(name).transpose(2, 0, 1)
        np.testing.assert_allclose(values, naive[:, column], rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(found.stacked("kl"), naive[:, 1].mean(0), rtol=1e-7, atol=1e-9)
    scored = workbench.task.scored.sum(1).numpy()
    assert [found.count[workbench.task.document[row]] for row in rows] == [scored[row] for row in rows]
    assert found.count.sum() == scored[rows].sum()


def test_chosen_logits_are_those_of_each_circuit_alone():
    workbench, chosen = bench_of("llama", DOUBLE), np.array([5, 0])
    plans = [circuit_plan(workbench, EdgeSet.whole(mask), "mean") for mask in circuits_in(workbench, 4)]
    found = score(workbench, dict(enumerate(plans)), chosen=chosen, memory=1 << 22)
    rows = np.arange(len(workbench.task))
    for place, plan in enumerate(plans):
        with torch.no_grad():
            alone = workbench.task.gather(workbench.runner.logits(plan, rows), workbench.task.items(rows))
        np.testing.assert_allclose(found[place].logits, alone[:, chosen], rtol=1e-7, atol=1e-9)


def test_small_memory_changes_nothing():
    workbench = bench_of("llama", DOUBLE)
    masks = circuits_in(workbench, 8)
    circuits = Circuits(workbench, "mean")
    assert budget(circuits, 5, 1).rows == budget(circuits, 5, 1).variants == 1
    one, many = (score_circuits(workbench, masks, "mean", memory=memory) for memory in (1, 1 << 30))
    np.testing.assert_allclose(one.stacked("kl"), many.stacked("kl"), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(one.stacked("loss"), many.stacked("loss"), rtol=1e-12)


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_side_by_side_is_one_after_the_other(threads):
    workbench = bench_of("llama", DOUBLE)
    masks = circuits_in(workbench, 24)
    found, forwards = [], [0.0]
    for count in (1, 3, 3):
        threads(count)
        found.append(score_circuits(workbench, masks, "resample_joint", draws=(0, 1), memory=1 << 22))
        forwards.append(workbench.runner.forwards)
        assert torch.get_num_threads() == count
    one, three, again = found
    np.testing.assert_allclose(one.stacked("draw_kl"), three.stacked("draw_kl"), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(one.stacked("draw_loss"), three.stacked("draw_loss"), rtol=1e-9)
    assert forwards[3] - forwards[2] == forwards[2] - forwards[1]  # to the bit, in whatever order threads end
    np.testing.assert_array_equal(again.stacked("draw_kl"), three.stacked("draw_kl"))


def test_side_by_side_keeps_the_order_and_drops_what_has_not_begun(threads):
    threads(2)
    begun, held = [], Event()

    def call(number: int) -> int:
        begun.append(number)
        if number == 1:
            held.set()
            raise ValueError("broken")
        held.wait(10)
        Event().wait(0.01)  # as long as a call takes: else all of them may have begun before the first result is read
        return number

    assert list(side_by_side(lambda number: (number, torch.get_num_threads()), range(5))) == [(i, 1) for i in range(5)]
    with pytest.raises(ValueError, match="broken"):
        list(side_by_side(call, range(1_000)))
    assert len(begun) < 1_000
    assert torch.get_num_threads() == 2


def test_all_edges_are_the_model_and_positions_count():
    workbench = bench_of("llama", DOUBLE)
    edges = len(workbench.model.edges)
    third = np.arange(edges) == 3
    half = EdgeSet(np.repeat(third[:, None], 7, 1), tuple(range(7))).complement()  # the edge is cut in seven columns
    masks = np.stack([np.ones(edges, dtype=bool), ~third])
    found = score_circuits(workbench, [EdgeSet.whole(masks[0]), half, EdgeSet.whole(masks[1])], "mean")
    np.testing.assert_allclose(found[0].loss, score(workbench, {}).model.loss, rtol=1e-6)
    assert found[0].kl.max() < 1e-15
    assert found[0].agree.sum() == found.count.sum()
    assert 0 < found[1].kl.sum() != pytest.approx(found[2].kl.sum(), rel=1e-3)
    whole = score_circuits(workbench, masks, "mean")
    np.testing.assert_allclose(found[2].kl, whole[1].kl, rtol=1e-9)
    assert whole[0].kl.max() < 1e-15


def test_circuits_that_need_the_same_nodes_share_a_call():
    workbench = bench_of("deep", DOUBLE)
    circuits, edges = Circuits(workbench, "mean"), workbench.model.edges
    single = np.ones((edges.readers[2].writers * 3, len(edges)), dtype=bool)
    single[np.arange(len(single)), np.arange(len(single)) + edges.offsets[13]] = False  # edges into the second layer
    found = grouped(circuits, single, rows=1, most=64, call=0.0)
    assert sorted(np.concatenate([group.members for group in found])) == list(range(len(single)))
    assert len(found) < len(single)
    assert all(group.clean for group in found)
    assert [len(g.members) for g in grouped(circuits, single, rows=1, most=2, call=1e12)].count(2) >= len(single) // 2


def test_unrelated_circuits_run_alone_unless_calls_are_dear():
    workbench = bench_of("deep", DOUBLE)
    edges, circuits = workbench.model.edges, Circuits(workbench, "resample_joint")
    paths = [[f"input->a0.kv{h // 2}<v>", f"a0.h{h}->m2", "m2->logits"] for h in range(4)]
    masks = np.stack([edges.mask(path) for path in paths])
    apart, together = (grouped(circuits, masks, rows=1, most=64, call=call) for call in (0.0, 1e12))
    assert [len(group.members) for group in apart] == [1] * 4
    assert [sorted(group.members) for group in together] == [[0, 1, 2, 3]]
    shares = live_shares(circuits, masks)
    assert shares == pytest.approx(shares[0])
    # one head of 4 and one MLP of 1, in 3 layers; keys and values are shared by two heads
    head, mlp = 2 * 32 * 8 * 1.5, 3 * 32 * 48
    assert shares[0] == pytest.approx((head + mlp) / (3 * (4 * head + mlp)))
    assert live_shares(circuits, np.ones((1, len(edges)), dtype=bool)) == pytest.approx(0)
