"""The built-in programs: reversal, proportion so far, sorting, induction, AND, OR, a cancelling pair, a backup head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from assay.planted.compiled_world import CompiledWorld
from assay.planted.gadgets import at, fuzzy, hats, moved, pick, smallest
from assay.planted.inputs import DataSplit, DrawnExample, Inputs
from assay.planted.program import Head, Match, PlantedProgram, Units

BOS, END = "<s>", "|"
SHARP = 12.0  # logits of an answer above the others: with 20 words it has all but 2e-4 of the probability
LETTERS = tuple("abcdefghijkl")
FILLERS = tuple(f"f{i}" for i in range(1, 9))


def reversal(length: int = 4, letters: int = 6) -> CompiledWorld:
    """BOS x1 .. xn | xn .. x1: one head attends from each position to the one that is to be said next."""
    words = LETTERS[:letters]
    tokens, context = (BOS, END, *words), 2 * length + 2
    source = {length + 1 + i: length - i for i in range(length)}
    head = Head(0, 0, (moved(context, source),), {"token": pick(tokens, words)}, "said")
    program = PlantedProgram("reversal", tokens, context, {"said": letters}, (head,), {"said": _logits(tokens, words)})

    def draw(random: np.random.Generator, split: DataSplit) -> DrawnExample:
        def row() -> tuple[str, ...]:
            chosen = _choice(random, words, length)
            return (BOS, *chosen, END, *reversed(chosen))

        return DrawnExample(row(), row())

    alphabet = ((BOS,), *[words] * length, (END,), *[words] * length)
    return _world(program, draw, tuple(range(length + 2, context)), alphabet)


def proportion(length: int = 5) -> CompiledWorld:
    """BOS l1 s1 l2 s2 ..: after each letter the share of letters so far that are x; a head counts, units round."""
    others = LETTERS[:5]
    shares = sorted({Fraction(k, n) for n in range(1, length + 1) for k in range(n + 1)})
    names = [f"{s.numerator}/{s.denominator}" for s in shares]
    letters, context = ("x", *others), 2 * length + 1
    tokens = (BOS, *letters, *names)
    is_letter = pick(tokens, letters).sum(1)[None]
    counter = Head(0, 0, (Match(None, "token", is_letter),), {"token": pick(tokens, ["x"])}, "share")
    units = Units(0, *hats("share", "rounded", [float(s) for s in shares]))
    program = PlantedProgram(
        "proportion",
        tokens,
        context,
        {"share": 1, "rounded": len(shares)},
        (counter,),
        {"rounded": _logits(tokens, names)},
        (units,),
    )

    def draw(random: np.random.Generator, split: DataSplit) -> DrawnExample:
        def row() -> tuple[str, ...]:
            out, count = [BOS], 0
            for n in range(1, length + 1):
                letter = "x" if random.random() < 0.5 else str(random.choice(others))
                count += letter == "x"
                share = Fraction(count, n)
                out += [letter, f"{share.numerator}/{share.denominator}"]
            return tuple(out)

        return DrawnExample(row(), row())

    seen = [tuple(names[i] for i, s in enumerate(shares) if (s * n).denominator == 1) for n in range(1, length + 1)]
    alphabet = ((BOS,), *[side for n in range(length) for side in (letters, seen[n])])
    return _world(program, draw, tuple(range(2, context, 2)), alphabet)


def sort(length: int = 4, values: int = 6) -> CompiledWorld:
    """BOS x1 .. xn | the same in order: a head takes the share of each value, units find the k-th smallest."""
    digits = tuple(str(v) for v in range(1, values + 1))
    tokens, context = (BOS, END, *digits), 2 * length + 2
    listed = np.zeros((1, context))
    listed[0, 1 : length + 1] = 1
    counter = Head(0, 0, (Match(None, "position", listed),), {"token": pick(tokens, digits)}, "shares")
    found = smallest("shares", "found", values=values, count=length, context=context, first=length + 1)
    program = PlantedProgram(
        "sort",
        tokens,
        context,
        {"shares": values, "found": values},
        (counter,),
        {"found": _logits(tokens, digits)},
        (Units(0, *found),),
    )

    def draw(random: np.random.Generator, split: DataSplit) -> DrawnExample:
        def row() -> tuple[str, ...]:
            chosen = _choice(random, digits, length)
            return (BOS, *chosen, END, *sorted(chosen))

        return DrawnExample(row(), row())

    alphabet = ((BOS,), *[digits] * length, (END,), *[digits] * length)
    return _world(program, draw, tuple(range(length + 2, context)), alphabet)


def induction(length: int = 6, window: int = 3, letters: int = 12) -> CompiledWorld:
    """BOS r w, letters of r all different and w a stretch of r: a previous-token head, and a head that finds what came
    after the same letter.

    The stretch begins anywhere, so that what is found is not at a fixed distance: otherwise the attention of another
    example would do as well, and under joint resampling the circuit would be two edges. The counterfactual shuffles r
    only: who asks stays the same, what is found changes.
    """
    words = LETTERS[:letters]
    tokens, context = (BOS, *words), 1 + length + window
    token = pick(tokens, words)
    back = moved(context, {i: i - 1 for i in range(1, context)})
    previous = Head(0, 0, (back,), {"token": token}, "previous")
    follow = Head(1, 0, (Match("token", "previous", token),), {"token": token}, "next")
    program = PlantedProgram(
        "induction",
        tokens,
        context,
        {"previous": letters, "next": letters},
        (previous, follow),
        {"next": _logits(tokens, words)},
    )

    def draw(random: np.random.Generator, split: DataSplit) -> DrawnExample:
        row = tuple(str(word) for word in random.choice(words, length, replace=False))
        start = int(random.integers(length - window + 1))
        turned = tuple(row[i] for i in random.permutation(length))
        said = row[start : start + window]
        return DrawnExample((BOS, *row, *said), (BOS, *turned, *said))

    return _world(program, draw, tuple(range(length + 2, context)), ((BOS,), *[words] * (context - 1)))


def and_gate() -> CompiledWorld:
    """BOS A f B f f | yes: one head fetches A, one B, and units say yes if both are on."""
    return _gate("and")


def or_gate() -> CompiledWorld:
    """As `and_gate`, but one is enough. Where something is scored both are on, so that either alone can go."""
    return _gate("or")


def _gate(kind: str) -> CompiledWorld:
    tokens, context = (BOS, END, "on", "off", "yes", "no", *FILLERS), 8
    on = {"token": pick(tokens, ["on"])}
    heads = (Head(0, 0, (at(context, 1),), on, "left"), Head(0, 1, (at(context, 3),), on, "right"))
    program = PlantedProgram(
        f"{kind}_gate",
        tokens,
        context,
        {"left": 1, "right": 1, "gate": 2},
        heads,
        {"gate": _logits(tokens, ["yes", "no"])},
        (Units(0, *fuzzy("left", "right", "gate", kind)),),
    )

    def draw(random: np.random.Generator, split: DataSplit) -> DrawnExample:
        f = _choice(random, FILLERS, 3)

        def row(cue: str, answer: str) -> tuple[str, ...]:
            return BOS, cue, f[0], cue, f[1], f[2], END, answer

        on, off = row("on", "yes"), row("off", "no")
        if split == "reference" and random.random() < 0.5:
            return DrawnExample(off, on, "yes")
        return DrawnExample(on, off, "no")

    cues, answers = ("on", "off"), ("yes", "no")
    alphabet = ((BOS,), cues, FILLERS, cues, FILLERS, FILLERS, (END,), answers)
    return _world(program, draw, (7,), alphabet)


def cancelling() -> CompiledWorld:
    """BOS x f d f | x: one head fetches the answer x; a second says another letter because of d, a third unsays it."""
    words = LETTERS[:6]
    tokens, context = (BOS, END, *words, *FILLERS), 7
    letter = pick(tokens, words)
    heads = (
        Head(0, 0, (at(context, 1),), {"token": letter}, "answer"),
        Head(0, 1, (at(context, 3),), {"token": letter}, "distractor"),
        Head(0, 2, (at(context, 3),), {"token": -letter}, "distractor"),
    )
    said = _logits(tokens, words)
    sizes = {"answer": len(words), "distractor": len(words)}
    # what is left of the pair with either sign pushes one letter up and the next down, by more than the answer
    readout = {"answer": said, "distractor": 2 * (said - np.roll(said, 1, axis=0))}
    program = PlantedProgram("cancelling", tokens, context, sizes, heads, readout)

    def draw(random: np.random.Generator, split: DataSplit) -> DrawnExample:
        f = _choice(random, FILLERS, 2)
        x, other = (str(w) for w in random.choice(words, 2, replace=False))
        d, wrong = (str(w) for w in random.choice(words, 2, replace=False))
        return DrawnExample((BOS, x, f[0], d, f[1], END, x), (BOS, other, f[0], wrong, f[1], END, other), other)

    alphabet = ((BOS,), words, FILLERS, words, FILLERS, (END,), words)
    return _world(program, draw, (6,), alphabet)


def backup() -> CompiledWorld:
    """BOS x f f | x: a head fetches x; a later one fetches it too, unless it sees that the first has said something.

    Its queries ask for position 1 always, and for BOS twice as much where the first head's output is there. Filling the
    first head from other examples therefore does not wake it; only taking it away does.
    """
    words = LETTERS[:6]
    tokens, context = (BOS, END, *words, *FILLERS), 6
    letter = pick(tokens, words)
    silent = np.zeros((len(words), context))
    silent[:, 0] = 2
    heads = (
        Head(0, 0, (at(context, 1),), {"token": letter}, "first"),
        Head(1, 0, (at(context, 1), Match("first", "position", silent)), {"token": letter}, "second"),
    )
    said = _logits(tokens, words)
    sizes = {"first": len(words), "second": len(words)}
    program = PlantedProgram("backup", tokens, context, sizes, heads, {"first": said, "second": said})

    def draw(random: np.random.Generator, split: DataSplit) -> DrawnExample:
        f = _choice(random, FILLERS, 2)
        x, other = (str(w) for w in random.choice(words, 2, replace=False))
        return DrawnExample((BOS, x, *f, END, x), (BOS, other, *f, END, other), other)

    return _world(program, draw, (5,), ((BOS,), words, FILLERS, FILLERS, (END,), words))


def _world(
    program: PlantedProgram,
    draw: Callable[[np.random.Generator, DataSplit], DrawnExample],
    columns: tuple[int, ...],
    alphabet: tuple[tuple[str, ...], ...],
) -> CompiledWorld:
    return CompiledWorld(program, Inputs(program.name, program.tokens, draw, columns, alphabet))


def _logits(tokens: Sequence[str], words: Sequence[str]) -> np.ndarray:
    """The readout of a one-hot over `words`."""
    return SHARP * pick(words, tokens)


def _choice(random: np.random.Generator, words: Sequence[str], count: int) -> list[str]:
    return [str(word) for word in random.choice(words, count)]
