"""Induction as a hypothesis at three depths: scrubbed, interchange and ablation scores side by side.

    python -m tools.induction_depths zoo:novel-attn2 [--previous 2] [--induction 5] [--blocks 10] [--seed 0]

Prompts of eleven tokens, " f g A b h i C d j A" behind the start of text: what followed A is right. A block has three
triggers (A, C) and two contents (b, d) in all their orders, 24 prompts with fillers of their own, and is a document;
its tokens are drawn from the vocabulary. Heads are those of the highest induction and previous-token scores on other
tokens, none under 0.15.

*Which tokens*: the induction heads carry, at the end, the token behind the trigger's first occurrence. *Through which
heads*: the previous-token heads carry, behind each trigger, which one it is, and the induction heads form the answer.
*Through which composition*: both at once, so that previous-token heads reach the output through induction heads alone,
directly; treeified, each induction head takes data of its own. Prints Markdown.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from inspect import Parameter, Signature
from itertools import permutations
from typing import Any

import numpy as np

import assay
from assay.explanations.base import Explanation
from assay.explanations.hypothesis.block import STRENGTHS
from assay.explanations.hypothesis.hypothesis import PERTURBED
from assay.explanations.hypothesis.interchange import interchange, least, unswapped
from assay.explanations.hypothesis.scrub import LEFT, Graph, Scrub
from assay.intervene.plan import Plan
from assay.methods.head_scores import head_scores
from assay.model.transformer import Model
from assay.score.score import score
from assay.stats.estimate import Estimate
from assay.stats.keyed import generator

FIRST, SECOND = 4, 8  # columns of the two contents, each behind its trigger
TRIGGERS, CONTENTS, FILLERS = 3, 2, 5
SCORES = ("scrubbed", "swaps", "kept")
LEAST = 0.15  # the score of a head that is taken


def words(model: Any, seed: int) -> list[str]:
    """Texts of single tokens: a space and three letters or more, in random order."""
    tokenizer = model.tokenizer
    texts = (tokenizer.decode([token]) for token in range(model.config.vocab))
    some = [text for text in texts if text[:1] == " " and len(text) > 3 and text[1:].isalpha() and text.isascii()]
    return [some[int(place)] for place in generator(seed, "words").permutation(len(some))]


def prompts(known: Sequence[str], blocks: int, seed: int) -> Iterator[dict[str, str]]:
    """All orders of each block's triggers and contents."""
    width = TRIGGERS + CONTENTS
    fillers = known[blocks * width :]
    for block in range(blocks):
        own = known[block * width : (block + 1) * width]
        for a, c in permutations(own[:TRIGGERS], 2):
            for b, d in permutations(own[TRIGGERS:], 2):
                for end, right, wrong in ((a, b, d), (c, d, b)):
                    some = generator(seed, "fillers", block, a, b, c, end).integers(0, len(fillers), FILLERS)
                    f, g, h, i, j = (fillers[int(one)] for one in some)
                    yield {
                        "clean": f"{f}{g}{a}{b}{h}{i}{c}{d}{j}{end}",
                        "correct": right,
                        "incorrect": wrong,
                        "group": f"block {block}",
                        "one": str(FIRST),
                        "two": str(SECOND),
                    }


def befores(example: Any) -> tuple[str, str]:
    """The tokens before the two contents."""
    return example.tokens[FIRST - 1], example.tokens[SECOND - 1]


def contents(example: Any) -> tuple[str, str]:
    return example.tokens[FIRST], example.tokens[SECOND]


def after(befores: tuple[str, str], contents: tuple[str, str], current: str) -> str | None:
    """The content behind the current token; None where it stands before neither, or both."""
    found = {content for before, content in zip(befores, contents, strict=True) if before == current}
    return found.pop() if len(found) == 1 else None


INPUTS: dict[str, Any] = {"befores": befores, "contents": contents, "current": "token(-1)"}


