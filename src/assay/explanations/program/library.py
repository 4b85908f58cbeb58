"""The built-in programs: what a head (or an MLP, or a neuron) is said to compute, written down.

A program for attention says where every query attends; `level` says how much of the model's own weights it keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.errors import ClaimError, PluginError, nearest, shown
from assay.explanations.program.spec import LEVELS, MATCHES, ORDERS, WITHOUT_MATCH, is_token
from assay.task import bounds

SCORED = ("induction", "previous_token", "duplicate_token")  # rules that a head can be scored by on random tokens


@dataclass(frozen=True, eq=False)
class Attention:
    """Where every query attends.

    Attributes:
        weights: [batch, query, key], rows sum to 1 where matched, else 0.
        matched: [batch, query] whether the program says anything about this query.
    """

    weights: Float[Tensor, "batch query key"]
    matched: Bool[Tensor, "batch query"]


@dataclass(frozen=True)
class AttentionProgram:
    """A head that attends as a rule on the tokens says.

    Attributes:
        name: the rule.
        level: `pattern`: the rule's attention, the head's own V and O; `pattern_token`: the same, but V reads the token
            embedding alone; `full`: output = α·(W_U[x_j] − mean W_U) for the attended token, one fitted α.
        match, prefix: for induction: `recent`, `all` (uniform), or `prefix` (the longest match of the last n tokens).
        without_match: what a query without a match takes: the head's reference `mean` without a match, the value of the
            `first` position, or `zero`.
    """

    name: str
    level: str = "pattern"
    match: str = "recent"
    prefix: int = 1
    without_match: str = "mean"

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise ClaimError(f"unknown level {self.level!r} of program {self.name!r}" + nearest(self.level, LEVELS))
        if self.without_match not in WITHOUT_MATCH:
            raise ClaimError(
                f"unknown without_match {self.without_match!r}" + nearest(self.without_match, WITHOUT_MATCH)
            )
        if self.match not in MATCHES:
            raise ClaimError(f"unknown match {self.match!r}" + nearest(self.match, MATCHES))
        if problem := bounds.problem("prefix", self.prefix, bounds.PREFIX):
            raise ClaimError(problem)
        if self.prefix != 1 and self.match != "prefix":
            raise ClaimError(f"'prefix' of the program {self.name!r} goes with match='prefix' only")

    @property
    def productions(self) -> tuple[int, ...]:
        """How many alternatives each choice in the program's grammar had (for claim bits); whole numbers apart."""
        return (RULES, len(LEVELS), len(WITHOUT_MATCH), *((len(MATCHES),) if self.name == "induction" else ()))

    @property
    def numbers(self) -> tuple[int, ...]:
        """Whole numbers, from 1 on, that the program's text has (for claim bits)."""
        return (self.prefix,) if self.name == "induction" and self.match == "prefix" else ()

    @property
    def parameters(self) -> int:
        """Fitted numbers besides the constant without a match."""
        return 1 if self.level == "full" else 0

    def attend(self, tokens: Int[Tensor, "batch pos"]) -> Attention:
        """The rule's attention on these tokens."""
        return ATTENTION[self.name](tokens, self)


def _pointing(target: Int[Tensor, "batch pos"], matched: Bool[Tensor, "batch pos"]) -> Attention:
    weights = torch.zeros(*target.shape, target.shape[1], device=target.device)
    weights.scatter_(2, target.clamp(min=0, max=target.shape[1] - 1).unsqueeze(-1), 1.0)
    return Attention(weights * matched.unsqueeze(-1), matched)


def _earlier(tokens: Int[Tensor, "batch pos"]) -> Bool[Tensor, "batch query key"]:
    """J: whether key j < i holds the query's own token."""
    length = tokens.shape[1]
    below = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril(-1)
    return (tokens.unsqueeze(2) == tokens.unsqueeze(1)) & below


