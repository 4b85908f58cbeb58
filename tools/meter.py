"""The meter graded: small trained systems, of which the hypothesis is right or wrong in a known way; which scores tell?

    python -m tools.meter [--seeds 3] [--rows 400] [--calibrate]

Ten networks of a few parts each (a part is an MLP that reads inputs or other parts), trained here on inputs that are
independent of each other, and scored on inputs in which what would give a wrong hypothesis away hardly shows: in all
ten systems the network answers as the hypothesis does. A hypothesis passes where the lower end of its interval is above
the threshold, and fails where the upper end is below. The threshold was chosen with `--calibrate`, on hypotheses about
a compiled transformer (`planted:sums_0`), before the ten were run; it is written here. Prints Markdown.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

import assay
from assay.explanations.hypothesis.interchange import interchange, unswapped
from assay.explanations.hypothesis.scrub import LEFT
from assay.planted.worlds import world
from assay.score.score import score
from assay.stats.estimate import Estimate

THRESHOLD = 0.72  # half way between wrong and right hypotheses in `calibrate`
VALUES = 5
RESTS = (LEFT, "resample_joint", "resample_independent")
SCORES = ("unswapped", "keep, R_D", "scrubbed, R_D", "plain", "resampled, one row", "resampled, independent")
Inputs = Mapping[str, np.ndarray]


class Parts(nn.Module):
    """Parts that read inputs, each one-hot, or other parts.

    Args:
        wiring: part -> what it reads, in order; the last one gives the logits.
    """

    def __init__(self, inputs: Sequence[str], wiring: Mapping[str, Sequence[str]]):
        super().__init__()
        self.inputs, self.wiring = tuple(inputs), dict(wiring)
        for name, reads in wiring.items():
            wide = sum(VALUES if one in inputs else 12 for one in reads)
            out = VALUES if name == "out" else 12
            self.add_module(name, nn.Sequential(nn.Linear(wide, 32), nn.ReLU(), nn.Linear(32, out)))

    def forward(self, x: Tensor) -> Tensor:
        values = dict(zip(self.inputs, x[:, : VALUES * len(self.inputs)].split(VALUES, 1), strict=True))
        for name, reads in self.wiring.items():
            values[name] = self.get_submodule(name)(torch.cat([values[one] for one in reads], 1))
        return values["out"]


@dataclass(frozen=True)
class System:
    """A network, what it is trained to answer, how its scored inputs are drawn, and a hypothesis about it.

    Attributes:
        probe: a part that is trained to tell the answer by a map of its own, which is then thrown away.
    """

    right: bool
    inputs: tuple[str, ...]
    wiring: Mapping[str, Sequence[str]]
    label: Callable[[Inputs], np.ndarray]
    scored: Callable[[np.random.Generator, int], Inputs]
    variables: Mapping[str, str | Callable[..., object]]
    places: Mapping[str, list[str]]
    probe: str | None = None


def of(name: str, inputs: Sequence[str]) -> Callable[..., int]:
    """A variable that is an input's value."""
    start = VALUES * list(inputs).index(name)
    return lambda example: int(example.inputs[start : start + VALUES].argmax())


def free(names: Sequence[str]) -> Callable[[np.random.Generator, int], Inputs]:
    return lambda random, n: {name: random.integers(VALUES, size=n) for name in names}


def _confounded(random: np.random.Generator, n: int) -> Inputs:
    p, q = random.integers(VALUES, size=(2, n))
    return {"p": p, "q": q, "c": (p >= 3).astype(int)}


def _copies(random: np.random.Generator, n: int) -> Inputs:
    x = random.integers(VALUES, size=n)
    return {"a": x, "b1": x, "b2": x}


def _twice(random: np.random.Generator, n: int) -> Inputs:
    x = random.integers(VALUES, size=n)
    return {"p": x, "q": x}


