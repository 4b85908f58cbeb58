"""The true edges of a planted program for each ablation, derived from the program; the network is never run.

Three steps. (1) An edge over which the reader takes nothing that the writer writes is irrelevant. (2) So is one that
carries only what the ablation leaves as it is: `mean_position` and resampling fill in a constant or a function of the
position with itself, `mean` a constant; `zero` leaves nothing. (3) For the few edges that are left, the program's
truth table: its output with every subset of them cut, in float64 on its variables. With S a set of other cut edges, an
edge is

    needed      if cutting it alone changes the output on some input,
    redundant   if not, but cutting it besides some S changes what S leaves (an OR's inputs, a backup),
    irrelevant  if that is so for no S.

An output changes where a probability changes by more than `CHANGED`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from assay.errors import TaskError
from assay.model.edges import Edges
from assay.planted.execute import Values, constants, execute
from assay.planted.inputs import REFERENCE_ROWS, Inputs
from assay.planted.program import POSITION, TOKEN, Head, PlantedProgram, Reading
from assay.planted.world import Truth
from assay.stats.keyed import generator

EdgeRole = Literal["needed", "redundant", "irrelevant"]
ABLATIONS = ("zero", "mean", "mean_position", "resample_joint", "resample_independent", "counterfactual")
CHANGED = 0.01  # in a probability; the programs' own effects are far larger or far smaller, and a test says so
ROWS, DRAWS = 24, 3  # inputs of the truth table, and donors each
MOST = 14  # edges of a truth table
CHUNK = 1 << 22  # numbers of one variable that are computed at once


class Varies(IntEnum):
    """With what a value changes: nothing, being the first token or not, the position, or the input."""

    CONSTANT = 0
    FIRST = 1
    POSITION = 2
    INPUT = 3


# what an ablation leaves as it is: all that varies with no more than this; zero leaves nothing
LEAVES = {
    "mean": Varies.FIRST,
    "mean_position": Varies.POSITION,
    "resample_joint": Varies.POSITION,
    "resample_independent": Varies.POSITION,
    "counterfactual": Varies.POSITION,
}


@dataclass(frozen=True, eq=False, kw_only=True)
class ProgramTruth(Truth):
    """What is true of every edge of a compiled network under one ablation.

    Attributes:
        edges: needed or redundant.
        labels: edge -> needed, redundant or irrelevant; reasons: edge -> why, in words.
        effects: edge -> the largest change of a probability when it alone is cut.
        reach: edge -> the same, whatever else is cut.
        circuits: the smallest sets of edges that suffice (with all others cut, the output is the model's), none of
            which holds another. There are several where parts are redundant.
    """

    ablation: str
    labels: dict[str, EdgeRole]
    reasons: dict[str, str]
    effects: dict[str, float]
    reach: dict[str, float]
    circuits: tuple[tuple[str, ...], ...]

    def labelled(self, label: EdgeRole) -> list[str]:
        """Edges with this label, in the model's order."""
        return [edge for edge, own in self.labels.items() if own == label]


def program_truth(program: PlantedProgram, inputs: Inputs, edges: Edges, ablation: str, seed: int = 0) -> ProgramTruth:
    """Derives the labels of a program's edges.

    Args:
        edges: the network's, in whose order they are given.
        ablation: one of `ABLATIONS`.
        seed: keys the inputs of the truth table; the labels do not depend on it.
    """
    classes = _classes(program, inputs)
    live: list[int] = []
    labels: dict[str, EdgeRole] = {}
    reasons: dict[str, str] = {}
    for i, wire in enumerate(program.wires):
        varies = classes[wire]
        if ablation != "zero" and varies <= LEAVES[ablation]:
            labels[_edge(wire)] = "irrelevant"
            reasons[_edge(wire)] = f"carries what varies with {_WORDS[varies]}, which {ablation} fills in as it is"
        else:
            live.append(i)
    table = _Table(program, inputs, ablation, live, seed)
    for bit, i in enumerate(live):
        labels[_edge(program.wires[i])], reasons[_edge(program.wires[i])] = table.label(bit)
    effects = {_edge(program.wires[i]): float(table.effect[1 << bit]) for bit, i in enumerate(live)}
    reach = {_edge(program.wires[i]): float(table.reach[bit]) for bit, i in enumerate(live)}
    return ProgramTruth(
        edges=tuple(edge for edge in edges if labels.get(edge, "irrelevant") != "irrelevant"),
        ablation=ablation,
        labels={edge: labels.get(edge, "irrelevant") for edge in edges},
        reasons={edge: reasons.get(edge, "the reader takes nothing that the writer writes") for edge in edges},
        effects={edge: effects.get(edge, 0.0) for edge in edges},
        reach={edge: reach.get(edge, 0.0) for edge in edges},
        circuits=tuple(tuple(_edge(program.wires[live[bit]]) for bit in kept) for kept in table.circuits()),
    )


_WORDS = {
    Varies.CONSTANT: "nothing",
    Varies.FIRST: "being the first token or not",
    Varies.POSITION: "the position only",
    Varies.INPUT: "the input",
}


def _edge(wire: tuple[str, str]) -> str:
    return f"{wire[0]}->{wire[1]}"


def _classes(program: PlantedProgram, inputs: Inputs) -> dict[tuple[str, str], Varies]:
    """With what the value varies that each wire carries, whatever else is cut."""
    written: dict[str, Varies] = {}
    out: dict[tuple[str, str], Varies] = {}

    def reads(reader: str) -> Varies | None:
        """What the reader takes, over all wires; None where it takes nothing."""
        found = []
        for wire in program.wires:
            if wire[1] == reader:
                out[wire] = (
                    _input_class(program, inputs, program.readings[reader]) if wire[0] == "input" else written[wire[0]]
                )
                found.append(out[wire])
        return max(found, default=None)

    for part in program.parts:
        if isinstance(part, Head):
            value = reads(f"{part.name}<v>")
            chosen = [reads(f"{part.name}<{which}>") or Varies.CONSTANT for which in "qk"]
            # weights sum to 1, so a constant stays one; all else also varies with how much can be seen
            fetched = value or Varies.CONSTANT
            varied = max(Varies.POSITION, fetched, *chosen)
            written[part.name] = fetched if fetched == Varies.CONSTANT else varied
        else:
            written[part.name] = reads(part.name) or Varies.CONSTANT
    reads("logits")
    return out


def _input_class(program: PlantedProgram, inputs: Inputs, reading: Reading) -> Varies:
    """From the words that can stand at each position."""
    ids = {word: i for i, word in enumerate(program.tokens)}
    width = next(iter(reading.values())).shape[1]
    tokens = reading.get(TOKEN, np.zeros((len(ids), width)))
    places = reading.get(POSITION, np.zeros((program.context, width)))
    here = [
        np.unique([tokens[ids[word]] + places[at] for word in words], axis=0)
        for at, words in enumerate(inputs.alphabet)
    ]
    if any(len(values) > 1 for values in here):
        return Varies.INPUT
    if len(np.unique(np.concatenate(here[1:]), axis=0)) > 1:
        return Varies.POSITION
    return Varies.CONSTANT if np.array_equal(here[0], here[1]) else Varies.FIRST


class _Table:
    """The program's outputs with every subset of its live wires cut; a subset is the bits of a number.

    Attributes:
        changed: [subsets, wires] whether cutting one more wire changes the output.
        effect: [subsets] the largest change of a probability against the whole program.
        reach: [wires] the largest change that cutting it makes, whatever else is cut.
    """

    def __init__(self, program: PlantedProgram, inputs: Inputs, ablation: str, live: list[int], seed: int):
        if len(live) > MOST:
            raise TaskError(f"a truth table over {len(live)} edges is too large; planted programs use at most {MOST}")
        self.program, self.live = program, live
        subsets = np.arange(1 << len(live))
        cut = np.zeros((len(subsets), len(self.program.wires)), dtype=bool)
        cut[:, live] = (subsets[:, None] >> np.arange(len(live))) & 1
        tokens, fills = _inputs(program, inputs, ablation, seed)
        columns = np.array(inputs.columns) - 1
        step = max(1, CHUNK // (tokens.size * max(self.program.widths.values())))
        parts = [
            execute(self.program, tokens, cut[start : start + step], fills).probabilities[:, :, columns]
            for start in range(0, len(subsets), step)
        ]
        out = np.concatenate([np.broadcast_to(p, (len(subsets[i * step : (i + 1) * step]), *p.shape[1:]))
                              for i, p in enumerate(parts)])  # fmt: skip
        self.effect: Float[np.ndarray, "subsets"] = np.abs(out - out[:1]).max((1, 2, 3))
        self.changed: Bool[np.ndarray, "subsets wires"] = np.zeros((len(subsets), len(live)), dtype=bool)
        self.reach: Float[np.ndarray, "wires"] = np.zeros(len(live))
        for bit in range(len(live)):
            without = subsets[(subsets >> bit) & 1 == 0]
            change = np.abs(out[without | 1 << bit] - out[without]).max((1, 2, 3))
            self.changed[without, bit], self.reach[bit] = change > CHANGED, change.max()

    def label(self, bit: int) -> tuple[EdgeRole, str]:
        if self.changed[0, bit]:
            return "needed", f"cut alone, it changes a probability by {self.effect[1 << bit]:.2f}"
        contexts = np.flatnonzero(self.changed[:, bit])
        if not len(contexts):
            return "irrelevant", "changes no output, whatever else is cut"
        least = min(contexts, key=lambda subset: (int(subset).bit_count(), subset))
        names = [_edge(self.program.wires[i]) for place, i in enumerate(self.live) if least >> place & 1]
        return "redundant", f"matters when cut besides {' and '.join(names)}"

    def circuits(self) -> list[tuple[int, ...]]:
        """Bits of the smallest sufficient sets, none of which holds another."""
        everything = (1 << len(self.live)) - 1
        kept = everything - np.flatnonzero(self.effect <= CHANGED)
        found: list[int] = []
        for candidate in sorted((int(k) for k in kept), key=lambda k: (k.bit_count(), k)):
            if not any(smaller & candidate == smaller for smaller in found):
                found.append(candidate)
        return [tuple(bit for bit in range(len(self.live)) if k >> bit & 1) for k in found]


def _inputs(
    program: PlantedProgram, inputs: Inputs, ablation: str, seed: int
) -> tuple[Int[np.ndarray, "rows pos"], Values]:
    """Scored rows (each once a donor), and what is filled in for each writer and variable."""
    seen: set[tuple[str, ...]] = set()
    tokens, others, _ = inputs.rows(ROWS, seed, "scored", seen)
    reference, _, _ = inputs.rows(REFERENCE_ROWS, seed, "reference", seen)
    if ablation == "counterfactual":
        return tokens, execute(program, others).values
    clean = execute(program, reference).values
    if ablation in ("zero", "mean", "mean_position"):
        return tokens, constants(clean, inputs.real(len(reference)), ablation)
    fills: Values = {}
    for writer, variables in clean.items():
        key = "" if ablation == "resample_joint" else writer
        donors = generator(seed, "planted donors", key).integers(0, len(reference), DRAWS * ROWS)
        # what `input` writes of positions is the same in every row, and kept once
        fills[writer] = {
            variable: value[:, donors] if value.shape[1] == len(reference) else value
            for variable, value in variables.items()
        }
    return np.tile(tokens, (DRAWS, 1)), fills
