"""Where SmolLM2 keeps the repeated name of "When Mary and John went to the store, John gave a drink to", or the decade
of "The war lasted from the year 1732 to the year 17".

    python -m tools.name_places zoo:smollm2-135m [--high-level year] [--pairs 3] [--most 32] [--rest resample_joint]
                                                 [--heads a23.h3,a20.h0,a29.h1 --rivals 50 | --controls]

Two high-level models of one behaviour, and one of another. *name*: `subject` is the name at its second place, `first`
and `second` are the names before, and the answer is the one of the two that the subject is not; a swap takes the
subject of a row with the same two names. *order*: `repeats` says which of the two names it is that comes again, 1 or
2; a swap takes it from any row. Which heads carry the variable is searched for on one half of the templates (each
head at the end, and at the subject's second place, swapped alone, then the best of each together), and tested on the
other half. Each pair of names comes with both subjects and with two fillings of place and thing, so that there are
rows that agree on both names.

*year*: `tens` is the third digit of the first year, and the answer the digit that the model itself gives most often for
it on the selection: it goes on with a decade that is not before the first, but mostly with the same or the next. What a
swap tests is which places carry the digit, not whether this is arithmetic. `--pairs` are rows a template and digit.
With `--heads` nothing is searched: these, at the end, are scored on the test's templates by swaps and by scrubbing, and
beside them other heads of the same layers, one of each set at most the same. With `--controls` too, the same search is
run on a twin with random weights, and on the model itself for a variable whose values were put on other prompts (of
those that a swap may take it from); `--heads` are then the best ones of the model, in their order. Prints Markdown.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

import assay
from assay.explanations.hypothesis.block import strengths
from assay.explanations.hypothesis.hypothesis import PERTURBED
from assay.explanations.hypothesis.scrub import LEFT
from assay.explanations.hypothesis.values import TaskValues
from assay.find.hypothesis.search import PlaceSearch
from assay.intervene.plan import Plan
from assay.measure.controls.random_weights import randomised
from assay.stats.counted import counted
from assay.stats.estimate import Undefined
from assay.stats.keyed import generator
from tools.indirect_objects import NAMES, PLACES, TEMPLATES, THINGS

NAMED = {"first": 'token("N1")', "second": 'token("N2")'}
MODELS = {  # name -> variables, the one that is searched for, on what sources agree
    "name": (
        {**NAMED, "subject": 'token("S2")', "answer": "second if subject == first else first"},
        "subject",
        ("first", "second"),
    ),
    "order": (
        {**NAMED, "repeats": '1 if token("S2") == token("N1") else 2', "answer": "second if repeats == 1 else first"},
        "repeats",
        (),
    ),
}
SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
COLUMNS = {-1: "the end", "S2": "S2"}
SPANS = ("war", "siege", "reign", "journey", "strike", "drought", "project", "feud", "truce", "plague")
YEARS = (  # c: the century's two digits; y: the year's last two
    "The {span} lasted from the year {c}{y} to the year {c}",
    "The {span} began in {c}{y} and ended in {c}",
    "The {span} went on from {c}{y} to {c}",
    "They say that the {span} ran from {c}{y} until {c}",
    "Between {c}{y} and {c}",
    "The {span} started in the year {c}{y} and was over by the year {c}",
    "It was a long {span}, from {c}{y} to {c}",
    "The {span} ({c}{y}-{c}",
    "After the {span} of {c}{y} to {c}",
    "Records of the {span} cover the years {c}{y} to {c}",
    "He wrote about the {span} between {c}{y} and {c}",
    "During the {span}, which lasted from {c}{y} till {c}",
    "The {span} dates from {c}{y} to {c}",
    "From {c}{y} to {c}",
    "The museum has letters about the {span} from {c}{y} through {c}",
    "The {span} was fought from the year {c}{y} up to the year {c}",
)
STREAMS = 6  # between the first layer and the last, at each column


def rows(model: assay.Model, templates: range, pairs: int, seed: int) -> Iterator[dict[str, str]]:
    """Prompts of some templates."""
    tokenizer = model.tokenizer
    single = [name for name in NAMES if len(tokenizer(f" {name}", add_special_tokens=False)["input_ids"]) == 1]
    for number in templates:
        draw = np.random.default_rng([seed, number])
        for _ in range(pairs):
            a, b = draw.choice(single, size=2, replace=False).tolist()
            for _ in range(2):
                rest = {"place": draw.choice(PLACES), "thing": draw.choice(THINGS)}
                for subject, other in ((a, b), (b, a)):
                    yield {
                        "clean": TEMPLATES[number].format(a=a, b=b, s=subject, **rest),
                        "correct": f" {other}",
                        "incorrect": f" {subject}",
                        "group": f"template {number}",
                        "N1": f"{a}#1",
                        "N2": f"{b}#1",
                        "S2": f"{subject}#2",
                    }


def years(model: assay.Model, templates: range, rows: int, seed: int) -> Iterator[dict[str, str]]:
    """Prompts of some templates: so many for each third digit of the first year."""
    for number in templates:
        draw = np.random.default_rng([seed, 77, number])
        for tens in [digit for digit in range(10) for _ in range(rows)]:
            century, units = str(draw.choice((15, 16, 17, 18))), str(draw.integers(10))
            text = YEARS[number].format(c=century, y=f"{tens}{units}", span=draw.choice(SPANS))
            before = text[: text.index(century) + len(century) + 1]
            yield {
                "clean": text,
                "correct": str(tens),
                "incorrect": str((tens + 5) % 10),
                "group": f"template {number}",
                "tens": str(len(model.tokenizer(before, add_special_tokens=False)["input_ids"])),  # behind the BOS
            }


def usual(bench: assay.Workbench) -> dict[str, str]:
    """Third digit of the first year -> the digit that the model gives most often."""
    task, tokenizer = bench.task, bench.task.tokenizer
    digits = torch.tensor([tokenizer.encode(str(digit), add_special_tokens=False)[-1] for digit in range(10)])
    every = np.arange(len(task))
    logits = bench.runner.logits(Plan(), every)[torch.arange(len(task)), torch.from_numpy(task.last)]
    given = logits[:, digits].argmax(1).numpy()
    asked = task.tokens[every, task.columns["tens"]].numpy()
    own = {digit: given[asked == int(digits[digit])] for digit in range(10)}
    return {str(digit): str(np.bincount(some).argmax()) for digit, some in own.items() if len(some)}


def scored_both_ways(search: PlaceSearch, names: list[str], most: int, say: Callable[[int, int], None]) -> None:
    """Swaps, the scrubbed run at every strength, and rivals."""
    bench, found = search.workbench, search.together(names)
    print(f"{', '.join(names)}: shift {found.shift}; swaps, plain {found.plain}, perturbed {found.perturbed}\n")
    table = strengths(bench, search.with_places(names).graph(bench), True, np.arange(len(bench.task)))
    print(f"| {' | '.join(table.columns)} |\n" + "| --- " * len(table.columns) + "|")
    print("\n".join(f"| {' | '.join(map(str, row))} |" for row in table.rows))
    rivals = search.rivals(names, most, say)
    if isinstance(rivals, Undefined):
        print(f"\nno rivals: {rivals.reason}")
        return
    values = sorted(((one.value or 0.0, ", ".join(other.place_names)) for other, one in rivals), reverse=True)
    within, share = counted(found.perturbed, [value for value, _ in values])
    print(f"\n{within} of {len(values)} rivals within the interval of {found.perturbed} or above, a share of {share};")
    print(f"the best: {', '.join(f'{name} {value:.2f}' for value, name in values[:3])}")


def controls(
    searches: tuple[PlaceSearch, PlaceSearch],
    best: list[str],
    others: dict[str, tuple[PlaceSearch, PlaceSearch]],
    most: int,
    layers: range,
    say: Callable[[int, int], None],
) -> None:
    """The best heads of the model beside what the same search finds on controls, each on a selection and a test."""
    model = searches[0].workbench.model
    heads = [f"a{layer}.h{head}@-1" for layer in layers for head in range(model.config.heads)]
    for what, (selection, test) in others.items():
        ranked = selection.rank(heads, say)
        its = [one.name for one in ranked]
        ten = ", ".join(f"{one.name.split('@')[0]} {one.shift.value:.2f}" for one in ranked[:10])
        print(f"{what}, the best ten by shift on the selection: {ten}\n")
        stream = test.shift([f"r{model.config.layers}@-1"])
        print(f"the whole stream behind the last layer, on the test: {stream}\n")
        columns = ("heads", "the model's: plain", "perturbed", "the control's: shift", "plain", "perturbed")
        print(f"| {' | '.join((*columns, 'less: plain', 'perturbed'))} |")
        print("| --- " * 8 + "|")
        for size in [size for size in SIZES if size <= min(most, len(best))]:
            mine, found = searches[1].together(best[:size]), test.together(its[:size])
            paired = np.array_equal(test.after, searches[1].after)  # the same answers are wanted of the same swaps
            less = [
                str(searches[1].ahead(best[:size], test, its[:size], rest)) if paired else ""
                for rest in (LEFT, searches[1].rest)
            ]
            cells = (mine.plain, mine.perturbed, found.shift, found.plain, found.perturbed, *less)
            print(f"| {size} | " + " | ".join(map(str, cells)) + " |", flush=True)
        print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--high-level", choices=(*MODELS, "year"), default="name")
    parser.add_argument("--pairs", type=int, default=3, help="of names, a template")
    parser.add_argument("--most", type=int, default=32, help="heads swapped together")
    parser.add_argument("--templates", type=int, help="by default all that there are")
    parser.add_argument("--layers", help="FIRST:LAST, of the heads that are searched at the end alone")
    parser.add_argument("--rest", default=PERTURBED, help="what carries nothing takes it, in perturbed swaps")
    parser.add_argument("--heads", help="heads that are scored, with commas between; nothing is searched")
    parser.add_argument("--controls", nargs="?", const="both", choices=("twin", "permuted", "both"),
                        help="the same search on controls, beside --heads")  # fmt: skip
    parser.add_argument("--rivals", type=int, default=50, help="other alignments beside --heads")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    model = assay.load(given.model)

    year = given.high_level == "year"

    def bench(half: int) -> assay.Workbench:
        of = range(half, given.templates or len(YEARS if year else TEMPLATES), 2)
        make = partial(years if year else rows, model)
        scored = [*make(of, given.pairs, given.seed)]
        said = {row["clean"] for row in scored}
        reference = [row for row in make(of, 2, given.seed + 1) if row["clean"] not in said]
        task = assay.Task.prompts(model, scored, reference=reference)
        return assay.Workbench(model, task, seed=given.seed)

    selection, test = bench(0), bench(1)
    layers, heads = model.config.layers, model.config.heads
    if year:
        table = usual(selection)
        print(f"the digit that follows each: {', '.join(f'{a} → {b}' for a, b in table.items())}\n")
        variables: Any = {"tens": 'token("tens")', "answer": lambda tens: table.get(tens, tens)}
        variable, agreeing, columns = "tens", (), {-1: "the end", "tens": "the third digit"}
    else:
        (variables, variable, agreeing), columns = MODELS[given.high_level], COLUMNS
    claim = assay.Hypothesis(variables, {variable: ["a0.h0@-1"]})
    found, tested = (PlaceSearch(each, claim, variable, given.seed, agreeing, given.rest) for each in (selection, test))
    for name, one in (("selection", found), ("test", tested)):
        task = one.workbench.task
        right = (one.answers.logits(one.workbench, Plan()).argmax(1) == one.before).mean()
        print(
            f"{name}: {len(task)} prompts of {len(task.documents)} templates; the model's likeliest answer is the right"
        )
        print(f"one in {right:.0%}; the answer should change in {one.used.mean():.0%} of swaps\n")
    started = time.process_time()

    def say(done: int, of: int) -> None:
        if done % 30 == 0:
            print(f"{done} of {of}, {time.process_time() - started:.0f} s", file=sys.stderr, flush=True)

    if given.controls:
        best = [f"{head}@-1" for head in given.heads.split(",")]
        controlled: dict[str, tuple[PlaceSearch, PlaceSearch]] = {}
        asked = (claim, variable, given.seed, agreeing, given.rest)
        if given.controls != "permuted":
            twin = randomised(model, "drawn", given.seed)
            beside = [assay.Workbench(twin, half.task, seed=given.seed) for half in (selection, test)]
            controlled["a twin with random weights"] = (PlaceSearch(beside[0], *asked), PlaceSearch(beside[1], *asked))
        if given.controls != "twin":
            permuted: list[TaskValues] = []
            for one in (found, tested):
                random = generator(given.seed, "permuted variable", variable)
                permuted.append(one.values.permuted(variable, random, agreeing))
            controlled["the variable on other prompts"] = (
                PlaceSearch(selection, *asked, permuted[0]),
                PlaceSearch(test, *asked, permuted[1]),
            )
        searched = range(*map(int, given.layers.split(":"))) if given.layers else range(layers)
        controls((found, tested), best, controlled, given.most, searched, say)
        print(f"\n{time.process_time() - started:.0f} s of processor time")
        return
    if given.heads:
        scored_both_ways(tested, [f"{head}@-1" for head in given.heads.split(",")], given.rivals, say)
        print(f"\n{time.process_time() - started:.0f} s of processor time")
        return
    depths = np.linspace(0, layers, STREAMS).round().astype(int)
    print("| the stream entering layer, at | " + " | ".join(map(str, depths)) + " |\n" + "| --- " * (STREAMS + 1) + "|")
    for column, where in columns.items():
        shown = [tested.shift([f"r{depth}@{column}"]) for depth in depths]
        print(f"| {where} | " + " | ".join(map(str, shown)) + " |", flush=True)
    searched = range(*map(int, given.layers.split(":"))) if given.layers else range(layers)
    for column, where in list(columns.items())[: 1 if given.layers else None]:
        ranked = found.rank([f"a{layer}.h{head}@{column}" for layer in searched for head in range(heads)], say)
        best = [one.name for one in ranked]
        ten = ", ".join(f"{one.name.split('@')[0]} {one.shift.value:.2f}" for one in ranked[:10])
        print(f"\nheads at {where}, the best ten by shift on the selection: {ten}\n")
        print(
            "| heads | shift, selection | plain | perturbed | shift, test | plain | perturbed |\n" + "| --- " * 7 + "|"
        )
        for size in [size for size in SIZES if size <= given.most]:
            a, b = found.together(best[:size]), tested.together(best[:size])
            cells = (a.shift, a.plain, a.perturbed, b.shift, b.plain, b.perturbed)
            print(f"| {size} | " + " | ".join(map(str, cells)) + " |", flush=True)
    print(f"\n{time.process_time() - started:.0f} s of processor time")


if __name__ == "__main__":
    main()
