"""What training a dictionary costs: a full step beside sae-lens, dictionary-learning and eai-sparsify, in turns.

    python -m speed.dictionaries [--values FOLDER --site r15] [--d 512] [--width 8192] [--k 32] [--batch 2048]
                                 [--steps 60] [--turns 6] [--threads 2] [--sweep 8]

Every one takes the same batches of the same values, float32 in memory, at the same rate, with its revival of dead
features and its decoder norms; each in a Python of its own (docs/benchmarks.md), one after the other in every turn, so
that what else the machine does falls on all. `--values`: a harvest (`assay find dictionary --keep-activations`), whose
principal directions give d coordinates; else values of a world of known features. Prints steps' times, ratios, and the
share of the variance that is left after every turn. *sweep*: so many dictionaries from one pass over the values, beside
the sum of what each costs by itself.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from assay.intervene.harvest import Activations
from assay.planted.feature_world import FeatureWorld
from assay.train.dictionary.settings import CodeSettings
from assay.train.dictionary.trainer import OUTLIER, CodeTrainer, Scales
from speed.peers import MissingPeerError, Peer
from speed.timing import Row, Seconds, middle, timed

PEERS = ("sae-lens", "dictionary-learning", "eai-sparsify")
FLOAT, HALF, SWEEP = 1.5, 3.0, 1.1  # times faster than the fastest peer; of a sweep, the most over the sum
COUNT = 200_000  # values


def values_of(folder: str | None, site: str, d: int) -> Tensor:
    """Real values, rotated to their d principal directions, or those of a world."""
    if folder is None:
        return FeatureWorld(features=4_096, d=d).draw(COUNT // 4, "speed")[0]
    found = Activations(folder)
    values = found.take(site, np.linspace(0, len(found) - 1, min(COUNT, len(found))).astype(int))
    norms = values.norm(dim=-1)
    values = values[norms <= OUTLIER * norms.median()]
    mean = values.mean(0)
    directions = torch.linalg.eigh((values - mean).T @ (values - mean))[1].flip(-1)[:, :d]
    return ((values - mean) @ directions).contiguous()


class Ours:
    """Assay's trainer, asked as the peers are."""

    def __init__(self, values: Tensor, given: Any, *, bf16: bool):
        settings = CodeSettings(width=given.width, k=given.k, batch=given.batch, rate=given.rate, bf16=bf16)
        self.name = "assay" + ", chosen in bfloat16" * bf16
        self.values, self.batch = values, given.batch
        self.trainer = CodeTrainer(settings, given.steps * given.turns, Scales.of(values[: 4 * given.batch]))

    def __call__(self, work: str, **given: Any) -> tuple[Seconds, Any]:
        return timed(lambda: getattr(self, work)(**given))

    def steps(self, count: int) -> int:
        for _ in range(count):
            random = torch.Generator().manual_seed(self.trainer.step)
            self.trainer.learn(self.values[torch.randint(0, len(self.values), (self.batch,), generator=random)])
        return self.trainer.step

    def left(self) -> float:
        x, code = self.values[-8_192:], self.trainer.code()
        return float((x - code(x)).square().sum() / (x - x.mean(0)).square().sum())


def beside(values: Tensor, given: Any) -> None:
    """A step beside the peers'."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "values.safetensors"
        said = {"width": given.width, "k": given.k, "batch": given.batch, "rate": given.rate}
        said |= {"steps": given.steps * given.turns}
        save_file({"values": values}, file, {"settings": json.dumps(said)})
        workers: dict[str, Any] = {}
        for library in PEERS:
            try:
                workers[library] = Peer(library, file, given.threads, script="_dictionary_peer.py")
            except MissingPeerError as missing:
                print(missing)
        mine = {one.name: one for one in (Ours(values, given, bf16=False), Ours(values, given, bf16=True))}
        workers = {**mine, **workers}
        for worker in workers.values():
            worker("steps", count=2)  # what a library does first is not counted
        taken: dict[str, list[Seconds]] = {name: [] for name in workers}
        curves: dict[str, list[float]] = {name: [] for name in workers}
        for _ in range(given.turns):
            for name, worker in workers.items():
                taken[name].append(worker("steps", count=given.steps)[0].over(given.steps))
                curves[name].append(worker("left")[1])
        found = {name: middle(some) for name, some in taken.items()}
        peers = {name: found[name] for name in workers if name not in mine}
        for name, seconds in found.items():
            rate = given.batch / seconds.wall
            left = ", ".join(f"{one:.3f}" for one in curves[name])
            print(f"{name}: {1e3 * seconds.wall:.0f} ms a step, {rate:,.0f} tokens/s; of the variance is left {left}")
        if peers:
            fastest = min(peers, key=lambda name: peers[name].wall)
            for name, aim in zip(mine, (FLOAT, HALF), strict=True):
                print(Row(f"a step of {name}", found[name], f"the fastest peer, {fastest}", peers[fastest], aim))


def sweep(values: Tensor, given: Any) -> None:
    """So many dictionaries beside each by itself."""
    import time

    from assay.train.dictionary.sweep import train_sweep

    every = [CodeSettings(width=given.width, k=given.k, batch=given.batch, seed=seed) for seed in range(given.sweep)]
    first, steps = (values[: 4 * given.batch], None), max(5, given.steps // 6)

    def batch(step: int) -> tuple[Tensor, None]:
        random = torch.Generator().manual_seed(step)
        return values[torch.randint(0, len(values), (given.batch,), generator=random)], None

    def seconds(some: list[CodeSettings]) -> float:
        begun = time.perf_counter()
        train_sweep(some, steps, batch, first)
        return time.perf_counter() - begun

    seconds(every[:1])
    alone, together = [seconds([one]) for one in every], seconds(every)
    print(f"a sweep of {len(every)}: {together / sum(alone):.2f} times what its dictionaries cost (target {SWEEP:g})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--values", help="the folder of a harvest")
    parser.add_argument("--site", default="r15")
    parser.add_argument("--d", type=int, default=512)
    parser.add_argument("--width", type=int, default=8_192)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--batch", type=int, default=2_048)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--steps", type=int, default=10, help="of a turn")
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sweep", type=int, default=0, help="dictionaries of a sweep; 0: none")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    values = values_of(given.values, given.site, given.d)
    sizes = f"width {given.width:,}, k {given.k}, {given.batch:,} tokens a step, {given.threads} threads"
    print(f"{len(values):,} values of {given.d} numbers, {sizes}")
    beside(values, given)
    if given.sweep:
        sweep(values, given)


if __name__ == "__main__":
    main()
