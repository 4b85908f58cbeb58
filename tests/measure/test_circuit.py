"""Circuit claims on networks whose circuit is planted: what suffices, is needed, complete, minimal, and chance."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

import assay
from assay.explanations import Circuit, Keep
from assay.explanations.base import Undefined
from assay.explanations.circuit.block import circuit_uses, drawing
from assay.explanations.circuit.circuit import used_nodes
from assay.explanations.circuit.trials import (
    completeness,
    minimality,
    node_out,
    parts_of,
    restored,
)
from assay.explanations.circuit.writing import write_circuit
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.runner import Runner
from assay.measure.length.length import reads
from assay.measure.length.quantise import quantised, read_bits
from assay.measure.measurement import Measurement
from assay.methods.similar_claims import search_of, shuffled
from assay.model.edge_sets import EdgeSet
from assay.planted.worlds import world
from assay.score.circuits import BASE, score_circuits
from tests.measure.test_measure import text_task
from tests.model.tiny import tiny

LEAST = 0.05  # nats a token: what is cut of a planted circuit costs far more, what is not far less


@cache
def workbench(name: str) -> PlanContext:
    case = world(name)
    return PlanContext(Runner(case.model, case.task(n=32, seed=7)), seed=1)


def rows(name: str) -> np.ndarray:
    return np.arange(len(workbench(name).task.tokens))


def true_edges(name: str, ablation: str) -> EdgeSet:
    return EdgeSet.whole(workbench(name).model.edges.mask(world(name).truth(ablation).edges))


def one_of(name: str, ablation: str, which: int = 0) -> EdgeSet:
    return EdgeSet.whole(workbench(name).model.edges.mask(world(name).truth(ablation).circuits[which]))


def decoy_of(labels) -> str:
    """An edge of a head that does nothing of use."""
    return next(e for e, label in labels.items() if label == "irrelevant" and e[0] == "a" and e.endswith("->logits"))


@cache
def measured(name: str, ablation: str, controls: int = 8) -> Measurement:
    circuit = Circuit.of(true_edges(name, ablation))
    return assay.measure(
        circuit, world(name).model, workbench(name).task, ablation=ablation, controls=controls, quick=True, seed=1
    )


# -- planted truth -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "ablation"), [("induction", "counterfactual"), ("backup", "zero"), ("or_gate", "mean")]
)
def test_the_true_edges_suffice_and_everything_else_is_the_floor(name, ablation):
    record = measured(name, ablation).record
    graph, sides, complete, minimal, _ = record.own.pieces
    (_, sufficiency, *_), (_, necessity, _, _, nats) = sides.rows
    assert sufficiency.value > 0.999
    assert necessity.value < 0.2
    assert nats.value > LEAST
    assert record.recovered == sufficiency
    assert record.headline.floor == "empty"
    assert record.residual.signal.value == necessity
    assert complete.rows[0][1].value < 1e-3  # the worst draw: no part of the program is left out
    assert graph.strengths == dict(minimal.rows)
    assert (graph.total, graph.edges) == (len(workbench(name).model.edges), true_edges(name, ablation).count)


def test_random_paths_of_the_same_size_do_not_suffice():
    block = measured("induction", "counterfactual").record.controls
    group = next(g for g in block.groups if g.name == "path-sampled circuits")
    assert group.n == 8
    assert group.p == 1 / 9
    assert max(value for value in group.values if value is not None) < 0.9
    assert group.claim.value > 0.999
    weights = block.random_weights
    assert weights.difference.value > 0.2  # nothing like it is found where nothing was learned
    assert "the claim does not say which search found it" in weights.what


def test_a_part_of_the_program_costs_and_a_decoy_does_not():
    """Every needed edge; the redundant ones of an OR cost nothing alone, as the program says."""
    for name, ablation in (("induction", "counterfactual"), ("or_gate", "mean")):
        edges, labels = true_edges(name, ablation), world(name).truth(ablation).labels
        decoy = decoy_of(labels)
        more = edges.adding(workbench(name).model.edges.mask([decoy]))
        found = minimality(workbench(name), more, ablation, rows=rows(name))
        assert found.parts == "edges"
        rises = {row.part: row.increase.value for row in found.rows}
        for edge, rise in rises.items():
            assert (abs(rise) > LEAST / 5) == (labels[edge] == "needed"), (name, edge, rise)
        order = [row.increase.value for row in found.rows]
        assert order == sorted(order, reverse=True)


def test_a_circuit_without_the_backup_is_sufficient_and_incomplete():
    """Zero ablation of the first head wakes the second: a circuit of the first is right until that is knocked out."""
    at, all_rows = workbench("backup"), rows("backup")
    alone = [one_of("backup", "zero", i) for i in range(len(world("backup").truth("zero").circuits))]
    first = next(one for one in alone if not (one.anywhere & node_out(at.model, "a1.h0")).any())
    found = score_circuits(at, [first], "zero", rows=all_rows)
    assert found.mean_kl(0) < 1e-3
    partial = completeness(at, first, "zero", rows=all_rows)
    whole = completeness(at, true_edges("backup", "zero"), "zero", rows=all_rows)
    assert partial.worst > 1
    assert partial.rows[0].loss_gap.value > 1
    assert whole.worst < 1e-3
    assert len(whole.rows) > 1
    assert {len(row.names) for row in whole.rows} == {round(0.5 * 2)}


def test_uses_tell_what_is_redundant_from_what_is_frivolous():
    at = workbench("or_gate")
    edges, labels = true_edges("or_gate", "mean"), world("or_gate").truth("mean").labels
    decoy = decoy_of(labels)
    found = circuit_uses(at, edges.adding(at.model.edges.mask([decoy])), "mean", rows("or_gate"))
    verdicts = {use.part: use.verdict(0.01, found.scale, 1e-4) for use in found.uses}
    if decoy in verdicts:  # it may dangle, and is then no part of what runs
        assert verdicts[decoy] == "frivolous"
    needed = [edge for edge, label in labels.items() if label == "needed" and edge in verdicts]
    assert needed
    assert all(verdicts[edge] == "used" for edge in needed)
    redundant = [edge for edge, label in labels.items() if label == "redundant" and edge in verdicts]
    assert all(verdicts[edge] != "used" for edge in redundant)


def test_a_node_put_back_closes_what_it_alone_left():
    at, ablation = workbench("induction"), "counterfactual"
    edges = true_edges("induction", ablation)
    cut = edges.without(node_out(at.model, "a1.h0"))
    back = restored(at.model, cut, "a1.h0")
    found = score_circuits(at, [cut, back, edges], ablation, rows=rows("induction"))
    assert found.mean_kl(0) > LEAST
    assert found.mean_kl(1) < LEAST / 5
    assert not (back.anywhere & ~at.model.edges.node_edges(["a0.h0", "a1.h0"])).any() or back.count >= edges.count


def test_the_distance_between_circuits_is_not_the_one_to_the_model():
    at, everything = workbench("or_gate"), EdgeSet.whole(np.ones(len(workbench("or_gate").model.edges), dtype=bool))
    nothing = EdgeSet.whole(~everything.anywhere)
    some = rows("or_gate")
    to_model = score_circuits(at, [everything, nothing], "mean", rows=some, base=everything)
    scored = score_circuits(at, [everything, nothing], "mean", rows=some)
    np.testing.assert_allclose(to_model.stacked("kl", (0, 1)), scored.stacked("kl"), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(to_model.count, scored.count)
    np.testing.assert_allclose(to_model[BASE].loss, scored.model.loss, rtol=1e-6)
    backwards = score_circuits(at, [everything, nothing], "mean", rows=some, base=nothing)
    assert backwards[1].kl.sum() < 1e-6
    assert abs(backwards[0].kl.sum() - to_model[1].kl.sum()) > LEAST


# -- sizes, bits, drawing ----------------------------------------------------------------------------------------------


def test_bits_of_a_set_of_edges_are_those_of_a_subset():
    model = tiny("gpt2")
    total = len(model.edges)
    circuit = Circuit(nodes=["m0"])  # input->m0, m0->logits, input->logits
    wanted = 1 + math.log2(total + 1) + math.log2(math.comb(total, 3))
    assert abs(circuit.claim_bits(model).bits - wanted) < 1e-9
    apart = Circuit(edges=["input->m0", "m0->logits@-1"])
    places = total * (model.config.context + 1)
    assert abs(apart.claim_bits(model).bits - 1 - math.log2(places + 1) - math.log2(math.comb(places, 2))) < 1e-6


@pytest.mark.parametrize("ablation", ["mean", "resample_joint"])
@pytest.mark.parametrize("bits", [4, 8])
def test_the_full_circuit_costs_exactly_the_quantised_model(bits, ablation):
    model = tiny("llama", tokenizer=True)
    at = PlanContext(Runner(model, text_task()))
    circuit = Circuit.of(np.ones(len(model.edges), dtype=bool))
    coded = quantised(model, bits)
    assert read_bits(coded, reads(circuit, model, ablation)) == pytest.approx(coded.total)
    assert circuit.constants_bits(at, ablation) == 0
    assert circuit.claim_bits(model).bits == pytest.approx(1 + math.log2(len(model.edges) + 1))


def test_weights_are_read_by_nodes_that_lead_to_the_logits_and_fills_by_those_that_are_computed():
    model = tiny("gpt2", tokenizer=True)
    at = PlanContext(Runner(model, text_task_of(model)))
    circuit = Circuit(edges=["input->m0", "m0->logits", "m0->a1.h2<q>"])  # the last one dangles
    assert used_nodes(model, circuit.mask(model)) == {"input", "m0"}
    read = reads(circuit, model, "mean")
    assert read.outputs == frozenset()
    assert (read.neurons[0], read.neurons[1]) == (None, 0)
    # the MLP reads the fills of layer 0's heads, the logits those of everything but m0
    width = {"input": 32, "m": 32, "a": 8}
    assert circuit.constants_bits(at, "mean") == 16 * 2 * (width["input"] + width["m"] + 8 * width["a"])
    assert circuit.constants_bits(at, "zero") == 0
    assert read_bits(quantised(model, 8), reads(circuit, model, "resample_joint")) == pytest.approx(
        quantised(model, 8).total
    )


def text_task_of(model):
    return assay.Task.text(
        model, texts=["w1 w2 w3 w4 " * 8, "w4 w3 w2 " * 8], reference=["w5 w6 w7 " * 8, "w8 w9 " * 16]
    )


def test_small_circuits_are_taken_apart_by_edges_and_large_ones_by_nodes():
    model = tiny("llama", tokenizer=True)
    at = PlanContext(Runner(model, text_task()))
    small = parts_of(at, Circuit(nodes=["m0"]).kept(model))
    assert (small.kind, small.of, set(small.names)) == ("edges", 3, {"input->m0", "m0->logits", "input->logits"})
    every = EdgeSet.whole(np.ones(len(model.edges), dtype=bool))
    large = parts_of(at, every)
    assert (large.kind, large.of, large.names) == ("nodes", 10, tuple(model.components[1:]))
    few = parts_of(at, every, most_nodes=4)
    assert (len(few.names), few.of) == (4, 10)
    assert few.names == parts_of(at, every, most_nodes=4).names


def test_the_drawing_has_the_strongest_live_edges_first_and_counts_the_rest(monkeypatch):
    at = workbench("induction")
    model = at.model
    edges = true_edges("induction", "counterfactual")
    strengths = np.arange(len(model.edges), dtype=float) - 40
    monkeypatch.setattr("assay.explanations.circuit.block.MOST_DRAWN", 3)
    found = drawing(at, edges, strengths)
    assert len(found.edges) == 3
    live = model.edges.pruned(edges.anywhere)
    assert found.left_out == live.sum() - 3
    sizes = [abs(edge.strength) for edge in found.edges]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == np.abs(strengths[live]).max()
    names = {e.name for e in found.edges}
    assert names <= set(model.edges.names(live))
    assert {e.strength for e in drawing(at, edges, None).edges} == {None}


# -- controls and the search -------------------------------------------------------------------------------------------


def test_the_search_is_the_files_own_where_it_can_be_run_again(tmp_path):
    model = tiny("gpt2")
    for method, wanted in ((None, ("attribution", False)), ("weight_norm", ("weight_norm", True)), ("acdc", None)):
        write_circuit(tmp_path / "c.json", model, Circuit(nodes=["m0"]).mask(model), method=method)
        found = search_of(Circuit.read(tmp_path / "c.json"), model)
        assert (None if isinstance(found, Undefined) else (found.name, found.known)) == wanted


def test_a_search_that_cannot_be_run_again_is_said_to_be_so(tmp_path):
    model = tiny("llama", tokenizer=True)
    write_circuit(tmp_path / "c.json", model, Circuit(nodes=["a0.h1", "m1"]).mask(model), method="acdc")
    found = assay.measure(
        Circuit.read(tmp_path / "c.json"), model, text_task(), ablation="mean", controls=2, quick=True
    ).record.controls
    assert found.random_weights is None
    assert found.random_weights_reason == "the search 'acdc' that found the circuit cannot be run again from here"
    shuffles = next(group for group in found.groups if group.name == "search on a shuffled task")
    assert (shuffles.n, shuffles.reason) == (0, found.random_weights_reason)


def test_a_shuffled_task_has_the_same_tokens_in_every_row_in_another_order():
    at = PlanContext(Runner(tiny("llama", tokenizer=True), text_task()))
    other = shuffled(at, 1)
    mine, theirs = at.task.tokens.numpy(), other.task.tokens.numpy()
    assert (np.sort(mine, 1) == np.sort(theirs, 1)).all()
    assert (mine[:, 0] == theirs[:, 0]).all()
    assert (mine != theirs).mean() > 0.3
    assert (shuffled(at, 1).task.tokens == other.task.tokens).all()
    assert (shuffled(at, 2).task.tokens != other.task.tokens).any()


def test_kept_nodes_score_as_keep_does_but_over_another_floor():
    """`Keep` leaves `input` to the logits in its floor, and a circuit of nothing keeps nothing."""
    model, names = tiny("llama", tokenizer=True), ["a0.h1", "m1"]
    settings = {"ablation": "mean", "controls": 0, "quick": True}
    circuit = assay.measure(Circuit(nodes=names), model, text_task(), **settings).record
    keep = assay.measure(Keep(names), model, text_task(), **settings).record
    assert circuit.losses.explained.value == pytest.approx(keep.losses.explained.value, rel=1e-6)
    floors = [record.losses.floors["empty:mean"].value for record in (circuit, keep)]
    assert abs(floors[0] - floors[1]) > 1e-3
    assert circuit.model.noise.kl < 1e-9  # of the engine with every edge


def test_a_circuit_at_positions_is_measured_from_end_to_end():
    name = "or_gate"
    edges = world(name).truth("counterfactual").edges
    last = [f"{edge}@-1" if edge.endswith("->logits") else edge for edge in edges]
    record = assay.measure(
        Circuit(edges=last), world(name).model, workbench(name).task, ablation="counterfactual", controls=4, quick=True
    ).record
    assert record.own.graph.pairs == len(last)
    assert record.recovered.value > 0.999  # only the last position is scored
    assert record.controls.groups[0].n > 0


def test_the_sentence_names_single_controls_that_do_as_well():
    """Attribution finds all edges of this program: a circuit by it is as good, and one by weight norm is not."""
    name = "reversal"
    edges = world(name).truth("resample_joint").edges
    record = assay.measure(
        Circuit(edges=edges), world(name).model, workbench(name).task, ablation="resample_joint", controls=4, quick=True
    ).record
    groups = {group.name: group.difference for group in record.controls.groups}
    assert groups["top attribution"].low <= 0 < groups["top weight norm"].low
    said = record.sentence.partition("It is not shown to be better than ")[2]
    assert "“top attribution”" in said
    assert "“top weight norm”" not in said.partition(".")[0]
