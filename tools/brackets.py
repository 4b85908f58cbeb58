"""Balanced brackets: does a network that tells them do it as published, and which figure says so?

    python -m tools.brackets [--seeds 3] [--rows 600] [--steps 500]

A causal transformer of two layers is trained here to answer "yes" or "no" after "=", on strings of 4 to 20 brackets;
of what is not balanced, half is a balanced string with little changed. A quarter of all strings is kept from training:
on one part of those the places of the two published variables are searched for, on another one hypotheses are scored
(Chan et al. 2022, "Causal scrubbing: results on a paren balance checker"): *count*, as many open as close, and
*horizon*, no beginning has more that close; the answer is their conjunction. All hypotheses here name the same places,
and all but one give the published one's answer on every string. For each seed there are two networks: *as it comes*,
trained on answers alone, and *taught*, trained on swaps too, so that the published hypothesis is right by what it was
made for. Prints Markdown.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

import assay
from assay.explanations.hypothesis.interchange import (
    Answers,
    Swapper,
    draw_swaps,
    interchange,
    share,
    unswapped,
)
from assay.explanations.hypothesis.predictions import differing_swaps
from assay.explanations.hypothesis.scrub import LEFT, Scrub
from assay.find.hypothesis.search import PlaceSearch
from assay.model.transformer import Model
from assay.score.score import score
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate
from tools.bracket_networks import (
    KINDS,
    REFERENCE,
    SCORED,
    SEARCHED,
    accuracies,
    network,
    prompts,
    tokenizer,
    train,
)
from tools.meter import THRESHOLD

RESAMPLED = "resample_independent"
RESTS = (LEFT, "resample_joint", RESAMPLED)
FIGURES = (
    "unswapped", "places kept, R_D", "parts kept, R_D", "scrubbed, R_D", "nines", "the rest left", "one row",
    "a row for each part",
)  # fmt: skip
DUEL = "as the published one"
SAID = {"level": "count", "above": "horizon", "answer": "answer"}
NEAR = 0.01  # a set of places does as well as any where its share of right answers is less than this under the best

# -- hypotheses


@dataclass(frozen=True)
class Pair:
    """A hypothesis: what the count's places carry, and what the horizon's do; the answer is their conjunction."""

    count: str
    horizon: str
    exchanged: bool = False  # each in the places of the other

    def claim(self, places: dict[str, list[str]]) -> assay.Hypothesis:
        variables = {"level": self.count, "above": self.horizon, "answer": '"yes" if level and above else "no"'}
        where = {**places, "level": places["above"], "above": places["level"]} if self.exchanged else places
        return assay.Hypothesis(variables, where)


COUNT, HORIZON = 'count("(") == count(")")', 'lowest("(", ")") >= 0'
CLOSED, UNLESS = 'count("(") <= count(")")', f'{HORIZON} or count("(") > count(")")'
PUBLISHED = "published: count, horizon"
PAIRS = {
    PUBLISHED: Pair(COUNT, HORIZON),
    "each in the other's places": Pair(COUNT, HORIZON, exchanged=True),
    "count and first opens, horizon": Pair(f'{COUNT} and token(1) == "("', HORIZON),
    "count, first opens and last closes": Pair(COUNT, 'token(1) == "(" and token(-2) == ")"'),
    "none left open, horizon": Pair(CLOSED, HORIZON),
    "count, horizon unless some are left open": Pair(COUNT, UNLESS),
    "none left open, horizon unless some are": Pair(CLOSED, UNLESS),
}


@dataclass(frozen=True)
class Found:
    """Places by variable, and how it was found.

    Attributes:
        shifts: variable -> part -> by how many nats a swap of it alone moves the answer; tries: sets that were swapped.
    """

    places: dict[str, list[str]]
    shifts: dict[str, dict[str, float]]
    tries: int


def find(bench: assay.Workbench, seed: int) -> Found:
    """Which parts at the end carry the published variables. Each is the variable's that it moves the answer by more;
    of those, the best by this alone are taken together, the fewest that do as well as any number of them. The last
    layer's MLP is said to form the answer."""
    assert isinstance(bench.model, Model)
    config = bench.model.config
    parts = [f"a{layer}.h{head}@-1" for layer in range(config.layers) for head in range(config.heads)]
    parts += [f"m{layer}@-1" for layer in range(config.layers - 1)]
    last = f"m{config.layers - 1}"
    start = {"level": parts[:1], "above": parts[1:2], "answer": [last]}
    searches = {name: PlaceSearch(bench, PAIRS[PUBLISHED].claim(start), name, seed)
                for name in ("level", "above")}  # fmt: skip
    shifts = {name: {one.name: float(one.shift) for one in search.rank(parts)} for name, search in searches.items()}
    tries = len(searches) * len(parts)
    places = {"answer": [last]}
    for name, search in searches.items():
        other = shifts["above" if name == "level" else "level"]
        own = [part for part, shift in shifts[name].items() if shift > max(other[part], 0.0)]
        shares = [search.answered(own[: k + 1]) for k in range(len(own))]
        tries += len(own)
        enough = next(k for k, share in enumerate(shares) if share >= max(shares) - NEAR)
        places[name] = own[: enough + 1]
    return Found({name: places[name] for name in ("level", "above", "answer")}, shifts, tries)


