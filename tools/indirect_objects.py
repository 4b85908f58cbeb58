"""Prompts of indirect object identification (Wang et al. 2023), a template a group, for `assay find circuit`.

    python -m tools.indirect_objects zoo:smollm2-135m OUT.csv [--pairs 20] [--seed 0]

"When Mary and John went to the store, John gave a drink to" -> " Mary" rather than " John". The corrupted prompt has
three other names in their places. Names are tokens of their own in the model's tokenizer; half of the prompts name the
giver first.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

import assay

TEMPLATES = (
    "When {a} and {b} went to the {place}, {s} gave a {thing} to",
    "Then, {a} and {b} had a long argument, and afterwards {s} said to",
    "After {a} and {b} went to the {place}, {s} handed a {thing} to",
    "While {a} and {b} were working at the {place}, {s} offered a {thing} to",
    "Friends {a} and {b} found a {thing} at the {place}, and {s} passed it to",
    "The {place} where {a} and {b} met was quiet, so {s} read a letter aloud to",
    "Because {a} and {b} were late for the {place}, {s} made an excuse to",
    "Last week {a} and {b} visited the {place}, where {s} sold a {thing} to",
    "Once {a} and {b} had left the {place}, {s} told a secret to",
    "Today {a} and {b} are cooking at the {place}, and {s} shows a {thing} to",
    "As {a} and {b} got home from the {place}, {s} threw a {thing} to",
    "Before {a} and {b} said goodbye at the {place}, {s} promised a {thing} to",
)
NAMES = [
    "Mary",
    "John",
    "Tom",
    "James",
    "Dan",
    "Martin",
    "Amy",
    "Anna",
    "Alice",
    "Kate",
    "Paul",
    "Mark",
    "Peter",
    "Jack",
    "Sarah",
    "David",
    "Lisa",
    "Emma",
    "Adam",
    "Ben",
    "Charlie",
    "Emily",
    "George",
    "Henry",
    "Jane",
    "Laura",
    "Lucy",
    "Max",
    "Michael",
    "Oliver",
    "Rachel",
    "Robert",
    "Rose",
    "Ruth",
    "Sam",
    "Simon",
    "Sophie",
    "Susan",
    "Thomas",
    "William",
]
PLACES = ["store", "garden", "school", "station", "park", "office", "hospital", "market", "library", "restaurant"]
THINGS = ["drink", "book", "ring", "ball", "gift", "key", "letter", "basket", "flower", "picture"]


def rows(model: assay.Model, pairs: int, seed: int) -> list[dict[str, str]]:
    """`pairs` prompts of every template, by turns with the giver first and second."""
    tokenizer, draw = model.tokenizer, np.random.default_rng(seed)
    single = [n for n in NAMES if len(tokenizer(f" {n}", add_special_tokens=False)["input_ids"]) == 1]
    made = []
    for number, template in enumerate(TEMPLATES):
        for pair in range(pairs):
            giver, receiver, *others = draw.choice(single, size=5, replace=False).tolist()
            rest = {"place": draw.choice(PLACES), "thing": draw.choice(THINGS)}
            first = pair % 2 == 0
            a, b = (giver, receiver) if first else (receiver, giver)
            made.append(
                {
                    "clean": template.format(a=a, b=b, s=giver, **rest),
                    "corrupted": template.format(a=others[0], b=others[1], s=others[2], **rest),
                    "correct": f" {receiver}",
                    "incorrect": f" {giver}",
                    "group": f"template {number}",
                }
            )
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    made = rows(assay.load(given.model), given.pairs, given.seed)
    with open(given.out, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(made[0]))
        writer.writeheader()
        writer.writerows(made)
    print(f"{len(made)} prompts of {len(TEMPLATES)} templates in {given.out}")


if __name__ == "__main__":
    main()
