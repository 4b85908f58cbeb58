"""Names of files, wherever a command, a claim or a call takes one: names that none can have, pipes, devices, folders,
links that lead nowhere or round, and files that may not be read."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

import yaml

from assay.errors import UserError
from assay.explanations.claims.file import load_claim
from assay.measure.compute.family import load_family
from assay.model.load import load
from assay.store.runs import check_target
from assay.task.found_on import read_found_on
from assay.task.task import Task
from tools.stress.models import zoo
from tools.stress.reader import command

SUFFIXES = ("", ".yaml", ".csv", ".tsv", ".jsonl", ".npz", ".json", ".txt", "/", "/x", "/config.json")
ENDLESS = ("/dev/zero", "/dev/random", "/dev/full", "/dev/tty", "/proc/self/mem", "/proc/kmsg", "/proc/self/pagemap")
NAMES = (
    *("", " ", ".", "..", "/", "~", "~nosuchuser/x", "~/x", "a\0b", "\ud800", "\u202e.yaml", "line\nbreak", "\x1b[31m"),
    *("x" * 255, "x" * 256, "x" * 5_000, "x/" * 3_000, "../" * 500, "/dev/null", "/dev/stdin", "/dev/fd/0", *ENDLESS),
    *("pipe", "socket", "folder", "locked", "locked/x", "nowhere", "round", "empty", "story", "story/x"),
    *("to-zero", "to-pipe"),
)  # fmt: skip


def claim(**fields: object) -> Callable[[str], None]:
    """Reads a claim with a path in it, and makes its task; `{}` in the fields stands for the path."""

    def put(value: object, path: str) -> object:
        if isinstance(value, dict):
            return {key: put(inner, path) for key, inner in value.items()}
        return (
            path
            if value == "{}"
            else [path if one == "{}" else one for one in value]
            if isinstance(value, list)
            else value
        )

    def read(path: str) -> None:
        data = {"model": "zoo:stories-260k", "task": {"kind": "text", "texts": ["a"]}}
        data |= {"explanation": {"kind": "keep", "components": ["a0"]}} | {k: put(v, path) for k, v in fields.items()}
        file = Path("claim.yaml")
        file.write_bytes(yaml.safe_dump(data, allow_unicode=False).encode("utf-8", "replace"))
        found = load_claim(file)
        assert found.hash
        found.build_task(zoo())

    return read


def compared(path: str) -> None:
    command("compare", path, "other")


USES: tuple[Callable[[str], object], ...] = (
    lambda path: command("validate", path),
    lambda path: command("measure", path),
    lambda path: command("report", path),
    compared,
    lambda path: command("ls", path),
    lambda path: command("init", path),
    lambda path: command("find", "circuit", path, "--dry-run"),
    lambda path: command("find", "circuit", "zoo:stories-260k", "--task", path, "--dry-run"),
    lambda path: command("find", "circuit", "zoo:stories-260k", "--text", path, "--dry-run"),
    claim(task={"kind": "text", "files": ["{}"]}),
    claim(task={"kind": "text", "files": ["story", "{}"]}),
    claim(reference={"files": ["{}"]}),
    claim(task={"kind": "prompts", "file": "{}"}),
    claim(task={"kind": "classify", "file": "{}"}, model="folder"),
    claim(explanation={"kind": "circuit", "file": "{}"}),
    claim(family="{}"),
    claim(found_on="{}"),
    claim(out="{}"),
    claim(model="{}"),
    claim(floors=[{"model": "{}"}]),
    load_family,
    load,
    lambda path: read_found_on(path, zoo()),
    lambda path: Task.prompts(zoo(), path),
    check_target,
)


class Case(NamedTuple):
    """Which use, of which path."""

    use: int
    path: str


class Paths:
    """Every use with every name; then with random suffixes, lengths and characters."""

    known: tuple[()] = ()

    def prepare(self, folder: Path) -> None:
        os.environ["HOME"] = str(folder)
        os.mkfifo("pipe")
        server = socket.socket(socket.AF_UNIX)
        server.bind("socket")
        self.server = server
        for name in ("folder", "locked"):
            Path(name).mkdir()
        os.chmod("locked", 0)
        for name, target in (("nowhere", "gone"), ("round", "round"), ("to-zero", "/dev/zero"), ("to-pipe", "pipe")):
            os.symlink(target, name)
        Path("empty").touch()
        Path("story").write_text(
            "One day a girl and her dog went to the park to play with a big red ball and they were happy."
        )
        for suffix in SUFFIXES:
            if suffix.startswith("."):
                os.symlink("/dev/zero", f"to-zero{suffix}")
                os.symlink(folder / "pipe", f"pipe{suffix}")
        zoo()

    def write(self, rng: Random, folder: Path, index: int) -> Case:
        if index < len(USES) * len(NAMES):
            return Case(index % len(USES), NAMES[index // len(USES)])
        name = rng.choice(NAMES) + rng.choice(SUFFIXES)
        if rng.random() < 0.3:
            place = rng.randrange(len(name) + 1)
            name = name[:place] + rng.choice(("\0", "/", "~", "x" * 260, "é", "\udcff", "..", "\n", " ")) + name[place:]
        return Case(rng.randrange(len(USES)), name)

    def read(self, case: Case) -> object:
        try:
            return USES[case.use](case.path)
        except UserError as problem:
            # Names with line breaks are shown as they are here, and made safe where a command says the sentence.
            raise UserError(str(problem).replace("\n", " ")) from None


PATHS = Paths()