def nines(left: Estimate) -> Estimate:
    """Of the share that is left; open above where the interval's lower end is not positive."""
    if left.value is None or left.value <= 0 or left.high is None:
        return Estimate.undefined("nothing is left", left.n)
    low, high = -float(np.log10(left.high)), None if left.low is None or left.low <= 0 else -float(np.log10(left.low))
    reason = None if high is not None else "the interval of what is left goes down to 0"
    return Estimate(-float(np.log10(left.value)), low, high, left.n, reason, left.method)


def measured(bench: assay.Workbench, claim: assay.Hypothesis) -> tuple[dict[str, Estimate], int]:
    """Every figure of a hypothesis, of swaps the worst over what is swapped; and how many swaps there were."""
    graph = claim.graph(bench)
    out = {"unswapped": unswapped(bench, graph)}
    sites = frozenset(one.site for name in graph.carried for one in graph.places[name])
    kept = assay.Keep(sorted({name.split("@")[0] for name in claim.place_names}))
    plans = {
        "places kept, R_D": Scrub(bench, graph, "mean", own=sites).plan(),
        "parts kept, R_D": kept.plan(bench, "mean"),
        "nothing kept": kept.floor(bench, "mean"),
        "scrubbed, R_D": claim.plan(bench, RESAMPLED),
        "without condition": claim.floor(bench, RESAMPLED),
    }
    found = score(bench, plans)
    used = found.count > 0
    resamples = bench.task.resamples(np.flatnonzero(used), bench.seed, found.count[used])
    for name in FIGURES[1:4]:
        floor = "without condition" if name == "scrubbed, R_D" else "nothing kept"
        left = resamples.ratio(found[name].kl[used], found[floor].kl[used], nonnegative=True)
        out[name] = left.map(lambda share: 1 - share, decreasing=True)
        out["nines"] = nines(left)
    swapped = interchange(bench, graph, RESTS, bench.seed)
    for rest, name in zip(RESTS, FIGURES[5:], strict=True):
        out[name] = min((one.value(rest) for one in swapped), key=lambda e: 2.0 if e.value is None else e.value)
    return out, sum(one.swaps for one in swapped)


@dataclass(frozen=True)
class Duel:
    """A hypothesis against the published one in the same places.

    Attributes:
        inputs, swaps: the shares of inputs, and of the published one's swaps, on which they answer differently.
        published: of those swaps the share on which the network answers as the published one; how many in `differ`.
    """

    inputs: float
    swaps: float
    differ: int
    published: Estimate


def duels(bench: assay.Workbench, claim: assay.Hypothesis, others: Mapping[str, assay.Hypothesis]) -> dict[str, Duel]:
    """Other hypotheses with the same places against a claim, on its swaps, everything else from a row for each part."""
    graph, task = claim.graph(bench), bench.task
    several = [*((name,) for name in graph.carried), graph.carried]
    drawn = [draw_swaps(graph, names, bench.seed) for names in several]
    known = Answers(task, (answer for one in drawn for some in one.answers for answer in some))
    plans = {
        (which, draw): Swapper(bench, graph, RESAMPLED, draw).swap(one, draw)
        for which, one in enumerate(drawn)
        for draw in range(len(one.answers))
    }
    given = known.given(bench, plans)
    agree = {key: given[key] == [known.ids[answer] for answer in drawn[key[0]].answers[key[1]]] for key in plans}
    document = np.asarray(task.document)
    out = {}
    for name, other in others.items():
        beside = other.graph(bench)
        apart = {key: differing_swaps(graph, beside, drawn[key[0]], key[1]) for key in plans}
        count, hits = (
            sum(np.bincount(document[some], minlength=len(task.documents)).astype(float) for some in found)
            for found in (apart.values(), (apart[key] & agree[key] for key in plans))
        )
        resamples = Resamples(len(task.documents), task.strata, bench.seed, clusters=task.clusters)
        inputs = [a[graph.answer] != b[beside.answer]
                  for a, b in zip(graph.values.rows, beside.values.rows, strict=True)]  # fmt: skip
        every = np.concatenate(list(apart.values()))
        won = share(resamples, np.asarray(hits), np.asarray(count)) if every.any() else Estimate.undefined("they agree")
        out[name] = Duel(float(np.mean(inputs)), float(every.mean()), int(every.sum()), won)
    return out


