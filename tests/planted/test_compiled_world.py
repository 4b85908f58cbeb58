"""Planted programs: the network computes what the program says, and the derived edges are the true ones, by hand."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from assay.errors import TaskError
from assay.model.load import load
from assay.model.transformer import Model
from assay.planted import worlds
from assay.planted.compiler import network_of
from assay.planted.execute import execute
from assay.planted.program import Head, Match, PlantedProgram
from assay.planted.program_truth import ABLATIONS, CHANGED, ProgramTruth
from assay.planted.worlds import WORLDS, world
from tests.planted import by_hand

NAMES = tuple(name for name, entry in WORLDS.items() if entry.function.startswith("library."))
COUNT = 20
SAME, DIFFERENT = 1e-3, 0.03  # of a probability: nothing lies between


@cache
def task_of(name: str):
    return world(name).task(n=COUNT, seed=7)


@cache
def truth_of(name: str, ablation: str) -> ProgramTruth:
    return world(name).truth(ablation)


@cache
def fills_of(name: str, ablation: str) -> tuple[by_hand.Values, ...]:
    draws = 2 if ablation.startswith("resample") else 1
    network = world(name).model.source
    return tuple(by_hand.fills(network, ablation, task_of(name), draw) for draw in range(draws))


def answers(name: str, ablation: str, cut: set[str]) -> np.ndarray:
    """[draws, rows, answers, vocab] the network's probabilities where something is scored."""
    return answers_once(name, ablation, frozenset(cut))


@cache
def answers_once(name: str, ablation: str, cut: frozenset[str]) -> np.ndarray:
    case, tokens = world(name), task_of(name).tokens
    columns = [column - 1 for column in case.inputs.columns]
    out = [by_hand.run(case.model.source, tokens, set(cut), fill)[0][:, columns] for fill in fills_of(name, ablation)]
    return torch.stack(out).numpy()


def change(name: str, ablation: str, cut: set[str], without: set[str] | None = None) -> float:
    return float(np.abs(answers(name, ablation, cut) - answers(name, ablation, without or set())).max())


every = pytest.mark.parametrize("name", NAMES)
everywhere = pytest.mark.parametrize("ablation", ABLATIONS)


@every
def test_network_gives_the_right_answers(name: str) -> None:
    case, task = world(name), task_of(name)
    with torch.no_grad():
        probabilities = case.model(task.tokens).softmax(-1)
    items = task.items(np.arange(len(task)))
    targets = task.targets(np.arange(len(task)), items)
    right = task.gather(probabilities, items).gather(-1, targets.reshape(len(targets), -1)[:, :1])
    assert float(right.min()) > 1 - SAME
    assert len(items.row) == len(task) * len(case.inputs.columns)


@every
def test_the_shape_that_is_known_without_loading_is_the_networks(name: str) -> None:
    shape = world(name).model.config
    assert worlds.shape(name) == (shape.layers, shape.heads)
    assert shape.kv_heads == shape.heads


@every
def test_network_equals_program_at_every_position(name: str) -> None:
    case = world(name)
    tokens = np.concatenate([np.asarray(e.tokens) for e in (task_of(name), task_of(name).reference)])
    meant = execute(case.program, tokens).probabilities[0]
    with torch.no_grad():
        assert np.abs(case.model(torch.from_numpy(tokens)).softmax(-1).numpy() - meant).max() < 1e-4


def test_answers_are_what_plain_python_says() -> None:
    words = {name: [world(name).inputs.rows(12, 3)[2][i].words for i in range(12)] for name in NAMES}
    for row in words["reversal"]:
        assert row[6:] == row[1:5][::-1]
    for row in words["sort"]:
        assert list(row[6:]) == sorted(row[1:5])
    for row in words["proportion"]:
        for end in range(2, 11, 2):
            letters, (over, under) = row[1:end:2], row[end].split("/")
            assert letters.count("x") * int(under) == int(over) * len(letters)
    for row in words["induction"]:
        for end in (8, 9):
            assert row[row.index(row[end - 1]) + 1] == row[end]
    for name in ("and_gate", "or_gate"):
        assert all(row[1] == row[3] == "on" and row[7] == "yes" for row in words[name])
    assert all(row[-1] == row[1] for name in ("cancelling", "backup") for row in words[name])


