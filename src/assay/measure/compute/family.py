"""A family of models trained alike: endpoints (parameters, tokens, FLOPs, documents' losses), from JSON, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from assay.errors import ModelError, nearest
from assay.store import inputs

LARGEST = 1 << 26  # bytes of a file
LEAST = 4  # budgets, and sizes
COUNTS_APART = 0.01  # share by which the tokens of endpoints and measurement may differ


@dataclass(frozen=True)
class Endpoint:
    """One run, cooled down at one budget.

    Attributes:
        model: the run's name; its endpoints are resampled together.
        parameters, tokens, flops: size, training tokens, training FLOPs.
        documents: name -> (loss sum in nats, tokens scored; or bytes, in a family compared per byte).
    """

    model: str
    parameters: int
    tokens: int
    flops: float
    documents: dict[str, tuple[float, float]]


def load_endpoints(path: str | Path, model: str, parameters: int, splits: Sequence[str] = ("test",)) -> list[Endpoint]:
    """One model's endpoints, as training writes them beside it (`endpoints.json`).

    Args:
        path: the file, or the folder that holds it.
        splits: whose documents are taken ("test", "unseen").

    Raises:
        ModelError: a file that cannot be read, or that lacks something.
    """
    file = Path(path)
    file = file / "endpoints.json" if inputs.is_folder(file) else file
    rows = _read(file)
    if not isinstance(rows, list) or not rows:
        raise ModelError(f"{file} must hold a list of endpoints")
    out = []
    for i, row in enumerate(rows):
        documents: dict[str, Any] = {}
        known = row.get("documents") if isinstance(row, Mapping) else None
        known = known if isinstance(known, Mapping) else {}
        for split in splits:
            if not isinstance(known.get(split), Mapping):
                raise ModelError(
                    f"endpoint {i} of {file} has no documents of the split {split!r}" + nearest(split, known)
                )
            documents |= known[split]
        out.append(_endpoint({**row, "model": model, "parameters": parameters, "documents": documents}, f"{file}, {i}"))
    return out


def load_family(path: str | Path) -> tuple[str, list[Endpoint]]:
    """A family file: {"name", "members": [{model, parameters, tokens, flops, documents: {name: [sum, count]}}]}.

    Raises:
        ModelError: a file that cannot be read, or that lacks something.
    """
    file = Path(path)
    data = _read(file)
    members = data.get("members") if isinstance(data, Mapping) else None
    if not isinstance(members, list) or not members:
        raise ModelError(f"the family file {file} has no list 'members'")
    name = str(data.get("name") or file.stem)
    return name, [_endpoint(member, f"{file}, member {i}") for i, member in enumerate(members)]


def problem(
    endpoints: Sequence[Endpoint], documents: Sequence[str], counts: Float64[np.ndarray, " documents"]
) -> str | None:
    """Why a family cannot be used on these documents; None where it can."""
    sizes, budgets = len({e.parameters for e in endpoints}), len({e.tokens for e in endpoints})
    if sizes < LEAST or budgets < LEAST:
        return f"the family has {sizes} sizes and {budgets} budgets; a curve needs {LEAST} of each"
    scored = [(name, count) for name, count in zip(documents, counts, strict=True) if count > 0]
    if not scored:
        return "nothing was scored"
    total = sum(count for _, count in scored)
    for endpoint in endpoints:
        missing = [name for name, _ in scored if name not in endpoint.documents]
        if missing:
            return (
                f"the family has no losses of {len(missing)} of the {len(scored)} documents measured "
                f"({_some(missing)}; first missed by {endpoint.model})"
            )
        apart = sum(abs(endpoint.documents[name][1] - count) for name, count in scored)
        if apart > COUNTS_APART * total:
            own = sum(endpoint.documents[name][1] for name, _ in scored)
            return f"{endpoint.model} was scored on {own:.0f} tokens of these documents, the measurement on {total:.0f}"
    return None


def _some(names: Iterable[str], most: int = 2) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _read(file: Path) -> Any:
    return inputs.read_json(file, "the file of endpoints", ModelError, most=LARGEST)


def _is_number(value: Any) -> bool:
    """Of a size that a float holds, and its square."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e40


def _endpoint(row: Any, where: str) -> Endpoint:
    if not isinstance(row, Mapping):
        raise ModelError(f"the endpoint in {where} is of type {type(row).__name__}, not an object")
    for key in ("model", "parameters", "tokens", "flops", "documents"):
        if key not in row:
            raise ModelError(f"the endpoint in {where} has no {key!r}" + nearest(key, row))
    numbers = {key: row[key] for key in ("parameters", "tokens", "flops")}
    for key, number in numbers.items():
        if not _is_number(number) or number < (1 if key != "flops" else 1e-40):
            raise ModelError(f"{key!r} of the endpoint in {where} is {number!r}, not a number above 0")
    documents = {}
    if not isinstance(row["documents"], Mapping):
        raise ModelError(f"the documents of the endpoint in {where} are no object of names")
    for name, pair in row["documents"].items():
        bad = not isinstance(pair, list | tuple) or len(pair) != 2
        if bad or not all(map(_is_number, pair)) or pair[1] < 1e-40:
            raise ModelError(f"document {name!r} of the endpoint in {where} is {pair!r}, not [loss sum, count above 0]")
        documents[name] = (float(pair[0]), float(pair[1]))
    return Endpoint(str(row["model"]), int(row["parameters"]), int(row["tokens"]), float(row["flops"]), documents)
