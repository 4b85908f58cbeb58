"""The register counts every claim and set of ablations that was tried on a split, once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from assay.errors import RunError
from assay.store import register
from assay.store.register import Adjusted, Entry, Tried


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


def test_p_is_kept_with_its_try_and_adjusted_by_holm_over_all_of_them(tmp_path):
    path = tmp_path / "r.jsonl"
    for claim, p in (("c1", 0.01), ("c2", 0.04), ("c3", 0.03)):
        register.log(path, _try(claim))  # before it was measured
        assert register.adjusted(path, _try(claim)) == Adjusted(None, None, 1)
        register.log(path, _try(claim, p=p))
    register.log(path, _try("c9", split="other", p=1e-9))  # of no account here
    assert register.log(path, _try("c1")) == Tried(1, 3)
    found = [register.adjusted(path, _try(claim)) for claim in ("c1", "c2", "c3")]
    assert [one and one.p for one in found] == [0.01, 0.04, 0.03]
    assert [one and one.holm for one in found] == pytest.approx([0.03, 0.06, 0.06])  # Holm (1979), by hand
    assert register.adjusted(path, _try("c4")) is None
    assert len(register.entries(path)) == 4


def test_a_try_without_p_counts_as_one_which_is_the_largest_that_the_adjusted_p_can_be(tmp_path):
    path = tmp_path / "r.jsonl"
    register.log(path, _try("c1", p=0.02))
    register.log(path, _try("c2"))
    assert register.adjusted(path, _try("c1")) == Adjusted(0.02, 0.04, 1)
    for p in (0.001, 0.019, 0.5):
        register.log(path, _try("c2", p=p))
        found = register.adjusted(path, _try("c1"))
        assert found is not None
        assert (found.holm or 1.0) <= 0.04


def test_measuring_again_keeps_one_try_with_its_latest_p(tmp_path):
    path = tmp_path / "r.jsonl"
    register.log(path, _try("c1", p=0.5))
    lines = path.read_bytes()
    register.log(path, _try("c1", p=0.5))
    register.log(path, _try("c1"))
    assert path.read_bytes() == lines
    assert register.log(path, _try("c1", p=0.25)) == Tried(1, 1)
    assert [entry.p for entry in register.entries(path)] == [0.25]
    other = tmp_path / "o.jsonl"
    register.log(other, _try("c1", p=0.9))
    register.log(other, _try("c2", p=0.1))
    assert [entry.p for entry in register.merge(path, other)] == [0.25, 0.1]  # what is known here stays
    before = path.read_bytes()
    register.merge(path, other)
    assert path.read_bytes() == before


@pytest.mark.parametrize("p", ["1.5", "-0.1", '"0.1"', "true"])
def test_a_p_that_is_none_is_named(tmp_path, p):
    path = tmp_path / "r.jsonl"
    path.write_text(f'{{"split": "s", "claim": "c", "ablations": [], "p": {p}}}\n')
    with pytest.raises(RunError, match="line 1 of the register"):
        register.entries(path)