SIDE = ("p", "q", "c"), {"enc_p": ["p"], "enc_q": ["q"], "side": ["c"], "out": ["enc_p", "enc_q", "side"]}
BACKUP = ("a", "b1", "b2"), {"mediator": ["a"], "one": ["b1"], "two": ["b2"], "out": ["mediator", "one", "two"]}
SUM = ("p", "q", "r"), {"enc": ["p"], "mid": ["q", "r"], "out": ["enc", "mid"]}
CHAIN = ("x",), {"first": ["x"], "second": ["first"], "out": ["second"]}
FORK = ("x",), {"mediator": ["x"], "direct": ["x"], "out": ["direct"]}
PAIR = ("p", "q"), {"enc_p": ["p"], "enc_q": ["q"], "out": ["enc_p", "enc_q"]}

SYSTEMS = {
    "confounder, named": System(
        True, *SIDE, lambda i: (i["p"] + i["q"] + i["c"] % 2) % VALUES, _confounded,
        {"u": of("p", SIDE[0]), "v": of("q", SIDE[0]), "w": of("c", SIDE[0]),
         "answer": lambda u, v, w: (u + v + w) % VALUES},
        {"u": ["enc_p"], "v": ["enc_q"], "w": ["side"], "answer": ["out"]}),
    "inert backup": System(
        True, *BACKUP, lambda i: i["a"], _copies,
        {"x": of("a", BACKUP[0]), "answer": lambda x: x}, {"x": ["mediator"], "answer": ["out"]}),
    "right intermediate": System(
        True, *SUM, lambda i: (i["p"] + i["q"] + i["r"]) % VALUES, free(SUM[0]),
        {"u": of("p", SUM[0]), "v": of("q", SUM[0]), "w": of("r", SUM[0]), "m": lambda v, w: (v + w) % VALUES,
         "answer": lambda u, m: (u + m) % VALUES},
        {"u": ["enc"], "m": ["mid"], "answer": ["out"]}),
    "right direction": System(
        True, *CHAIN, lambda i: i["x"], free(CHAIN[0]),
        {"a": of("x", CHAIN[0]), "b": lambda a: a, "answer": lambda b: b},
        {"a": ["first"], "b": ["second"], "answer": ["out"]}),
    "hidden confounder": System(
        False, *SIDE, lambda i: (i["p"] + i["q"] + i["c"] % 2) % VALUES, _confounded,
        {"u": of("p", SIDE[0]), "v": of("q", SIDE[0]), "answer": lambda u, v: (u + v + int(u >= 3)) % VALUES},
        {"u": ["enc_p"], "v": ["enc_q"], "answer": ["out"]}),
    "XOR-masked backup": System(
        False, *BACKUP, lambda i: np.where(i["b1"] == i["b2"], i["a"], (i["b1"] + 2) % VALUES), _copies,
        {"x": of("a", BACKUP[0]), "answer": lambda x: x}, {"x": ["mediator"], "answer": ["out"]}),
    "wrong intermediate": System(
        False, *SUM, lambda i: (i["p"] + i["q"] + i["r"]) % VALUES, free(SUM[0]),
        {"u": of("r", SUM[0]), "v": of("p", SUM[0]), "w": of("q", SUM[0]), "m": lambda v, w: (v + w) % VALUES,
         "answer": lambda u, m: (u + m) % VALUES},
        {"u": ["enc"], "m": ["mid"], "answer": ["out"]}),
    "spurious mediator": System(
        False, *FORK, lambda i: (2 * i["x"] + 1) % VALUES, free(FORK[0]),
        {"m": of("x", FORK[0]), "answer": lambda m: (2 * m + 1) % VALUES}, {"m": ["mediator"], "answer": ["out"]},
        probe="mediator"),
    "unreachable states": System(
        False, *PAIR, lambda i: np.maximum(i["p"], i["q"]), _twice,
        {"u": of("p", PAIR[0]), "v": of("q", PAIR[0]), "answer": lambda u, v: min(u, v)},
        {"u": ["enc_p"], "v": ["enc_q"], "answer": ["out"]}),
    "reversed direction": System(
        False, *CHAIN, lambda i: i["x"], free(CHAIN[0]),
        {"b": of("x", CHAIN[0]), "a": lambda b: b, "answer": lambda a: a},
        {"a": ["first"], "b": ["second"], "answer": ["out"]}),
}  # fmt: skip


