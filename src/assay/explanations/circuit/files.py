"""Circuit files: those of EAP-IG and MIB, and a compact form of our own with a bit for each edge; and what other tools
hold in memory (`foreign`).

A file is read and checked for itself first (nothing heavy is imported), and then against a model.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Bool, Float32

from assay.errors import ClaimError, ComponentError
from assay.explanations.circuit import foreign
from assay.explanations.circuit.names import position_of, split_edge
from assay.model.edge_sets import EdgeSet
from assay.store import inputs

if TYPE_CHECKING:
    from assay.model.transformer import Model

FORMAT, VERSION = "assay circuit", 1
LARGEST_SCORE = float(np.finfo(np.float32).max)
LARGEST = 1 << 28  # bytes of a file; EAP-IG's of a model with 1,024 heads has half as many
NUMBERS = 1_000  # circuits of so many edges are written as numbers that can be read, larger ones as bits
LIKE = (".json", ".pt")  # how circuit files end
MOST_EDGES, MOST_POSITIONS, MOST_CELLS = 10**8, 10**4, 1 << 28  # and the two multiplied, that a file may have
_PER_HEAD = re.compile(r"a\d+\.h\d+<[kv]>$")


@dataclass(frozen=True, eq=False)
class Resolved:
    """A circuit of a model.

    Attributes:
        edges: what is kept.
        scores: one for every edge, where the file has them.
        notes: what was done to the file's contents, in sentences.
    """

    edges: EdgeSet
    scores: Float32[np.ndarray, "edges"] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class CircuitFile:
    """A file that was read, not yet held against a model.

    Attributes:
        path: where it was, for messages.
        form: "eap-ig", "assay", or "scores", which need not name every edge.
        data: its contents.
        kept, total: how many edges it keeps (at some position), of how many.
    """

    path: str
    form: Literal["eap-ig", "assay", "scores"]
    data: Mapping[str, Any] = field(repr=False)
    kept: int
    total: int

    @property
    def method(self) -> str | None:
        """The search that found it, where the file says so."""
        return self.data.get("method") if self.form == "assay" else None

    @property
    def size(self) -> dict[str, Any]:
        """Layers and heads of the circuit's model, as far as the file says them."""
        found = self.data.get("model" if self.form == "assay" else "cfg")
        if not isinstance(found, dict):
            return {}
        names = {"layers": "layers" if self.form == "assay" else "n_layers"}
        names["heads"] = "heads" if self.form == "assay" else "n_heads"
        return {what: found[name] for what, name in names.items() if name in found}

    def resolve(self, model: Model) -> Resolved:
        """The circuit as one of this model.

        Raises:
            ClaimError: for a circuit of another model, and for edges that this model cannot have.
        """
        return _from_numbers(self, model) if self.form == "assay" else _from_names(self, model)


def read_circuit(path: str | Path, model: Model) -> Resolved:
    """A circuit file as a circuit of this model; see `parse` and `CircuitFile.resolve`."""
    return parse(path).resolve(model)


def parse(source: Any, keep: int | None = None) -> CircuitFile:
    """Reads a circuit.

    Args:
        source: a JSON file of EAP-IG, of MIB or of our own, a .pt file of the first two, or what `foreign.dictionary`
            takes.
        keep: so many edges with the largest scores (by absolute value) are the circuit, whatever the source keeps.

    Raises:
        ClaimError: when it is not there, of no form that is known, or contradicts itself; when it keeps no edge.
    """
    name = str(source) if isinstance(source, str | Path) else f"<{type(source).__name__}>"
    if not isinstance(source, str | Path):
        data: Any = foreign.dictionary(source, name)
    elif Path(source).suffix == ".pt":
        data = foreign.graph_file(source, LARGEST)
    else:
        data = inputs.read_json(
            source, "the circuit file", ClaimError, most=LARGEST, like=LIKE, pairs=lambda pairs: _once(name, pairs)
        )
    if not isinstance(data, dict):
        raise ClaimError(f"the circuit file {name!r} holds no JSON object")
    if any("->" in key for key in data):
        data = foreign.dictionary(data, name)
    if data.get("format") == FORMAT:
        return _parse_numbers(name, data, keep)
    if isinstance(data.get("edges"), dict) and isinstance(data.get("nodes"), dict):
        return _parse_names(name, data, keep)
    raise ClaimError(
        f"the circuit file {name!r} is of no form that is known; it needs the fields 'cfg', 'nodes' and 'edges' of "
        f"EAP-IG, or the field 'format': {FORMAT!r}"
    )


