"""How much k dimensions of a site hold: the principal ones, and random ones. Headlines alone.

python -m tools.subspace_curve zoo:novel-4l --sites m1,r2 --documents 8
"""

from __future__ import annotations

import argparse

import numpy as np

import assay
from assay.explanations.subspace.fits import share_inside
from assay.stats.estimate import Estimate


def cell(found: Estimate, bits: float) -> str:
    ends = "" if found.low is None else f" [{found.low:.2f}, {found.high:.2f}]"
    return f"{found.value:.2f}{ends} | {bits / 1000:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--sites", default="m1,r2")
    parser.add_argument("--sizes", default="1,4,16,64")
    parser.add_argument("--random", type=int, default=5, help="random subspaces of each size")
    parser.add_argument("--documents", type=int, default=8)
    parser.add_argument("--ablation", default="mean,resample_joint")
    given = parser.parse_args()
    model = assay.load(given.model)
    workbench = assay.Workbench(model, assay.Task.text(model, split="test", max_documents=given.documents))
    ablations = given.ablation.split(",")
    print("| site | k | variance | principal directions, R_D | kbit | random, median (least, most) | under |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for site in given.sites.split(","):
        for k in map(int, given.sizes.split(",")):
            claim = assay.Subspace({site: {"pca": k}})
            found = workbench.measure(claim, ablation=ablations, only=("headline",))
            record, length = found.record, claim.claim_bits(model)
            ((place, basis),) = claim.bases(workbench).items()
            share = share_inside(workbench, place, basis)
            under = record.headline.ablation
            others = []
            for seed in range(given.random):
                other = assay.Subspace({site: {"random": k, "seed": seed}})
                value = workbench.measure(other, ablation=ablations, only=("headline",)).recovered.value
                others.append(float("nan") if value is None else value)
            between = f"{np.median(others):.2f} ({min(others):.2f}, {max(others):.2f})"
            own = cell(found.recovered, length.bits)
            print(f"| `{site}` | {k} | {share:.0%} | {own} | {between} | {under} |", flush=True)


if __name__ == "__main__":
    main()
