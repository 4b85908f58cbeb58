"""Trains members of the novel family side by side on one GPU, a process each, and stops them all after so many seconds.

    python -m tools.train_family OUT [NAME ...] [--seconds S] [--device cuda]

A member that is stopped keeps the endpoints of the budgets that it has done, and goes on from its last checkpoint when
called again. The small kernels of one member leave most of a GPU idle; processes share it best under CUDA's
multi-process service (`nvidia-cuda-mps-control -d`).
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from assay.zoo.recipes import RECIPES


def work(name: str, out: Path, tokenizer: Path, device: str) -> None:
    """Trains one member; what it says goes to a file of its name."""
    import torch

    from assay.train.novel import train

    torch.set_num_threads(1)
    with open(out / f"{name}.log", "a", buffering=1) as log:
        sys.stdout = sys.stderr = log
        train(name, out, tokenizer=tokenizer, device=device, compile=True, say=partial(print, file=log))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", default=list(RECIPES), metavar="NAME")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--device", default="cuda", choices=("cpu", "cuda"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    tokenizer = Path(__file__).parents[1] / "src" / "assay" / "zoo" / "models" / "novel-4l"
    start, started = get_context("spawn").Process, time.monotonic()
    running = {name: start(target=work, args=(name, given.out, tokenizer, given.device)) for name in given.names}
    for process in running.values():
        process.start()
    while time.monotonic() - started < given.seconds and any(p.is_alive() for p in running.values()):
        time.sleep(0.5)
    for name, process in running.items():
        process.terminate()
        process.join()
        print(f"{name}: {'stopped' if (process.exitcode or 0) < 0 else f'exit code {process.exitcode}'}")
    return max(abs(process.exitcode or 0) for process in running.values())


if __name__ == "__main__":
    raise SystemExit(main())
