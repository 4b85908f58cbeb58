"""Peak memory of each case beside the peer's, in processes of their own, and how time grows with model and prompts."""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from speed.models import bench_of, handed, network
from speed.peers import MissingPeerError, Peer
from speed.timing import Seconds, in_turn, timed

TOKENS, TAU = 15, 0.01
EDGES = 40  # that the peer's ACDC goes through: its memory does not grow with them
BESIDE = {
    "sweep": ("transformer-lens", "sweep"),
    "acdc": ("auto-circuit", "acdc"),
    "frontier": ("auto-circuit", "frontier"),
    "gradients": ("auto-circuit", "gradients"),
}
LAYERS, HEADS, POSITIONS, PROMPTS = (2, 4, 8), (4, 8, 16), (15, 30, 60), (8, 16, 32)


def work(workbench: Any, case: str) -> Callable[[], object]:
    """Ours, as in the other cases; circuits are chosen by chance, as that changes nothing here."""
    from assay.intervene.circuits.engine import Circuits
    from assay.intervene.sweep.sweep import sweep
    from assay.methods.acdc import acdc
    from assay.methods.attribution import attribution
    from assay.score.circuits import score_circuits

    match case:
        case "sweep":
            return lambda: sweep(workbench, "counterfactual", [c for c in workbench.model.components if ".h" in c])
        case "acdc":
            return lambda: acdc(workbench, "counterfactual", TAU)
        case "frontier":
            masks = _masks(workbench)
            return lambda: score_circuits(workbench, masks, "counterfactual")
        case "gradients":
            return lambda: attribution(Circuits(workbench, "counterfactual"))
        case _:
            return lambda: None


def _sizes(workbench: Any) -> np.ndarray:
    from assay.methods.edge_sizes import log_sizes

    return log_sizes(len(workbench.model.edges), 20)


def _order(workbench: Any) -> np.ndarray:
    return np.random.default_rng(0).permutation(len(workbench.model.edges))


def _masks(workbench: Any) -> np.ndarray:
    rank = np.argsort(_order(workbench))
    return rank < _sizes(workbench)[:, None]


def bench_for(case: str, model: Any, prompts: int, tokens: int = TOKENS) -> Any:
    """Prompts of a case; the sweep has one."""
    metric = "kl" if case in ("acdc", "frontier") else "loss"
    return bench_of(model, 1 if case == "sweep" else prompts, tokens, metric=metric)


def memory(name: str, prompts: int, threads: int) -> Iterator[str]:
    """Lines of the most memory that a process of each case has had, and one that only opened the model."""
    model = network(name)
    for case, (library, asked) in BESIDE.items():
        workbench = bench_for(case, model, prompts)
        edges, names = workbench.model.edges, list(workbench.model.edges)
        ours, opened = _peak(name, case, prompts, threads), _peak(name, "open", prompts, threads)
        line = f"{name}, {prompts} prompts, {case}: {ours / 2**20:.0f} MiB ({opened / 2**20:.0f} with the model open)"
        with tempfile.TemporaryDirectory() as folder:
            handed(model, workbench, Path(folder) / "given.safetensors")
            try:
                with Peer(library, Path(folder) / "given.safetensors", threads, -1) as peer:
                    before = peer.peak
                    match asked:
                        case "sweep":
                            peer(asked, patches=[(0, 0, 0), (1, 1, 1)], everywhere=False)
                        case "acdc":
                            some = np.linspace(0, len(edges) - 1, EDGES).astype(int)
                            peer(asked, tau=TAU, order=[names[i] for i in reversed(some)])
                        case "frontier":
                            peer("rank", order=[names[i] for i in _order(workbench)])
                            peer(asked, sizes=_sizes(workbench)[[0, -1]].tolist())
                        case _:
                            peer(asked, steps=0)
                    line += f"; {peer.name}: {peer.peak / 2**20:.0f} MiB ({before / 2**20:.0f} with the model open)"
            except MissingPeerError as why:
                line += f"; {why}"
        yield line


def _peak(name: str, case: str, prompts: int, threads: int) -> int:
    """The most memory, in bytes, of a process that opens the model and does a case."""
    command = [sys.executable, "-m", "speed.growth", name, case, str(prompts)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    found = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(found.stdout.splitlines()[-1])["peak"] * 1024


def exponents(repeats: int) -> Iterator[str]:
    """Lines of how a case's time grows: the slope of its logarithm over that of the model's or the prompts' size."""

    def measured(case: str, shapes: list[tuple[str, int, int]]) -> list[Seconds]:
        calls: dict[str, Callable[[], Seconds]] = {}
        for index, (name, prompts, tokens) in enumerate(shapes):
            call = work(bench_for(case, network(name), prompts, tokens), case)
            call()
            calls[str(index)] = lambda call=call: timed(call)[0]
        return list(in_turn(calls, repeats).values())

    for what, sizes, shape in (
        ("layers", LAYERS, lambda n: (f"{n}x8x256", 8, TOKENS)),
        ("heads, at one width of a head", HEADS, lambda n: (f"4x{n}x{32 * n}", 8, TOKENS)),
        ("positions", POSITIONS, lambda n: ("4x8x256", 8, n)),
        ("prompts", PROMPTS, lambda n: ("4x8x256", n, TOKENS)),
    ):
        for case in BESIDE:
            if case == "sweep" and what == "prompts":
                continue
            taken = measured(case, [shape(size) for size in sizes])
            slope = np.polyfit(np.log(sizes), np.log([seconds.cpu for seconds in taken]), 1)[0]
            shown = ", ".join(f"{n}: {s.cpu * 1e3:.0f} ms" for n, s in zip(sizes, taken, strict=True))
            yield f"{case} with {what}: exponent {slope:.2f} ({shown})"


def main() -> None:
    """Opens a model, does a case, prints the most memory that this process has had."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("model")
    parser.add_argument("case")
    parser.add_argument("prompts", type=int)
    given = parser.parse_args()
    work(bench_for(given.case, network(given.model), given.prompts), given.case)()
    print(json.dumps({"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))


if __name__ == "__main__":
    main()
