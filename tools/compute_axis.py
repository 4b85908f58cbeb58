"""The tables of docs/results/family.md: where an ablated model, n-grams and smaller models lie on
the loss axis and on the compute axis, and so what "90 %" and "99 % recovered" are worth. `assay measure` has the same
block in every record of a model with a family; this makes it alone.

    python tools/compute_axis.py zoo:novel-4l --documents 60
"""

from __future__ import annotations

import argparse

import numpy as np

import assay
from assay.explanations.components.sets import Keep
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.spec import RANDOM
from assay.intervene.runner import Runner
from assay.measure.compute.compute import LossSums, compute
from assay.measure.controls import rivals
from assay.measure.settings import Settings
from assay.measure.yardsticks import OTHER_FLOORS, family_of
from assay.score.ids import SystemId, rival
from assay.score.score import score
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate
from assay.task.task import Task

ABLATIONS = ("zero", "mean", "resample_joint", "optimal")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--split", default="test")
    parser.add_argument("--documents", type=int, default=60)
    parser.add_argument("--draws", type=int, default=4)
    given = parser.parse_args()
    model = assay.load(given.model)
    task = Task.text(model, split=given.split)
    if len(task.documents) > given.documents:
        task = task.subset(np.linspace(0, len(task.documents) - 1, given.documents).round().astype(int))
    workbench, settings = PlanContext(Runner(model, task)), Settings()
    nothing = Keep([])
    empty = {
        SystemId("everything ablated", a): [
            nothing.floor(workbench, a, d) for d in range(given.draws if a in RANDOM else 1)
        ]
        for a in ABLATIONS
    }
    others = {r.id: r.system for r in [*rivals.ngrams(workbench), *rivals.smaller_models(workbench)]}
    scored = score(workbench, {**empty, **others})
    used = scored.count > 0
    count = scored.count[used]
    resamples = Resamples(int(used.sum()), [task.documents[i].stratum for i in np.flatnonzero(used)])
    own, losses = scored.model.loss[used], {one: its.loss[used] for one, its in scored.systems.items()}
    name, endpoints = family_of(workbench, settings)
    floors = {f: losses[f] for f in (*empty, *map(rival, OTHER_FLOORS)) if f in losses}
    names = [task.documents[i].name for i in np.flatnonzero(used)]
    sums = LossSums(names, count, own, own, None, others=losses, floors=floors)
    found = compute(name, endpoints, sums, resamples, whole_model=True)
    print(f"{given.model}, {given.split}: {len(count)} documents, {int(count.sum())} tokens, family {name!r}")
    print(f"loss {resamples.mean(own, count)} nats; {found.text}\n")
    print("| system | loss | KL(M‖·) | share of the model's training compute |\n| --- | --- | --- | --- |")
    for row, one in zip(found.systems, losses, strict=True):
        kl = resamples.mean(scored[one].kl[used], count)
        print(f"| {row['name']} | {_shown(row['loss'])} | {kl} | {_shown(row['share'])} |")
    print("\n| floor | 50 % | 90 % | 99 % | 99.9 % |\n| --- | --- | --- | --- | --- |")
    for floor in floors:
        print(f"| {floor} | " + " | ".join(_shown(r["share"]) for r in found.ladder if r["floor"] == str(floor)) + " |")
    print("\n" + (found.warning or "the power law agrees with the curve within 20 %"))


def _shown(stored: dict) -> str:
    shown = str(Estimate.from_json(stored))
    return next((f"{side} the family" for side in ("below", "above") if f"is {side} the family" in shown), shown)


if __name__ == "__main__":
    main()
