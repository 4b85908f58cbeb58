"""What two edited runs have in common: edits that are the same up to a layer give the same streams up to there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from assay.intervene.components import tap
from assay.intervene.plan import Call, CircuitRun, Edit, EditRun, From, Mix, Own, Plan, Source, Value, origins
from assay.names import Site


def reads(source: Source) -> tuple[Site, ...]:
    """The sites that a source's programs read."""
    return tuple(site for part in origins(source) if isinstance(part, Call) for site in part.reads)


def first_layer(edits: Iterable[Edit], default: int = 0) -> int:
    """The first layer that edits change or look at."""
    return min((tap(site)[1] for edit in edits for site in (edit.site, *reads(edit.source))), default=default)


def first_apart(one: Plan, other: Plan) -> int | None:
    """The first layer at which the scored runs of two plans part, on the same rows; None: they are one run.

    What the first one's edits behind that layer read lies behind it too.
    """
    if one is other:
        return None
    a, b = one.final, other.final
    if isinstance(a, CircuitRun) or isinstance(b, CircuitRun) or _read(a) != _read(b):
        return 0
    mine, its = _by_layer(a.edits), _by_layer(b.edits)
    apart = (at for at in sorted({*mine, *its}) if not _same_edits(one, mine.get(at, ()), other, its.get(at, ())))
    found = next(apart, None)
    while found:
        start = first_layer((edit for at in mine if at >= found for edit in mine[at]), found)
        if start >= found:
            break
        found = start
    return found


def _read(run: EditRun) -> tuple[object, ...]:
    """What a run reads, and how."""
    return run.data, run.frozen_norm, None if run.at is None else run.at.tobytes()


def _by_layer(edits: Sequence[Edit]) -> dict[int, list[Edit]]:
    out: dict[int, list[Edit]] = {}
    for edit in edits:
        out.setdefault(tap(edit.site)[1], []).append(edit)
    return out


def _same_edits(one: Plan, mine: Sequence[Edit], other: Plan, its: Sequence[Edit]) -> bool:
    return [edit.site for edit in mine] == [edit.site for edit in its] and all(
        _same(one, a.source, other, b.source) for a, b in zip(mine, its, strict=True)
    )


def _same(one: Plan, a: Source, other: Plan, b: Source) -> bool:
    """Whether two sources of two plans give the same value."""
    match a, b:
        case Value(x), Value(y):
            return x is y or (x.dtype == y.dtype and x.device == y.device and torch.equal(x, y))
        case Call(program, _), Call(its, _):
            return program is its
        case From(name, rows, site, aligned), From(its, its_rows, its_site, its_aligned):
            runs = one.run(name), other.run(its)
            unedited = all(isinstance(r, EditRun) and not (r.edits or r.frozen_norm) and r.at is None for r in runs)
            same = rows is its_rows if rows is None or its_rows is None else np.array_equal(rows, its_rows)
            return unedited and same and (runs[0].data, site, aligned) == (runs[1].data, its_site, its_aligned)
        case Mix(basis, inside, outside), Mix(its_basis, its_inside, its_outside):
            sides = (inside, its_inside), (outside, its_outside)
            if isinstance(basis, Tensor) and isinstance(its_basis, Tensor):
                alike = torch.equal(basis, its_basis)
            else:
                alike = basis is its_basis
            return alike and all(_same(one, x, other, y) for x, y in sides)
        case _:
            return isinstance(a, Own) and isinstance(b, Own)
