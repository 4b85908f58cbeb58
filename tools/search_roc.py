"""How well every search finds the edges of planted programs: the area under its ROC curve, as a Markdown table.

True edges are those that the program needs or could use instead of others (an OR's inputs), derived from the program
for each ablation; those of a trained network are the ones in which strict interchange training put its variables, which
hold where parts are filled from other examples. An area of 0.5 is chance, 1 puts every true edge above every other.

    PYTHONPATH=src python tools/search_roc.py --ablation mean --ablation resample_joint > roc.md
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64
from scipy.stats import rankdata

from assay.errors import UserError
from assay.find.circuit.methods import Options, searches
from assay.intervene.ablations import Workbench
from assay.intervene.runner import Runner
from assay.methods.registry import SEARCHES
from assay.model.transformer import Model
from assay.planted.library import planted
from assay.planted.trained import Settings, train
from assay.planted.truth import truth
from assay.planted.worlds import NAMES
from assay.task.task import Task


def area(scores: Float64[np.ndarray, "edges"], true: Bool[np.ndarray, "edges"]) -> float | None:
    """The probability that a true edge stands above another one, ties counting half; None where there are none."""
    positive, negative = int(true.sum()), int((~true).sum())
    if not positive or not negative:
        return None
    return float((rankdata(scores)[true].sum() - positive * (positive + 1) / 2) / (positive * negative))


@dataclass(frozen=True)
class Known:
    """A network whose edges are known.

    Attributes:
        used: the true ones; open: those that count neither way; said: how many they are, in words.
    """

    name: str
    model: Model
    task: Task
    used: Sequence[str]
    said: str
    open: Sequence[str] = ()


def program(name: str, ablation: str, rows: int, seed: int) -> Known:
    case, true = planted(name), truth(planted(name), ablation)
    said = f"{len(true.needed)} + {len(true.used) - len(true.needed)} of {len(case.model.edges)}"
    return Known(name, case.model, case.task(n=rows, seed=seed), true.used, said)


def network(number: int, rows: int, seed: int) -> Known:
    found = train(settings=Settings(seed=number))
    # what a head fetches its variable by may be the position alone, which all examples share
    where = [edge for edge in found.circuit if edge.endswith(("<q>", "<k>"))]
    used = [edge for edge in found.circuit if edge not in where]
    said = f"{len(used)} of {len(found.model.edges) - len(where)}"
    return Known(f"trained {number}", found.model, found.task(n=rows, seed=seed), used, said, where)


def areas(known: Known, ablation: str, methods: list[str], seed: int, steps: int) -> dict[str, float | None]:
    """Each method's area on one network."""
    edges, name = known.model.edges, known.name
    mask, counts = edges.mask(known.used), ~edges.mask(known.open)
    bench = Workbench(Runner(known.model, known.task), seed)
    out: dict[str, float | None] = {}
    for method in methods:
        started = time.monotonic()
        try:
            options = Options(max(1, int(mask.sum())), steps=steps, seed=seed)
            scores = searches(bench, ablation, [method], options, lambda stage, done, total: None).scores[0]
            out[method] = area(scores.scores[counts], mask[counts])
        except UserError as problem:
            print(f"{name}, {ablation}, {method}: {problem}", file=sys.stderr)
            out[method] = None
        print(f"{name}, {ablation}, {method}: {out[method]} ({time.monotonic() - started:.1f} s)", file=sys.stderr)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--program", action="append", choices=NAMES, help="default: all")
    parser.add_argument("--ablation", action="append", help="default: mean, resample_joint")
    parser.add_argument("--method", action="append", choices=tuple(SEARCHES), help="default: all")
    parser.add_argument("--trained", type=int, default=3, help="how many trained networks (resample_joint only)")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--steps", type=int, default=200, help="of learned masks")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    programs, methods = given.program or list(NAMES), given.method or list(SEARCHES)
    for ablation in given.ablation or ["mean", "resample_joint"]:
        cases = [program(name, ablation, given.rows, given.seed) for name in programs]
        if ablation == "resample_joint":
            cases += [network(number, given.rows, given.seed) for number in range(given.trained)]
        table = [areas(case, ablation, methods, given.seed, given.steps) for case in cases]
        print(f"\nArea under the ROC curve, ablation `{ablation}`, {given.rows} rows\n")
        print("| method | " + " | ".join(case.name for case in cases) + " | mean |")
        print("| --- |" + " ---: |" * (len(cases) + 1))
        for method in methods:
            found = [areas_of[method] for areas_of in table]
            known = [one for one in found if one is not None]
            cells = ["—" if one is None else f"{one:.2f}" for one in found]
            print(f"| {method} | " + " | ".join(cells) + f" | {np.mean(known):.2f} |" if known else f"| {method} |")
        print("| needed + redundant edges | " + " | ".join(case.said for case in cases) + " | |", flush=True)


if __name__ == "__main__":
    main()
