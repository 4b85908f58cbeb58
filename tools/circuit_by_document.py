"""What a circuit recovers of each document: of prompts a document is a template, and one mean hides their spread.

    python -m tools.circuit_by_document RUN

RUN: a folder that `assay find circuit` wrote. R_D and R_L of each document over the run with no edge, as Markdown, and
their quartiles. A share is undefined where the model is no better than the run with no edge.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import assay
from assay.explanations.circuit.files import read_circuit
from assay.explanations.claims.file import load_claim
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.runner import Runner
from assay.model.edge_sets import EdgeSet
from assay.model.transformer import Model
from assay.score.circuits import score_circuits

LEAST = 0.05  # of the metric, in nats, by which model and floor have to differ


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    given = parser.parse_args()
    claim = load_claim(given.run / "claim.yaml")
    model = assay.load(claim.model)
    assert isinstance(model, Model)
    task = claim.build_task(model, claim.documents, claim.seed or 0)
    circuit = read_circuit(given.run / "circuit.json", model)
    ablation = (claim.ablation or ("mean",))[0]
    workbench, count = PlanContext(Runner(model, task), claim.seed or 0), len(model.edges)
    none, every = (EdgeSet.whole(np.full(count, kept)) for kept in (False, True))
    scored = score_circuits(workbench, [none, every, circuit.edges], ablation, draws=range(4))
    used = scored.count > 0
    loss, kl = (scored.stacked(name)[:, used] / scored.count[used] for name in ("loss", "kl"))
    floor, whole, kept = loss
    with np.errstate(divide="ignore", invalid="ignore"):
        by_loss = np.where(floor - whole > LEAST, (floor - kept) / (floor - whole), np.nan)
        by_kl = 1 - kl[2] / kl[0]
    print(
        f"{given.run.name}: {circuit.edges.anywhere.sum()} edges, {ablation}; {claim.task.metric or 'loss'} as a loss\n"
    )
    print("| document | model | no edge | circuit | KL no edge | KL circuit | R_D | R_L |\n" + "| --- " * 8 + "|")
    names = [task.documents[i].name for i in np.flatnonzero(used)]
    for i in np.argsort(by_kl):
        cells = [f"{x:.2f}" for x in (whole[i], floor[i], kept[i], kl[0][i], kl[2][i], by_kl[i])]
        print(
            f"| {names[i]} | "
            + " | ".join(cells)
            + f" | {'undefined' if np.isnan(by_loss[i]) else f'{by_loss[i]:.2f}'} |"
        )
    for name, shares in (("R_D", by_kl), ("R_L", by_loss)):
        low, first, middle, third, high = np.nanquantile(shares, (0, 0.25, 0.5, 0.75, 1))
        print(
            f"\n{name} by document: {low:.2f} to {high:.2f}, quartiles {first:.2f}, {middle:.2f}, {third:.2f}", end=""
        )
        print(f"; undefined in {np.isnan(shares).sum()}" if np.isnan(shares).any() else "")


if __name__ == "__main__":
    main()