@pytest.mark.parametrize(("kind", "both"), [("and", all), ("or", any)])
def test_gates_on_all_four_inputs(kind: str, both) -> None:
    case = world(f"{kind}_gate")
    ids = {word: i for i, word in enumerate(case.program.tokens)}
    for left in ("on", "off"):
        for right in ("on", "off"):
            row = [ids[w] for w in ("<s>", left, "f1", right, "f2", "f3", "|")]
            wanted = "yes" if both([left == "on", right == "on"]) else "no"
            with torch.no_grad():
                assert case.program.tokens[int(case.model(torch.tensor([row]))[0, -1].argmax())] == wanted


@every
def test_rows_stay_within_the_alphabet_and_the_splits_apart(name: str) -> None:
    case, task = world(name), task_of(name)
    for rows in (task.tokens, task.counterfactual, task.reference.tokens, task.reference.counterfactual):
        for row in rows:
            for word, words in zip(row, case.inputs.alphabet, strict=True):
                assert case.program.tokens[int(word)] in words
    scored, reference = ({tuple(row.tolist()) for row in e.tokens} for e in (task, task.reference))
    assert len(scored) == len(task)
    assert not scored & reference
    assert not task.overlap().documents
    assert torch.equal(case.task(n=COUNT, seed=7).tokens, task.tokens)
    assert not torch.equal(case.task(n=COUNT, seed=8).tokens, task.tokens)


@everywhere
@every
def test_every_edge_cut_alone(name: str, ablation: str) -> None:
    found = truth_of(name, ablation)
    assert list(found.labels) == list(world(name).model.edges)
    for edge, label in found.labels.items():
        effect = change(name, ablation, {edge})
        assert (effect > DIFFERENT) if label == "needed" else (effect < SAME), (edge, label, effect)
        assert (found.effects[edge] > CHANGED) == (label == "needed")


@everywhere
@every
def test_true_edges_alone_suffice_and_no_circuit_can_spare_one(name: str, ablation: str) -> None:
    found = truth_of(name, ablation)
    every_edge = set(found.labels)
    assert change(name, ablation, every_edge - set(found.edges)) < SAME
    assert found.circuits
    for circuit in found.circuits:
        rest = every_edge - set(circuit)
        assert change(name, ablation, rest) < SAME
        for edge in circuit:
            assert change(name, ablation, rest | {edge}) > DIFFERENT / 3, edge


@everywhere
@every
def test_redundant_edges_matter_beside_others_and_irrelevant_ones_never(name: str, ablation: str) -> None:
    found = truth_of(name, ablation)
    for edge in found.labelled("redundant"):
        beside = set(found.reasons[edge].removeprefix("matters when cut besides ").split(" and "))
        assert change(name, ablation, beside | {edge}, beside) > CHANGED
    idle = set(found.labelled("irrelevant"))
    random = np.random.default_rng(0)
    for _ in range(4):
        beside = {edge for edge in found.edges if random.random() < 0.4}
        assert change(name, ablation, beside | idle, beside) < SAME


@everywhere
@every
def test_no_effect_lies_near_the_threshold(name: str, ablation: str) -> None:
    found = truth_of(name, ablation)
    for value in (*found.effects.values(), *found.reach.values()):
        assert value < SAME or value > DIFFERENT


@every
def test_labels_do_not_depend_on_the_inputs_drawn(name: str) -> None:
    for ablation in ("mean", "resample_independent"):
        assert world(name).truth(ablation, seed=5).labels == truth_of(name, ablation).labels


def test_reversal_needs_two_edges_or_four() -> None:
    """Two edges are exact under resampling and the mean at each position, and not under zero."""
    two = ("input->a0.h0<v>", "a0.h0->logits")
    for ablation in ABLATIONS:
        used = tuple(truth_of("reversal", ablation).edges)
        assert used == (two if ablation not in ("zero", "mean") else ("input->a0.h0<q>", "input->a0.h0<k>", *two))
    task, every_edge = task_of("reversal"), set(world("reversal").model.edges)
    targets = task.tokens[:, 6:].numpy()
    right = answers("reversal", "zero", every_edge - set(two))[0].argmax(-1) == targets
    assert 0.2 < right.mean() < 0.8
    assert (answers("reversal", "resample_joint", every_edge - set(two)).argmax(-1) == targets).all()


