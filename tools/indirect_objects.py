"""Prompts of indirect object identification (Wang et al. 2023), a template a group, for `assay find circuit`.

    python -m tools.indirect_objects zoo:smollm2-135m OUT.csv [--pairs 20] [--seed 0] [--score 5]

"When Mary and John went to the store, John gave a drink to" -> " Mary" rather than " John". The corrupted prompt has
three other names in their places. Names are tokens of their own in the model's tokenizer; half of the prompts name the
giver first. `--score N`: by how many nats the model prefers the receiver's logit, on N prompts of each template.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import torch
from scipy import stats

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
    "On the way to the {place}, {a} met {b}, and {s} showed a {thing} to",
    "That day {a} and {b} sat near the {place} until {s} brought a {thing} to",
    "In the {place}, {a} and {b} spoke for an hour before {s} sent a {thing} to",
    "When it was late, {a} and {b} closed the {place}, and {s} returned the {thing} to",
    "The day that {a} and {b} opened the {place}, {s} lent a {thing} to",
    "Everyone saw {a} and {b} at the {place}, where {s} threw a {thing} to",
    "Although {a} and {b} liked the {place}, {s} never said so to",
    "Since {a} and {b} live close to the {place}, {s} often writes to",
    "At the {place}, {a} and {b} lost a {thing}, so {s} apologized to",
    "For years {a} and {b} shared a {place}, and then {s} left the {thing} to",
    "Nobody at the {place} knew {a} and {b}, so {s} whispered to",
    "As soon as {a} and {b} reached the {place}, {s} gave the {thing} back to",
    "Every morning {a} and {b} walk to the {place}, and {s} reads the news to",
    "The teacher sent {a} and {b} to the {place}, where {s} explained the rules to",
    "With the {thing} in a bag, {a} and {b} left the {place}, and {s} handed it to",
    "Yesterday {a} and {b} painted the {place}, and {s} passed the brush to",
    "It was raining when {a} and {b} got to the {place}, so {s} gave an umbrella to",
    "Then {a} and {b} ordered dinner at the {place}, but {s} gave the bill to",
    "In the story, {a} and {b} find a {thing} in the {place}, and {s} offers it to",
    "Two friends, {a} and {b}, were playing at the {place} when {s} kicked the ball to",
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


def preferences(model: assay.Model, made: list[dict[str, str]], pairs: int) -> dict[str, np.ndarray]:
    """Template -> [pairs] the receiver's logit less the giver's, in nats."""
    tokenizer = model.tokenizer

    def ids(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    found: dict[str, list[float]] = {}
    for row in made:
        if len(found.setdefault(row["group"], [])) < pairs:
            with torch.no_grad():
                logits = model(torch.tensor([[model.bos, *ids(row["clean"])]]))[0, -1]
            found[row["group"]].append(float(logits[ids(row["correct"])[0]] - logits[ids(row["incorrect"])[0]]))
    return {group: np.array(values) for group, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--score", type=int, default=0)
    given = parser.parse_args()
    model = assay.load(given.model)
    made = rows(model, given.pairs, given.seed)
    with open(given.out, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(made[0]))
        writer.writeheader()
        writer.writerows(made)
    print(f"{len(made)} prompts of {len(TEMPLATES)} templates in {given.out}")
    if given.score:
        found = preferences(model, made, given.score)
        means = np.array([values.mean() for values in found.values()])
        low, high = stats.t.interval(0.95, len(means) - 1, means.mean(), stats.sem(means))
        right = np.concatenate(list(found.values())) > 0
        print(f"the receiver by {means.mean():.1f} [{low:.1f}, {high:.1f}] nats (t over templates)", end="")
        print(f"; in {right.sum()} of {right.size} prompts")
        for number, mean in sorted(enumerate(means), key=lambda pair: pair[1]):
            print(f"{mean:5.1f}  {TEMPLATES[number]}")


if __name__ == "__main__":
    main()