def claims(previous: Sequence[str], induction: Sequence[str]) -> dict[str, tuple[assay.Hypothesis, assay.Hypothesis]]:
    """Depth -> the hypothesis, and the one whose parts have data of their own where it is treeified."""
    variables = {**INPUTS, "next": after, "answer": lambda next: next}
    at_end, behind = (
        [f"{head}@-1" for head in induction],
        [f"{head}@{at}" for head in previous for at in ("one", "two")],
    )
    names = [f"next{place}" for place in range(len(induction))]
    apart = {**INPUTS, **dict.fromkeys(names, after), "answer": _first(names)}
    tokens = assay.Hypothesis(variables, {"next": at_end})
    heads = assay.Hypothesis({**INPUTS, "answer": after}, {"befores": behind, "answer": at_end})
    whole = assay.Hypothesis(variables, {"befores": behind, "next": at_end})
    each = {name: [place] for name, place in zip(names, at_end, strict=True)}
    return {
        "which tokens": (tokens, assay.Hypothesis(apart, each)),
        "through which heads": (heads, heads),
        "through which composition": (whole, assay.Hypothesis(apart, {"befores": behind, **each})),
    }


def _first(names: Sequence[str]) -> Any:
    """A function of all these variables that gives the first one's value."""

    def answer(**values: str | None) -> str | None:
        return values[names[0]]

    answer.__signature__ = Signature([Parameter(name, Parameter.KEYWORD_ONLY) for name in names])  # type: ignore[attr-defined]
    return answer


def composed(model: Any, previous: Sequence[str], induction: Sequence[str]) -> dict[str, Explanation]:
    """What is kept, everything else at its mean: parts, and edges of the composition alone."""
    share = model.config.heads // model.config.kv_heads

    def read(head: str, part: str) -> str:
        """What of a head reads: heads may share keys and values."""
        layer, _, index = head.partition(".h")
        return f"{head}<{part}>" if part == "q" or share == 1 else f"{layer}.kv{int(index) // share}<{part}>"

    into = [f"input->{read(head, part)}" for head in (*previous, *induction) for part in "qkv"]
    out = ["input->logits", *(f"{head}->logits" for head in induction)]
    layer = {name: int(name[1 : name.index(".")]) for name in (*previous, *induction)}
    pairs = [(one, other) for one in previous for other in induction if layer[one] < layer[other]]

    def edges(parts: str) -> list[str]:
        return [*into, *out, *(f"{one}->{read(other, part)}" for one, other in pairs for part in parts)]

    first = min(layer[one] for one in induction)
    below = [one for one in model.components if one[0] in "am" and int(one[1:].partition(".")[0]) < first]
    return {
        "the induction heads": assay.Keep(list(induction)),
        "and the previous-token heads": assay.Keep([*previous, *induction]),
        f"and all parts of the layers before {first}": assay.Keep([*below, *induction]),
        "edges: keys of induction heads alone": assay.Circuit(list(dict.fromkeys(edges("k")))),
        "edges: their queries and values too": assay.Circuit(list(dict.fromkeys(edges("qkv")))),
    }


