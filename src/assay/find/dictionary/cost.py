"""What a search for dictionaries would cost, before it is made: passes of the harvests, and minutes from a step and a
few rows. Estimates."""

from __future__ import annotations

import time
from typing import Any

import torch

from assay.find.dictionary.plan import DictionaryPlan
from assay.find.dictionary.text import DictionaryData
from assay.intervene.wide_sites import wide_site
from assay.model.transformer import NOWHERE, Model
from assay.train.dictionary.trainer import CodeTrainer, Scales

FLOORS = 8  # passes over the scored rows on a network, besides one a dictionary


def cost(model: Model, data: DictionaryData, plan: DictionaryPlan) -> dict[str, Any]:
    """Forward passes of one row of the scored text, minutes on this machine, and GB of memory and disk."""
    site, reads = wide_site(plan.site, model), wide_site(plan.reads or plan.site, model)
    taps = {key: lambda value: None for one in (site, reads) for key in one.taps}
    some = data.rows.tokens[:8].to(model.device)
    harvest = _seconds(lambda: model.normed(some, taps, positions=NOWHERE)) / some[:, 1:].numel()
    scored = data.task.tokens[:8].to(model.device)
    whole = _seconds(lambda: model(scored)) / len(scored)
    step = 0.0
    values = torch.randn(plan.batch, reads.width(model)), torch.randn(plan.batch, site.width(model))
    scales = Scales.of(values[0]), (None if site == reads else Scales.of(values[1]))
    count = sum(len(plan.on(network)) for network in plan.networks)
    for settings in plan.settings():
        trainer = CodeTrainer(settings, 10, *scales, skip=plan.skip)
        step += _seconds(lambda trainer=trainer: trainer.learn(values[0], values[1] if scales[1] else None))
    share = step / len(plan.settings())
    passes = (count + FLOORS * len(plan.networks)) * len(data.task.tokens)
    seconds = len(plan.networks) * plan.tokens * harvest + count * plan.steps * share + passes * whole
    size = sum(one.width(model) for one in {site, reads}) * plan.tokens * model.dtype.itemsize
    memory = 1.6 + 4 * model.parameters / 1e9 + 16e-9 * sum(s.width * sum(
        one.width(model) for one in (site, reads)) for s in plan.on("trained"))  # fmt: skip
    return {
        "forwards": int(passes),
        "minutes": round(seconds / 60, 1),
        "memory_gb": round(memory, 1),
        "disk_gb": round(size * len(plan.networks) / 1e9, 2),
        "dictionaries": count,
    }


def _seconds(work: Any) -> float:
    with torch.no_grad():
        work()
        begun = time.perf_counter()
        work()
    return time.perf_counter() - begun