def encoded(inputs: Inputs, order: Sequence[str]) -> Tensor:
    """[rows, inputs x values], one-hot."""
    values = torch.from_numpy(np.stack([inputs[name] for name in order], 1).astype(np.int64))
    return nn.functional.one_hot(values, VALUES).flatten(1).float()


def examples(system: System, random: np.random.Generator, n: int) -> tuple[Tensor, Tensor]:
    """Inputs as they are scored, and labels; a number that no part reads tells rows with the same inputs apart."""
    inputs = system.scored(random, n)
    apart = torch.from_numpy(random.random((n, 1))).float()
    labels = torch.from_numpy(system.label(inputs).astype(np.int64))
    return torch.cat([encoded(inputs, system.inputs), apart], 1), labels


def trained(system: System, seed: int, steps: int = 3000) -> tuple[Parts, float]:
    """The network, and its accuracy on independent inputs and on those that are scored."""
    torch.manual_seed(seed)
    random = np.random.default_rng([seed, 1])
    net, probe = Parts(system.inputs, system.wiring), nn.Linear(12, VALUES)
    optimizer = torch.optim.Adam([*net.parameters(), *probe.parameters()], lr=3e-3)
    kept: list[Tensor] = []
    hook = net.get_submodule(system.probe).register_forward_hook(lambda *a: kept.append(a[2])) if system.probe else None

    def drawn(n: int) -> tuple[Tensor, Tensor]:
        # half of them as they are scored, which independent ones hardly ever are
        parts = [free(system.inputs)(random, n // 2), system.scored(random, n - n // 2)]
        inputs = {name: np.concatenate([part[name] for part in parts]) for name in system.inputs}
        return encoded(inputs, system.inputs), torch.from_numpy(system.label(inputs).astype(np.int64))

    for _ in range(steps):
        x, y = drawn(256)
        kept.clear()
        loss = nn.functional.cross_entropy(net(x), y)
        if kept:
            loss = loss + nn.functional.cross_entropy(probe(kept[0]), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if hook is not None:
        hook.remove()
    x, y = drawn(2000)
    return net.eval(), float((net(x).argmax(1) == y).float().mean())


def graded(bench: assay.Workbench, claim: assay.Hypothesis, keep: Sequence[str]) -> tuple[dict[str, Estimate], int]:
    """Every score of a hypothesis, the worst over what is swapped; and how many swaps there were."""
    graph = claim.graph(bench)
    out = {"unswapped": unswapped(bench, graph)}
    kept = assay.Keep(list(keep))
    plans = {
        "claim": claim.plan(bench, "resample_independent"), "floor": claim.floor(bench, "resample_independent"),
        "keep": kept.plan(bench, "mean"), "nothing": kept.floor(bench, "mean"),
    }  # fmt: skip
    found = score(bench, plans)
    resamples = bench.task.resamples(np.flatnonzero(found.count > 0), bench.seed, found.count[found.count > 0])
    for name, (one, floor) in {"keep, R_D": ("keep", "nothing"), "scrubbed, R_D": ("claim", "floor")}.items():
        left = resamples.ratio(found[one].kl[found.count > 0], found[floor].kl[found.count > 0], nonnegative=True)
        out[name] = left.map(lambda share: 1 - share, decreasing=True)
    swapped = interchange(bench, graph, RESTS, bench.seed)
    for rest, name in zip(RESTS, SCORES[3:], strict=True):
        out[name] = min((one.value(rest) for one in swapped), key=lambda e: 2.0 if e.value is None else e.value)
    return out, sum(one.swaps for one in swapped)


def line(name: str, what: str, found: Mapping[str, Estimate], swaps: int) -> str:
    return f"| {name} | {what} | {swaps:,} | " + " | ".join(str(found[score]) for score in SCORES) + " |"


def header(first: str, second: str) -> str:
    return f"| {first} | {second} | swaps | " + " | ".join(SCORES) + " |\n" + "| --- " * (3 + len(SCORES)) + "|"


def calibrate(rows: int) -> None:
    """Right and wrong hypotheses about a compiled transformer."""
    planted = world("planted:sums_0")
    variables = {"u": "number(1)", "v": "number(3)", "total": "u + v", "answer": "total"}
    places = {"u": ["a0.h1"], "v": ["a0.h2"], "total": ["m1"]}
    plain = {"u": "number(1)", "v": "number(3)", "answer": "u + v"}
    cases = {
        "as planted": (True, variables, places),
        "its sum is the answer": (True, plain, {"u": ["a0.h1"], "v": ["a0.h2"], "answer": ["m1"]}),
        "swapped places": (False, variables, {**places, "u": ["a0.h2"], "v": ["a0.h1"]}),
        "a wrong intermediate": (False, {**variables, "total": "u + 2 * v"}, places),
        "an idle part": (False, variables, {**places, "u": ["a0.h0"]}),
        "coarser variables": (False, {**variables, "u": "number(1) % 2", "v": "number(3) % 2"}, places),
        "a part left out": (False, plain, {"u": ["a0.h1"], "v": ["a0.h2"]}),
    }
    print(header("hypothesis", "it is"))
    ends: dict[bool, list[float]] = {True: [], False: []}
    for name, (right, made, where) in cases.items():
        bench = assay.Workbench(planted.model, planted.task(rows, seed=1))
        found, swaps = graded(bench, assay.Hypothesis(made, where), [p for some in where.values() for p in some])
        strict = found[SCORES[-1]]
        ends[right].append(float((strict.low if right else strict.high) or 0.0))
        print(line(name, "right" if right else "wrong", found, swaps), flush=True)
    least, most = min(ends[True]), max(ends[False])
    print(f"\nright ones from {least:.2f} on, wrong ones up to {most:.2f}: half way is {(least + most) / 2:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--calibrate", action="store_true")
    parser.add_argument("--only", choices=SYSTEMS)
    given = parser.parse_args()
    started = time.process_time()
    if given.calibrate:
        calibrate(given.rows)
        return
    told: dict[str, dict[str, int]] = {name: {"right": 0, "wrong": 0, "open": 0} for name in SCORES}
    print(header("hypothesis", "it is"))
    for name, system in SYSTEMS.items():
        if given.only not in (None, name):
            continue
        for seed in range(given.seeds):
            net, accuracy = trained(system, seed)
            random = np.random.default_rng([seed, 2])
            held, scored = (examples(system, random, n) for n in (given.rows // 4, given.rows))
            bench = assay.Workbench(net, assay.Task.classify(net, *scored, reference=held), seed=seed)
            claim = assay.Hypothesis(dict(system.variables), system.places)
            found, swaps = graded(bench, claim, [p for some in system.places.values() for p in some])
            for score_name, estimate in found.items():
                passes = (estimate.low if estimate.low is not None else -1.0) > THRESHOLD
                fails = (estimate.high if estimate.high is not None else 2.0) < THRESHOLD
                verdict = "open" if not (passes or fails) else "right" if passes == system.right else "wrong"
                told[score_name][verdict] += 1
            what = f"{'right' if system.right else 'wrong'} (seed {seed}, {accuracy:.3f})"
            print(line(name, what, found, swaps), flush=True)
    print("\n| score | told rightly | wrongly | not told |\n| --- | --- | --- | --- |")
    for name, counts in told.items():
        print(f"| {name} | {counts['right']} | {counts['wrong']} | {counts['open']} |")
    print(f"\n{time.process_time() - started:.0f} s of processor time")


if __name__ == "__main__":
    main()