def _induction(tokens: Tensor, program: AttentionProgram) -> Attention:
    earlier = _earlier(tokens)
    matched = earlier.any(-1)
    if program.match == "all":
        weights = torch.zeros_like(earlier, dtype=torch.float32)
        weights[:, :, 1:] = earlier[:, :, :-1].float()
        return Attention(weights / weights.sum(-1, keepdim=True).clamp(min=1), matched)
    score = earlier.long()
    if program.match == "prefix":
        for _ in range(program.prefix - 1):  # length of the common suffix of (.. i) and (.. j), at most `prefix`
            longer = torch.zeros_like(score)
            longer[:, 1:, 1:] = score[:, :-1, :-1]
            score = earlier.long() * (1 + longer)
    length = tokens.shape[1]
    ranked = score * length + torch.arange(length, device=tokens.device) * earlier
    return _pointing(ranked.argmax(-1) + 1, matched)


def _duplicate_token(tokens: Tensor, program: AttentionProgram) -> Attention:
    earlier = _earlier(tokens)
    place = earlier * torch.arange(1, tokens.shape[1] + 1, device=tokens.device)
    return _pointing(place.argmax(-1), earlier.any(-1))


def _offset(shift: int) -> Callable[[Tensor, AttentionProgram], Attention]:
    def rule(tokens: Tensor, program: AttentionProgram) -> Attention:
        target = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens) - shift
        return _pointing(target, target >= 0)

    return rule


def _first_token(tokens: Tensor, program: AttentionProgram) -> Attention:
    return _pointing(torch.zeros_like(tokens), torch.ones_like(tokens, dtype=torch.bool))


ATTENTION: dict[str, Callable[[Tensor, AttentionProgram], Attention]] = {
    "induction": _induction,
    "previous_token": _offset(1),
    "copy": _offset(0),
    "first_token": _first_token,
    "duplicate_token": _duplicate_token,
}
RULES = len(ATTENTION) + 3  # what a program can be: one of these, an n-gram, a label, or code of one's own


def induction(
    level: str = "pattern", match: str = "recent", prefix: int = 1, without_match: str = "mean"
) -> AttentionProgram:
    """Attends to the token after an earlier occurrence of the current token.

    Example:
        >>> induction(match="prefix", prefix=3).level
        'pattern'
    """
    return AttentionProgram("induction", level, match, prefix, without_match)


def previous_token(level: str = "pattern", without_match: str = "mean") -> AttentionProgram:
    """Attends to the position before."""
    return AttentionProgram("previous_token", level, without_match=without_match)


def copy(level: str = "pattern", without_match: str = "mean") -> AttentionProgram:
    """Attends to the current position."""
    return AttentionProgram("copy", level, without_match=without_match)


def first_token(level: str = "pattern", without_match: str = "mean") -> AttentionProgram:
    """Attends to the first position (BOS)."""
    return AttentionProgram("first_token", level, without_match=without_match)


def duplicate_token(level: str = "pattern", without_match: str = "mean") -> AttentionProgram:
    """Attends to the most recent earlier occurrence of the current token itself."""
    return AttentionProgram("duplicate_token", level, without_match=without_match)


@dataclass(frozen=True)
class NGramProgram:
    """E[output | last n tokens], a table fitted on the reference, with back-off to fewer tokens where unseen.

    Attributes:
        n: how many tokens, the current one included.
        smallest: a context counts as seen from this many reference tokens on.
    """

    n: int = 1
    smallest: int = 2
    name: str = "ngram"

    def __post_init__(self) -> None:
        if self.n not in ORDERS:
            raise ClaimError(f"program 'ngram' takes n from 1 to {ORDERS[-1]}, not {self.n}")

    @property
    def productions(self) -> tuple[int, ...]:
        return (RULES, len(ORDERS))

    @property
    def numbers(self) -> tuple[int, ...]:
        return (max(self.smallest, 1),)


def ngram(n: int = 1, smallest: int = 2) -> NGramProgram:
    """The mean output after the last n tokens."""
    return NGramProgram(n, smallest)


