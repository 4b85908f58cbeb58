"""What the precision that a model runs in does to the headline figures of two claims.

    python -m tools.dtype_effect zoo:smollm2-135m [--documents 8] [--context 64] [--dtypes float32 bfloat16]

One Remove and one Keep claim on the first window of the same documents, the headline alone: explained runs, floors and
the no-op run.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace

import numpy as np

import assay
from assay.explanations.base import Explanation
from assay.explanations.components.sets import Keep, Remove
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.runner import Runner
from assay.measure.headline.systems import systems
from assay.measure.headline.table import headline_table
from assay.model.transformer import Model
from assay.score.score import score
from assay.task.examples import take
from assay.task.task import Task

ABLATIONS, DRAWS = ("mean", "resample_joint"), 4


def claims(model: Model, head: str, layer: int) -> dict[str, Explanation]:
    """A head that is removed, and everything kept but a layer's heads."""
    away = {f"a{layer}.h{i}" for i in range(model.config.heads)}
    kept = [name for name in model.components if name != "input" and name not in away]
    return {f"remove {head}": Remove([head]), f"keep all but the heads of layer {layer}": Keep(kept)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--documents", type=int, default=8)
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--head", default="a16.h0")
    parser.add_argument("--layer", type=int, default=17)
    parser.add_argument("--only", choices=("remove", "keep"), help="one of the two claims")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    given = parser.parse_args()
    print("| claim | dtype | ablation | R_D | KL explained | KL floor or no-op | nines | loss model | processor s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for dtype in given.dtypes:
        model = assay.load(given.model, dtype=dtype)
        assert isinstance(model, Model)
        print(f"{dtype}: opened", file=sys.stderr, flush=True)
        task = Task.text(model, split="test", context=given.context, max_documents=given.documents)
        first = np.unique(np.asarray(task.document), return_index=True)[1][
            : given.documents
        ]  # a window of each document
        task = replace(task, **take(task, first, np.asarray(task.document)[first]))
        workbench = PlanContext(Runner(model, task))
        for name, claim in claims(model, given.head, given.layer).items():
            if given.only not in (None, claim.kind):
                continue
            start = time.process_time()
            plans = systems(workbench, claim, ABLATIONS, DRAWS)
            print(
                f"{name}: fitted, {time.process_time() - start:.0f} s, {task.count} tokens", file=sys.stderr, flush=True
            )
            scored = score(workbench, plans.plans)
            used = scored.count > 0
            numbers = headline_table(claim, scored, task.resamples(np.flatnonzero(used), 0, scored.count[used]), plans)
            seconds = time.process_time() - start
            loss = f"{scored.model.loss.sum() / scored.count.sum():.5f}"
            for row in numbers.table if claim.removal else ():
                noise = f"{numbers.noise_kl:.1e} (no-op)"
                cells = [row.ablation, "-", row.kl_explained, noise, "-", loss, f"{seconds:.0f}"]
                print(f"| {name} | {dtype} | {' | '.join(map(str, cells))} |", flush=True)
            for row in numbers.table if not claim.removal else ():
                where = f"{row.ablation}, floor {row.floor}"
                cells = [where, row.recovered, row.kl_explained, row.kl_floor, row.nines_shown]
                cells[3] = f"{cells[3]}; {numbers.noise_kl:.1e} (no-op)"
                print(f"| {name} | {dtype} | {' | '.join(map(str, cells))} | {loss} | {seconds:.0f} |", flush=True)
        print(f"\n{dtype}: {task.count:,} scored tokens in {len(task)} rows of {given.context}, "
              f"statistics over {workbench.statistics.tokens:,} reference tokens\n", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
