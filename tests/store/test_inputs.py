"""Files that strangers wrote: what is no regular file is not opened, what is too large is not read, and each failure is
one sentence of the class that was asked for."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from assay.errors import ClaimError, TaskError
from assay.store import inputs


def refused(path: str | Path, most: int = 100) -> str:
    with pytest.raises(TaskError) as problem:
        inputs.read_text(path, "the list", TaskError, most=most)
    assert "\n" not in str(problem.value)
    return str(problem.value)


def test_a_pipe_a_socket_a_folder_and_a_device_are_refused_unopened(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("it was opened"))
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    (tmp_path / "link").symlink_to("pipe")
    server = socket.socket(socket.AF_UNIX)
    server.bind("socket")
    server.close()
    for name in ("pipe", "link", "socket", "/dev/zero"):
        assert refused(name) == f"the list {name!r} is not a regular file, so it is not read"
    assert refused(".") == "the list '.' is a folder, not a file"


def test_what_became_a_pipe_after_it_was_looked_at_is_not_waited_for(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    regular = os.stat(tmp_path / "file")
    monkeypatch.setattr(os, "stat", lambda *_, **__: regular)
    assert "is not a regular file" in refused(tmp_path / "pipe")


def test_a_file_over_its_limit_is_refused_by_its_size_and_one_that_hides_it_by_what_comes(tmp_path):
    path = tmp_path / "list"
    path.write_text("x" * 100)
    assert inputs.read_text(path, "the list", most=100) == "x" * 100
    path.write_text("x" * 101)
    assert refused(path) == f"the list {str(path)!r} has 101 bytes, and at most 100 are read; is it the right file?"
    with open(path, "wb") as file:
        file.truncate(1 << 40)
    assert "has 1,099,511,627,776 bytes" in refused(path)
    assert "has over 5 bytes" in refused("/proc/self/status", most=5)  # says that it has none


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("gone", "does not exist here ("),
        ("x" * 300, "cannot be read: File name too long"),
        ("x/" * 4_000, "cannot be read: File name too long"),
        ("~nosuchuser/x", "does not exist here ("),
        ("~a\0b/x", "cannot be read: "),
        ("a\0b", "cannot be read: "),
        ("\ud800", "cannot be read: "),
        ("list/x", "does not exist, for 'list' is not a folder"),
        ("round", "cannot be read: Too many levels of symbolic links"),
        ("/proc/self/mem", "cannot be read: "),
        ("lsit", "; did you mean 'list'?"),
        ("bytes", "'bytes' cannot be read as UTF-8 text: line 2 has the byte 0xff"),
    ],
)
def test_each_failure_is_one_short_sentence(tmp_path, monkeypatch, name, sentence):
    monkeypatch.chdir(tmp_path)
    Path("list").write_text("a")
    Path("bytes").write_bytes(b"a\n\xff")
    Path("round").symlink_to("round")
    said = refused(name)
    assert sentence in said
    assert len(said) < 400
    assert inputs.is_file(name) is (name in ("bytes", "/proc/self/mem"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_said(tmp_path):
    (tmp_path / "list").write_text("a")
    (tmp_path / "list").chmod(0)
    assert "cannot be read: Permission denied" in refused(tmp_path / "list")


def test_a_home_is_resolved_and_a_byte_order_mark_dropped(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "list").write_bytes(b"\xef\xbb\xbfa")
    assert inputs.read_text("~/list", "the list", most=10) == "a"
    assert inputs.read_head("~/list", "the list", count=4) == b"\xef\xbb\xbfa"
    assert inputs.is_file("~/list")


def test_json_that_would_take_far_more_memory_than_its_bytes_is_refused_before_it_is_parsed(tmp_path, monkeypatch):
    path = tmp_path / "data.json"
    for text, sentence in (
        ("{", "is not JSON: Expecting"),
        ("[" * 200_000, "is not JSON: it is nested too deeply"),
        ("9" * 5_000, "is not JSON: Exceeds the limit"),
        ("\xff", "is not JSON: "),
    ):
        path.write_bytes(text.encode("latin-1"))
        with pytest.raises(ClaimError, match=sentence):
            inputs.read_json(path, "the data", ClaimError, most=1_000_000)
    path.write_text('{"a": [1, "é"]}')
    assert inputs.read_json(path, "the data", most=100) == {"a": [1, "é"]}
    assert inputs.read_json(path, "the data", most=100, pairs=list) == [("a", [1, "é"])]
    monkeypatch.setattr(inputs, "WEIGHT", 100_000)
    path.write_text(json.dumps([{}] * 1_000))
    monkeypatch.setattr(json, "loads", lambda *_, **__: pytest.fail("it was parsed"))
    with pytest.raises(ClaimError, match="holds too many values to be read, in 4,000 bytes"):
        inputs.read_json(path, "the data", ClaimError, most=1_000_000)


def test_the_weight_of_json_is_no_less_than_what_its_data_take():
    import tracemalloc

    for piece in (
        "{}",
        "[]",
        '{"a":{}}',
        "0.25",
        "12345",
        '"abcdefghij"',
        '"é"',
        '"\U0001f98a"',
        '{"x1":[]}',
        "[[[]]]",
    ):
        # Names differ, as an enemy's would: equal ones are one object.
        content = ("[" + ",".join(piece.replace("a", f"a{i}") for i in range(20_000)) + "]").encode()
        tracemalloc.start()
        data = inputs.parse_json(content, "the data")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(data) == 20_000
        assert peak <= inputs.weight(content), piece
