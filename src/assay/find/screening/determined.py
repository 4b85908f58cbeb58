"""How much of a network's behaviour is determined by what some places hold at a cut (docs/definitions.md#screening)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Int

from assay.errors import ClaimError
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.screened import Places, cut_of, screened, upstream
from assay.measure.headline.recovered import nines, recovered_kl
from assay.names import parse_site
from assay.record.headline import Nines
from assay.score.score import score
from assay.score.scores import Scored
from assay.stats.estimate import Estimate

K = TypeVar("K", bound=Hashable)
Set = Places | Callable[[int], Places]  # places, or draw -> places
DRAWS = 4
PARTS, STREAM = "nothing held, a row for each part", "nothing held, the stream of one other row"


@dataclass(frozen=True)
class Determined:
    """What places determine.

    Attributes:
        share: R_D over the run in which nothing is held.
        nines: of it, certified at the interval's lower end.
        kl, floor: nats a scored token, of this run and of that in which nothing is held.
    """

    share: Estimate
    nines: Nines
    kl: float
    floor: float


def determined(
    workbench: PlanContext,
    sets: Mapping[K, Set],
    cut: str,
    *,
    draws: int = DRAWS,
    rows: Int[np.ndarray, "rows"] | None = None,
) -> dict[K, Determined]:
    """What each of several sets of places determines, all on the same donors.

    Args:
        sets: as `screened` takes them, or a function that gives those of each draw.
        draws: over donors; each document carries their mean. rows: that are scored; None: all.

    Raises:
        ComponentError: as `screened`.
        ClaimError: for no draws.

    Example:
        >>> from assay import Task, Workbench, load
        >>> model = load("zoo:novel-1l")
        >>> workbench = Workbench(model, Task.repeat(model, n=8, length=8))
        >>> found = determined(workbench, {"all": upstream(model, "r1"), "stream": ["r1"]}, "r1", draws=1)
        >>> print(f"{found['all'].share:.3f}", found["stream"].nines.floor)
        1.000 nothing held, the stream of one other row
    """
    if draws < 1:
        raise ClaimError(f"{draws} draws of donors score nothing; 1 is the least")
    nothing = {PARTS: [], STREAM: {cut: _no_directions(workbench, cut)}}
    floors = {key: _floor_of(_at(one, 0), cut) for key, one in sets.items()}
    every = {("floor", name): nothing[name] for name in floors.values()} | {("set", k): s for k, s in sets.items()}
    kl: dict[tuple[str, object], np.ndarray] = {}
    count = np.zeros(0)
    for draw in range(draws):  # one after the other: donors of all draws at once may be more than is kept
        found = scored(workbench, every, cut, draw, rows)
        count = found.count
        kl = {key: kl.get(key, 0.0) + found[key].kl / draws for key in every}
    same = {PARTS: upstream(workbench.model, cut), STREAM: [cut]}
    noise = scored(workbench, {name: same[name] for name in floors.values()}, cut, 0, rows)
    used = np.flatnonzero(count > 0)
    resamples, count = workbench.task.resamples(used, workbench.seed, count[used]), count[used]
    out = {}
    for key, name in floors.items():
        own, floor = kl["set", key][used], kl["floor", name][used]
        least = noise.mean_kl(name)
        share = recovered_kl(resamples, own, floor, count, noise=least)
        sure = nines(resamples, own, floor, count, name, noise=least)
        out[key] = Determined(share, sure, float(own.sum() / count.sum()), float(floor.sum() / count.sum()))
    return out


def scored(
    workbench: PlanContext, sets: Mapping[K, Set], cut: str, draw: int, rows: Int[np.ndarray, "rows"] | None = None
) -> Scored[K]:
    """Scores of some sets in one draw: all in shared micro-batches, each a run that starts where it parts from the one
    before."""
    return score(
        workbench, {key: screened(workbench, _at(one, draw), cut, draw) for key, one in sets.items()}, rows=rows
    )


def _at(one: Set, draw: int) -> Places:
    return one(draw) if callable(one) else one


def _floor_of(places: Places, cut: str) -> str:
    """What nothing held means: for parts a row each, for the stream itself one row."""
    streams = (parse_site(name).kind == "stream" for name in places)
    return STREAM if any(streams) else PARTS


def _no_directions(workbench: PlanContext, cut: str) -> torch.Tensor:
    model = workbench.model
    cut_of(model, cut)
    return torch.zeros(model.config.d_model, 0, dtype=model.dtype, device=model.device)  # pyright: ignore
