"""Attention rules equal the plain loops; arguments are checked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from assay.errors import ClaimError
from assay.explanations import Program, programs
from assay.explanations.program.fits import wants_values
from assay.intervene.fill.reference import ReferenceStatistics
from assay.intervene.plan import EditRun, Plan
from assay.intervene.store import ReferenceValues
from assay.names import parse_site
from tests.measure.planted import workbench
from tests.naive.attention_rules import target

CASES = [
    ("induction", programs.induction(), {}),
    ("induction", programs.induction(match="all"), {"match": "all"}),
    ("induction", programs.induction(match="prefix", prefix=3), {"match": "prefix", "prefix": 3}),
    ("previous_token", programs.previous_token(), {}),
    ("copy", programs.copy(), {}),
    ("first_token", programs.first_token(), {}),
    ("duplicate_token", programs.duplicate_token(), {}),
]


@pytest.mark.parametrize(("rule", "program", "options"), CASES)
def test_every_rule_attends_where_the_plain_loop_does(rule, program, options):
    tokens = torch.randint(0, 4, (6, 23), generator=torch.Generator().manual_seed(1))
    attention = program.attend(tokens)
    for row, ids in enumerate(tokens.tolist()):
        for i in range(len(ids)):
            expected = torch.zeros(len(ids))
            for key, weight in target(rule, ids, i, **options).items():
                expected[key] = weight
            torch.testing.assert_close(attention.weights[row, i], expected)
            assert bool(attention.matched[row, i]) == bool(expected.any())


def test_a_longer_prefix_prefers_the_longer_match_over_the_more_recent_one():
    # ... 7 1 2 5 ... 1 9 ... 7 1 -> most recent says 9, the longest match says 2
    tokens = torch.tensor([[0, 7, 1, 2, 5, 3, 1, 9, 4, 7, 1]])
    recent = programs.induction().attend(tokens).weights[0, -1]
    longest = programs.induction(match="prefix", prefix=2).attend(tokens).weights[0, -1]
    assert tokens[0, recent.argmax()] == 9
    assert tokens[0, longest.argmax()] == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: programs.induction(level="patern"),
            "unknown level 'patern' of program 'induction'; did you mean 'pattern'",
        ),
        (lambda: programs.induction(match="recnt"), "unknown match 'recnt'; did you mean 'recent'"),
        (lambda: programs.ngram(9), "takes n from 1 to 5, not 9"),
        (lambda: programs.label(), "either a source or tokens"),
        (lambda: programs.label(tokens=[3, 10**20]), "takes token ids, and 100000000000000000000 is none"),
        (lambda: programs.label(tokens=[-1]), "takes token ids, and -1 is none"),
        (lambda: programs.induction(match="prefix", prefix=999_999), "'prefix' must be at most 64, not 999,999"),
        (lambda: programs.induction(match="prefix", prefix=0), "'prefix' must be at least 1, not 0"),
    ],
)
def test_wrong_arguments_are_named_with_the_nearest_valid_one(make, message):
    with pytest.raises(ClaimError, match=message):
        make()


def test_the_parts_of_a_claim_are_fitted_in_one_pass_and_never_again(monkeypatch: pytest.MonkeyPatch):
    at = workbench()
    assert at.task.reference is not None
    rows, deepest = len(at.task.reference), at.runner.model.depth({("z", 0): lambda value: None})
    claim = Program({f"a0.h{head}": programs.previous_token() for head in range(4)})
    claim.edits(at)
    assert at.runner.forwards == pytest.approx(rows * deepest / at.runner.model.config.layers)
    other = parse_site("m1")
    monkeypatch.setattr(ReferenceValues, "room", at.store.statistics.values([other])[other].nbytes)
    at.store.values(other)  # takes the room of what it was fitted on
    kept = at.store.of(ReferenceValues)
    assert len(kept) == 1
    assert other in kept
    before = at.runner.forwards
    claim.edits(at)
    assert at.runner.forwards == before


def test_the_pass_of_a_fit_gives_means_and_the_other_heads_of_the_layer_too():
    at = workbench()
    Program({"a0.h1": programs.previous_token()}).edits(at)
    once = at.runner.forwards
    other = Program({"a0.h2": programs.previous_token()})
    other.edits(at)
    other.floor(at, "mean")
    assert at.runner.forwards == once
    site, every = parse_site("a0.h2"), np.arange(len(at.task.reference))
    run = EditRun("reference", "reference")
    torch.testing.assert_close(at.store.values(site), at.runner.values(Plan((run,)), run, [site], every)[site])
    few = ReferenceStatistics(at.runner, rows=5)
    few.values([site])
    before = at.runner.forwards
    torch.testing.assert_close(few.mean(site), ReferenceStatistics(at.runner, rows=5).mean(site))
    assert at.runner.forwards == pytest.approx(before + 5 * once / len(every))


@pytest.mark.parametrize(
    "program",
    [
        programs.induction("full", without_match="first"),
        programs.label(tokens=[*range(20, 40)]),
        programs.ngram(2),
        programs.custom(lambda tokens: torch.zeros(*tokens.shape, 32), returns="output"),
    ],
)
def test_what_was_fitted_wants_no_values_any_more(program):
    at, site = workbench(), parse_site("a0.h1")
    assert wants_values(at, site, program) == (program.name != "<lambda>")
    Program({"a0.h1": program}).edits(at)
    assert not wants_values(at, site, program)
