"""Parts that look alike by a label: what each does alone and what it adds, and what becomes of two that are swapped.

    python -m tools.look_alikes zoo:novel-4l m3.n632,m3.n420,m1.n87 --source fr --documents 24
    python -m tools.look_alikes zoo:smollm2-135m SITES --source fr --documents 12 --context 128

The label says of a token whether its document is of the source. Of each part: KL to the model when its mean stands in
its place and all others are as they are (*alone*); by how much less KL is when it is the only one of them that is left
(*last*); R_D of the label over the mean, for the part alone. Two parts are swapped: each gets the other's value at the
same token, brought to its own mean and spread over these tokens; R_D over both means says whether one does the other's
job.
"""

from __future__ import annotations

import argparse
import itertools

import numpy as np
import torch
from torch import Tensor

import assay
from assay.explanations import Program, Remove, programs
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.plan import Call, Edit, EditRun, Plan
from assay.intervene.runner import Runner
from assay.measure.headline.recovered import recovered_kl
from assay.names import Site, parse_site
from assay.score.score import score
from assay.task.task import Task


def swapped(workbench: PlanContext, one: Site, other: Site, values: dict[Site, Tensor], real: Tensor) -> Plan:
    """Each gets the other's values, brought to its own mean and spread."""

    def edit(site: Site, donor: Site) -> Edit:
        own, its = values[site], values[donor]
        mean, spread = own[real].mean(0), own[real].std(0)
        given = (its - its[real].mean(0)) / its[real].std(0).clamp(min=1e-9) * spread + mean
        return Edit(site, Call(lambda batch: given[torch.from_numpy(batch.rows)]))

    return workbench.plan((edit(one, other), edit(other, one)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("parts", help="of one kind and width")
    parser.add_argument("--source", required=True)
    parser.add_argument("--documents", type=int, default=24)
    parser.add_argument("--context", type=int)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    model, names = assay.load(given.model), given.parts.split(",")
    task = Task.text(model, split="test", context=given.context, max_documents=given.documents, seed=given.seed)
    workbench, sites = PlanContext(Runner(model, task), given.seed), [parse_site(name) for name in names]
    workbench.store.gather(sites)
    run = EditRun("clean")
    values = workbench.runner.values(Plan((run,)), run, sites, np.arange(len(task)))
    label = programs.label(source=given.source)
    plans = {f"without {name}": Remove([name]).plan(workbench, "mean", 0) for name in names}
    plans["without all"] = Remove(names).plan(workbench, "mean", 0)
    plans |= {f"only {n}": Remove([m for m in names if m != n]).plan(workbench, "mean", 0) for n in names}
    plans |= {f"label {name}": Program({name: label}).plan(workbench) for name in names}
    plans["label all"] = Program(dict.fromkeys(names, label)).plan(workbench)
    pairs = list(itertools.combinations(range(len(names)), 2))
    for i, j in pairs:
        plans[f"without {i} {j}"] = Remove([names[i], names[j]]).plan(workbench, "mean", 0)
        plans[f"swapped {i} {j}"] = swapped(workbench, sites[i], sites[j], values, task.real)
    scored = score(workbench, plans)
    used = scored.count > 0
    count = scored.count[used]
    resamples = task.resamples(np.flatnonzero(used), given.seed, count)
    own = np.array([task.documents[i].source == given.source for i in np.flatnonzero(used)])

    def kl(name: str) -> np.ndarray:
        return scored[name].kl[used]

    def share(name: str) -> str:
        return f"{kl(name)[own].sum() / kl(name).sum():.0%}"

    print(
        f"{given.model}: {len(count)} documents, {int(count.sum()):,} tokens, "
        f"{count[own].sum() / count.sum():.0%} {given.source}"
    )
    print(f"\n| part | KL alone | of it in {given.source} | KL last | label, R_D |\n" + "| --- " * 5 + "|")
    for name in names:
        last = resamples.mean(kl("without all") - kl(f"only {name}"), count)
        explained = recovered_kl(resamples, kl(f"label {name}"), kl(f"without {name}"), count)
        alone = resamples.mean(kl(f"without {name}"), count)
        print(f"| {name} | {alone} | {share(f'without {name}')} | {last} | {explained} |")
    explained = recovered_kl(resamples, kl("label all"), kl("without all"), count)
    print(f"| all | {resamples.mean(kl('without all'), count)} | {share('without all')} | | {explained} |")
    print("\n| pair | correlation | in it alone | KL without both | swapped, R_D |\n" + "| --- " * 5 + "|")
    real = task.real
    inside = (
        real & torch.from_numpy(np.array([task.documents[d].source == given.source for d in task.document]))[:, None]
    )
    for i, j in pairs:
        both = [torch.stack([values[sites[k]][at].flatten() for k in (i, j)]) for at in (real, inside)]
        apart = " | ".join(f"{torch.corrcoef(pair)[0, 1]:.2f}" for pair in both)
        found = recovered_kl(resamples, kl(f"swapped {i} {j}"), kl(f"without {i} {j}"), count)
        print(f"| {names[i]}, {names[j]} | {apart} | {resamples.mean(kl(f'without {i} {j}'), count)} | {found} |")


if __name__ == "__main__":
    main()
