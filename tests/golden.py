"""Records of small measurements and searches of every kind, stored, so that a change of the code's shape shows itself.

    python -m tests.golden write FILE     before: stores today's records
    python -m tests.golden check FILE     after: compares, numbers to 1e-6; exit code 1 where any differ

No test reads it: it is for the length of a reorganisation, in which no number may change, on one machine. Another
processor multiplies in another order, which moves the last digits of losses of several nats and what is fitted to them,
so no such file is in the repository.
"""

from __future__ import annotations

import argparse
import json
import lzma
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

import assay
from assay.explanations import Constant, Keep, Program, Remove, programs
from assay.find.circuit.plan import SearchPlan
from assay.find.circuit.search import find_circuit
from assay.find.split import split_task
from assay.record.base import Block
from assay.record.measurement import MeasurementRecord
from assay.record.read import parsed
from assay.record.search import SearchRecord
from assay.task.task import Task
from tests.measure.test_measure import ALL, measured, text_task
from tests.model.tiny import tiny

CLOSE = 1e-6
LEFT_OUT = frozenset({"timing", "versions", "created", "revision"})
SETTINGS: dict[str, Any] = {"controls": 3, "seed": 3, "draws": 4}


def _text(claim: Any, **more: Any) -> Block:
    return assay.measure(claim, tiny("llama", tokenizer=True), text_task(), **{**SETTINGS, **more}).record


def _repeat(claim: Any, **more: Any) -> Block:
    model = tiny("gpt2", tokenizer=True)
    return assay.measure(claim, model, Task.repeat(model, n=16, length=6, seed=1), **{**SETTINGS, **more}).record


def _search(*methods: str, **more: Any) -> Block:
    model = tiny("llama", tokenizer=True)
    split = split_task(model, {"kind": "repeat", "length": 6}, documents=8, select=6, seed=2)
    plan = SearchPlan(methods=methods, sizes=(4, 12), controls=4, control_rows=4, seed=2, **more)
    return find_circuit(model, split, plan).record


CASES: dict[str, Callable[[], Block]] = {
    **{f"{kind}, {where}": lambda kind=kind, where=where: measured(kind, where).record for kind, where in ALL},
    "induction": lambda: _text(Program({"a1.h0": programs.induction()}), ablation=["mean", "zero"]),
    "every level": lambda: _repeat(
        Program(
            {
                "a0.h0": programs.copy("full"),
                "a0.h1": programs.induction(match="prefix", prefix=2, level="pattern_token"),
                "m1": programs.ngram(2),
            }
        ),
        ablation=["resample_joint", "optimal"],
    ),
    "label": lambda: _text(Program({"m0.n3": programs.label(tokens=[24, 25, 26, 27])}), ablation="mean_position"),
    "noise and refit": lambda: _text(Keep(["a0.h1", "m0"]), ablation=["noise", "resample_independent"], refit=True),
    "frozen norms": lambda: _repeat(Remove(["a1.h0"]), ablation="mean", frozen_norm=True),
    "mean constant": lambda: _repeat(Constant(["m0"], "mean"), ablation="mean"),
    "search by gradients": lambda: _search("attribution", "integrated_attribution_kl", "random"),
    "search by trials": lambda: _search("exact", "acdc", "masks", "greedy", steps=20, tau=(0.01,)),
}


def as_now(record: dict[str, Any]) -> dict[str, Any]:
    """A stored record, of any schema, in today's layout."""
    kind = SearchRecord if record.get("kind") == "frontier" else MeasurementRecord
    return json.loads(json.dumps(parsed(kind, record).to_json()))


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a record that is no container, with its place."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in LEFT_OUT:
                yield from leaves(inner, f"{path}/{key}")
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from leaves(inner, f"{path}/{index}")
    else:
        yield path, value


def differences(old: Any, new: Any) -> Iterator[str]:
    """What differs between two records, a line a value. Counts and bits are equal; what is measured is close."""
    before, after = dict(leaves(old)), dict(leaves(new))
    for path in sorted(before.keys() | after.keys()):
        if path not in before or path not in after:
            yield f"{path}: {'gone' if path in before else 'new'}: {before.get(path, after.get(path))!r}"
            continue
        a, b = before[path], after[path]
        measured = all(isinstance(x, float) for x in (a, b)) and not path.endswith("bits")
        if not (math.isclose(a, b, rel_tol=CLOSE, abs_tol=CLOSE) if measured else a == b):
            yield f"{path}: {a!r} -> {b!r}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("write", "check"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--case", help="this one alone (check only)")
    parser.add_argument("--most", type=int, default=20, help="differences shown of each case")
    given = parser.parse_args()
    torch.set_num_threads(1)  # last digits depend on how many there are
    stored = {} if given.action == "write" else json.loads(lzma.decompress(given.file.read_bytes()))
    made, bad = {}, 0
    for name, run in CASES.items():
        if given.case not in (None, name):
            continue
        begun = time.monotonic()
        made[name] = json.loads(json.dumps(run().to_json()))
        found = [] if given.action == "write" else list(differences(as_now(stored[name]), made[name]))
        bad += len(found)
        print(f"{name}: {len(found)} differences, {time.monotonic() - begun:.1f} s", flush=True)
        for line in found[: given.most]:
            print(f"  {line[:300]}")
    if given.action == "write":
        given.file.write_bytes(lzma.compress(json.dumps(made).encode()))
        print(f"{len(made)} records, {given.file.stat().st_size:,} bytes")
    return int(bad > 0)


if __name__ == "__main__":
    raise SystemExit(main())
