"""Circuits beside peers, side by side in one run: `make speed-circuits`, or `python -m speed.circuits --case acdc`.

Every line is a ratio of medians of calls that took turns, on the processor's clock and on the wall's. Peers run in
Pythons of their own (see speed/peers.py); a case whose peer is missing says so.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence

import torch

from speed import acdc, band, frontier, gradients, growth, sweep
from speed.peers import MissingPeerError
from speed.timing import Row

ZOO, GPT2, SCALED = "zoo:novel-4l", "gpt2", "4x8x256*0.1"
CASES = ("sweep", "acdc", "steps", "frontier", "gradients", "band", "live", "memory", "growth")


def lines(case: str, given: argparse.Namespace) -> Iterator[Callable[[], Iterator[Row | str]]]:
    """The parts of a case, each of which may miss its peer."""
    repeats, threads, prompts = given.repeats, given.threads, given.prompts
    models = [given.model] if given.model else [ZOO, SCALED] if case == "acdc" else [ZOO, GPT2]
    for name in models:
        match case:
            case "sweep":
                for everywhere in (False, True):
                    yield lambda name=name, e=everywhere: sweep.compared(name, e, repeats, threads, given.count)
            case "acdc":
                shares = tuple(given.share or acdc.SHARES)
                yield lambda name=name, s=shares: acdc.compared(
                    name, prompts, repeats, threads, only=given.count, shares=s
                )
            case "steps" if name != ZOO:
                yield lambda name=name: acdc.steps(name, threads, given.count or 500, given.tau, given.whole)
            case "frontier":
                yield lambda name=name: frontier.compared(name, prompts, repeats, threads)
            case "gradients":
                yield lambda name=name: gradients.compared(name, prompts, repeats, threads)
            case "band":
                yield lambda name=name: band.band(name, prompts, repeats, given.count or 100)
            case "live":
                yield lambda name=name: band.live(name, prompts, repeats)
            case "memory":
                yield lambda name=name: growth.memory(name, prompts, threads)
            case "growth" if name == models[0]:
                yield lambda: growth.exponents(repeats)
            case _:
                pass


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a line for each comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="default: both shapes of the case")
    parser.add_argument("--case", choices=CASES, action="append", help="default: all")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", "2")))
    parser.add_argument("--tau", type=float, default=0.01, help="of the steps")
    parser.add_argument("--count", type=int, help="patches or edges that peers run, steps, or circuits of the band")
    parser.add_argument("--share", type=float, action="append", help="of the edges that ACDC keeps (default: three)")
    parser.add_argument("--whole", action="store_true", help="the steps: ours goes through all edges")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    print(f"torch {torch.__version__}, {given.threads} threads, {given.repeats} repeats")
    for case in given.case or CASES:
        for part in lines(case, given):
            try:
                for row in part():
                    print(f"{case}: {row}", flush=True)
            except MissingPeerError as why:
                print(f"{case}: {why}", flush=True)


if __name__ == "__main__":
    main()
