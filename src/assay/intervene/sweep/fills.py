"""Values that sites take under an ablation, for a whole batch at once: every run that they come from happens once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from assay.intervene.components import pick, tap
from assay.intervene.edits.engine import Seen
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.spec import FITTED
from assay.intervene.plan import Call, Data, From, Source, Stream, Value
from assay.intervene.rows import Key
from assay.model.transformer import Model
from assay.names import Site


def sources(workbench: PlanContext, sites: Sequence[Site], ablation: str, draw: int) -> list[Source]:
    """Where each site's fill comes from when it is ablated alone; fitted constants are fitted one site at a time."""
    if ablation in FITTED:
        return [workbench.ablate([site], ablation)[0].source for site in sites]
    return [edit.source for edit in workbench.ablate(sites, ablation, draw)]


def fills(
    workbench: PlanContext, sites: Sequence[Site], given: Sequence[Source], rows: Int[np.ndarray, "rows"]
) -> dict[Key, Tensor]:
    """What the sites take, in the shape of the taps that hold them; heads that are not asked about are undefined."""
    model, runner = workbench.model, workbench.runner
    assert isinstance(model, Model)
    width, shape = workbench.task.tokens.shape[1], model.config
    out: dict[Key, Tensor] = {}
    for key in {tap(site) for site in sites}:
        inner = (shape.heads, shape.d_head) if key[0] == "z" else (shape.d_model,)
        out[key] = torch.empty(len(rows), width, *inner, dtype=model.dtype, device=model.device)
    wanted: dict[str, list[tuple[Site, np.ndarray]]] = {}
    seen = Seen(runner.inputs("scored", rows), rows, "scored")
    for site, source in zip(sites, given, strict=True):
        target = pick(out[tap(site)], site)
        match source:
            case Value(tensor):
                target.copy_(tensor.to(target).expand_as(target))
            case Call(program, ()):
                value = program(seen)
                assert not isinstance(value, Stream)
                target.copy_(value.expand_as(target))
            case From(name, ids, None):
                wanted.setdefault(name, []).append((site, rows if ids is None else ids[rows]))
            case _:
                raise TypeError(f"{str(site)!r} takes a {type(source).__name__}, which no ablation gives")
    for name, several in wanted.items():
        data: Data = "counterfactual" if name == "counterfactual" else "reference"
        for some in runner.batches(np.unique(np.concatenate([ids for _, ids in several]))):
            values = runner.unedited(data, some, {tap(site) for site, _ in several})
            for site, ids in several:
                here = np.isin(ids, some)
                place = torch.from_numpy(np.searchsorted(some, ids[here])).to(model.device)
                value = pick(values[tap(site)], site)[place]
                pick(out[tap(site)], site)[torch.from_numpy(here).to(model.device)] = value
    return out
