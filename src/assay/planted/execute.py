"""What a program computes, edge by edge cut or not, in float64 on its variables: no weights, no norms, no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from assay.planted.program import POSITION, TOKEN, Head, PlantedProgram, Reading, Units

Values = dict[str, dict[str, np.ndarray]]  # writer -> variable -> [variants, rows, pos, size]


@dataclass(frozen=True, eq=False)
class Execution:
    """Attributes:
    values: what each writer wrote; logits: [variants, rows, pos, vocab].
    """

    values: Values
    logits: Float[np.ndarray, "variants rows pos vocab"]

    @property
    def probabilities(self) -> Float[np.ndarray, "variants rows pos vocab"]:
        return softmax(self.logits)


def softmax(scores: np.ndarray) -> np.ndarray:
    grown = np.exp(scores - scores.max(-1, keepdims=True))
    return grown / grown.sum(-1, keepdims=True)


def execute(
    program: PlantedProgram,
    tokens: Int[np.ndarray, "rows pos"],
    cut: Bool[np.ndarray, "variants wires"] | None = None,
    fills: Values | None = None,
) -> Execution:
    """Runs the program.

    Args:
        cut: for each of `program.wires` whether it is cut; by default one variant with none cut.
        fills: what a reader takes of a writer over a cut wire.
    """
    cut = np.zeros((1, len(program.wires)), dtype=bool) if cut is None else cut
    at = {wire: cut[:, i] for i, wire in enumerate(program.wires)}
    rows, length = tokens.shape
    position = np.broadcast_to(np.eye(program.context)[:length], (1, rows, length, program.context))
    values: Values = {"input": {TOKEN: np.eye(len(program.tokens))[tokens][None], POSITION: position}}
    future = np.triu(np.ones((length, length), dtype=bool), 1)

    def read(reader: str, reading: Reading, width: int) -> np.ndarray:
        total = np.zeros((1, 1, length, width))
        for writer, to in program.wires:
            if to != reader:
                continue
            for variable in set(program.written[writer]) & set(reading):
                value, table = values[writer][variable] @ reading[variable], reading[variable]
                gone = at[writer, reader]
                if gone.any():
                    assert fills is not None
                    value = np.where(gone[:, None, None, None], fills[writer][variable] @ table, value)
                total = total + value
        return total

    for part in program.parts:
        if isinstance(part, Units):
            read_in = read(part.name, dict(part.reads), len(part.bias))
            hidden = np.maximum(read_in + part.bias, 0)
            values[part.name] = {variable: hidden @ table for variable, table in part.writes.items()}
            continue
        values[part.name] = {part.writes: _attend(program, part, read, future)}
    return Execution(values, read("logits", dict(program.readout), len(program.tokens)))


def _attend(program: PlantedProgram, head: Head, read, future: np.ndarray) -> np.ndarray:
    reading, bias = head.query
    queries = read(f"{head.name}<q>", reading, len(bias)) + bias
    keys = read(f"{head.name}<k>", head.key, len(bias))
    scores = program.hardness * (queries @ keys.swapaxes(-1, -2))
    pattern = softmax(np.where(future, -np.inf, scores))
    return pattern @ read(f"{head.name}<v>", dict(head.value), program.widths[head.writes])


def constants(values: Mapping[str, Mapping[str, np.ndarray]], real: Bool[np.ndarray, "rows pos"], how: str) -> Values:
    """What `zero`, `mean` and `mean_position` fill in, from a clean run on the reference.

    `mean` is over tokens, the first position apart; `mean_position` over rows, position by position, and where no row
    reaches, the mean over all positions but the first.
    """
    out: Values = {}
    for writer, variables in values.items():
        out[writer] = {}
        for variable, value in variables.items():
            if how == "zero":
                out[writer][variable] = np.zeros((1, 1, *value.shape[2:]))
                continue
            counts = real.sum(0)
            total = (value[0] * real[..., None]).sum(0)
            rest = total[1:].sum(0) / max(counts[1:].sum(), 1)
            mean = total / np.maximum(counts, 1)[:, None]
            if how == "mean":
                mean[1:] = rest
            mean[counts == 0] = rest
            out[writer][variable] = mean[None, None]
    return out
