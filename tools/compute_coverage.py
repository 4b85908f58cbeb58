"""How often the intervals of compute shares hold the truth: `python -m tools.compute_coverage`, some minutes.

A family of known law is scored on 4,000 documents of uneven length; samples are measured, and their intervals are
held against the figures on all.
"""

from __future__ import annotations

import numpy as np

from assay.measure.compute.calculator import Calculator
from assay.measure.compute.family import Endpoint
from assay.stats.bootstrap import Resamples

ALL, SETS = 4_000, 200
SIZES, BUDGETS = (3e5, 1e6, 3e6, 1e7, 3e7), (1e7, 3e7, 1e8, 3e8, 1e9)


def law(parameters: float, tokens: float) -> float:
    return 1.5 + 20 * parameters**-0.25 + 20 * tokens**-0.2


def main() -> None:
    random = np.random.default_rng(0)
    tokens = np.exp(random.normal(6.5, 0.6, ALL)).round()
    hard = np.exp(0.2 * random.standard_normal(ALL))

    def noise(size: float) -> np.ndarray:
        return np.exp(size * random.standard_normal(ALL))

    losses = {(n, d): tokens * hard * law(n, d) * noise(0.02) for n in SIZES for d in BUDGETS}
    family = [Endpoint(f"{n:g}", int(n), int(d), 6 * n * d, {}) for n, d in losses]
    model, floor = losses[1e7, 3e8] * noise(0.02), losses[1e6, 3e7] * noise(0.05)
    explained = (0.3 * floor + 0.7 * model) * noise(0.03)
    sums = np.array(list(losses.values()))

    def calculator(rows: np.ndarray) -> Calculator:
        sizes = np.broadcast_to(tokens[rows], (len(family), len(rows))).copy()
        resamples = Resamples(len(rows), tokens=tokens[rows])
        return Calculator(family, sums[:, rows], sizes, tokens[rows], resamples)

    whole = calculator(np.arange(ALL))
    flops = [whole.mark(column).flops or np.nan for column in (model, explained, floor)]
    truth = {
        "share_explained": flops[1] / flops[0],
        "share_floor": flops[2] / flops[0],
        "recovered": (flops[1] - flops[2]) / (flops[0] - flops[2]),
    }
    print("documents  " + "  ".join(f"{name:>15}" for name in truth))
    for count in (15, 30, 60, 224):
        held: dict[str, list[bool]] = {name: [] for name in truth}
        for draw in range(SETS):
            rows = np.random.default_rng(1_000 + draw).choice(ALL, count, replace=False)
            figures = calculator(rows).figures(model[rows], explained[rows], floor[rows], False)
            for name, value in truth.items():
                found = getattr(figures, name)
                if found.low is not None or found.high is not None:
                    above = found.low is None or found.low <= value
                    held[name].append(above and (found.high is None or value <= found.high))
        print(f"{count:>9}  " + "  ".join(f"{np.mean(some):>8.1%} of {len(some):>3}" for some in held.values()))


if __name__ == "__main__":
    main()
