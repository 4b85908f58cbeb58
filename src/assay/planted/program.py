"""Hand-specified programs: variables, heads that select and fetch, units that compute, and a readout.

A program says what a transformer does in terms of variables, each of which lies in a subspace of the stream of its own.
`compiled.py` turns it into weights, `meaning.py` runs it without any, `truth.py` derives its true edges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float

Matrix = Float[np.ndarray, "_ _"]  # sizes differ from one to the next, within one argument too
Row = Float[np.ndarray, "_"]
Reading = dict[str, Matrix]  # variable -> what a reader takes of it [size, dims]

TOKEN, POSITION = "token", "position"  # the variables that `input` writes, one-hot


@dataclass(frozen=True, eq=False)
class Match:
    """One term of a head's scores: `query @ table @ key`.

    Attributes:
        query: the variable read at the query; None for a query that is the same everywhere (a bias).
        key: the variable read at the key.
        table: [query size, key size], or [1, key size] without a query; 1 is a match.
    """

    query: str | None
    key: str
    table: Matrix

    @cached_property
    def factors(self) -> tuple[Matrix, Matrix]:
        """Query map [query size, r] and key map [key size, r] whose product is the table: r different rows."""
        rows = np.unique(self.table[self.table.any(1)], axis=0)
        return (self.table[:, None, :] == rows[None]).all(-1).astype(float), rows.T.copy()


@dataclass(frozen=True, eq=False)
class Head:
    """Attention to what matches, and what is fetched from there.

    Attributes:
        layer, index: where it sits.
        matches: their scores are added, times the program's hardness, before the softmax.
        value: what is fetched: variable -> map [size, size of what is written].
        writes: the variable that the fetched value is added to.
    """

    layer: int
    index: int
    matches: tuple[Match, ...]
    value: Mapping[str, Matrix]
    writes: str

    @property
    def name(self) -> str:
        return f"a{self.layer}.h{self.index}"

    @cached_property
    def query(self) -> tuple[Reading, Row]:
        """What the queries read, and their constant part [dims]; the dims are those of `key`."""
        widths = [match.factors[0].shape[1] for match in self.matches]
        starts = np.cumsum([0, *widths])
        reading: Reading = {}
        bias = np.zeros(starts[-1])
        for match, start, width in zip(self.matches, starts, widths, strict=False):
            left = match.factors[0]
            if match.query is None:
                bias[start : start + width] = left[0]
                continue
            into = reading.setdefault(match.query, np.zeros((len(left), starts[-1])))
            into[:, start : start + width] = left
        return reading, bias

    @cached_property
    def key(self) -> Reading:
        """What the keys read [size, dims]."""
        starts = np.cumsum([0, *(match.factors[1].shape[1] for match in self.matches)])
        reading: Reading = {}
        for match, start in zip(self.matches, starts, strict=False):
            right = match.factors[1]
            into = reading.setdefault(match.key, np.zeros((len(right), starts[-1])))
            into[:, start : start + right.shape[1]] = right
        return reading


@dataclass(frozen=True, eq=False)
class Units:
    """An MLP: `relu(sum of readings + bias)`, and what its units add to variables.

    Piecewise-linear, so that the program also says what follows from values between the usual ones, which is what a
    mean fills in.

    Attributes:
        reads: variable -> [size, units]; bias: [units]; writes: variable -> [units, size].
    """

    layer: int
    reads: Mapping[str, Matrix]
    bias: Row
    writes: Mapping[str, Matrix]

    @property
    def name(self) -> str:
        return f"m{self.layer}"


@dataclass(frozen=True, eq=False)
class PlantedProgram:
    """A whole mechanism.

    Attributes:
        tokens: the vocabulary's words; the first is BOS.
        context: the longest input.
        sizes: dims of each variable that the heads and units write.
        heads, units: in any order; at most one `Units` a layer.
        readout: variable -> [size, vocabulary], added up as logits.
        hardness: how far scores of a match lie above those without, in nats.
    """

    name: str
    tokens: tuple[str, ...]
    context: int
    sizes: Mapping[str, int]
    heads: tuple[Head, ...]
    readout: Mapping[str, Matrix]
    units: tuple[Units, ...] = ()
    hardness: float = 40.0
    about: str = field(default="")

    def __post_init__(self) -> None:
        names = [part.name for part in self.parts]
        if len(set(names)) < len(names):
            raise ValueError(f"the program {self.name!r} has two parts of the same name among {names}")
        sizes = self.widths
        for reader, reading in self.readings.items():
            for variable, table in reading.items():
                if sizes.get(variable) != len(table):
                    raise ValueError(f"{reader} reads {variable!r} with {len(table)} rows; sizes are {sizes}")

    @cached_property
    def widths(self) -> dict[str, int]:
        """Dims of every variable, the two of `input` first."""
        return {TOKEN: len(self.tokens), POSITION: self.context, **self.sizes}

    @property
    def layers(self) -> int:
        return 1 + max(part.layer for part in self.parts)

    @cached_property
    def parts(self) -> tuple[Head | Units, ...]:
        """Heads and units in the order in which they run."""
        heads = sorted(self.heads, key=lambda head: (head.layer, head.index))
        return tuple(sorted([*heads, *self.units], key=lambda part: (part.layer, isinstance(part, Units))))

    @cached_property
    def readings(self) -> dict[str, Reading]:
        """Reader -> what it takes of each variable; readers are named as in edges."""
        out: dict[str, Reading] = {}
        for part in self.parts:
            if isinstance(part, Head):
                out[f"{part.name}<q>"], out[f"{part.name}<k>"] = part.query[0], part.key
                out[f"{part.name}<v>"] = dict(part.value)
            else:
                out[part.name] = dict(part.reads)
        out["logits"] = dict(self.readout)
        return out

    @cached_property
    def written(self) -> dict[str, tuple[str, ...]]:
        """Writer -> the variables that it writes."""
        out: dict[str, tuple[str, ...]] = {"input": (TOKEN, POSITION)}
        for part in self.parts:
            out[part.name] = (part.writes,) if isinstance(part, Head) else tuple(part.writes)
        return out

    @cached_property
    def wires(self) -> tuple[tuple[str, str], ...]:
        """(writer, reader) of every edge that carries something: the writer writes a variable that the reader takes,
        and comes before it. All other edges of the network carry nothing that anything reads."""
        out = []
        for reader, reading in self.readings.items():
            taken = {variable for variable, table in reading.items() if table.any()}
            for writer, variables in self.written.items():
                if taken & set(variables) and self._before(writer, reader):
                    out.append((writer, reader))
        return tuple(out)

    def _before(self, writer: str, reader: str) -> bool:
        if reader == "logits" or writer == "input":
            return True
        place = {part.name: (part.layer, isinstance(part, Units)) for part in self.parts}
        return place[writer] < place[reader.split("<")[0]]


def node_of(reader: str) -> str:
    """The component that a reader belongs to: `a1.h0` of `a1.h0<q>`."""
    return reader.split("<")[0]