@dataclass(frozen=True)
class LabelProgram:
    """E[output | label]: two constants, one where the label holds and one where it does not, fitted on the reference.

    Attributes:
        source: the label holds in documents of this source ("fr", "python", ...); or
        tokens: the label holds where the current token is one of these ids.
    """

    source: str | None = None
    tokens: tuple[int, ...] = ()
    name: str = "label"

    def __post_init__(self) -> None:
        if self.source is not None and not isinstance(self.source, str):
            raise ClaimError(
                f"a label's source is a text such as 'fr', not {self.source!r}; token ids: label(tokens=...)"
            )
        if (self.source is None) == (not self.tokens):
            raise ClaimError("program 'label' takes either a source or tokens, and not both")
        bad = next((token for token in self.tokens if not is_token(token)), None)
        if bad is not None:
            raise ClaimError(f"program 'label' takes token ids, and {bad!r} is none")

    @property
    def productions(self) -> tuple[int, ...]:
        return (RULES, 2)


def label(source: str | None = None, tokens: Sequence[int] = ()) -> LabelProgram:
    """A label instead of a part: how much of the part's effect does the label explain?"""
    return LabelProgram(source, tuple(tokens))


@dataclass(frozen=True, eq=False)
class CustomProgram:
    """A user's callable.

    Attributes:
        function: takes token ids [batch, pos] and, for each name in `reads`, that component's output in the same run;
            gives attention [batch, query, key] or an output [batch, pos, d_model].
        returns: which of the two it gives.
        reads: earlier components whose outputs it gets.
        keeps: what of the model it still uses, in words, for the report.
    """

    function: Callable[..., Tensor]
    returns: str
    reads: tuple[str, ...] = ()
    keeps: str = ""
    name: str = field(default="custom")

    def __call__(
        self, tokens: Int[Tensor, "batch pos"], *reads: Float[Tensor, "batch pos _"], width: int
    ) -> Float[Tensor, "batch pos _"]:
        """What the function gives, for a part whose output has so many numbers.

        Raises:
            PluginError: for anything but a tensor of the shape that it must have.
        """
        found = self.function(tokens, *reads)
        shape = (*tokens.shape, tokens.shape[1] if self.returns == "pattern" else width)
        if not isinstance(found, Tensor) or found.shape != shape:
            gives = f"a tensor of shape {list(found.shape)}" if isinstance(found, Tensor) else shown(found)
            last = "pos] where each query attends" if self.returns == "pattern" else f"{width}] of outputs"
            raise PluginError(
                f"the program {self.name!r} gives {gives} for tokens of shape {list(tokens.shape)}; wanted: a tensor "
                f"of shape {list(shape)}, that is [batch, pos, {last}"
            )
        return found


def custom(
    function: Callable[..., Tensor], *, returns: str, reads: Sequence[str] = (), keeps: str = ""
) -> CustomProgram:
    """A program of your own; see `CustomProgram`."""
    if returns not in ("pattern", "output"):
        raise ClaimError(f"returns is {returns!r}; a program returns 'pattern' or 'output'")
    words = keeps or ("the head's own V and O" if returns == "pattern" else "nothing of the part")
    return CustomProgram(function, returns, tuple(reads), words, getattr(function, "__name__", "custom"))


AnyProgram = AttentionProgram | NGramProgram | LabelProgram | CustomProgram


def words(program: AnyProgram) -> str:
    """A program in words."""
    match program:
        case AttentionProgram(name="induction", level=level, match=match, prefix=prefix):
            how = {"recent": "strict", "all": "all-matches", "prefix": f"longest-match (up to {prefix})"}[match]
            return f"{how} induction (level {level})"
        case AttentionProgram(name=name, level=level):
            return f"{name} (level {level})"
        case NGramProgram(n=n):
            return f"ngram({n})"
        case LabelProgram(source=origin, tokens=tokens):
            return f"label({origin if origin is not None else f'{len(tokens)} tokens'})"
        case CustomProgram(name=name):
            return name
    raise TypeError(program)
