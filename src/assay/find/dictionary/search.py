"""Dictionaries and their controls, from one harvest a network and one sweep on each, all measured alike.

What is done stays in a work folder until the end, so that the same call goes on where it stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from assay.explanations.dictionary import baselines
from assay.explanations.dictionary.dictionary import Dictionary, numbers_of
from assay.explanations.dictionary.foreign import load_code
from assay.explanations.dictionary.measures import agreement, dark_share, densities, measured, values_of
from assay.find.dictionary.plan import DictionaryPlan, Network
from assay.find.dictionary.text import TrainingRows
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.spec import is_random
from assay.intervene.harvest import Activations, batches, harvest
from assay.intervene.output import System
from assay.intervene.runner import Runner
from assay.intervene.wide_sites import WideSite, wide_site
from assay.measure.controls.random_weights import randomised
from assay.measure.headline.recovered import recovered_kl
from assay.measure.record import model_block, revision, versions
from assay.model.transformer import Model
from assay.record.about import Arguments, Assay, DataRecord, Timing
from assay.record.dictionaries import Agreement, CurvePoint, DictionariesRecord, DictionaryRow, Harvested
from assay.score.score import score
from assay.stats.keyed import torch_generator
from assay.task.task import Task
from assay.train.dictionary.code import SparseCode
from assay.train.dictionary.settings import CodeSettings
from assay.train.dictionary.stored import store
from assay.train.dictionary.sweep import CHECKPOINT, FIRST, train_sweep
from assay.train.dictionary.trainer import OUTLIER
from assay.version import VERSION

ABLATIONS = ("mean", "zero", "resample_joint")
KINDS = {
    "none": "trained",
    "decoder": "random decoder kept",
    "encoder": "random encoder kept",
    "near": "decoder near its start",
}
DRAWS = 4  # of donors, where a floor takes them
TESTED = 64  # rows on which linear maps are tested
POINTS = 50  # of a curve that is recorded

Progress = Callable[[str, int, int | None], None]


def find_dictionaries(
    model: Model,
    task: Task,
    plan: DictionaryPlan,
    rows: TrainingRows,
    work: Path,
    *,
    arguments: Mapping[str, Any] | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> DictionariesRecord:
    """Trains dictionaries and controls, leaves each in a folder of its own under `work`, and measures all of them.

    Args:
        task: what they are measured on; rows: what they are trained on; work: a folder for activations, checkpoints and
            what is done.

    Raises:
        UserError: for a plan or folder that cannot be.
    """
    plan.check()
    started, begun = time.time(), time.monotonic()
    site = wide_site(plan.site, model)
    reads = wide_site(plan.reads or plan.site, model)
    found, harvests = list[DictionaryRow](), list[Harvested]()
    every: list[tuple[Network, str, SparseCode]] = []
    forwards, bench = 0.0, PlanContext(Runner(model, task), plan.seed)
    for network in plan.networks:
        own = copy_of(model, network, plan.seed)
        codes, harvested = train_on(own, network, rows, (site, reads), plan, work, progress)
        if harvested is not None:
            harvests.append(harvested)
        for name, (_, code, _) in codes.items():
            every.append((network, name, code))
        bench = PlanContext(Runner(own, task), plan.seed)
        found += _rows(bench, network, (site, reads), codes, plan, progress)
        forwards += bench.runner.forwards
    return DictionariesRecord(
        assay=Assay(version=VERSION, revision=revision()),
        arguments=Arguments(**(arguments or {"passed": {}, "resolved": vars(plan)})),
        model=model_block(model),
        task=task.description,
        evaluation=DataRecord(**task.summary(), name=task.name),
        site=str(site),
        reads=str(reads),
        text=rows.how,
        tokens=plan.steps * plan.batch,
        harvests=tuple(harvests),
        rows=tuple(found),
        agreements=tuple(_agreements(every, plan)),
        versions=versions(bench),
        timing=Timing(
            started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            seconds=round(time.monotonic() - begun, 1),
            search_seconds=round(time.monotonic() - begun, 1),
            forwards=round(forwards),
        ),
    )


def copy_of(model: Model, network: Network, seed: int) -> Model:
    """The network, or a copy of it with random weights."""
    if network == "trained":
        return model
    how = "permuted" if network == "permuted" else "drawn"
    made = randomised(model, how, seed, embeddings=network != "embeddings")
    assert isinstance(made, Model)
    return made


Codes = dict[str, tuple[CodeSettings, SparseCode, list[CurvePoint]]]


def train_on(
    model: Model, network: Network, rows: TrainingRows, sites: tuple[WideSite, WideSite], plan: DictionaryPlan,
    work: Path, progress: Progress,
) -> tuple[Codes, Harvested | None]:  # fmt: skip
    """The dictionaries of a network: read from `work` where they are done, else trained and stored there."""
    site, reads = sites
    home, settings = work / network, plan.on(network)
    if not all((home / one.name / "dictionary.json").is_file() for one in settings):
        activations = harvest(
            model, rows.tokens, rows.real, list(dict.fromkeys((reads, site))), home / "activations",
            dtype=torch.bfloat16 if model.dtype is torch.bfloat16 else torch.float32,
            advance=lambda done, total: progress(f"harvesting {network}", done, total),
        )  # fmt: skip
        _train(activations, network, settings, sites, plan, home, progress)
    codes: Codes = {}
    for one in settings:
        loaded = load_code(home / one.name)
        curve = [CurvePoint(**point) for point in loaded.about["curve"]]
        codes[one.name] = one, loaded.code, curve
    about = load_code(home / settings[0].name).about["harvest"]
    return codes, Harvested(network=network, tokens=about["tokens"], seconds=about["seconds"])


def _train(
    activations: Activations, network: Network, settings: list[CodeSettings], sites: tuple[WideSite, WideSite],
    plan: DictionaryPlan, home: Path, progress: Progress,
) -> None:  # fmt: skip
    site, reads = sites
    order, transcodes = batches(len(activations), plan.batch, plan.seed), site != reads

    def batch(step: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        index = order(step)
        read = activations.take(str(reads), index)
        return read, activations.take(str(site), index) if transcodes else None

    first = np.sort(np.concatenate([order(step) for step in range(-(-FIRST // plan.batch))]))
    scales = activations.take(str(reads), first), activations.take(str(site), first) if transcodes else None
    trained = train_sweep(
        settings, plan.steps, batch, scales, skip=plan.skip, checkpoint=home / CHECKPOINT,
        advance=lambda done, total, said: progress(f"training on {network} ({said})", done, total),
    )  # fmt: skip
    state = activations.state
    assert state is not None
    for one in trained:
        points = one.curve[:: max(1, len(one.curve) // POINTS)]
        points = [*points, *([one.curve[-1]] if points[-1] != one.curve[-1] else [])]
        curve = [dict(zip(("tokens", "error", "active", "dead"), point, strict=True)) for point in points]
        about = {"site": str(site), "reads": str(reads), "network": network, "settings": vars(one.settings)}
        about |= {"curve": curve, "harvest": {"tokens": state.count, "seconds": round(state.seconds, 1)}}
        store(one.code, home / one.settings.name, json.loads(json.dumps(about)))
    (home / CHECKPOINT).unlink(missing_ok=True)


def _rows(
    workbench: PlanContext, network: Network, sites: tuple[WideSite, WideSite], codes: Codes, plan: DictionaryPlan,
    progress: Progress,
) -> Iterator[DictionaryRow]:  # fmt: skip
    """Measures dictionaries on their network, and beside them those that nobody trained: all in one scoring."""
    (site, reads), task = sites, workbench.task
    every: dict[str, tuple[str, CodeSettings | None, SparseCode, list[CurvePoint]]] = {
        name: (KINDS[settings.frozen], settings, code, curve) for name, (settings, code, curve) in codes.items()
    }
    if site == reads and network == "trained":
        every |= _untrained(workbench, site, next(iter(codes.values()))[1])
    claims = {
        name: Dictionary({str(site): {"code": code, "reads": str(reads)}}) for name, (_, _, code, _) in every.items()
    }
    systems: dict[str, list[System]] = {name: [claim.plan(workbench, "mean")] for name, claim in claims.items()}
    claim = next(iter(claims.values()))
    for ablation in ABLATIONS:
        draws = range(DRAWS if is_random(ablation) else 1)
        systems[f"ablated {ablation}"] = [claim.floor(workbench, ablation, draw) for draw in draws]
    work, done = sum(map(len, systems.values())) * len(task.tokens), [0]

    def advance(more: int) -> None:
        done[0] += more
        progress(f"measuring on {network}", done[0], work)

    scored = score(workbench, systems, advance=advance)
    resamples = task.resamples(range(len(task.documents)), plan.seed, scored.count)
    placed = [(site, reads, code) for _, _, code, _ in every.values()]
    figures = measured(workbench.runner, placed, np.arange(len(task.tokens)), resamples, len(task.documents))
    fitted = tested = None
    if site == reads:
        fitted = baselines.reference_values(workbench, site)
        tested = _scored_values(workbench, site)
    for (name, (kind, settings, code, curve)), one in zip(every.items(), figures, strict=True):
        own = scored[name]
        dark = (
            (None, None) if fitted is None or tested is None or settings is None else dark_share(code, fitted, tested)
        )
        yield DictionaryRow(
            name=name,
            network=network,
            kind=kind,
            architecture=None if settings is None else settings.architecture,
            width=code.width,
            k=None if settings is None else settings.k,
            seed=None if settings is None else settings.seed,
            recovered={
                ablation: recovered_kl(resamples, own.kl, scored[f"ablated {ablation}"].kl, scored.count)
                for ablation in ABLATIONS
            },
            kl=resamples.mean(np.maximum(own.kl, 0), scored.count, least=0.0),
            loss=resamples.mean(scored.model.loss, scored.count),
            spliced=resamples.mean(own.loss, scored.count),
            explained=one.explained,
            active=one.active,
            dead=one.dead,
            one_token=one.one_token,
            coded=one.coded,
            dark=dark[0],
            dark_norm=dark[1],
            numbers=numbers_of(code),
            density=tuple((end, count) for end, count in densities(one)),
            curve=tuple(curve),
        )


def _scored_values(workbench: PlanContext, site: WideSite) -> Float[Tensor, "tokens width"]:
    """Some values of the site on what is scored, as `reference_values` on the reference."""
    rows = np.linspace(0, len(workbench.task.tokens) - 1, min(TESTED, len(workbench.task.tokens))).astype(int)
    found = values_of(workbench.runner, [(site, site)], np.unique(rows))
    values = torch.cat([some[0].read for some in found])
    norms = values.norm(dim=-1)
    return values[norms <= OUTLIER * norms.median()]


def _untrained(
    workbench: PlanContext, site: WideSite, code: SparseCode
) -> dict[str, tuple[str, None, SparseCode, list[CurvePoint]]]:
    """Codes that nobody trained, at as many active features as the first dictionary has."""
    k = baselines.active(workbench, site, code)
    made = {
        "random": ("random dictionary", baselines.random(workbench, site, code, k, 0)),
        "pca": (f"{k} principal directions", baselines.principal(workbench, site, k)),
        "coordinates": ("the site's own coordinates", baselines.coordinates(workbench, site, k)),
        "mean": ("the mean", baselines.mean(baselines.reference_values(workbench, site))),
    }
    return {name: (kind, None, one, []) for name, (kind, one) in made.items()}


def _agreements(every: list[tuple[Network, str, SparseCode]], plan: DictionaryPlan) -> Iterator[Agreement]:
    """Of dictionaries that differ by their seed alone."""
    named = {settings.name: settings for settings in plan.settings()}
    for (network, name, code), (other_network, other, its) in combinations(every, 2):
        same = network == other_network and name in named and other in named
        if not same or {**vars(named[name]), "seed": 0} != {**vars(named[other]), "seed": 0}:
            continue
        nearest, back, matched = agreement(code.decoder, its.decoder)
        random = [
            torch.randn(code.decoder.shape, generator=torch_generator(plan.seed, "agreement", i)) for i in range(2)
        ]
        null = agreement(*random)
        yield Agreement(
            network=network, one=name, other=other, nearest=nearest, back=back, matched=matched, null=(null[0], null[2])
        )
