"""How well every search finds the edges of planted programs: the area under its ROC curve, as a Markdown table.

True edges are those that the program needs or could use instead of others (an OR's inputs), derived from the program
for each ablation; an area of 0.5 is chance, 1 puts every true edge above every other.

    PYTHONPATH=src python tools/search_roc.py --ablation mean --ablation resample_joint > roc.md
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
from jaxtyping import Bool, Float64
from scipy.stats import rankdata

from assay.errors import UserError
from assay.find.catalogue import SEARCHES
from assay.find.searches import Options, searches
from assay.intervene.ablations import Workbench
from assay.intervene.runner import Runner
from assay.planted.library import planted
from assay.planted.names import NAMES
from assay.planted.truth import truth


def area(scores: Float64[np.ndarray, "edges"], true: Bool[np.ndarray, "edges"]) -> float | None:
    """The probability that a true edge stands above another one, ties counting half; None where there are none."""
    positive, negative = int(true.sum()), int((~true).sum())
    if not positive or not negative:
        return None
    return float((rankdata(scores)[true].sum() - positive * (positive + 1) / 2) / (positive * negative))


def areas(
    name: str, ablation: str, methods: list[str], rows: int, seed: int, steps: int
) -> tuple[dict[str, float | None], str]:
    """Each method's area on one program, and a word on the truth."""
    case = planted(name)
    true = truth(case, ablation)
    edges = case.model.edges
    mask = edges.mask(true.used)
    bench = Workbench(Runner(case.model, case.task(n=rows, seed=seed)), seed)
    out: dict[str, float | None] = {}
    for method in methods:
        started = time.monotonic()
        try:
            options = Options(max(1, int(mask.sum())), steps=steps, seed=seed)
            scores = searches(bench, ablation, [method], options, lambda stage, done, total: None).scores[0]
            out[method] = area(scores.scores, mask)
        except UserError as problem:
            print(f"{name}, {ablation}, {method}: {problem}", file=sys.stderr)
            out[method] = None
        print(f"{name}, {ablation}, {method}: {out[method]} ({time.monotonic() - started:.1f} s)", file=sys.stderr)
    return out, f"{len(true.needed)} + {len(true.used) - len(true.needed)} of {len(edges)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--program", action="append", choices=NAMES, help="default: all")
    parser.add_argument("--ablation", action="append", help="default: mean, resample_joint")
    parser.add_argument("--method", action="append", choices=tuple(SEARCHES), help="default: all")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--steps", type=int, default=200, help="of learned masks")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    programs, methods = given.program or list(NAMES), given.method or list(SEARCHES)
    for ablation in given.ablation or ["mean", "resample_joint"]:
        table = {name: areas(name, ablation, methods, given.rows, given.seed, given.steps) for name in programs}
        print(f"\nArea under the ROC curve, ablation `{ablation}`, {given.rows} rows\n")
        print("| method | " + " | ".join(programs) + " | mean |")
        print("| --- |" + " ---: |" * (len(programs) + 1))
        for method in methods:
            found = [table[name][0][method] for name in programs]
            known = [one for one in found if one is not None]
            cells = ["—" if one is None else f"{one:.2f}" for one in found]
            print(f"| {method} | " + " | ".join(cells) + f" | {np.mean(known):.2f} |" if known else f"| {method} |")
        print("| needed + redundant edges | " + " | ".join(table[name][1] for name in programs) + " | |", flush=True)


if __name__ == "__main__":
    main()
