"""Heads at three levels, tested apart: *where* (what it costs to take a head away), *what* (a label in its place) and
*how* (a rule in its place), as Markdown.

    python -m tools.levels_table zoo:smollm2-135m a16.h0,a23.h4,a17.h5 --tokens 10000 --context 128

R_D over the part's mean, all other parts as they are. That a part matters says nothing of what it carries, and what it
carries nothing of the rule.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import assay
from assay.explanations import Program, Remove
from assay.explanations.program.library import copy, duplicate_token, first_token, induction, label, previous_token
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.runner import Runner
from assay.measure.headline.recovered import recovered_kl
from assay.score.score import score
from assay.task.task import Task
from tools.induction_table import of_each_language

RULES = {
    "previous token": previous_token(),
    "first token": first_token(),
    "same token": duplicate_token(),
    "itself": copy(),
    "induction": induction(match="all"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("heads")
    parser.add_argument("--tokens", type=int, default=10_000, help="of each language")
    parser.add_argument("--context", type=int)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    model, heads = assay.load(given.model), given.heads.split(",")
    task = of_each_language(Task.text(model, split="test", context=given.context), given.tokens, given.seed)
    workbench = PlanContext(Runner(model, task), given.seed)
    labels = {f"it is {one}": label(source=one) for one in sorted({d.source for d in task.documents})}
    claims = {**labels, **RULES}
    plans = {head: Remove([head]).plan(workbench, "mean", 0) for head in heads}
    plans |= {f"{head} {name}": Program({head: its}).plan(workbench) for head in heads for name, its in claims.items()}
    scored = score(workbench, plans)
    used = scored.count > 0
    count = scored.count[used]
    resamples = task.resamples(np.flatnonzero(used), given.seed, count)
    print(f"{given.model}: {len(count)} documents, {int(count.sum()):,} tokens; {time.process_time():.0f} s")
    print("\n| head | where: KL without it | " + " | ".join(claims) + " |\n" + "| --- " * (len(claims) + 2) + "|")
    for head in heads:
        without = scored[head].kl[used]
        shares = [recovered_kl(resamples, scored[f"{head} {name}"].kl[used], without, count) for name in claims]
        cells = ["undefined" if share.value is None else str(share) for share in shares]
        print(f"| {head} | {resamples.mean(without, count)} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
