"""The tables of docs/results/induction.md for "they do strict induction" (CLAIMS A3): every variant of the program
against every ablation and floor, in one scoring pass, as Markdown. `assay measure` gives each cell with controls and
residual.

    python tools/induction_table.py zoo:novel-4l-rep --documents 48 [--split unseen] [--heads a1.h0,a1.h5]
"""

from __future__ import annotations

import argparse

import numpy as np

import assay
from assay.explanations.program import Program
from assay.explanations.programs import LEVELS, induction
from assay.intervene.ablations import ABLATIONS, RANDOM, Workbench
from assay.intervene.runner import Runner
from assay.measure import rivals
from assay.measure.recovered import recovered_kl
from assay.measure.score import score
from assay.measure.settings import Settings
from assay.methods.head_scores import head_scores
from assay.stats.bootstrap import Resamples
from assay.task.task import Task

MATCHES = {"recent": {"match": "recent"}, "all": {"match": "all"}, "prefix 4": {"match": "prefix", "prefix": 4}}
ENOUGH, MOST = 0.4, 3  # as `assay init` chooses heads
FLOORS = ("bigram", "ngram")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--split", default="test")
    parser.add_argument("--documents", type=int, default=48)
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--heads", help="instead of those with the highest induction score")
    given = parser.parse_args()
    model = assay.load(given.model)
    task = Task.text(model, split=given.split)
    if len(task.documents) > given.documents:
        task = task.subset(np.linspace(0, len(task.documents) - 1, given.documents).round().astype(int))
    top = head_scores(model, seed=given.seed).top("induction", MOST)
    heads = given.heads.split(",") if given.heads else [h for h, s in top if s >= ENOUGH] or [top[0][0]]
    bench = Workbench(Runner(model, task), given.seed)
    claims = {
        (level, name): Program({head: induction(level=level, **match) for head in heads})
        for level in LEVELS
        for name, match in MATCHES.items()
    }
    plans = {f"{level}, {name}": claim.plan(bench, "mean", 0) for (level, name), claim in claims.items()}
    ablations = [a for a in ABLATIONS if a != "counterfactual"]  # text has no counterfactuals
    first = next(iter(claims.values()))
    floors = {a: [first.floor(bench, a, d) for d in range(given.draws if a in RANDOM else 1)] for a in ablations}
    people = {r.name: r.system for r in rivals.contestants(bench, Settings(), None) if r.name in FLOORS}
    scored = score(bench, {**plans, **floors, **people})
    used = scored.count > 0
    count = scored.count[used]
    strata = [task.documents[i].stratum for i in np.flatnonzero(used)]
    resamples = Resamples(int(used.sum()), strata, seed=given.seed)

    def mean(name: str, column: str) -> str:
        return str(resamples.mean(getattr(scored[name], column)[used], count))

    print(f"{given.model}, {given.split}: {', '.join(heads)}; {len(count)} documents, {int(count.sum())} tokens")
    print("induction scores " + ", ".join(f"{h} {s:.2f}" for h, s in top))
    print(f"model's loss {mean('model', 'loss')}\n")
    columns = [*ablations, *people]
    print("| program | KL(M‖E) | loss | " + " | ".join(columns) + " |\n" + "| --- " * (len(columns) + 3) + "|")
    print("| *floor itself: KL* | | | " + " | ".join(mean(name, "kl") for name in columns) + " |")
    print("| *floor itself: loss* | | | " + " | ".join(mean(name, "loss") for name in columns) + " |")
    for name in plans:
        shares = [recovered_kl(resamples, scored[name].kl[used], scored[c].kl[used], count) for c in columns]
        cells = ["undefined" if share.value is None else str(share) for share in shares]
        print(f"| {name} | {mean(name, 'kl')} | {mean(name, 'loss')} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
