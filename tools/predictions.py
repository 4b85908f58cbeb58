"""What a hypothesis predicts of a model on new inputs that tell it from its rivals, beside what knows no mechanism.

    python -m tools.predictions zoo:smollm2-135m [--wanted 200] [--seed 0]

*names*: "When Mary and John went to the store, John gave a drink to". The hypothesis: the one of both names that did
not come again; rivals: the first name, the second, the one that came again. *induction*: a random token A before b and
later before d, then A again. The hypothesis: what followed it last; rivals: what followed it first, and the last
content whatever stands before it. Inputs are drawn until each rival is told from the hypothesis on as many as are
wanted; the reference, for what knows no mechanism, is of other templates and prompts. Agreement is with what the model
answers, of all the answers that the hypothesis and the rival give. Prints Markdown.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import numpy as np

import assay
from assay.explanations.hypothesis.graph import HighLevelModel
from assay.explanations.hypothesis.predictions import predictions, separates, separating
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.runner import Runner
from assay.model.transformer import Model
from assay.stats.keyed import generator
from tools.indirect_objects import TEMPLATES
from tools.induction_depths import words
from tools.name_places import rows

WORDS = 60  # of which all prompts of *induction* are made, those of the reference too
BATCH = 32  # prompts that are drawn at once
COLUMNS = {"first": 3, "second": 6, "third": 9}  # behind the first A, the second, and another token

Rows = list[dict[str, str]]


def names(model: Model, draw: int, seed: int) -> Rows:
    """Prompts of the second half of the templates; draw -1: of the first, for the reference."""
    of = range(1, len(TEMPLATES), 2) if draw >= 0 else range(0, len(TEMPLATES), 2)
    every = list(rows(model, of, 1, seed + 100 + draw))
    return [every[int(one)] for one in generator(seed, "names", draw).permutation(len(every))[:BATCH]]


def repeats(model: Model, draw: int, seed: int) -> Rows:
    """ "f A b f A d f C e f A" with the two pairs of A before that of C, or the other way around."""
    known, out = words(model, seed)[:WORDS], Rows()
    for one in range(BATCH):
        picked = generator(seed, "repeats", draw, one).permutation(len(known))[:9].tolist()
        a, c, b, d, e, *fillers = (known[place] for place in picked)
        pairs = [(a, b), (a, d), (c, e)] if one % 2 else [(c, e), (a, b), (a, d)]
        text = "".join(f"{f}{before}{content}" for f, (before, content) in zip(fillers, pairs, strict=False))
        out.append({"clean": f"{text}{fillers[3]}{a}", "correct": d, "incorrect": b, "group": f"{draw} {one}"})
    return out


def last(example: Any) -> str:
    """What followed the current token last."""
    return _after(example)[-1]


def first(example: Any) -> str:
    return _after(example)[0]


def latest(example: Any) -> str:
    """The last content, whatever stands before it."""
    return example.tokens[COLUMNS["third"]]


def _after(example: Any) -> list[str]:
    tokens, current = example.tokens, example.tokens[-1]
    return [tokens[at] for at in COLUMNS.values() if tokens[at - 1] == current]


NAMED = {"n1": 'token("N1")', "n2": 'token("N2")', "s": 'token("S2")'}
BEHAVIOURS: dict[str, tuple[Callable[[Model, int, int], Rows], dict[str, dict[str, Any]]]] = {
    "names": (
        names,
        {
            "the one that did not come again": {**NAMED, "answer": "n2 if s == n1 else n1"},
            "the first name": {"answer": 'token("N1")'},
            "the second name": {"answer": 'token("N2")'},
            "the one that came again": {"answer": 'token("S2")'},
        },
    ),
    "induction": (
        repeats,
        {
            "what followed it last": {"answer": last},
            "what followed it first": {"answer": first},
            "the last content": {"answer": latest},
        },
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--wanted", type=int, default=200, help="inputs that tell each rival from the hypothesis")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    started = time.process_time()
    model = assay.load(given.model)
    assert isinstance(model, Model)
    for behaviour, (make, definitions) in BEHAVIOURS.items():
        models = {name: HighLevelModel.of(one) for name, one in definitions.items()}
        hypothesis, *rivals = models

        scored: Rows = []

        def tasks(make: Any = make, scored: Rows = scored) -> Iterator[assay.Task]:
            for draw in count():
                scored += (drawn := make(model, draw, given.seed))
                yield assay.Task.prompts(model, drawn, reference=make(model, -1, given.seed))

        for _ in separating(models[hypothesis], [models[one] for one in rivals], tasks(), given.wanted):
            pass
        task = assay.Task.prompts(model, scored, reference=make(model, -1, given.seed))
        print(f"\n*{behaviour}*: {len(task)} prompts. The hypothesis: {hypothesis}.\n")
        for rival in rivals:
            apart = np.flatnonzero(separates(models[hypothesis], models[rival], task))
            part = assay.Task.prompts(model, [scored[row] for row in apart], reference=make(model, -1, given.seed))
            rowed = predictions(
                PlanContext(Runner(model, part), given.seed), {hypothesis: models[hypothesis], rival: models[rival]}
            )
            if rival == rivals[0]:
                shown = ["told from", "prompts", "the hypothesis", "the rival", *(one.predictor for one in rowed[2:])]
                print(f"| {' | '.join(shown)} |\n" + "| --- " * len(shown) + "|")
            print(f"| {rival} | {len(apart)} | {' | '.join(str(one.agreement) for one in rowed)} |", flush=True)
    print(f"\n{time.process_time() - started:.0f} s of processor time")


if __name__ == "__main__":
    main()
