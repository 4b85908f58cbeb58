"""How many true features dictionaries find in a world where all are known, beside how much variance they explain.

    python -m tools.dictionary_world [--features 2048] [--d 128] [--tokens 2000000] [--k 16] [--seeds 2] [--quick]

Every architecture, and the first with a part of it frozen as it was drawn, all from the same values; beside them random
directions and the true features themselves. Prints the table of docs/results/dictionaries.md as Markdown.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import Tensor

from assay.planted.feature_world import FeatureWorld, recovered_features
from assay.train.dictionary.code import SparseCode
from assay.train.dictionary.settings import ARCHITECTURES, CodeSettings
from assay.train.dictionary.sweep import train_sweep

BATCH, TEST = 1_024, 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=2_048)
    parser.add_argument("--d", type=int, default=128)
    parser.add_argument("--active", type=float, default=16.0)
    parser.add_argument("--tokens", type=int, default=2_000_000)
    parser.add_argument("--k", type=int, default=16)
    parser.add_argument("--width", type=int, help="of dictionaries; default: as many as there are features")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--rate", type=float)
    given = parser.parse_args()
    world = FeatureWorld(given.features, given.d, given.active)
    width = given.width or given.features
    steps = given.tokens // BATCH
    every = [
        CodeSettings(architecture=name, width=width, k=given.k, batch=BATCH, seed=seed, frozen=frozen, rate=given.rate)
        for name in ARCHITECTURES
        for frozen in (("none", "decoder", "encoder", "near") if name == "topk" else ("none",))
        for seed in range(given.seeds)
    ]
    first, begun = world.draw(8_192, "first")[0], time.monotonic()
    trained = train_sweep(every, steps, lambda step: (world.draw(BATCH, step)[0], None), (first, None))
    values, amounts = world.draw(TEST, "test")
    spent = time.monotonic() - begun
    print(
        f"{given.features} features in {given.d} dimensions, {(amounts > 0).sum(1).float().mean():.1f} active; ", end=""
    )
    print(f"dictionaries of {width}, k {given.k}, {steps * BATCH:,} values, {spent / 60:.0f} min\n")
    print("| dictionary | variance explained | active | dead | true features found | roots | by amount | mean cosine |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for one in trained:
        said = one.settings.architecture + ("" if one.settings.frozen == "none" else f", {one.settings.frozen} frozen")
        row(f"{said}, seed {one.settings.seed}", one.code, world, values, amounts)
    truth = SparseCode(
        world.directions, torch.zeros(len(world.directions)), world.directions, torch.zeros(given.d),
        torch.zeros(given.d), "topk", given.k,
    )  # fmt: skip
    row("the true features as encoder and decoder", truth, world, values, amounts)
    random = torch.nn.functional.normalize(
        torch.randn(width, given.d, generator=torch.Generator().manual_seed(0)), dim=-1
    )
    mean = values.mean(0)
    row(
        "random directions",
        SparseCode(random, torch.zeros(width), random, mean, mean, "topk", given.k),
        world,
        values,
        amounts,
    )


def row(name: str, code: SparseCode, world: FeatureWorld, values: Tensor, amounts: Tensor) -> None:
    """Prints a dictionary's figures."""
    error, active, on = 0.0, 0.0, torch.zeros(code.width)
    for part in values.split(4_096):
        features = code.encode(part)
        error += float((part - code(part)).double().square().sum())
        active += float((features > 0).sum())
        on += (features > 0).sum(0)
    spread = float((values - values.mean(0)).double().square().sum())
    found = recovered_features(world, code.decoder, amounts)
    figures = (f"{1 - error / spread:.2f}", f"{active / len(values):.1f}", f"{float((on == 0).float().mean()):.0%}")
    more = (f"{found.share:.1%}", f"{found.roots:.1%}", f"{found.often:.0%}", f"{found.cosine.mean():.2f}")
    print("| " + " | ".join((name, *figures, *more)) + " |", flush=True)


if __name__ == "__main__":
    main()
