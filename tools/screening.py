"""Which few places, or directions of the stream, screen off what lies upstream of a cut. Markdown tables.

    python -m tools.screening zoo:novel-4l places --cuts r1,r2,r3,r4
    python -m tools.screening zoo:smollm2-135m directions --cuts r6,r18 --learn r18 --context 64

Of each document of the test split the first window is scored; every other document is searched on (places, and the bits
of a number), the rest are what is reported. Donors are rows of the reference, another for each part, document and draw.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import assay
from assay.find.screening.bits import held_bits
from assay.find.screening.blanket import LEVELS, Blanket, BlanketSearch, smallest
from assay.find.screening.determined import Determined, determined
from assay.find.screening.directions import DirectionSearch, principal_directions, random_directions
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.screened import cut_of
from assay.model.transformer import Model
from assay.stats.estimate import Estimate


def bench(given: argparse.Namespace) -> tuple[PlanContext, np.ndarray, np.ndarray]:
    """The rows that are searched on, and those that are reported."""
    model = assay.load(given.model)
    task = assay.Task.text(model, split="test", context=given.context, max_documents=2 * given.documents)
    workbench = assay.Workbench(model, task)
    first = np.unique(np.asarray(task.document), return_index=True)[1]
    searched, reported = first[::2], first[1::2]
    tokens = [int(task.scored[rows].sum()) for rows in (searched, reported)]
    about = f"{len(searched)} documents ({tokens[0]:,} scored tokens) are searched on, {len(reported)} others"
    print(f"{given.model}, windows of {task.tokens.shape[1]}: {about} ({tokens[1]:,}) are reported.\n", flush=True)
    return workbench, searched, reported


def shown(found: Estimate, places: int = 3) -> str:
    if found.value is None:
        return "undefined"
    ends = "" if found.low is None or found.high is None else f" [{found.low:.{places}f}, {found.high:.{places}f}]"
    return f"{found.value:.{places}f}{ends}"


def between(found: list[Determined]) -> str:
    values = [float(one.share) for one in found]
    return f"{np.median(values):.3f} ({min(values):.3f}, {max(values):.3f})"


def names(some: tuple[str, ...], candidates: tuple[str, ...]) -> str:
    left = [name for name in candidates if name not in some]
    if not left:
        return "all"
    return f"all but {', '.join(left)}" if len(left) < len(some) else ", ".join(some)


def places(given: argparse.Namespace) -> None:
    here, searched, reported = bench(given)
    curves, sets = list[str](), list[str]()
    for cut in given.cuts.split(","):
        begun = time.process_time()
        search = BlanketSearch(here, cut, draws=given.search_draws, rows=searched)
        path = [*search.grow(), *search.shrink(until=given.until)]
        took, passes, tried = time.process_time() - begun, search.passes, search.tried
        count = len(search.candidates)
        best: dict[int, Blanket] = {}
        for one in path:
            if len(one.places) not in best or one.share > best[len(one.places)].share:
                best[len(one.places)] = one
        chosen = {level: smallest(path, level) for level in LEVELS}
        sizes = [size for size in map(int, given.sizes.split(",")) if size < count and size in best]
        wanted = sorted({*sizes, *(len(one.places) for one in chosen.values() if one is not None)})
        every = {("best", size): best[size].places for size in wanted}
        every |= {(i, size): some for size in wanted if size < count
                  for i, some in enumerate(search.random(size, given.random))}  # fmt: skip
        found = determined(here, every, cut, draws=given.draws, rows=reported)
        others = {size: [found[i, size] for i in range(given.random)] for size in wanted if size < count}
        floor = next(iter(found.values())).floor
        for size in sizes:
            one, its = found["best", size], others[size]
            curves.append(f"| {cut} | {size} of {count} | {best[size].share:.3f} | {shown(one.share)} | "
                          f"{one.nines.shown} | {between(its)} |")  # fmt: skip
        for level, some in chosen.items():
            if some is None:
                sets.append(f"| {cut} | {level:.1%} | none found |")
                continue
            size = len(some.places)
            random = between(others[size]) if size in others else "all"
            share, nines = found["best", size].share, found["best", size].nines.shown
            which = names(best[size].places, search.candidates)
            sets.append(f"| {cut} | {level:.1%} | {size} of {count}, {best[size].how} | {shown(share, 4)} | {nines} | "
                        f"{random} | {which} |")  # fmt: skip
        work = f"{tried} sets tried, {passes:.0f} passes, {took:.0f} s of processor time"
        print(f"* {cut}: floor {floor:.2f} nats; {work}", flush=True)
    print("\n| cut | places | searched on | on others: R_D | nines | random: median (least, most) |")
    print("| --- | --- | --- | --- | --- | --- |")
    print("\n".join(curves))
    print("\n| cut | to reach | places | on others: R_D | nines | random sets of this size | which |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    print("\n".join(sets))


def directions(given: argparse.Namespace) -> None:
    here, searched, reported = bench(given)
    few = searched[: given.bits_documents]
    print("| cut | k | directions | R_D | nines | bits a number | held, bits a position | map, kbit |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    notes = []
    here.foresee([cut_of(here.model, cut) for cut in given.cuts.split(",")], "noise")  # covariances, in one pass
    for cut in given.cuts.split(","):
        begun = time.process_time()
        search = DirectionSearch(here, cut, rows=given.rows, held=given.held, chunk=given.chunk)
        for k in map(int, given.sizes.split(",")):

            def random(draw: int, cut: str = cut, k: int = k):
                return {cut: random_directions(here, cut, k, seed=draw)}

            sets = {"random": random(0), "principal": {cut: principal_directions(here, cut, k)}}
            if given.first_order:
                sets["first order"] = {cut: search.first_order(k)}
            if cut in given.learn.split(",") and k in map(int, given.widths.split(",")):
                fit = search.learned(k, steps=given.steps, rate=given.rate)
                sets["learned"] = {cut: fit.basis}
                notes.append(f"{cut}, k {k}: {fit.start:.3f} → {fit.reached:.3f} nats on held-out reference rows, from "
                             f"{fit.begun}, best at step {fit.steps}")  # fmt: skip
            found = determined(here, {**sets, "random": random}, cut, draws=given.draws, rows=reported)
            for name, one in found.items():
                bits = held_bits(here, cut, sets[name][cut], rows=few)
                print(f"| {cut} | {k} | {name} | {shown(one.share)} | {one.nines.shown} | {bits.each} | "
                      f"{bits.position:,} | {bits.map / 1000:.1f} |", flush=True)  # fmt: skip
        whole = determined(here, {"all": [cut]}, cut, draws=given.draws, rows=reported)["all"]
        bits = held_bits(here, cut, None, rows=few)
        assert isinstance(here.model, Model)
        width = here.model.config.d_model
        figures = f"{shown(whole.share)} | {whole.nines.shown} | {bits.each} | {bits.position:,} | 0"
        print(f"| {cut} | {width} | all of it | {figures} |", flush=True)
        notes.append(f"{cut}: floor {whole.floor:.2f} nats; {time.process_time() - begun:.0f} s of processor time")
    print("\n" + "\n".join(f"* {note}" for note in notes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("what", choices=["places", "directions"])
    parser.add_argument("--cuts", required=True, help="streams, such as r1,r2")
    parser.add_argument("--documents", type=int, default=12, help="that are reported; as many are searched on")
    parser.add_argument("--context", type=int, help="tokens of a window; default: the model's")
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--search-draws", type=int, default=1)
    parser.add_argument("--sizes", default="1,2,4,8,16,32", help="of sets of places, or of sets of directions")
    parser.add_argument("--random", type=int, default=10, help="random sets of each size")
    parser.add_argument("--until", type=float, default=0.9, help="sets are shrunk until they determine less")
    parser.add_argument("--learn", default="", help="cuts at which directions are learned; --widths: how many")
    parser.add_argument("--widths", default="4,16,64")
    parser.add_argument("--first-order", action="store_true", help="directions of first order, too")
    parser.add_argument("--rows", type=int, default=64, help="reference rows that are fitted on; --held: others")
    parser.add_argument("--held", type=int, default=16)
    parser.add_argument("--chunk", type=int, default=4, help="rows of a step of learning")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rate", type=float, default=1e-2)
    parser.add_argument("--bits-documents", type=int, default=4, help="documents that bits are counted on")
    given = parser.parse_args()
    (places if given.what == "places" else directions)(given)
    print(f"\n{time.process_time() / 60:.1f} minutes of processor time", flush=True)


if __name__ == "__main__":
    main()
