"""The tool of balanced brackets: its strings, its search and its figures, on networks of a few steps."""

from __future__ import annotations

import numpy as np
import pytest

import assay
from assay.explanations.hypothesis.example import examples_of
from tools import bracket_networks, brackets
from tools.bracket_networks import KINDS, LENGTHS, TRAINED
from tools.brackets import PAIRS, PUBLISHED


def kind_by_hand(steps: np.ndarray) -> str:
    """Of one string, bracket by bracket."""
    height, dips = 0, False
    for step in steps:
        height += int(step)
        dips |= height < 0
    return KINDS[(height != 0) + 2 * dips]


@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_strings_are_of_their_kind(kind: int):
    for length in (TRAINED[1], LENGTHS[-1]):
        made = bracket_networks.strings(np.random.default_rng(0), kind, 300, length)
        assert len(made) > 60
        assert made.shape[1] == length
        assert {kind_by_hand(one) for one in made} == {KINDS[kind]}


def test_balanced_strings_are_as_likely_as_each_other():
    made = bracket_networks.balanced(np.random.default_rng(0), 4200, 8)
    _, counts = np.unique(made, axis=0, return_counts=True)
    assert len(counts) == 14  # Catalan's number
    assert (abs(counts - 300) < 5 * 300**0.5).all()


def test_what_is_scored_is_not_trained_on_and_is_in_one_part_only():
    parts = [bracket_networks.held_out(0, 0, LENGTHS[0], part, 40) for part in range(3)]
    every = np.concatenate(parts)
    assert len(np.unique(every, axis=0)) == len(every) == 120
    assert bracket_networks.held(every).all()
    assert bracket_networks.held(bracket_networks.balanced(np.random.default_rng(0), 2000, 20)).mean() == pytest.approx(
        0.25, abs=0.05
    )


@pytest.fixture(scope="module")
def bench() -> assay.Workbench:
    net = bracket_networks.network(0, heads=2, width=16)
    bracket_networks.train(net, 0, 3, taught=True, batch=64)
    model = assay.load(net, tokenizer=bracket_networks.tokenizer())
    task = assay.Task.prompts(model, bracket_networks.prompts(0, 0, 60), reference=bracket_networks.prompts(0, 2, 30))
    return assay.Workbench(model, task)


def test_variables_are_what_the_strings_are(bench: assay.Workbench):
    claim = PAIRS[PUBLISHED].claim({"level": ["m0@-1"], "above": ["a1.h0@-1"], "answer": ["m1"]})
    rows = claim.graph(bench).values.rows
    said = {"balanced": (True, True, "yes"), "only the count fails": (False, True, "no"),
            "only the horizon fails": (True, False, "no"), "both fail": (False, False, "no")}  # fmt: skip
    kinds = set()
    for row, example in zip(rows, examples_of(bench.task), strict=True):
        steps = np.array([1 if token == "(" else -1 for token in example.tokens[1:-1]])
        kinds.add(kind := kind_by_hand(steps))
        assert (row["level"], row["above"], row["answer"]) == said[kind]
    assert kinds == set(KINDS)


def test_hypotheses_with_one_answer_are_told_apart_by_swaps_alone(bench: assay.Workbench):
    places = {"level": ["m0@-1"], "above": ["a1.h0@-1"], "answer": ["m1"]}
    claims = {name: pair.claim(places) for name, pair in PAIRS.items() if not pair.exchanged}
    found = brackets.duels(bench, claims[PUBLISHED], claims)
    assert found[PUBLISHED].differ == 0
    assert not found[PUBLISHED].published.defined
    assert found["count, first opens and last closes"].inputs > 0
    for name in ("none left open, horizon", "count, horizon unless some are left open"):
        assert found[name].inputs == 0
        assert found[name].swaps > 0.02
        assert 0 <= float(found[name].published) <= 1


def test_every_figure_of_a_network(bench: assay.Workbench):
    found = brackets.find(bench, 0)
    assert set(found.places) == {"level", "above", "answer"}
    assert found.tries >= 10  # two variables, five parts each, and sets of the best
    assert not set(found.places["level"]) & set(found.places["above"])
    figures, swaps = brackets.measured(bench, PAIRS[PUBLISHED].claim(found.places))
    assert set(figures) == set(brackets.FIGURES)
    assert swaps == 3 * 2 * len(bench.task)
    shown = brackets.summary([dict.fromkeys(PAIRS, figures)] * 2, taught=True)
    assert "told rightly" in shown