def scrubbed(bench: assay.Workbench, graphs: Mapping[bool, Graph], draws: int) -> dict[tuple[str, bool], Estimate]:
    """R_D at each strength, treeified (data of each part's own) and not."""
    plans: dict[tuple[str, bool, bool], list[Plan]] = {
        (strength, tree, conditioned): [
            Scrub(bench, graph, strength, draw, conditioned=conditioned, treeify=tree).plan() for draw in range(draws)
        ]
        for strength in STRENGTHS
        for tree, graph in graphs.items()
        for conditioned in (True, False)
    }
    found = score(bench, plans)
    resamples = bench.task.resamples(np.flatnonzero(found.count), bench.seed)
    return {
        (strength, tree): resamples.recovered(found[strength, tree, True].kl, found[strength, tree, False].kl)
        for strength in STRENGTHS
        for tree in graphs
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--previous", type=int, default=2, help="previous-token heads")
    parser.add_argument("--induction", type=int, default=5, help="induction heads")
    parser.add_argument("--blocks", type=int, default=10)
    parser.add_argument("--draws", type=int, default=2, help="of a scrubbed run")
    parser.add_argument("--only", nargs="+", choices=SCORES, default=SCORES)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    started = time.process_time()
    model = assay.load(given.model)
    assert isinstance(model, Model)
    found = head_scores(model, seed=given.seed + 1)
    tops = {rule: found.top(rule, getattr(given, rule.partition("_")[0])) for rule in ("previous_token", "induction")}
    tops = {rule: [(head, value) for head, value in top if value >= LEAST] for rule, top in tops.items()}
    for rule, top in tops.items():
        print(f"{rule} heads: " + ", ".join(f"{head} {value:.2f}" for head, value in top))
    previous, induction = ([head for head, _ in tops[rule]] for rule in ("previous_token", "induction"))
    induction = [head for head in induction if head not in previous]
    known = words(model, given.seed)
    scored = list(prompts(known, given.blocks, given.seed))
    aside = list(prompts(known[::-1], 4, given.seed))
    bench = assay.Workbench(model, assay.Task.prompts(model, scored, reference=aside), seed=given.seed)
    every = claims(previous, induction)
    right = unswapped(bench, every["which tokens"][0].graph(bench))
    print(f"\n{len(bench.task)} prompts in {given.blocks} blocks; the model's likeliest content is right in {right}\n")
    columns = ["hypothesis", "the rest", "scrubbed, not treeified", "treeified", "interchange, worst variable", "raw"]
    print(f"| {' | '.join(columns)} |\n" + "| --- " * len(columns) + "|")
    for depth, (claim, apart) in every.items() if {"scrubbed", "swaps"} & set(given.only) else ():
        graphs = {False: claim.graph(bench), True: apart.graph(bench)}
        recovered = scrubbed(bench, graphs, given.draws) if "scrubbed" in given.only else {}
        swaps = interchange(bench, graphs[False], (LEFT, PERTURBED), given.seed) if "swaps" in given.only else []
        for strength, words_ in STRENGTHS.items():
            cells = [depth, words_, *(str(recovered.get((strength, tree), "")) for tree in (False, True)), "", ""]
            if swaps and strength in (LEFT, PERTURBED):
                worst = least(swaps, strength)
                cells[4:] = [f"{worst.value(strength)} ({', '.join(worst.names)})", str(worst.raw[strength])]
            print(f"| {' | '.join(cells)} |", flush=True)
    if "kept" in given.only:
        parts_kept(bench, previous, induction)
    print(f"\n{time.process_time() - started:.0f} s of processor time")


def parts_kept(bench: assay.Workbench, previous: Sequence[str], induction: Sequence[str]) -> None:
    """The table of what is kept while the rest is at its mean."""
    columns = ["kept, the rest at its mean", "recovered", "KL", "the right content above the other, nats"]
    print(f"\n| {' | '.join(columns)} |\n" + "| --- " * len(columns) + "|")
    kept = composed(bench.model, previous, induction)
    scores = score(
        bench,
        {name: one.plan(bench, "mean") for name, one in kept.items()}
        | {f"floor {name}": one.floor(bench, "mean") for name, one in kept.items()},
    )
    resamples = bench.task.resamples(np.flatnonzero(scores.count), bench.seed)
    print(f"| everything | 1 | 0 | {resamples.mean(-scores.model.loss, scores.count)} |")
    for name in kept:
        one, floor = scores[name], scores[f"floor {name}"]
        cells = [
            name,
            str(resamples.recovered(one.kl, floor.kl)),
            str(resamples.mean(one.kl, scores.count, least=0.0)),
            str(resamples.mean(-one.loss, scores.count)),
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
