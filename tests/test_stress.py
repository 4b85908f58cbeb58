"""The stress harness: what it counts on planted readers, and its short form over every reader of assay."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

from assay.errors import UserError
from tools.stress import mutate, run
from tools.stress.catalogue import CAMPAIGNS, READERS

SHORT = 200
HERE = "tests.test_stress"


@dataclass
class Planted:
    """Reads an index; `bad` is one that it does something else on."""

    bad: str
    at: int = 3
    known: tuple[()] = ()

    def prepare(self, folder: Path) -> None: ...

    def write(self, rng: Random, folder: Path, index: int) -> int:
        return index

    def read(self, case: int) -> object:
        if case != self.at:
            if case % 2:
                raise UserError(f"the index {case} is odd")
            return None
        match self.bad:
            case "traceback":
                return {}["absent"]
            case "lines":
                raise UserError("two\nlines")
            case "hang":
                time.sleep(60)
            case "swallowed hang":
                while True:
                    try:
                        time.sleep(60)
                    except BaseException:
                        continue
            case "memory":
                return np.ones(3 << 28)
            case "death":
                os.abort()
        return None


TRACEBACK, LINES, HANG, SWALLOWED, MEMORY, DEATH = (
    Planted(bad) for bad in ("traceback", "lines", "hang", "swallowed hang", "memory", "death")
)


FAULTS = {
    "TRACEBACK": "traceback",
    "LINES": "traceback",
    "HANG": "hang",
    "SWALLOWED": "hang",
    "MEMORY": "memory",
    "DEATH": "traceback",
}


def test_a_bad_reading_is_counted_as_what_it_is_and_the_others_go_on(monkeypatch, capsys):
    monkeypatch.setattr(run, "SECONDS", 0.5)
    monkeypatch.setattr(run, "PATIENCE", 3.0)
    asked = [part for name in FAULTS for part in ("--reader", f"{HERE}:{name}")]
    assert run.main(["--count", "7", *asked]) == 1
    head, _, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["reader", "inputs"]
    rows, faults = lines[: len(FAULTS)], lines[len(FAULTS) :]
    for row, fault, (name, outcome) in zip(rows, faults, FAULTS.items(), strict=True):
        assert row.split()[:2] == [f"{HERE}:{name}", "7"]
        counts = dict(zip(run.OUTCOMES, map(int, row.split()[2:]), strict=True))
        assert counts == {"ok": 4, "sentence": 2, "traceback": 0, "hang": 0, "memory": 0, outcome: 1}
        assert fault.startswith(f"{HERE}:{name}, once, --index 3: {outcome}: ")


def test_without_a_fault_the_exit_code_is_0(capsys):
    assert run.main(["--count", "3", "--reader", f"{HERE}:DEATH"]) == 0  # the fourth is the bad one


def test_equal_seeds_give_equal_files_and_others_do_not():
    def mutated(seed: int) -> list[bytes]:
        return [mutate.as_json(Random(f"{seed} {i}"), b'{"a": [1, 2, {"b": "c"}]}') for i in range(50)]

    assert mutated(0) == mutated(0) != mutated(1)


def test_a_case_is_the_same_whichever_came_before_it():
    def mutated(index: int) -> bytes:
        return mutate.as_json(Random(f"0 {index}"), b'{"a": [1, 2, {"b": "c"}], "d": {"e": []}}')

    before = repr(mutate.VALUES)
    alone = [mutated(index) for index in range(3_000)]
    assert alone == [mutated(index) for index in range(3_000)]
    assert repr(mutate.VALUES) == before


def test_every_reader_reads_its_seeds_and_says_one_sentence_about_what_it_cannot_read(capsys):
    tallies = run.stress(dict.fromkeys(READERS, SHORT))
    for name, tally in tallies.items():
        assert not tally.faults, f"{name}: {tally.faults}; python -m tools.stress --reader {name} --index I"
        assert tally.counts.total() == SHORT
        assert min(tally.counts["ok"], tally.counts["sentence"]) > 0, name


FEW = {
    "faults while saving": 100,
    "kills while saving": 20,
    "writers at once": 3,
    "kills of measure": 2,
    "full disks": 6,
    "hostile folders": 53,
}


def test_what_stands_after_kills_full_disks_other_writers_and_hostile_folders_is_whole():
    assert FEW.keys() == CAMPAIGNS.keys()
    tallies = run.stress(FEW)
    for name, tally in tallies.items():
        assert not tally.faults, f"{name}: {tally.faults}; python -m tools.stress --reader '{name}' --index I"
        assert tally.counts.total() == FEW[name]
    said = [name for name, tally in tallies.items() if tally.counts["sentence"]]
    assert said == ["faults while saving", "full disks", "hostile folders"]


def test_every_hostile_folder_is_tried():
    from tools.stress.campaigns import hostile

    there = {**hostile.models({}, Path("ran")), **hostile.others(Path("ran"))}
    assert len(there) == CAMPAIGNS["hostile folders"][1] == FEW["hostile folders"]


def test_a_campaign_tells_what_is_damaged(monkeypatch, capsys):
    campaign = f"{HERE}:TRACEBACK"
    monkeypatch.setitem(CAMPAIGNS, campaign, (campaign, 5))
    assert run.main(["--count", "100", "--reader", campaign]) == 1
    head, _, row, fault = capsys.readouterr().out.splitlines()
    assert " ".join(head.split()) == "campaign cases whole whole, and a sentence damaged hangs over 2 GB"
    assert row.split() == [campaign, "5", "3", "1", "1", "0", "0"]
    assert fault.startswith(f"{campaign}, once, --index 3: traceback: ")