def _best(path: str, scores: Sequence[float | int | None], keep: int) -> set[int]:
    """The places of the largest scores, by absolute value."""
    known = [place for place, score in enumerate(scores) if score is not None]
    if not 0 < keep <= len(known):
        there = f"it scores {len(known):,}" if known else "it scores none"
        raise ClaimError(f"{keep:,} edges are to be kept of the circuit file {path!r}, and {there}")
    return set(sorted(known, key=lambda place: -abs(scores[place] or 0.0))[:keep])


def _once(path: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in pairs:
        if key in out:
            same = "twice" if out[key] == value else "twice, with contradictory values"
            raise ClaimError(f"the circuit file {path!r} names {key!r} {same}")
        out[key] = value
    return out


# -- EAP-IG and MIB ----------------------------------------------------------------------------------------------------


def _parse_names(path: str, data: dict[str, Any], keep: int | None) -> CircuitFile:
    for name, value in data["nodes"].items():
        if isinstance(value, dict) and value.get("neurons") is not None:
            raise ClaimError(f"the circuit file {path!r} selects neurons of {name!r}; circuits here are of whole nodes")
    nodes = {} if keep is not None else {name: _flag(path, name, value) for name, value in data["nodes"].items()}
    kept, scores = 0, list[float | int | None]()
    for name, value in data["edges"].items():
        inside = _flag(path, name, value)
        score = value.get("score") if isinstance(value, dict) else None
        number = isinstance(score, int | float) and not isinstance(score, bool)
        if score is not None and not (number and abs(score) <= LARGEST_SCORE):
            raise ClaimError(f"the circuit file {path!r} gives the edge {name!r} the score {score!r}, not a number")
        scores.append(score)
        if inside and keep is None:
            kept += 1
            try:
                split_edge(name)
            except ClaimError as problem:
                raise ClaimError(f"the circuit file {path!r} keeps an edge that cannot be: {problem}") from None
            for end in ends(name):
                if nodes.get(end) is False:
                    raise ClaimError(
                        f"the circuit file {path!r} contradicts itself: the edge {name!r} is in the graph and its node "
                        f"{end!r} is not"
                    )
    if keep is not None:
        best, kept = _best(path, scores, keep), keep
        data = data | {
            "edges": {
                name: {"score": scores[place], "in_graph": place in best} for place, name in enumerate(data["edges"])
            }
        }
    if not kept:
        more = "; 'keep' says how many of the best by score are the circuit" if any(scores) else ""
        raise ClaimError(
            f"the circuit in {path!r} is empty: none of its {len(data['edges']):,} edges is in the graph{more}"
        )
    return CircuitFile(path, "scores" if data.get("partial") is True else "eap-ig", data, kept, len(data["edges"]))


def _flag(path: str, name: str, value: Any) -> bool:
    inside = value.get("in_graph") if isinstance(value, dict) else value
    if not isinstance(inside, bool):
        raise ClaimError(f"the circuit file {path!r} does not say whether {name!r} is in the graph ('in_graph')")
    return inside


def ends(edge: str) -> list[str]:
    """The nodes of an edge, without the part that is read."""
    return [re.sub(r"<.*", "", end) for end in edge.split("->")]


def _from_names(file: CircuitFile, model: Model) -> Resolved:
    cfg, shape, edges = file.data.get("cfg"), model.config, model.edges
    if isinstance(cfg, dict):
        own = {"n_layers": shape.layers, "n_heads": shape.heads, "parallel_attn_mlp": shape.parallel}
        own["d_model"] = shape.d_model
        for name, value in own.items():
            if name in cfg and cfg[name] != value:
                raise ClaimError(
                    f"the circuit in {file.path!r} is of another model: {name} is {cfg[name]!r} there and {value!r} in "
                    f"{model.name}"
                )
    grouped = shape.kv_heads != shape.heads
    columns: dict[int | str | None, int] = {}
    kept, named = np.zeros((len(edges), 1), dtype=bool), np.zeros((len(edges), 1), dtype=bool)
    scores, scored, folded = np.zeros(len(edges), dtype=np.float32), 0, 0
    for name, value in file.data["edges"].items():
        try:
            number, where = edges.number(name, fold=True)
        except ComponentError as problem:
            raise ClaimError(f"the circuit in {file.path!r} is not one of {model.name}: {problem}") from None
        if where is not None and file.form == "eap-ig":
            raise ClaimError(
                f"the circuit file {file.path!r} has the edge {name!r} with a position, which EAP-IG has not"
            )
        column = columns.setdefault(None if where is None else position_of(where), len(columns))
        if column == kept.shape[1]:
            kept, named = (np.pad(mask, ((0, 0), (0, 1))) for mask in (kept, named))
        shared = grouped and _PER_HEAD.search(name.partition("@")[0]) is not None
        if named[number, column] and not shared:
            raise ClaimError(f"the circuit file {file.path!r} names {name!r} twice, in two ways of writing it")
        folded += shared
        named[number, column] = True
        kept[number, column] |= value["in_graph"] if isinstance(value, dict) else value
        score = value.get("score") if isinstance(value, dict) else None
        if score is not None:
            scored += 1
            scores[number] = score if abs(score) > abs(scores[number]) else scores[number]
    if file.form == "eap-ig" and not named.all():
        missing = edges[int(np.flatnonzero(~named[:, 0])[0])]
        raise ClaimError(
            f"the circuit in {file.path!r} is of another model: it lists {int(named.sum()):,} of the {len(edges):,} "
            f"edges of {model.name}, and not {missing!r}"
        )
    notes = ()
    if folded:
        notes = (
            f"{file.path}: {folded:,} edges to one head's keys or values went to the group that the head shares them "
            "with, with the largest score by absolute value; the group's edge is kept where any of them is",
        )
    if None in columns and len(columns) > 1:
        raise ClaimError(
            f"the circuit file {file.path!r} names edges at every position and edges at one; give one kind"
        )
    return Resolved(EdgeSet(kept, tuple(columns)), scores if scored else None, notes)


# -- our own -----------------------------------------------------------------------------------------------------------


def _parse_numbers(path: str, data: dict[str, Any], keep: int | None) -> CircuitFile:
    if data.get("version") != VERSION:
        raise ClaimError(f"the circuit file {path!r} is of version {data.get('version')!r}; this assay reads {VERSION}")
    for name, kind in (("model", dict), ("total", int), ("kept", int), ("edges", dict), ("positions", list)):
        if not isinstance(data.get(name), kind) or isinstance(data.get(name), bool):
            raise ClaimError(f"the circuit file {path!r} has no field {name!r} that could be one")
    positions = data["positions"]
    total, columns = data["total"], len(positions)
    if not 0 < total <= MOST_EDGES or not 0 < columns <= MOST_POSITIONS or total * columns > MOST_CELLS:
        raise ClaimError(
            f"the circuit file {path!r} has {_short(total)} edges at {columns:,} positions, which is no circuit"
        )
    if len(set(map(str, positions))) != columns or not all(map(_is_position, positions)):
        raise ClaimError(
            f"the circuit file {path!r} names the positions {_short(positions)}, which are not different columns"
        )
    if keep is not None:
        best = _best(path, [] if data.get("scores") is None else _scores(path, data).tolist(), keep)
        data = data | {"edges": {"numbers": [sorted(best)]}, "positions": [None], "kept": keep}
    kept = _kept(path, data)
    if int(kept.sum()) != data["kept"]:
        raise ClaimError(
            f"the circuit file {path!r} says that it keeps {data['kept']} edges and keeps {int(kept.sum())}"
        )
    if not data["kept"]:
        raise ClaimError(f"the circuit in {path!r} is empty: none of its {data['total']:,} edges is kept")
    if not isinstance(data.get("method"), str | None):
        raise ClaimError(f"the circuit file {path!r} names the method {data['method']!r}, which is no text")
    return CircuitFile(path, "assay", data, int(kept.any(1).sum()), data["total"])


def _is_position(value: Any) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**9
    return value is None or whole or (isinstance(value, str) and value != "")


def _short(value: Any) -> str:
    """A value for a sentence."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _kept(path: str, data: Mapping[str, Any]) -> Bool[np.ndarray, "edges positions"]:
    total, columns, given = data["total"], len(data["positions"]), data["edges"]
    if "bits" in given:
        raw = _unpacked(path, given["bits"], -(-total * columns // 8))
        return (
            np.unpackbits(np.frombuffer(raw, dtype=np.uint8), count=total * columns).reshape(total, columns).view(bool)
        )
    numbers = given.get("numbers")
    if not isinstance(numbers, list) or len(numbers) != columns or not all(isinstance(n, list) for n in numbers):
        raise ClaimError(f"the circuit file {path!r} has neither 'bits' nor a list of 'numbers' for each position")
    out = np.zeros((total, columns), dtype=bool)
    for column, several in enumerate(numbers):
        for number in several:
            if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < total:
                raise ClaimError(f"the circuit file {path!r} keeps edge {number!r}; its model's are 0 to {total - 1}")
            if out[number, column]:
                raise ClaimError(f"the circuit file {path!r} names edge {number} twice")
            out[number, column] = True
    return out


def _from_numbers(file: CircuitFile, model: Model) -> Resolved:
    data, own = file.data, shape_of(model)
    for name, value in own.items():
        if name in data["model"] and data["model"][name] != value:
            raise ClaimError(
                f"the circuit in {file.path!r} is of another model: {name} is {data['model'][name]!r} there and "
                f"{value!r} in {model.name}"
            )
    if data["total"] != len(model.edges):
        raise ClaimError(
            f"the circuit in {file.path!r} is of another model: that has {data['total']:,} edges and {model.name} "
            f"{len(model.edges):,}"
        )
    scores = None if data.get("scores") is None else _scores(file.path, data)
    notes = ()
    if data["model"].get("fingerprint") not in (None, model.fingerprint):
        notes = (f"{file.path}: the circuit was found on {data['model'].get('name')}, whose weights are others",)
    return Resolved(EdgeSet(_kept(file.path, data), tuple(data["positions"])), scores, notes)


def _scores(path: str, data: Mapping[str, Any]) -> Float32[np.ndarray, "edges"]:
    scores = np.frombuffer(_unpacked(path, data["scores"], 4 * data["total"]), dtype="<f4").astype(np.float32)
    if not np.isfinite(scores).all():
        raise ClaimError(f"the circuit file {path!r} has a score that is no number")
    return scores


def shape_of(model: Model) -> dict[str, Any]:
    """What a compact file says of its model, to be held against another."""
    shape = model.config
    mlps = [width is not None for width in shape.d_mlp]
    own = {"layers": shape.layers, "heads": shape.heads, "kv_heads": shape.kv_heads, "d_model": shape.d_model}
    return {**own, "parallel": shape.parallel, "mlps": mlps}


def _unpacked(path: str, text: Any, size: int) -> bytes:
    """So many bytes and no more, whatever the file claims."""
    try:
        if not isinstance(text, str):
            raise ValueError("it is no text")
        out = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), size + 1)
    except (ValueError, zlib.error) as problem:
        raise ClaimError(f"the circuit file {path!r} holds bits that cannot be unpacked: {problem}") from None
    if len(out) != size:
        raise ClaimError(f"the circuit file {path!r} holds {'more' if len(out) > size else 'fewer'} bits than edges")
    return out