def test_or_has_two_circuits_and_and_one() -> None:
    for ablation in ABLATIONS:
        assert [len(truth_of(f"{kind}_gate", ablation).circuits) for kind in ("and", "or")] == [1, 2]
        found = truth_of("or_gate", ablation)
        assert found.labelled("needed") == ["m0->logits"]
        assert {"a0.h0->m0", "a0.h1->m0"} <= set(found.labelled("redundant"))
        assert {"a0.h0->m0", "a0.h1->m0", "m0->logits"} <= set(truth_of("and_gate", ablation).labelled("needed"))


def test_cancelling_heads_are_needed_one_by_one_and_not_together() -> None:
    pair = {"a0.h1->logits", "a0.h2->logits"}
    for ablation in ABLATIONS:
        found = truth_of("cancelling", ablation)
        assert pair <= set(found.labelled("needed"))
        together = change("cancelling", ablation, pair)
        if ablation == "resample_independent":  # two donors do not cancel
            assert together > DIFFERENT
            assert pair <= set(found.circuits[0])
        else:
            assert together < SAME
            assert not pair & set(found.circuits[0])


def test_backup_wakes_only_when_the_first_head_is_taken_away() -> None:
    first = {"a0.h0->logits", "a0.h0->a1.h0<q>"}
    assert change("backup", "zero", {"a0.h0->logits"}) > DIFFERENT
    assert change("backup", "zero", first) < SAME
    assert change("backup", "zero", first | {"a1.h0->logits"}) > DIFFERENT
    assert change("backup", "resample_joint", first) > DIFFERENT
    assert "a1.h0->logits" in truth_of("backup", "zero").labelled("redundant")
    assert "a1.h0->logits" in truth_of("backup", "resample_joint").labelled("irrelevant")


def test_induction_asks_what_the_counterfactual_keeps() -> None:
    ask = "input->a1.h0<q>"
    assert ask in truth_of("induction", "resample_joint").labelled("needed")
    assert ask in truth_of("induction", "counterfactual").labelled("irrelevant")
    assert len(truth_of("induction", "resample_joint").circuits[0]) == 5


def test_reasons() -> None:
    found = truth_of("or_gate", "zero")
    assert "besides" in found.reasons["a0.h0->m0"]
    assert "the position only" in truth_of("reversal", "mean_position").reasons["input->a0.h0<q>"]
    assert found.reasons["a0.h2->logits"] == "the reader takes nothing that the writer writes"


@pytest.mark.filterwarnings("ignore")  # the library's own, of saving
def test_saved_folder_opens_as_the_same_model(tmp_path: Path) -> None:
    case = world("backup")
    case.save(tmp_path / "saved")
    model = load(tmp_path / "saved")
    assert isinstance(model, Model)
    assert model.fingerprint == case.model.fingerprint
    assert model.tokenizer.encode("<s> a f1") == [0, 2, 8]


def test_weights_that_do_not_matter_do_not_matter() -> None:
    case, tokens = world("sort"), task_of("sort").tokens
    with torch.no_grad():
        for decoys in (0, 2):
            other = load(network_of(case.program, decoys=decoys, seed=9))
            assert (other(tokens).softmax(-1) - case.model(tokens).softmax(-1)).abs().max() < 1e-5
    assert load(network_of(world("induction").program, decoys=0)).components == ("input", "a0.h0", "a1.h0")


def test_norm_is_the_identity_whatever_is_taken_away() -> None:
    model = world("induction").model
    x = model.embed(task_of("induction").tokens)
    for share in (0.0, 0.01, 1.0, 3.0):
        assert (model.norm(share * x, 0) - share * x).abs().max() < 1e-6


def test_mistakes_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.planted.inputs.TRIES", 5)
    with pytest.raises(TaskError, match=r"planted:reversal does not have 1400 different scored rows"):
        world("reversal").inputs.rows(1_400)
    wrong = Head(0, 0, (Match(None, "token", np.ones((1, 3))),), {"token": np.ones((3, 1))}, "out")
    with pytest.raises(ValueError, match=r"a0.h0<k> reads 'token' with 3 rows"):
        PlantedProgram("wrong", ("<s>", "a"), 4, {"out": 1}, (wrong,), {"out": np.ones((1, 2))})
