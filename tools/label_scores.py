"""Which neurons and heads a label says most about: the share of a part's variance over reference tokens
that lies between tokens where the label holds and tokens where it does not. The claim is then one line of YAML.

    python tools/label_scores.py zoo:novel-4l --sources fr,python
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

import assay
from assay.intervene.fill.reference import spread
from assay.intervene.plan import EditRun, Plan
from assay.intervene.runner import Runner
from assay.names import Site
from assay.task.task import Task

ROWS, AT_ONCE = 192, 16  # reference rows; in one pass


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
    shape = model.config
    sites = [Site("head", layer, h) for layer in range(shape.layers) for h in range(shape.heads)]
    sites += [Site("neuron", layer, n) for layer, width in enumerate(shape.d_mlp) for n in range(width or 0)]
    wanted = given.sources.split(",")
    count = dict.fromkeys(["all", *wanted], 0)
    sums = {name: [torch.zeros(()).double()] * len(sites) for name in count}
    squares = [0.0] * len(sites)
    for some in np.array_split(rows, -(-len(rows) // AT_ONCE)):  # each pass gives all sites
        real = reference.real[some].clone()
        real[:, 0] = False  # BOS is a class of its own
        sources = np.array([reference.documents[d].source for d in reference.document[some]])
        at = {name: real & torch.from_numpy(sources == name)[:, None] for name in wanted} | {"all": real}
        with torch.no_grad():
            values = runner.values(Plan((run,)), run, sites, some)
        for name, where in at.items():
            count[name] += int(where.sum())
            sums[name] = [
                old + values[site][where].double().sum(0) for old, site in zip(sums[name], sites, strict=True)
            ]
        squares = [old + float(values[s][real].double().square().sum()) for old, s in zip(squares, sites, strict=True)]
    found: dict[str, list[tuple[float, str]]] = {source: [] for source in wanted}
    total = count["all"]
    for i, site in enumerate(sites):
        mean = sums["all"][i] / total
        variance = squares[i] / total - float(mean.square().sum())
        for source, out in found.items():
            n, inside = count[source], sums[source][i]
            apart = inside / n - (sums["all"][i] - inside) / (total - n)
            share = n / total
            out.append((share * (1 - share) * float(apart.square().sum()) / variance, str(site)))
    for source, out in found.items():
        for what in ("n", "h"):
            best = sorted((pair for pair in out if f".{what}" in pair[1]), reverse=True)[: given.top]
            kind = "neurons" if what == "n" else "heads"
            print(f"{source}, {kind}: " + ", ".join(f"{name} {share:.2f}" for share, name in best))


if __name__ == "__main__":
    main()
