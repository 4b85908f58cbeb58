"""The register counts every claim and set of ablations that was tried on a split, once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from assay.errors import RunError
from assay.store import register
from assay.store.register import Entry, Tried


def _try(claim="c1", ablations=("mean",), split="s", **more):
    return Entry(split, claim, tuple(ablations), **more)


def test_each_try_gets_its_place_and_a_repeat_counts_once(tmp_path):
    path = register.register_path(tmp_path / "runs" / "demo")
    assert path == tmp_path / "runs" / "register.jsonl"
    assert register.tried(path, _try()) is None
    assert register.log(path, _try()) == Tried(1, 1)
    assert register.log(path, _try("c2")) == Tried(2, 2)
    assert register.log(path, _try("c1", ("zero",))) == Tried(3, 3)
    assert register.log(path, _try(when="later")) == Tried(1, 3)
    assert register.log(path, _try(split="other")) == Tried(1, 1)
    assert str(register.tried(path, _try("c2"))) == "2 of 3"
    assert len(path.read_text().splitlines()) == 4


def test_the_order_of_ablations_makes_no_other_try(tmp_path):
    path = tmp_path / "r.jsonl"
    register.log(path, _try(ablations=("mean", "zero")))
    assert register.log(path, _try(ablations=("zero", "mean"))) == Tried(1, 1)


def test_merge_is_the_union_and_merging_again_changes_nothing(tmp_path):
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    for claim in ("c1", "c2"):
        register.log(a, _try(claim))
    for claim in ("c2", "c3"):
        register.log(b, _try(claim))
    merged = register.merge(a, b, a)
    assert [entry.claim for entry in merged] == ["c1", "c2", "c3"]
    before = a.read_bytes()
    register.merge(a, b)
    assert a.read_bytes() == before


def test_an_unfinished_line_is_dropped_and_a_broken_one_is_named(tmp_path):
    path = tmp_path / "r.jsonl"
    register.log(path, _try("c1"))
    path.write_bytes(path.read_bytes() + b'{"split": "s", "cla')
    assert len(register.entries(path)) == 1
    assert register.log(path, _try("c2")) == Tried(2, 2)
    assert len(register.entries(path)) == 2
    path.write_text(path.read_text() + "[]\n")
    with pytest.raises(RunError, match="line 3 of the register"):
        register.log(path, _try("c3"))


def test_many_writers_lose_nothing(tmp_path):
    path = tmp_path / "r.jsonl"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: register.log(path, _try(f"c{i}")), range(40)))
    found = register.entries(path)
    assert {entry.claim for entry in found} == {f"c{i}" for i in range(40)}
    assert len(found) == 40
