"""High-level models: expressions, Python functions, and what is wrong with them in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from assay.errors import ClaimError, TaskError
from assay.explanations.hypothesis.example import Example
from assay.explanations.hypothesis.expressions import parse
from assay.explanations.hypothesis.graph import HighLevelModel

SEEN = Example(
    ("<s>", " Mary", " and", " John", " ,", " John", " gave", "17"), (0, 5, 6, 7, 8, 7, 9, 4), {"S2": 5}, "en"
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("token(1)", " Mary"),
        ('token("S2")', " John"),
        ("token(-1)", "17"),
        ("number(-1) + 1", 18),
        ("number(1)", None),
        ('count(" John")', 2),
        ('lowest(" John", " Mary")', -1),
        ('lowest(" Mary", " John")', -1),
        ('lowest(" Mary", ",")', 0),
        ("previous(5)", 3),
        ("previous(4)", None),
        ("after_previous(5)", " ,"),
        ("class_of(1)", "capitalised"),
        ("class_of(-1)", "digits"),
        ("class_of(4)", "punctuation"),
        ("language()", "en"),
        ("length()", 8),
        ('"a" if token(3) == token("S2") and not False else "b"', "a"),
        ("(number(-1) // 5, number(-1) % 5, -2 * 3, min(1, 2), abs(-4))", (3, 2, -6, 1, 4)),
        ('token(1) in (" Mary", " Tom") or 1 < 0', True),
        ("1 < 2 <= 2 != 3", True),
    ],
)
def test_an_expression_says_what_python_would(text: str, value: object):
    assert parse(text)(SEEN, {}) == value


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("tokn(1)", r"'tokn\(1\)' has the unknown word 'tokn'; did you mean 'token'\?"),
        ("token()", r"'token\(\)': 'token' takes at, and 0 were given"),
        ("token(", r"'token\(' is no expression: "),
        ("__import__('os')", r"has the unknown word '__import__'"),
        ("a.b", r"'a.b' in 'a.b' is not of the vocabulary"),
        ("[x for x in y]", r"is not of the vocabulary"),
        ("u ** 99999999", r"'u \*\* 99999999' in .* is not of the vocabulary"),
        ("(lambda: 1)()", r"is not of the vocabulary"),
        ("token(at=1)", r"is not of the vocabulary"),
        ("f'{u}'", r"is not of the vocabulary"),
        ("class_of()", "'class_of' takes at, and 0 were given"),
    ],
)
def test_what_is_not_of_the_vocabulary_is_one_sentence(text: str, sentence: str):
    with pytest.raises(ClaimError, match=sentence):
        parse(text)


@pytest.mark.parametrize(
    ("variables", "answer", "sentence"),
    [
        ({}, None, "a hypothesis has no variables"),
        ({"a": "b", "b": "c", "c": "a"}, None, r"the variable 'a' depends on itself: a -> b -> c -> a"),
        ({"a": "token(1)", "b": "aa"}, None, r"the variable 'b' reads 'aa', which is no variable; did you mean 'a'\?"),
        ({"a": "token(1)", "b": "a == token(2)"}, None, r"the variable 'b' reads both the input and variables \(a\)"),
        ({"a": "token(1)"}, "b", r"the answer is 'b', which is no variable"),
        ({"a": "token(1)", "b": "a"}, "a", r"the answer 'a' is read by 'b'"),
        ({"a b": "token(1)"}, None, r"'a b' is no name of a variable"),
        ({"a": 3}, None, r"the variable 'a' is neither an expression, such as 'number\(1\)', nor a function, but 3"),
        ({"a": lambda *more: 1}, None, r"the variable 'a' is a function with \* in its parameters"),
        ({"a": "nope(1)"}, None, r"the variable 'a': 'nope\(1\)' has the unknown word 'nope'"),
    ],
)
def test_what_is_no_high_level_model_names_its_variable(
    variables: Mapping[str, Any], answer: str | None, sentence: str
):
    with pytest.raises(ClaimError, match=sentence):
        HighLevelModel.of(variables, answer)


def test_values_are_computed_in_order_and_may_be_given():
    def total(u: int, v: int) -> int:
        return u + v

    model = HighLevelModel.of({"answer": "total * 2", "total": total, "u": "number(-1)", "v": "length()"}, "answer")
    assert list(model.variables) == ["u", "v", "total", "answer"]
    assert model.values(SEEN) == {"u": 17, "v": 8, "total": 25, "answer": 50}
    assert model.values(SEEN, {"total": 1})["answer"] == 2
    assert model.behind("u") == {"total", "answer"}


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"a": "token(9)"}, r"the variable 'a': there is no column 9: the example has columns 0 to 7"),
        ({"a": 'token("S1")'}, r"the variable 'a': the task has no column 'S1'; did you mean 'S2'\?"),
        ({"a": "number(1) + 1"}, r"the variable 'a' has no value for an example: TypeError"),
        ({"a": "1 // 0 + length()"}, r"the variable 'a' has no value for an example: ZeroDivisionError"),
        ({"a": lambda example: [1]}, r"the variable 'a' has no value for an example: TypeError"),
        ({"a": lambda example: float("nan")}, r"the variable 'a' has no value for an example: it is not a number"),
    ],
)
def test_a_variable_without_a_value_is_named(variables: Mapping[str, Any], sentence: str):
    with pytest.raises(TaskError, match=sentence):
        HighLevelModel.of(variables).values(SEEN)
