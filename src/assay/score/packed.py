"""Scores as bytes, and back: what a run folder keeps so that a measurement can be gone on with."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, fields

import numpy as np

from assay.errors import RunError
from assay.score.ids import SystemId
from assay.score.scores import Scored, Scores, TokenTable

_INDEX = ("count", "row", "position", "document")
_SUMS = ("draw_loss", "draw_kl", "draw_agree", "draw_correct")
_TOKENS = tuple(one.name for one in fields(TokenTable))


def packed(scored: Scored[SystemId]) -> bytes:
    """All systems with their names, as a compressed .npz; exact."""
    arrays = {name: getattr(scored, name) for name in _INDEX}
    for place, its in enumerate((scored.model, *scored.systems.values())):
        arrays |= {f"{place}/{name}": getattr(its, name) for name in _SUMS}
        if its.tokens is not None:
            arrays |= {f"{place}/{name}": getattr(its.tokens, name) for name in _TOKENS}
    names = json.dumps([asdict(one) for one in scored.systems])
    out = io.BytesIO()
    np.savez_compressed(out, names=np.array(names), **arrays)
    return out.getvalue()


def unpacked(content: bytes) -> Scored[SystemId]:
    """What `packed` was given.

    Raises:
        RunError: for what is nothing of the kind.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as given:
            arrays = dict(given)
        names = [SystemId(**one) for one in json.loads(str(arrays["names"]))]

        def scores(place: int) -> Scores:
            tokens = {name: arrays[f"{place}/{name}"] for name in _TOKENS if f"{place}/{name}" in arrays}
            table = TokenTable(**tokens) if tokens else None
            return Scores(**{name: arrays[f"{place}/{name}"] for name in _SUMS}, tokens=table)

        systems = {one: scores(place) for place, one in enumerate(names, 1)}
        return Scored(**{name: arrays[name] for name in _INDEX}, model=scores(0), systems=systems)
    except (ValueError, KeyError, TypeError, OSError, EOFError) as problem:
        raise RunError(f"the scores of the run cannot be read, so it cannot be gone on with: {problem}") from None