def report(seed: int, rows: int, steps: int, *, taught: bool) -> dict[str, dict[str, Estimate]]:
    """Trains a network, and prints and gives every figure of every hypothesis."""
    net = network(seed)
    train(net, seed, steps, taught=taught)
    model = assay.load(net, tokenizer=tokenizer())

    def bench(part: int) -> assay.Workbench:
        reference = prompts(seed, REFERENCE, rows // 3)
        task = assay.Task.prompts(model, prompts(seed, part, rows), reference=reference)
        return assay.Workbench(model, task, seed=seed)

    right = [f"{kind} {of:.4f} of {n:,}" for kind, (of, n) in zip(KINDS, accuracies(net, seed), strict=True)]
    print(f"\nSeed {seed}, {'taught' if taught else 'as it comes'}. Answered rightly: {', '.join(right)}.\n")
    found = find(bench(SEARCHED), seed)
    print("Each part at the end alone, by how many nats a swap moves the answer, on what is not scored:\n")
    for name, shift in found.shifts.items():
        print(f"- {SAID[name]}: " + ", ".join(f"{part.split('@')[0]} {nats:.1f}" for part, nats in shift.items()))
    said = "; ".join(f"{SAID[name]} {', '.join(some)}" for name, some in found.places.items())
    print(f"\n{found.tries} sets of places were swapped. Found: {said}.\n")
    scored = bench(SCORED)
    claims = {name: pair.claim(found.places) for name, pair in PAIRS.items()}
    rivals = {name: claim for name, claim in claims.items() if name != PUBLISHED and not PAIRS[name].exchanged}
    fought = duels(scored, claims[PUBLISHED], rivals)
    print("| hypothesis | swaps | " + " | ".join(FIGURES) + f" | differ: inputs | swaps | {DUEL} |")
    print("| --- " * (5 + len(FIGURES)) + "|")
    out = {}
    for name, claim in claims.items():
        out[name], swaps = measured(scored, claim)
        last, duel = ["", "", ""], fought.get(name)
        if duel is not None:
            last = [f"{duel.inputs:.1%}", f"{duel.swaps:.1%} ({duel.differ})", str(duel.published)]
        cells = [name, f"{swaps:,}", *(str(out[name][figure]) for figure in FIGURES), *last]
        print(f"| {' | '.join(cells)} |", flush=True)
        if duel is not None:
            out[name][DUEL] = duel.published
    return out


def summary(networks: Sequence[Mapping[str, Mapping[str, Estimate]]], *, taught: bool) -> str:
    """Each figure of all networks by seed; of what was taught, too, which figures tell the right one from the wrong
    ones: by the meter's threshold, and in a duel by more than half of the swaps."""
    columns = (*FIGURES, DUEL)
    lines = ["| hypothesis | " + " | ".join(columns) + " |", "| --- " * (1 + len(columns)) + "|"]
    for name in PAIRS:
        values = [[one[name][figure].value for one in networks if figure in one[name]] for figure in columns]
        cells = [" / ".join("undefined" if v is None else f"{v:.2f}" for v in some) for some in values]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    if taught:
        lines += ["", "| figure | told rightly | wrongly | not told |", "| --- | --- | --- | --- |"]
        for figure in columns:
            if figure == "nines":
                continue
            several = [(name, one[name][figure]) for one in networks for name in PAIRS if figure in one[name]]
            told = [_told(value, name, duel=figure == DUEL) for name, value in several]
            lines.append(f"| {figure} | " + " | ".join(str(told.count(how)) for how in (True, False, None)) + " |")
    return "\n".join(lines)


def _told(figure: Estimate, name: str, *, duel: bool) -> bool | None:
    """Whether a figure says of a network to which the published one was taught what is right; None where it does not
    say. A duel is the published one's: passed, it says that the other is wrong."""
    threshold, right = (0.5, True) if duel else (THRESHOLD, name == PUBLISHED)
    if figure.low is not None and figure.low > threshold:
        return right
    return not right if figure.high is not None and figure.high < threshold else None


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=600, help="scored strings; as many are searched on")
    parser.add_argument("--steps", type=int, default=500, help="of training")
    options = parser.parse_args(given)
    started = time.process_time()
    for taught in (False, True):
        found = [report(seed, options.rows, options.steps, taught=taught) for seed in range(options.seeds)]
        print(f"\n{len(found)} networks, {'taught' if taught else 'as they come'}, by seed\n")
        print(summary(found, taught=taught))
        print(f"\n{time.process_time() - started:.0f} s of processor time", flush=True)


if __name__ == "__main__":
    main()
