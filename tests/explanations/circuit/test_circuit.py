"""`Circuit` against the model, the ablated model, removal of nodes, `Keep` and a plain implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from assay.errors import ClaimError, ComponentError, TaskError
from assay.explanations import Circuit, Keep, Remove
from assay.explanations.circuit.nodes import touched
from assay.explanations.circuit.trials import node_out
from assay.intervene.circuits.engine import Circuits
from assay.intervene.circuits.plans import circuit_plan
from assay.intervene.circuits.runs import engine_of
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.plan import EditRun, Plan
from assay.intervene.runner import Runner
from assay.model.edge_sets import EdgeSet
from assay.names import parse_site
from assay.score.circuits import score_circuits
from assay.score.score import score
from tests.intervene.naive_cases import bench_of, logits, make, naive_fill, prompt_task
from tests.model.tiny import tiny
from tests.naive import edges as naive

SINGLE, DOUBLE = torch.float32, torch.float64
FILLS = ("mean", "resample_joint", "noise", "counterfactual")
KINDS = ("gpt2", "llama", "parallel", "attention only")


def workbench(kind: str, ablation: str, dtype: torch.dtype = DOUBLE) -> PlanContext:
    return bench_of(kind, dtype, ablation == "counterfactual")


def rows_of(at: PlanContext) -> np.ndarray:
    return np.arange(len(at.task.tokens))


def everything(at: PlanContext) -> np.ndarray:
    return np.ones(len(at.model.edges), dtype=bool)


def close(at: PlanContext, one: torch.Tensor, other: torch.Tensor, tolerance: float = 1e-9) -> bool:
    """Whether logits agree wherever the model reads a token."""
    real = at.task.real
    return float((one - other)[real].abs().max()) <= tolerance * float(other[real].abs().max())


def some_edges(at: PlanContext, share: float, seed: int) -> np.ndarray:
    mask = np.random.default_rng(seed).random(len(at.model.edges)) < share
    mask[at.model.edges.number("input->logits")[0]] = True
    return mask


@pytest.mark.parametrize("ablation", FILLS)
@pytest.mark.parametrize("kind", KINDS)
def test_all_edges_are_the_model_and_none_the_ablated_model(kind, ablation):
    at = workbench(kind, ablation)
    circuit = Circuit.of(everything(at))
    assert close(at, logits(at, circuit.plan(at, ablation)), at.runner.clean("scored", rows_of(at)).logits)
    nothing = circuit_plan(at, EdgeSet.whole(~everything(at)), ablation)
    ablated = at.plan(at.ablate([parse_site(name) for name in at.model.edges.writers], ablation))
    assert close(at, logits(at, nothing), logits(at, ablated))
    assert close(at, logits(at, circuit.floor(at, ablation)), logits(at, nothing))
    assert not close(at, logits(at, nothing), logits(at, circuit.plan(at, ablation)), 1e-3)


@pytest.mark.parametrize("ablation", FILLS)
@pytest.mark.parametrize("kind", KINDS)
def test_ablating_a_node_is_ablating_all_edges_out_of_it(kind, ablation):
    at = workbench(kind, ablation)
    names = ["a0.h1", "a1.h2"] if kind == "attention only" else ["a0.h1", "m0", "a1.h2"]
    mask = everything(at)
    for name in names:
        mask &= ~node_out(at.model, name)
    assert close(at, logits(at, Circuit.of(mask).plan(at, ablation)), logits(at, Remove(names).plan(at, ablation)))


@pytest.mark.parametrize("ablation", FILLS)
@pytest.mark.parametrize("kind", ["gpt2", "llama", "parallel"])
def test_nodes_that_are_kept_are_as_in_keep_and_the_floors_differ_by_the_input(kind, ablation):
    at = workbench(kind, ablation)
    names = ["a0.h1", "m1", "a1.h0"]
    assert close(at, logits(at, Circuit(nodes=names).plan(at, ablation)), logits(at, Keep(names).plan(at, ablation)))
    mask = ~everything(at)
    mask[at.model.edges.number("input->logits")[0]] = True  # Keep leaves `input` to the logits, a circuit does not
    assert close(at, logits(at, Circuit.of(mask).plan(at, ablation)), logits(at, Keep(names).floor(at, ablation)))


def test_optimal_constants_are_fitted_for_all_writers_and_not_for_the_complement_alone():
    at = workbench("gpt2", "mean", SINGLE)
    names = ["a0.h1", "m1"]
    assert not close(
        at, logits(at, Circuit(nodes=names).plan(at, "optimal")), logits(at, Keep(names).plan(at, "optimal")), 1e-4
    )


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("ablation", FILLS)
@pytest.mark.parametrize("kind", ["gpt2", "llama", "parallel"])
def test_the_run_of_a_plan_is_that_of_a_plain_implementation(kind, ablation, frozen):
    at = workbench(kind, ablation)
    if frozen:
        at = PlanContext(Runner(at.model, at.task), at.seed, frozen_norm=True)
    model, network = make(kind, DOUBLE)
    mask = some_edges(at, 0.5, 3)
    fills = naive_fill(kind, DOUBLE, tuple(model.components), ablation)
    live = dict(zip(model.edges, torch.from_numpy(mask), strict=True))
    plain = naive.run(network, at.task.tokens, live, fills, frozen=frozen)
    assert close(at, logits(at, Circuit.of(mask).plan(at, ablation)), plain, 2e-5)


@pytest.mark.parametrize("ablation", FILLS)
def test_a_plan_is_scored_as_the_engine_scores_its_mask(ablation):
    at = workbench("llama", ablation, SINGLE)
    mask = some_edges(at, 0.4, 1)
    plan = Circuit.of(mask).plan(at, ablation)
    mine = score(at, {"circuit": plan})["circuit"]
    theirs = score_circuits(at, mask[None], ablation)[0]
    np.testing.assert_allclose(mine.kl, theirs.kl, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(mine.loss, theirs.loss, rtol=1e-5, atol=1e-5)


def test_a_fill_that_is_one_run_is_known_as_such_and_others_are_not():
    one_run = {"resample_joint": True, "resample_independent": False, "mean": False, "counterfactual": True}
    for ablation, one in one_run.items():
        at = workbench("llama", ablation, SINGLE)
        plan = Circuit.of(everything(at)).plan(at, ablation)
        assert engine_of(at.runner, plan, plan.final).consistent is one
        assert Circuits(at, ablation).consistent is one


def test_a_fill_that_leaves_a_writer_as_it_is_is_refused():
    at = workbench("llama", "mean", SINGLE)
    plan = Circuit.of(everything(at)).plan(at, "mean")
    fill = EditRun("fill", edits=plan.runs[-2].edits[:-1])
    with pytest.raises(ComponentError, match="fills no edge out of 'm1'"):
        logits(at, Plan((fill, plan.final)))


# -- positions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ablation", ["mean", "resample_joint"])
def test_an_edge_at_one_position_is_the_plain_run_with_that_position_kept(ablation):
    """@-1 is another column in rows of another length."""
    at = workbench("gpt2", ablation)
    model, network = make("gpt2", DOUBLE)
    names = ["input->a1.h0<v>", "input->logits", "a0.h2->a1.h0<k>@2", "input->a0.h2<v>@-1", "a1.h0->logits@-1"]
    circuit = Circuit(edges=names)
    got = logits(at, circuit.plan(at, ablation))
    fills = naive_fill("gpt2", DOUBLE, tuple(model.components), ablation)
    assert len(np.unique(at.task.last)) > 1
    for row in rows_of(at):
        keep = {name: torch.zeros(at.task.tokens.shape[1]) for name in model.edges}
        for name in names:
            edge, _, position = name.partition("@")
            column = {"": slice(None), "2": 2, "-1": int(at.task.last[row])}[position]
            keep[edge][column] = 1
        own = {name: value[[row]] if value.ndim == 3 else value for name, value in fills.items()}
        plain = naive.run(network, at.task.tokens[[row]], keep, own)
        real = at.task.real[row]
        assert float((got[row] - plain[0])[real].abs().max()) < 1e-6 * float(plain.abs().max())


def test_all_positions_one_by_one_are_the_whole_edge_and_the_complement_is_the_rest():
    at = workbench("llama", "mean")
    width = at.task.tokens.shape[1]
    mask = some_edges(at, 0.6, 5)
    names = at.model.edges.names(mask)
    apart = Circuit(edges=[f"{name}@{column}" for name in names for column in range(6)])
    together = EdgeSet(mask[:, None] & np.ones(6, dtype=bool), tuple(range(6)))
    assert np.array_equal(
        apart.kept(at.model).mask({c: c for c in range(6)}, width), together.mask({c: c for c in range(6)}, width)
    )
    here = {c: c for c in range(6)}
    rest = apart.kept(at.model).complement()
    assert np.array_equal(rest.mask(here, width), ~together.mask(here, width))
    assert np.array_equal(rest.complement().mask(here, width), together.mask(here, width))
    assert rest.anywhere.all()  # nothing is kept at column 6
    plan = circuit_plan(at, EdgeSet(np.repeat(mask[:, None], width, 1), tuple(range(width))), "mean")
    prompts = workbench("llama", "counterfactual")
    if int(prompts.task.last.min()) + 1 == width:
        assert close(at, logits(at, plan), logits(at, Circuit.of(mask).plan(at, "mean")))


def test_sets_at_positions_are_scored_row_by_row_as_their_plans_are():
    at = workbench("gpt2", "mean", SINGLE)
    circuit = Circuit(edges=["input->a1.h0<v>", "a1.h0->logits@-1", "input->logits"])
    edges = circuit.kept(at.model)
    found = score_circuits(at, [edges, edges.complement()], "mean", rows=rows_of(at))
    plans = score(at, {"circuit": circuit.plan(at, "mean"), "rest": circuit.complement(at, "mean")})
    np.testing.assert_allclose(found[0].kl, plans["circuit"].kl, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[1].kl, plans["rest"].kl, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(found.count, plans.count)


def test_a_column_that_some_row_does_not_have_is_refused():
    at = workbench("gpt2", "mean", SINGLE)
    wide = at.task.tokens.shape[1] - 1
    with pytest.raises(TaskError, match=rf"an edge is kept @{wide}, and the shortest example has columns 0 to"):
        logits(at, Circuit(edges=["input->logits", f"m0->logits@{wide}"]).plan(at, "mean"))
    model, _ = make("gpt2", SINGLE)
    prompts = PlanContext(Runner(model, prompt_task(model)), 0)
    with pytest.raises(TaskError, match="an edge is kept @S3, and the task has no column 'S3'"):
        logits(prompts, Circuit(edges=["input->logits", "m0->logits@S3"]).plan(prompts, "mean"))


def test_sets_add_and_take_away_edges_inverted_or_not():
    kept = np.array([[True, False], [False, True], [False, False]])
    some, columns = EdgeSet(kept, (None, 1)), {1: 1}
    one = np.array([False, True, False])
    assert some.without(one).mask(columns, 2).tolist() == [[True, True], [False, False], [False, False]]
    assert some.adding(one).mask(columns, 2).tolist() == [[True, True], [True, True], [False, False]]
    rest = some.complement()
    assert rest.mask(columns, 2).tolist() == [[False, False], [True, False], [True, True]]
    assert rest.without(one).mask(columns, 2).tolist() == [[False, False], [False, False], [True, True]]
    assert rest.adding(one).mask(columns, 2).tolist() == [[False, False], [True, True], [True, True]]
    assert rest.anywhere.tolist() == [False, True, True]


# -- what is claimed, and what cannot be -------------------------------------------------------------------------------


def test_the_scope_is_the_nodes_that_kept_edges_begin_or_end_at():
    model = tiny("llama")
    assert [str(s) for s in Circuit(nodes=["a0.h1", "m1"]).scope(model)] == ["a0.h1", "m1"]
    assert [str(s) for s in Circuit(nodes=["a0.kv1"]).scope(model)] == ["a0.h2", "a0.h3"]
    dangling = Circuit(edges=["input->m1", "m1->logits", "m0->a1.h2<q>"])
    assert touched(model, dangling.mask(model)) == ["m0", "a1.h2", "m1"]


def test_the_claim_in_words_is_short_whatever_its_form():
    model = tiny("llama")
    edges = [f"a0.h{head}->logits" for head in range(4)]
    assert Circuit(edges=edges[:2]).sentence("m").startswith("a0.h0->logits, a0.h1->logits of m suffice; every other")
    assert (
        Circuit(edges=["m0->m1", *edges]).sentence("m").startswith("5 edges (m0->m1, a0.h0->logits, ...) of m suffice")
    )
    assert Circuit(nodes=["m0"]).sentence("m").startswith("the edges between m0, input and logits of m suffice")
    assert Circuit.of(model.edges.node_edges(["m0"])).sentence("m").startswith("3 of 82 edges of m suffice")


def test_edges_and_nodes_together_are_their_union():
    model = tiny("llama")
    both = Circuit(edges=["a1.h0->logits", "input->a1.h0<q>"], nodes=["m0"]).mask(model)
    assert set(model.edges.names(both)) == {
        "input->m0",
        "m0->logits",
        "input->logits",
        "a1.h0->logits",
        "input->a1.h0<q>",
    }


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "the circuit is empty: name at least one edge or node"),
        ({"edges": ["m0->a1.h1"]}, "'a1.h1' is not something that reads, such as 'a3.h5<q>'"),
        (
            {"edges": ["m1->a1.h1<q>"]},
            "'m1->a1.h1<q>' cannot exist: 'm1' does not come before 'a1.h1<q>' (an edge runs",
        ),
        ({"edges": ["a2.h0->m1"]}, "cannot exist: 'a2.h0' does not come before 'm1' (an edge runs forwards)"),
        (
            {"edges": ["a1.h0->a1.h1<k>"]},
            "'a1.h0' does not come before 'a1.h1<k>' (heads of a layer work side by side)",
        ),
        ({"edges": ["logits->m0"]}, "'logits' is not something that writes"),
        ({"edges": ["m0->m" + "9" * 5_001]}, "is not something that reads"),  # more digits than Python reads
        ({"edges": ["m0->logits@" + "9" * 5_001, "m0->logits"]}, "is said to be kept at every position"),
        ({"edges": ["a0.h1 -> m0", "a0.h1->m0"]}, "the edge 'a0.h1->m0' is named a second time"),
        ({"edges": ["m0->logits@3", "m0->logits"]}, "is said to be kept at every position and at one of them"),
        ({"edges": ["m0->logits@3", "m0->logits@3"]}, "the edge 'm0->logits@3' is named a second time"),
        ({"edges": "m0->logits"}, "Circuit takes a list of edges, such as ['m0->logits'], not the text 'm0->logits'"),
        ({"nodes": ["m0", "m0"]}, "the node 'm0' is named a second time"),
        ({"nodes": ["m0@-1"]}, "'m0@-1': nodes are kept at every position"),
        ({"nodes": ["m0.n3"]}, "'m0.n3' is not a node of circuits"),
        ({"nodes": ["input"]}, "'input' is in every circuit of nodes; leave it out"),
    ],
)
def test_what_no_model_has_is_refused_in_a_sentence(arguments, sentence):
    with pytest.raises(ClaimError) as caught:
        Circuit(**arguments)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "arguments", "sentence"),
    [
        (
            "parallel",
            {"edges": ["input->a0.h0<q>", "a0.h0->m0", "m0->logits"]},
            "(they work side by side on one stream)",
        ),
        ("llama", {"edges": ["a0.h9->logits"]}, "'a0.h9' writes nothing here"),
        ("llama", {"edges": ["input->a0.h1<k>", "a0.h1->logits"]}, "'a0.h1<k>' reads nothing here; did you mean"),
        ("attention only", {"edges": ["m0->logits"]}, "'m0' writes nothing here"),
        ("llama", {"nodes": ["a0.h9"]}, "head 9 does not exist; layer 0 has heads 0 to 3"),
        ("llama", {"edges": ["m0->logits"]}, "is empty: none of them lies on a path of kept edges from 'input' to"),
        ("llama", {"given": EdgeSet.whole(np.ones(7, dtype=bool))}, "is of another model: that has 7 edges and"),
    ],
)
def test_what_this_model_does_not_have_is_refused_in_a_sentence(kind, arguments, sentence):
    with pytest.raises((ClaimError, ComponentError)) as caught:
        Circuit(**arguments).kept(make(kind, SINGLE)[0])
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_circuit_has_no_refit_and_needs_a_transformer():
    model, _ = make("gpt2", SINGLE)
    refit = PlanContext(Runner(model, workbench("gpt2", "mean", SINGLE).task), refit=True)
    for make_plan in (Circuit(nodes=["m0"]).plan, Circuit(nodes=["m0"]).floor):
        with pytest.raises(ClaimError, match="the option 'refit' does not apply to circuits"):
            make_plan(refit, "mean")
    from tests.oracles import two_components

    with pytest.raises(ComponentError, match="has no edges; circuits need a transformer"):
        Circuit(nodes=["m0"]).scope(two_components.model())


def test_only_the_final_stream_of_a_circuit_has_one_value():
    at = workbench("llama", "mean")
    plan = Circuit(nodes=["a0.h1", "m1"]).plan(at, "mean")
    last = parse_site("r2")
    stream = at.runner.values(plan, plan.final, [last], rows_of(at))[last]
    weights = at.model.weights
    got = weights.unembedding(weights.final_norm(stream))
    assert close(at, got, logits(at, plan))
    with pytest.raises(ComponentError, match="every reader of a circuit has an input of its own"):
        at.runner.values(plan, plan.final, [parse_site("m0")], rows_of(at))
