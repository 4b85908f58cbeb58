"""Hierarchical equality: what a map's score is worth when it is fitted to a trained network, and to an untrained one.

    python -m tools.equality [--seeds 3] [--layers 1 2 3] [--steps 2000]

Four objects a, b, c, d of four numbers each; is (a = b) the same as (c = d)? An MLP of three hidden layers of 16
neurons is trained on it here. The high-level model: `left` is a = b, `right` is c = d, the answer is left = right. For
every layer two sets of coordinates of it are fitted, `--widths` each, one a variable, and tested on objects that no fit
has seen. The same fit is made in the network before its training, and of variables whose values were put on other
inputs. Prints Markdown: accuracy is that of the worst of left, right and both at once, the rest left; *raw* is the part
of all swaps after which the network answers as the high-level model does, which is what others print.
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

import assay
from assay.explanations.hypothesis.scrub import LEFT
from assay.find.hypothesis.maps import Fitting, Kind, MapScore, MapSearch

OBJECT, HIDDEN = 4, 16
VARIABLES = {
    "left": lambda example: bool((example.inputs[:OBJECT] == example.inputs[OBJECT : 2 * OBJECT]).all()),
    "right": lambda example: bool((example.inputs[2 * OBJECT : 3 * OBJECT] == example.inputs[3 * OBJECT :]).all()),
    "answer": lambda left, right: int(left == right),
}
MAPS: dict[str, tuple[Kind, int]] = {
    "rotation": ("linear", 0),
    "reversible, 16": ("reversible", 16),
    "reversible, 128": ("reversible", 128),
}


def examples(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """[n, 16] objects and [n] answers; either side is equal in half of them."""
    random = torch.Generator().manual_seed(seed)
    objects = torch.rand(n, 4, OBJECT, generator=random) - 0.5
    equal = torch.rand(n, 2, generator=random) < 0.5
    objects[:, 1] = torch.where(equal[:, :1], objects[:, 0], objects[:, 1])
    objects[:, 3] = torch.where(equal[:, 1:], objects[:, 2], objects[:, 3])
    return objects.flatten(1), (equal[:, 0] == equal[:, 1]).long()


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    widths = (4 * OBJECT, HIDDEN, HIDDEN, HIDDEN)
    layers = [nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(widths)]
    return nn.Sequential(*layers, nn.Linear(HIDDEN, 2))


def train(net: nn.Sequential, seed: int, steps: int = 20_000) -> float:
    """Trains it, and gives its accuracy on new objects."""
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        inputs, labels = examples(1024, seed * 1_000_003 + step)
        loss = nn.functional.cross_entropy(net(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    inputs, labels = examples(20_000, -1 - seed)
    return float((net(inputs).argmax(1) == labels).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--widths", type=int, nargs="+", default=[8], help="coordinates of each variable")
    parser.add_argument("--maps", nargs="+", choices=MAPS, default=list(MAPS))
    given = parser.parse_args()
    started = time.process_time()
    print("| layer | map | of each | bits | trained | raw | untrained | raw | permuted | trained − untrained |")
    print("| --- " * 10 + "|", flush=True)
    found: dict[tuple[int, str, int], list[tuple[float, ...]]] = {}
    shares = []
    for seed in range(given.seeds):
        trained, before = network(seed), network(seed)
        shares.append(train(trained, seed))

        def benches(net: nn.Sequential, seed: int = seed) -> tuple[assay.Workbench, assay.Workbench, assay.Workbench]:
            def bench(part: int) -> assay.Workbench:
                inputs, labels = examples(given.rows + 100, 10_000 + 10 * seed + part)
                held = inputs[: given.rows], labels[: given.rows]
                task = assay.Task.classify(net, *held, reference=(inputs[given.rows :], labels[given.rows :]))
                return assay.Workbench(net.eval(), task, seed=seed)

            return bench(0), bench(1), bench(2)

        pair = benches(trained), benches(before)
        for layer in given.layers:
            place = f"{layer - 1}.1"
            claim = assay.Hypothesis(VARIABLES, {"left": [place]})
            for name in given.maps:
                kind, hidden = MAPS[name]
                for width in given.widths:
                    how = Fitting(kind, steps=given.steps, hidden=hidden or 1)
                    searches = [MapSearch(*some, claim, place, {"left": width, "right": width}, seed) for some in pair]
                    fits = [one.fit(how) for one in searches]
                    scores: list[MapScore] = [one.score(fit) for one, fit in zip(searches, fits, strict=True)]
                    chance = searches[0].score(searches[0].fit(how, permuted=True), permuted=True)
                    apart = min(
                        (scores[0].accuracy(i, LEFT, scores[1]) for i in range(3)), key=lambda one: one.value or 0.0
                    )
                    bits = searches[0].bits(fits[0])[0]
                    values = [one.worst(LEFT) for one in (*scores, chance)]
                    raws = [f"{one.raw(LEFT):.3f}" for one in scores]
                    print(
                        f"| {layer} (seed {seed}) | {name} | {width} | {bits:,.0f} | {values[0]} | {raws[0]} | "
                        f"{values[1]} | {raws[1]} | {values[2]} | {apart} |",
                        flush=True,
                    )
                    row = (values[0].value, scores[0].raw(LEFT), values[1].value, scores[1].raw(LEFT), values[2].value)
                    found.setdefault((layer, name, width), []).append(tuple(float(x or 0.0) for x in row))
    print(f"\nmeans over {given.seeds} networks, whose accuracy is {', '.join(f'{s:.3f}' for s in shares)}\n")
    print("| layer | map | of each | trained | raw | untrained | raw | permuted |\n" + "| --- " * 8 + "|")
    for (layer, name, width), rows in found.items():
        print(f"| {layer} | {name} | {width} | " + " | ".join(f"{x:.3f}" for x in np.mean(rows, axis=0)) + " |")
    print(f"\n{time.process_time() - started:.0f} s of processor time")


if __name__ == "__main__":
    main()
