"""Prompts: CSV, TSV and JSONL, read as rows, tokenised and made a task of a small model."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from assay.task.task import Task
from tools.stress import mutate
from tools.stress.models import zoo
from tools.stress.reader import FileReader, Seed

NAMES = ("Lily", "Tom", "Ben", "Sam", "Anna", "Max")
ROWS = [
    {
        "clean": f"{name} and {other} went to play. They saw {name} and they saw {other}. They saw",
        "corrupted": f"{other} and {name} went to play. They saw {other} and they saw {name}. They saw",
        "correct": " a",
        "incorrect": " the",
        "group": f"g{i % 3}",
        "S2": "saw#2",
        "last": "-1",
    }
    for i, (name, other) in enumerate(zip(NAMES, (*NAMES[1:], NAMES[0]), strict=True))
]


def table(separator: str) -> bytes:
    rows = [list(ROWS[0]), *(list(row.values()) for row in ROWS)]
    return "".join(separator.join(f'"{cell}"' for cell in row) + "\n" for row in rows).encode()


def lines(*without: str) -> bytes:
    rows = ({key: value for key, value in row.items() if key not in without} for row in ROWS)
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def seeds(folder: Path) -> list[Seed]:
    return [
        Seed("prompts.csv", table(",")),
        Seed("prompts.tsv", table("\t")),
        Seed("prompts.jsonl", lines()),
        Seed("prompts.ndjson", lines("corrupted", "group", "S2", "last")),
    ]


def changed(rng: Random, content: bytes) -> bytes:
    return mutate.as_json_lines(rng, content) if content.startswith(b"{") else mutate.raw(rng, content)


def read(path: Path) -> Task:
    return Task.prompts(zoo(), str(path))


PROMPTS = FileReader(seeds, read, changed)
