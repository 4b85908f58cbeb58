"""What a hypothesis costs: the scrubbed run beside a plain scrubber with hooks, interchange beside pyvene.

    python -m speed.hypotheses [--case scrub interchange growth] [--model gpt2 zoo:novel-4l] [--examples 1000]
                               [--threads 1] [--repeats 3]

*scrub*: a hypothesis of depth 3 (two heads read two tokens, a third head what they say, a fourth what that says) over
prompts of 12 random tokens, everything else from other rows (one row for a run; a row for each part). The plain
scrubber runs rows in batches with a hook a layer, runs equal rows once and reads all logits, as the library gives them
(tests/naive/batched_scrubbing.py). Both draw the same data, and their KL from the model agrees. *growth*: ours, by
depth and by variables a level. *interchange*: every head of three layers takes its value from another prompt, 32 pairs;
pyvene in a Python of its own (docs/benchmarks.md), which gives the same logits.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import assay
from assay.explanations.hypothesis.scrub import Graph, Scrub
from assay.intervene.components import complement
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.plan import Edit, EditRun, From, Plan
from assay.intervene.runner import Runner
from assay.model.load import load
from assay.model.transformer import Model
from assay.names import parse_site
from assay.score.score import score
from assay.task.task import Task
from speed.models import bench_of, handed, network
from speed.peers import MissingPeerError, Peer
from speed.timing import Row, Seconds, in_turn, middle, timed
from tests.naive.batched_scrubbing import Scrubber

WIDTH, COLUMNS, VALUES = 12, 8, 4  # tokens of a prompt, of which so many have so few values
SCRUB, PYVENE = 3.0, 5.0  # times faster, at least
PAIRS, LAYERS = 32, (0.25, 0.5, 0.75)  # of interchange; layers as shares of the depth
FEW = 50  # logits that are compared with the peer's


def opened(library: Any) -> Model:
    model = load(library)
    assert isinstance(model, Model)
    return model


def task_of(library: Any, examples: int) -> Task:
    """Random prompts whose first columns have few values, so that many rows agree on them."""
    task = bench_of(library, examples, WIDTH).task
    tokens = task.tokens.clone()
    few = np.random.default_rng(0).integers(1, 1 + VALUES, (examples, COLUMNS))
    tokens[:, 1 : 1 + COLUMNS] = torch.from_numpy(few)
    return replace(task, tokens=tokens)


def _input(column: int) -> Any:
    return lambda example: int(example.inputs[column])


def hypothesis(layers: int, depth: int, width: int) -> assay.Hypothesis:
    """Levels of variables, each carried by a head; a level reads all of the one before."""
    variables: dict[str, Any] = {}
    places: dict[str, list[str]] = {}
    before: list[str] = []
    for level in range(depth):
        layer = round((level + 1) * layers / (depth + 1))
        names = [f"v{level}_{one}" for one in range(width)]
        for one, name in enumerate(names):
            variables[name] = " + ".join(before) if before else _input(1 + one)
            places[name] = [f"a{layer}.h{one}"]
        before = names
    return assay.Hypothesis({**variables, "answer": " + ".join(before)}, places)


class Case:
    """A hypothesis on a model, in both ways; `kl`: nats from the model, of the last run."""

    def __init__(self, model: Any, library: Any, task: Task, claim: assay.Hypothesis, rest: str):
        self.bench, self.library, self.rest = PlanContext(Runner(model, task)), library, rest
        self.graph: Graph = claim.graph(self.bench)
        self.kl = {"ours": 0.0, "plain": 0.0}

    def ours(self) -> Seconds:
        bench = PlanContext(Runner(self.bench.model, self.bench.task))  # nothing is known from before
        scrub = Scrub(bench, self.graph, self.rest)
        taken, found = timed(lambda: score(bench, {0: scrub.plan()}))
        self.kl["ours"] = found.mean_kl(0)
        return taken

    def plain(self) -> Seconds:
        places = {name: [str(one.site) for one in some] for name, some in self.graph.places.items()}
        named = [parse_site(place) for some in places.values() for place in some]
        draws = Scrub(self.bench, self.graph, self.rest)
        scrubber = Scrubber(
            self.library,
            self.bench.task.tokens[:, :-1],
            places,
            self.graph.reads,
            self.graph.loose,
            [str(site) for site in complement(named, self.bench.model)],
            lambda names, data, path: draws.agreeing(tuple(names), True, data, path),
            joint=self.rest == "resample_joint",
        )

        def run() -> float:
            with torch.no_grad():
                explained = scrubber.log_probs(self.graph.answer)
                clean = scrubber.run(scrubber.every, {}, set())[0]  # as a script does that scores it
            return float((clean.exp() * (clean - explained)).sum(-1).double().mean())

        taken, self.kl["plain"] = timed(run)
        return taken


def scrub(name: str, examples: int, repeats: int) -> Iterator[Row]:
    """Depth 3 and two variables a level, in both ways."""
    library = network(name)
    model, task = opened(library), task_of(library, examples)
    for rest in ("resample_joint", "resample_independent"):
        case = Case(model, library, task, hypothesis(model.config.layers, 3, 2), rest)
        taken = in_turn({"ours": case.ours, "plain": case.plain}, repeats)
        if abs(case.kl["ours"] - case.kl["plain"]) > 1e-4 * max(case.kl["plain"], 1e-3):
            raise SystemExit(
                f"{name}, {rest}: KL {case.kl['ours']:.6g} in ours and {case.kl['plain']:.6g} in the script"
            )
        what = f"{name}, {rest}, {examples} examples, depth 3, 2 a level"
        yield Row(what, taken["ours"], "a plain scrubber", taken["plain"], SCRUB, f"KL {case.kl['ours']:.4f} in both")


def growth(name: str, examples: int) -> Iterator[str]:
    """Ours alone: time, and the most memory so far, by depth and width."""
    library = network(name)
    model, task = opened(library), task_of(library, examples)
    for depth, width in ((1, 1), (2, 1), (3, 1), (4, 1), (2, 2), (3, 2), (2, 4), (3, 4)):
        if depth >= model.config.layers:
            continue  # two levels in one layer
        case = Case(model, library, task, hypothesis(model.config.layers, depth, width), "resample_independent")
        runs = len(Scrub(case.bench, case.graph, case.rest).plan().runs)
        taken = case.ours()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        yield f"{name}, depth {depth}, {width} a level: {runs} runs, {taken.cpu:.1f} s cpu, peak so far {peak:.2f} GB"


def interchange(name: str, repeats: int, threads: int) -> Iterator[Row]:
    """Each head of three layers from another prompt, all columns, logits at the end."""
    library = network(name)
    model = opened(library)
    layers = [round(share * model.config.layers) for share in LAYERS]
    heads = [(layer, head) for layer in layers for head in range(model.config.heads)]
    task = bench_of(library, PAIRS, WIDTH).task

    def ours() -> tuple[Seconds, np.ndarray]:
        bench = PlanContext(Runner(model, task))
        plans = {}
        for layer, head in heads:
            site = parse_site(f"a{layer}.h{head}")
            edits = (Edit(site, From("counterfactual", None)),)
            plans[layer, head] = Plan((EditRun("counterfactual", "counterfactual"), EditRun("swapped", edits=edits)))
        known = np.arange(FEW)
        taken, found = timed(lambda: score(bench, plans, chosen=known))
        return taken, np.stack([found[key].logits for key in heads])

    with tempfile.TemporaryDirectory() as folder:
        handed(library, PlanContext(Runner(model, task)), Path(folder) / "given.safetensors")
        with Peer("pyvene", Path(folder) / "given.safetensors", threads) as peer:
            its: list[Seconds] = []
            mine: list[Seconds] = []
            for _ in range(repeats):
                taken, logits = ours()
                mine.append(taken)
                seconds, found = peer("interchange", heads=heads)
                its.append(seconds)
            off = float(np.abs(logits - np.array(found)).max())
            if off > 1e-3:
                raise SystemExit(f"{name}: logits of {peer.name} and ours are {off:.3g} apart")
            what = f"{name}, {len(heads)} heads of layers {', '.join(map(str, layers))}, {PAIRS} pairs"
            yield Row(what, middle(mine), peer.name, middle(its), PYVENE, f"logits within {off:.1g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", default=["scrub", "growth", "interchange"])
    parser.add_argument("--model", nargs="+", default=["gpt2"])
    parser.add_argument("--examples", type=int, default=1_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    for name in given.model:
        for case in given.case:
            cases = {
                "scrub": lambda name=name: scrub(name, given.examples, given.repeats),
                "growth": lambda name=name: growth(name, given.examples),
                "interchange": lambda name=name: interchange(name, given.repeats, given.threads),
            }
            if case not in cases:
                raise SystemExit(f"there is no case {case!r}, only {', '.join(cases)}")
            try:
                for row in cases[case]():
                    print(row, flush=True)
            except MissingPeerError as problem:
                print(problem, flush=True)


if __name__ == "__main__":
    main()
