"""The claim file that `assay init` writes: comments that teach, and the model's heads with the highest scores."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

from assay.errors import ModelError
from assay.explanations.hypothesis.hypothesis import Hypothesis
from assay.find.tried import TriedPlaces, try_places
from assay.methods.head_scores import KINDS, head_scores
from assay.stats.keyed import generator

ENOUGH = 0.4  # a head with this score does what the rule says more often than not
MOST = 3
SHOWN = 6  # parts of which the comment of a hypothesis says what a swap did


def select(scores: dict[str, list[tuple[str, float]]]) -> tuple[str, list[str]]:
    """The rule with the highest top score, and its heads above `ENOUGH` (at least one, at most three).

    Args:
        scores: rule -> (head, score), best first.
    """
    rule = max(KINDS, key=lambda kind: scores[kind][0][1])
    heads = [head for head, score in scores[rule][:MOST] if score >= ENOUGH]
    return rule, heads or [scores[rule][0][0]]


def template(model: Any, source: str, *, seed: int = 0) -> str:
    """A commented claim file for a loaded model.

    Args:
        source: the model's name as in `assay.load`.
        seed: draws the random tokens that heads are scored on.
    """
    try:
        values = head_scores(model, seed=seed)
    except ModelError:
        return _modules(model, source)
    scores = {kind: values.top(kind, MOST) for kind in KINDS}
    rule, heads = select(scores)
    table = "\n".join(
        f"#   {kind:16}" + "   ".join(f"{head} {score:.2f}" for head, score in scores[kind]) for kind in KINDS
    )
    parts = "\n".join(f"    {head}: {{program: {rule}, level: pattern}}" for head in heads)
    text = "{kind: text, split: test}" if source.startswith("zoo:") else "{kind: repeat, n: 256, length: 64}"
    return f"""\
# A claim about {source}, to start from. `assay validate` checks this file, `assay measure ... --quick` tries it.
#
# Heads that attend most as a rule says (mean attention, on repeated random tokens, seed {seed}):
{table}

model: {source}

# text: next tokens of text, {{kind: text, files: [a.txt, b.txt]}}, one document a file, or a zoo model's own split;
# repeat: random tokens twice, scored on the second copy;
# prompts: {{kind: prompts, file: prompts.csv, metric: logit_diff}}.
task: {text}

# program: these parts compute what a program says (induction, previous_token, duplicate_token, copy, ngram, ...).
#   level: pattern (the head's own V and O), pattern_token (V reads the token alone), full (one number is all it keeps).
# keep: [parts] suffice. remove: [parts] are needed. constant: [parts] carry nothing that matters.
# circuit: some edges suffice: {{kind: circuit, edges: [m0->logits, ...]}}, or nodes: [parts], or file: circuit.json.
explanation:
  kind: program
  components:
{parts}

# What fills in for everything that is not explained; the one under which the claim does worst is the headline.
ablation: [mean, resample_joint]

# What these heads were chosen on; change it when you change them. A file of documents is compared with what is scored.
found_on: repeated random tokens

# Optional: draws: 4 · controls: 100 · documents: 200 · seed: 0 · reference: {{files: [other.txt]}} · out: runs/mine
"""


WORDS, SPAN, AGAIN, PROMPTS = 24, 10, 3, 96  # words that prompts are made of; of each; that come again; prompts
VARIABLES = {"next": "after_previous(-1)", "answer": "next"}


def hypothesis_template(
    model: Any,
    source: str,
    prompts: str,
    *,
    seed: int = 0,
    progress: Callable[[str, int, int | None], None] = lambda stage, done, total: None,
) -> tuple[str, str, TriedPlaces]:
    """A commented claim file of a hypothesis about induction, the prompts that it is about as CSV, and the swaps by
    which its places were chosen.

    Args:
        prompts: the name of the prompts' file in the claim file.

    Raises:
        ModelError: for a model without a tokenizer that has words of one token, and for no transformer.
    """
    heads = [
        head for head, _ in head_scores(model, seed=seed).top("induction", model.config.layers * model.config.heads)
    ]
    words = _words(model, seed)
    random = generator(seed, "prompts of a hypothesis")
    rows: list[dict[str, str]] = []
    for _ in range(PROMPTS):
        chosen = [words[i] for i in random.permutation(len(words))[:SPAN]]
        # the first word has no space before it, and is another token
        at, other = AGAIN + random.permutation(SPAN - 1 - AGAIN)[:2]
        clean = " ".join([*chosen, *chosen[at - AGAIN + 1 : at + 1]])
        rows.append({"clean": clean, "correct": f" {chosen[at + 1]}", "incorrect": f" {chosen[other + 1]}"})
    top = [f"{head}@-1" for head in heads[:MOST]]
    claim = Hypothesis(VARIABLES, {"next": top})
    tried = try_places(model, rows, claim, heads, seed, progress)
    out = io.StringIO()
    table = csv.DictWriter(out, rows[0], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    text = f"""\
