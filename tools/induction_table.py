"""The tables of docs/results/induction.md for "they do strict induction": every variant of the program
against every ablation and floor, in one scoring pass, as Markdown. `assay measure` gives each cell with controls and
residual.

    python tools/induction_table.py zoo:novel-4l-rep --documents 48 [--split unseen] [--heads a1.h0,a1.h5]
    python tools/induction_table.py zoo:smollm2-135m --tokens 10000 --context 512 --most 5 --draws 2 [--alone]

`--alone`: each head by itself instead, under mean and resample_joint; `--matches "prefix 4"`: one way to match alone.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial

import numpy as np

import assay
from assay.explanations.program.library import LEVELS, induction
from assay.explanations.program.program import Program
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.spec import ABLATIONS, RANDOM
from assay.intervene.runner import Runner
from assay.measure.controls import rivals
from assay.measure.headline.recovered import recovered_kl
from assay.methods.head_scores import head_scores
from assay.names import parse_site
from assay.score.score import score
from assay.stats.bootstrap import Resamples
from assay.task.task import Task

MATCHES = {"recent": {"match": "recent"}, "all": {"match": "all"}, "prefix 4": {"match": "prefix", "prefix": 4}}
ENOUGH, MOST = 0.4, 3  # as `assay init` chooses heads
FLOORS = ("bigram", "ngram")
FEWEST = 6  # documents of a language, where `--tokens` picks them
ALONE = ("mean", "resample_joint")


def of_each_language(task: Task, tokens: int, seed: int) -> Task:
    """The task with documents of each language, drawn one after the other, up to so many scored tokens of each."""
    scored = np.bincount(task.document, task.scored.sum(1), minlength=len(task.documents))
    random, chosen = np.random.default_rng(seed), []
    for language in sorted({document.source for document in task.documents}):
        own = [i for i, document in enumerate(task.documents) if document.source == language]
        own = [
            i for i in random.permutation(own) if scored[i] <= tokens / 4
        ]  # no document that is most of its language
        enough = int(np.searchsorted(np.cumsum(scored[own]), tokens)) + 1
        chosen += own[: max(enough, FEWEST)]
    return task.subset(chosen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--split", default="test")
    parser.add_argument("--documents", type=int, default=48)
    parser.add_argument("--tokens", type=int, help="of each language, in place of --documents")
    parser.add_argument("--context", type=int)
    parser.add_argument("--most", type=int, default=MOST, help="heads")
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--ablations", help="in place of all")
    parser.add_argument("--matches", default=",".join(MATCHES), help="ways to match, of these")
    parser.add_argument(
        "--levels", default=",".join(LEVELS), help="of the program; `full` fits a strength for each head"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--heads", help="instead of those with the highest induction score")
    given = parser.parse_args()
    if unknown := sorted(set(given.matches.split(",")) - set(MATCHES)):
        parser.error(f"--matches: unknown {', '.join(unknown)}; known are {', '.join(MATCHES)}")
    model = assay.load(given.model)
    task = Task.text(model, split=given.split, context=given.context)
    if given.tokens:
        task = of_each_language(task, given.tokens, given.seed)
    elif len(task.documents) > given.documents:
        task = task.subset(np.linspace(0, len(task.documents) - 1, given.documents).round().astype(int))
    top = head_scores(model, seed=given.seed).top("induction", given.most)
    heads = given.heads.split(",") if given.heads else [h for h, s in top if s >= ENOUGH] or [top[0][0]]
    workbench = PlanContext(Runner(model, task), given.seed)
    groups = {head: [head] for head in heads} if given.alone else {"": heads}
    claims = {
        ", ".join(filter(None, (group, level, name))): (
            group,
            Program({h: induction(level=level, **match) for h in own}),
        )
        for group, own in groups.items()
        for level in given.levels.split(",")
        for name, match in MATCHES.items()
        if name in given.matches.split(",")
    }
    say = partial(print, file=sys.stderr, flush=True)
    say(f"{len(task.documents)} documents, {task.count} tokens; fitting", time.process_time())
    workbench.store.gather([parse_site(head) for head in heads])  # one pass for all claims
    plans = {name: claim.plan(workbench, "mean", 0) for name, (_, claim) in claims.items()}
    every = [a for a in ABLATIONS if a != "counterfactual"]  # text has no counterfactuals
    ablations = given.ablations.split(",") if given.ablations else ALONE if given.alone else every
    floors = {
        f"{group} {a}".strip(): [claim.floor(workbench, a, d) for d in range(given.draws if a in RANDOM else 1)]
        for group, claim in dict(claims.values()).items()
        for a in ablations
    }
    say("floors made; scoring", time.process_time())
    others = {r.name: r.system for r in rivals.ngrams(workbench) if r.name in FLOORS}
    done = [0]

    def advance(runs: int) -> None:
        done[0] += runs
        say(f"{done[0]} runs of a row", time.process_time())

    scored = score(workbench, {**plans, **floors, **others}, advance=advance)
    used = scored.count > 0
    count = scored.count[used]
    strata = [task.documents[i].stratum for i in np.flatnonzero(used)]
    resamples = Resamples(int(used.sum()), strata, seed=given.seed)

    def mean(name: str, column: str) -> str:
        its = scored.model if name == "model" else scored[name]
        return str(resamples.mean(getattr(its, column)[used], count))

    print(f"{given.model}, {given.split}: {', '.join(heads)}; {len(count)} documents, {int(count.sum())} tokens")
    print("induction scores " + ", ".join(f"{h} {s:.2f}" for h, s in top))
    print(f"model's loss {mean('model', 'loss')}\n")
    columns = [*ablations, *others]
    print("| program | KL(M‖E) | loss | " + " | ".join(columns) + " |\n" + "| --- " * (len(columns) + 3) + "|")
    for group in groups:
        own = [f"{group} {name}".strip() if name in ablations else name for name in columns]
        print(f"| *{group or 'floor'} itself: KL* | | | " + " | ".join(mean(name, "kl") for name in own) + " |")
        print(f"| *{group or 'floor'} itself: loss* | | | " + " | ".join(mean(name, "loss") for name in own) + " |")
        for name in [name for name, (its, _) in claims.items() if its == group]:
            shares = [recovered_kl(resamples, scored[name].kl[used], scored[c].kl[used], count) for c in own]
            cells = ["undefined" if share.value is None else str(share) for share in shares]
            print(f"| {name} | {mean(name, 'kl')} | {mean(name, 'loss')} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
