"""Which neurons and heads a label says most about: the share of a part's variance over reference tokens
that lies between tokens where the label holds and tokens where it does not. The claim is then one line of YAML.

    python tools/label_scores.py zoo:novel-4l --sources fr,python
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

import assay
from assay.intervene.plan import EditRun, Plan
from assay.intervene.reference import spread
from assay.intervene.runner import Runner
from assay.names import Site
from assay.task.task import Task

ROWS = 192


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--sources", default="fr,python")
    parser.add_argument("--top", type=int, default=5)
    parser.add_argument("--context", type=int)
    given = parser.parse_args()
    model = assay.load(given.model)
    task = Task.text(model, split="test", context=given.context)
    runner, reference = Runner(model, task), task.reference
    assert reference is not None
    rows, run = spread(len(reference.tokens), ROWS), EditRun("reference", "reference")
    sources = np.array([reference.documents[d].source for d in reference.document[rows]])
    real = reference.real[rows]
    real[:, 0] = False  # BOS is a class of its own
    shape = model.config
    found: dict[str, list[tuple[float, str]]] = {source: [] for source in given.sources.split(",")}
    for layer, width in enumerate(shape.d_mlp):
        sites = [Site("head", layer, h) for h in range(shape.heads)]
        sites += [Site("neuron", layer, n) for n in range(width or 0)]
        with torch.no_grad():
            values = runner.values(Plan((run,)), run, sites, rows)
        for site, value in values.items():
            flat = value[real].double()
            total = (flat - flat.mean(0)).square().sum()
            for source, out in found.items():
                holds = torch.from_numpy(sources == source)[:, None].expand_as(real)[real]
                share = holds.double().mean()
                apart = flat[holds].mean(0) - flat[~holds].mean(0)
                out.append((float(share * (1 - share) * len(flat) * apart.square().sum() / total), str(site)))
    for source, out in found.items():
        for what in ("n", "h"):
            best = sorted((pair for pair in out if f".{what}" in pair[1]), reverse=True)[: given.top]
            kind = "neurons" if what == "n" else "heads"
            print(f"{source}, {kind}: " + ", ".join(f"{name} {share:.2f}" for share, name in best))


if __name__ == "__main__":
    main()
