"""What a claim was found on: a search's file, prompts, documents, or a text."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from random import Random

from assay.task.found_on import found_on, read_found_on, shared_with
from assay.task.task import Task
from tools.stress import mutate
from tools.stress.models import zoo
from tools.stress.reader import FileReader, Seed
from tools.stress.readers import prompts
from tools.stress.readers.claims import STORY


@cache
def task() -> Task:
    return Task.text(zoo(), texts=[STORY, STORY.replace("Lily", "Anna"), STORY.replace("red", "blue")])


def seeds(folder: Path) -> list[Seed]:
    lines = "".join(json.dumps({"text": f"{STORY} Number {i}."}) + "\n" for i in range(3))
    return [
        Seed("selection.json", found_on(task(), "planted").to_text().encode()),
        Seed("prompts.jsonl", prompts.lines()),
        Seed("prompts.csv", prompts.table(",")),
        Seed("documents.jsonl", lines.encode()),
        Seed("one.txt", STORY.encode()),
    ]


def changed(rng: Random, content: bytes) -> bytes:
    if content.startswith(b'{"'):
        return mutate.as_json_lines(rng, content)
    return mutate.as_json(rng, content) if content.startswith(b"{") else mutate.raw(rng, content)


def read(path: Path) -> None:
    found = read_found_on(str(path), zoo())
    if found is not None:
        shared_with(task(), found)


FOUND_ON = FileReader(seeds, read, changed)
