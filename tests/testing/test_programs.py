"""Assay's own programs, and one from outside, keep what a program promises; those that break a promise are refused."""

from __future__ import annotations

import pytest
import torch

from assay.explanations import programs
from assay.explanations.program.spec import PROGRAMS
from assay.testing import check_program

LABEL = {"program": "label", "tokens": [20, 21, 22]}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_that_keep_every_promise(name):
    check_program(LABEL if name == "label" else name)


def test_a_program_from_outside_by_its_name_and_by_itself(plugins):
    import scaled

    check_program("everywhere")
    check_program(scaled.everywhere(), part="a0.h1")


def _future(tokens):
    last = torch.zeros(*tokens.shape, tokens.shape[1])
    last[:, :, -1] = 1
    return last


def _neighbours(tokens):
    return tokens.roll(1, 0).sin().unsqueeze(-1).expand(-1, -1, 64)


def _broken(tokens):
    return torch.full((*tokens.shape, 64), torch.nan)


@pytest.mark.parametrize(
    ("program", "promise"),
    [
        (
            programs.custom(_future, returns="pattern"),
            "what it does at a position depends on no later token",
        ),
        (programs.custom(_neighbours, returns="output"), "what it does in a row depends on no other row: with others"),
        (programs.custom(_broken, returns="output"), "the kind 'program' breaks"),
        (
            programs.custom(lambda tokens: tokens, returns="pattern"),
            "'plan' answers: the program '<lambda>' gives",
        ),
        ({"program": "induktion"}, "unknown program 'induktion'; did you mean 'induction'?"),
    ],
)
def test_a_program_that_breaks_a_promise_is_refused(program, promise):
    with pytest.raises(AssertionError) as said:
        check_program(program)
    assert promise in str(said.value)