# A hypothesis about {source}, to start from. `assay validate` checks this file, `assay measure` measures it.
# Its prompts, {PROMPTS} of {SPAN} words at random and {AGAIN} of these again, are in {prompts}.
#
{_tried(tried, prompts, seed)}

model: {source}
task: {{kind: prompts, file: {prompts}}}

# variables: each a function of the prompt (token, number, previous, after_previous, count, class_of, ...) or of other
#   variables; the last one is the network's output. Columns are numbers, negative from the end, or the prompts' names.
# places: which parts carry a variable: heads, MLPs, streams (r3: what enters layer 3), each everywhere or in a column.
#   A variable without places may be held by the rest of the network.
explanation:
  kind: hypothesis
  variables:
{"".join(f"    {name}: {what}{chr(10)}" for name, what in VARIABLES.items())}\
  places:
    next: [{", ".join(tried.chosen or top)}]

# What everything takes that carries nothing; interchange accuracy is given with the rest left and with it resampled.
ablation: [mean, resample_joint]

# What these places were chosen on.
found_on: {"the prompts that are not scored" if tried.chosen else "repeated random tokens"}
"""
    return text, out.getvalue(), tried


def _tried(tried: TriedPlaces, prompts: str, seed: int) -> str:
    """What the swaps gave, as comments."""
    cost = f"{tried.passes:.0f} pass{'es' * (round(tried.passes) != 1)}"
    lines = _wrapped(
        f"Places were tried on the {tried.prompts} prompts of {prompts} that are not scored (seed {seed}, {cost} over "
        f"these). The model gives the hypothesis' answer to {tried.right:.0%} of them."
    )
    if not tried.chosen:
        return lines + _wrapped(
            "What a model does not compute no place carries, so the places below are only the heads that attend most "
            "as induction, and a measurement will find next to nothing. Write prompts that it gets right."
        ).removesuffix("\n")
    lines += _wrapped(
        "Swaps put `next` of another prompt in place. How often is the answer then the one that goes with it?"
    )
    lines += _wrapped(_row("streams", {name: f"{share:.0%}" for name, share in tried.streams.items()}), 2)
    moved = {name: f"{nats:+.1f}" for name, nats in tried.parts[:SHOWN]}
    lines += _wrapped(_row("each part alone, by how many nats the answer moves", moved), 2)
    best = {f"{len(one.names)}:": f"{one.perturbed.value or 0.0:.0%}" for one in tried.together}
    lines += _wrapped(_row("the best at once, everything else resampled", best), 2)
    return lines + "# Below are the fewest that do as well as the best of these, within its interval."


def _row(what: str, given: Mapping[str, str]) -> str:
    return f"{what}: " + ", ".join(f"{name} {value}" for name, value in given.items())


def _wrapped(text: str, indent: int = 0) -> str:
    start = "# " + " " * indent
    return textwrap.fill(text, 118, initial_indent=start, subsequent_indent=start + " " * indent) + "\n"


def _words(model: Any, seed: int) -> list[str]:
    """Words that are a token of their own behind a space, and at the beginning."""
    tokenizer = model.tokenizer
    found: list[str] = []
    if tokenizer is not None:
        for token in generator(seed, "words").permutation(model.config.vocab):
            text = tokenizer.decode([int(token)])
            word = text.strip()
            if text == f" {word}" and word.isalpha() and word.isascii() and len(word) > 2 and word not in found:
                found += [word] if len(tokenizer(f" {word}", add_special_tokens=False)["input_ids"]) == 1 else []
            if len(found) == WORDS:
                return found
    raise ModelError(f"{model.name} has no tokenizer with {WORDS} words of one token, which the prompts are made of")


def _modules(model: Any, source: str) -> str:
    """For a network that is no transformer of a supported family: its first named submodules."""
    parts = ", ".join(list(model.components)[:2])
    return f"""\
# A claim about {source}, to start from: its parts are its named submodules (`assay ls {source}` lists them).

model: {source}

# An .npz file with the arrays `inputs` and `labels`.
task: {{kind: classify, file: data.npz}}

# keep: [parts] suffice. remove: [parts] are needed. constant: [parts] carry nothing that matters.
explanation:
  kind: keep
  components: [{parts}]

ablation: [mean, resample_joint]
"""
