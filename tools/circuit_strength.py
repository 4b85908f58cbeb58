"""How hard everything else is ablated, for a circuit whose shared adversary would cost too much on the whole reference.

    python -m tools.circuit_strength ioi7/claim.yaml --rows 8 [--steps 20]

The same axis as the record's block `strength` (docs/definitions.md#strength): at its mean, resampled, and at its worst
constants, one draw each, on all scored rows, over the floor of the mean. The worst constants are found on `--rows`
reference rows in place of up to 4,096 positions of them, and held against half as many others. Prints Markdown.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

import assay
from assay.intervene.fill import adversarial, least_kl
from assay.intervene.fill.spec import STRENGTHS
from assay.measure.headline.strength import NAMES
from assay.score.score import score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("claim")
    parser.add_argument("--rows", type=int, default=8, help="reference rows that the worst constants are found on")
    parser.add_argument("--steps", type=int, default=adversarial.STEPS, help="of gradient")
    parser.add_argument("--only", default=",".join(STRENGTHS), help="strengths, with commas between")
    given = parser.parse_args()
    file = assay.load_claim(given.claim)
    model = assay.load(file.model)
    task = file.build_task(model)
    explanation = file.build_explanation()
    bench = assay.Workbench(model, task, seed=file.seed or 0)
    context = bench.for_claim()
    values: Any = {"POSITIONS": given.rows * task.tokens.shape[1], "STEPS": given.steps}
    for name, value in values.items():
        setattr(adversarial, name, value)
    least_kl.FEWEST = min(least_kl.FEWEST, given.rows)
    started = time.process_time()
    plans = {"floor": explanation.floor(context, "mean")}
    print(
        "| every other edge is | R_D | R_L | KL, nats a token | seconds |\n| --- | --- | --- | --- | --- |", flush=True
    )
    found = score(context, plans)
    used = found.count > 0
    count = found.count[used]
    resamples = task.resamples(np.flatnonzero(used), context.seed, count)
    below, model_loss = found["floor"], found.model.loss[used]
    print(f"| the floor: all at the mean | 0 | 0 | {resamples.mean(below.kl[used], count, least=0.0)} | |", flush=True)
    for strength in given.only.split(","):
        begun = time.process_time()
        one = score(context, {0: explanation.plan(context, strength)})[0]
        cells = (
            NAMES.get(strength, f"at its {strength}"),
            resamples.recovered(one.kl[used], below.kl[used], count),
            resamples.ratio(below.loss[used] - one.loss[used], below.loss[used] - model_loss),
            resamples.mean(one.kl[used], count, least=0.0),
            f"{time.process_time() - begun:.0f}",
        )
        print(f"| {' | '.join(map(str, cells))} |", flush=True)
    for fit in context.used.fits:
        print(f"\n{fit.what}: KL {fit.start:.3f} to {fit.reached:.3f} on {fit.held} held reference rows; "
              f"found on {fit.rows} others in {fit.evaluations} evaluations")  # fmt: skip
    print(f"\n{time.process_time() - started:.0f} s of processor time")


if __name__ == "__main__":
    main()
