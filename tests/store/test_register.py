"""The register counts every claim and set of ablations that was tried on a split, once."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from assay.errors import RunError
from assay.store import register
from assay.store.register import Adjusted, Tried, Try


def _try(claim="c1", ablations=("mean",), split="s", **more):
    return Try(split, claim, tuple(ablations), **more)


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


def test_a_last_line_without_a_newline_is_a_try(tmp_path):
    path = tmp_path / "r.jsonl"
    for claim in ("c1", "c2"):
        register.log(path, _try(claim))
    path.write_bytes(path.read_bytes().rstrip(b"\n"))  # as an editor may leave it
    assert [entry.claim for entry in register.entries(path)] == ["c1", "c2"]
    assert register.tried(path, _try("c2")) == Tried(2, 2)
    assert register.log(path, _try("c3")) == Tried(3, 3)
    assert [json.loads(line)["claim"] for line in path.read_text().splitlines()] == ["c1", "c2", "c3"]
    path.write_bytes(path.read_bytes() + b"  ")
    assert register.log(path, _try("c4")) == Tried(4, 4)
    assert len(register.entries(path)) == 4


def test_what_is_no_regular_file_is_refused_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "loose").symlink_to(tmp_path / "nowhere" / "r.jsonl")
    (tmp_path / "folder").mkdir()
    for name, why in (("pipe", "not a regular"), ("zero", "not a regular"), ("folder", "not a regular"), ("loose", "")):
        path = tmp_path / name
        for ask in (register.check, register.entries, lambda path: register.log(path, _try())):
            with pytest.raises(RunError, match=rf"^the register '.*{name}' cannot be (read|written): .*{why}"):
                ask(path)


def test_a_register_of_no_end_is_refused_by_its_size(tmp_path):
    path = tmp_path / "r.jsonl"
    with path.open("wb") as file:
        file.truncate(register.LARGEST + 1)  # a hole: nothing is on the disk
    with pytest.raises(RunError, match=r"cannot be read: it has over 134,217,728 bytes$"):
        register.check(path)


def test_a_full_disk_in_the_middle_of_a_line_leaves_the_register_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "r.jsonl"
    register.log(path, _try("c1"))
    before, real, calls = path.read_bytes(), os.write, []

    def write(descriptor, content):
        calls.append(content)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return real(descriptor, content[:10])

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(RunError, match="cannot be written: No space left on device"):
        register.log(path, _try("c2"))
    assert path.read_bytes() == before


@pytest.mark.parametrize("p", [None, 0.02])
def test_what_is_foreseen_is_what_logging_gives(tmp_path, p):
    path = tmp_path / "r.jsonl"
    for claim, other in (("c1", 0.01), ("c2", None), ("c3", 0.5)):
        register.log(path, _try(claim, p=other))
    for claim in ("c2", "c3", "c4"):
        entry, before = _try(claim, p=p), path.read_bytes()
        seen = register.foreseen(path, entry)
        assert path.read_bytes() == before
        assert (register.log(path, entry), register.adjusted(path, entry)) == seen
    assert register.foreseen(tmp_path / "none.jsonl", _try()) == (Tried(1, 1), Adjusted(None, None, 1))


def test_writers_of_many_processes_lose_nothing(tmp_path):
    path = tmp_path / "r.jsonl"
    code = (
        "import sys\nfrom assay.store.register import Try, log\n"
        "for i in range(40): log(sys.argv[1], Try('s', f'{sys.argv[2]}-{i}', ('mean',)))"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(path), str(name)]) for name in range(4)]
    assert [process.wait(timeout=60) for process in running] == [0] * 4
    assert {entry.claim for entry in register.entries(path)} == {f"{n}-{i}" for n in range(4) for i in range(40)}
    assert len(path.read_text().splitlines()) == 160


@pytest.mark.parametrize(
    "line",
    ["[]", "null", "7", '"split"', '{"split": 1, "claim": "c", "ablations": []}', "[" * 10_000, "NaN",
     '{"split": "s", "claim": "c", "ablations": "mean"}', '{"split": "s", "claim": "c", "ablations": [[]]}',
     '{"split": "s", "claim": "c", "ablations": {"a": 1}}', '{"split": "s", "claim": "c", "ablations": [], "p": NaN}'],
)  # fmt: skip
def test_a_line_that_is_no_entry_is_named(tmp_path, line):
    path = tmp_path / "r.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(RunError, match=r"^line 1 of the register '.*' is not an entry; mend or move the file$"):
        register.check(path)


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
