"""Expressions of claim files: what a variable of a high-level model is, in a fixed vocabulary that cannot do harm.

`second if repeated == first else first`, `token("S2")`, `count("(") - count(")")`: Python's syntax for arithmetic,
comparisons, conditions and calls, of which only the words below are known.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from assay.errors import ClaimError, nearest
from assay.explanations.hypothesis.example import WORDS, Example

AnyValue = Hashable  # of a variable

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.USub: operator.neg, ast.Not: operator.not_}
PLAIN: dict[str, Callable[..., Any]] = {"min": min, "max": max, "abs": abs}


@dataclass(frozen=True)
class Expression:
    """A variable's definition in words of the vocabulary.

    Attributes:
        text: as it was written; names: variables that it reads, in order; reads_input: whether it looks at the example.
    """

    text: str
    names: tuple[str, ...]
    reads_input: bool

    def __call__(self, example: Example, values: Mapping[str, AnyValue]) -> AnyValue:
        """Its value for an example, of the values of other variables."""
        return _value(ast.parse(self.text, mode="eval").body, example, values)


def parse(text: str) -> Expression:
    """Reads an expression.

    Raises:
        ClaimError: for what is no expression, and for a word that is not known.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError) as problem:
        raise ClaimError(f"{text!r} is no expression: {getattr(problem, 'msg', problem)}") from None
    names: dict[str, None] = {}
    asks = [False]
    _check(tree, text, names, asks)
    return Expression(text.strip(), tuple(names), asks[0])


def _check(node: ast.AST, text: str, names: dict[str, None], asks: list[bool]) -> None:
    match node:
        case ast.Constant(value=str() | bool() | int() | float() | None):
            return
        case ast.Name(id=name):
            names[name] = None
            return
        case ast.Call(func=ast.Name(id=word), args=arguments, keywords=[]):
            if word not in WORDS and word not in PLAIN:
                raise ClaimError(f"{text!r} has the unknown word {word!r}" + nearest(word, (*WORDS, *PLAIN)))
            asks[0] |= word in WORDS
            if word in WORDS:
                WORDS[word].check(len(arguments), text)
            inside: list[ast.AST] = list(arguments)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            inside = [left, right]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            inside = [operand]
        case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in _COMPARED for op in ops):
            inside = [left, *others]
        case ast.BoolOp(values=values):
            inside = list(values)
        case ast.IfExp(test=test, body=body, orelse=other):
            inside = [test, body, other]
        case ast.Tuple(elts=parts):
            inside = list(parts)
        case _:
            part = ast.get_source_segment(text.strip(), node) if isinstance(node, ast.expr) else None
            raise ClaimError(
                f"{part or text!r} in {text!r} is not of the vocabulary: arithmetic (+ - * // %), comparisons, and, "
                f"or, not, 'a if b else c', {', '.join(PLAIN)}, and {', '.join(WORDS)}"
            )
    for part in inside:
        _check(part, text, names, asks)


def _value(node: ast.expr, example: Example, values: Mapping[str, AnyValue]) -> Any:
    def of(part: ast.expr) -> Any:
        return _value(part, example, values)

    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return values[name]
        case ast.Call(func=ast.Name(id=word), args=arguments):
            given = [of(argument) for argument in arguments]
            return WORDS[word](example, *given) if word in WORDS else PLAIN[word](*given)
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](of(left), of(right))
        case ast.UnaryOp(op=op, operand=operand):
            return _UNARY[type(op)](of(operand))
        case ast.Compare(left=left, ops=ops, comparators=others):
            sides = [of(left), *map(of, others)]
            return all(_COMPARED[type(op)](a, b) for op, a, b in zip(ops, sides, sides[1:], strict=False))
        case ast.BoolOp(op=op, values=parts):
            found: Any = None
            for part in parts:
                found = of(part)
                if bool(found) == isinstance(op, ast.Or):
                    break
            return found
        case ast.IfExp(test=test, body=body, orelse=other):
            return of(body) if of(test) else of(other)
        case ast.Tuple(elts=parts):
            return tuple(map(of, parts))
    raise AssertionError(f"{ast.dump(node)} was let through")
