"""The smallest circuit of one search that recovers a share of the metric on the selection, found by bisection.

    python -m tools.smallest_circuit zoo:smollm2-135m PROMPTS.csv --between 6000,20433 [--reach 0.9]

The same data and search as `assay find circuit MODEL --task PROMPTS.csv`, which takes the smallest of the sizes it is
given: its `--keep-edges` takes the size that is printed here. What a ranking recovers need not rise with every edge, so
that this is a size at which it crosses the share, and a smaller one may exist.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from assay.find.request import request
from assay.find.split import open_split
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.runner import Runner
from assay.methods.edge_methods import Options, searches
from assay.methods.edge_sizes import sized_circuits
from assay.score.circuits import score_circuits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("prompts")
    parser.add_argument("--between", required=True, help="two numbers of edges: too few, and enough")
    parser.add_argument("--reach", type=float, default=0.9)
    parser.add_argument("--method", default="integrated_attribution_kl")
    parser.add_argument("--metric", default="logit_diff")
    parser.add_argument("--ablation", default="counterfactual")
    parser.add_argument("--within", type=float, default=0.01, help="of the size, where the bisection ends")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    wanted = request(given.model, given.prompts, [], {"metric": given.metric})
    model, data = open_split(wanted, given.seed, documents=64, select=32)
    there = PlanContext(Runner(model, data.selection), given.seed)
    low, high = (int(n) for n in given.between.split(","))

    def silent(*_: object) -> None: ...

    (found,) = searches(there, given.ablation, [given.method], Options(high, seed=given.seed), silent)
    print(f"{len(data.selection.tokens)} prompts searched on; {time.process_time():.0f} s", flush=True)
    total = len(model.edges)
    ends = np.stack([np.zeros(total, dtype=bool), np.ones(total, dtype=bool)])
    none, every = score_circuits(there, ends, given.ablation).stacked("loss").sum(1)

    def recovered(size: int) -> tuple[int, float]:
        """How many edges the circuit has, and its share of the metric."""
        mask = sized_circuits(model.edges, found, np.array([size]), fill_up=True).masks[0]
        its = score_circuits(there, mask[None], given.ablation).stacked("loss").sum()
        share = float((none - its) / (none - every))
        print(f"{mask.sum():,} edges: {share:.4f}; {time.process_time():.0f} s", flush=True)
        return int(mask.sum()), share

    realised, share = recovered(high)
    if share < given.reach:
        raise SystemExit(f"{high:,} edges recover {share:.3g} of the metric, less than {given.reach:g}")
    while high - low > given.within * high:
        middle = (low + high) // 2
        size, share = recovered(middle)
        low, high, realised = (low, middle, size) if share >= given.reach else (middle, high, realised)
    print(f"the smallest: {realised:,} of {total:,} edges ({realised / total:.1%}), to within {given.within:.0%}")


if __name__ == "__main__":
    main()
