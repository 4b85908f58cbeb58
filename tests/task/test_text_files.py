"""A user's own texts: files, folders, globs, rows of CSV and JSONL, tables and lists give the same task."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from pathlib import Path

import pyarrow as pa
import pytest

from assay.errors import TaskError
from assay.task import text_files
from assay.task.task import Task
from assay.task.text_files import expand, read_texts
from tests.task.handles import novel
from tests.task.test_text import TEXTS, text


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twenty text files in two folders, beside files that are no texts."""
    monkeypatch.chdir(tmp_path)
    for i, one in enumerate(TEXTS):
        place = tmp_path / "data" / ("a" if i % 2 else "b") / f"{i:02}.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(one)
    (tmp_path / "data" / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / "data" / ".hidden.txt").write_text("hidden")
    return tmp_path / "data"


def hashes(task: Task) -> tuple[set[str], set[str]]:
    assert task.reference is not None
    return {d.hash for d in task.documents}, {d.hash for d in task.reference.documents}


def rows(name: str, texts: list[str], column: str = "text") -> Path:
    path = Path(name)
    lines = "".join(json.dumps({"id": i, column: one}) + "\n" for i, one in enumerate(texts)).encode()
    pack = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}.get(path.suffix)
    path.write_bytes(pack(lines) if pack else lines)
    return path


def test_every_way_to_give_the_same_texts_gives_the_same_task(folder: Path):
    model = novel()
    wanted = hashes(Task.text(model, texts=TEXTS))
    Path("all.csv").write_text("id,text\n" + "".join(f'{i},"{one}"\n' for i, one in enumerate(TEXTS)))
    table = pa.table({"text": TEXTS, "id": list(range(20))})
    for files in (
        "data",
        folder,
        "data/**/*.txt",
        ["data/a", "data/b/*"],
        [str(file) for file in sorted(folder.rglob("*/*.txt"))],
        ["data/a", "data/a/*.txt", "data"],  # a file that is named twice is read once
        "all.csv",
        rows("all.jsonl", TEXTS),
        rows("all.jsonl.gz", TEXTS),
        rows("all.ndjson.bz2", TEXTS),
        [rows("some.jsonl.xz", TEXTS[:7]), rows("more.jsonl", TEXTS[7:])],
    ):
        assert hashes(Task.text(model, files=files)) == wanted
    for texts in (table, table.to_pylist(), [Path("data")], Path("all.csv"), tuple(TEXTS)):
        assert hashes(Task.text(model, texts=texts)) == wanted
    assert hashes(Task.text(model, files=rows("b.jsonl", TEXTS, "body"), column="body")) == wanted
    assert hashes(Task.text(model, texts=table.rename_columns(["body", "id"]), column="body")) == wanted


def test_documents_are_named_after_their_files_and_lines(folder: Path, caplog: pytest.LogCaptureFixture):
    task = Task.text(novel(), files="data/a", reference=rows("held.jsonl", [text(99), text(98)]))
    assert task.documents[0].name == "data/a/01.txt"
    assert task.notes["files"] == ["data/a"]
    assert task.notes["reference"] == "given texts"
    assert task.reference is not None
    assert [d.name for d in task.reference.documents] == ["held.jsonl:1", "held.jsonl:2"]
    assert not caplog.records  # the reference was chosen by the user


def test_a_file_whose_name_ends_like_a_piece_is_no_piece_of_another(folder: Path):
    for i in range(4):
        Path(f"chat#{i}").write_text(text(60 + i))
    task = Task.text(novel(), files="chat#*", reference=[text(99)])
    assert len(set(task.clusters)) == 4


def test_that_three_tenths_become_the_reference_is_said(folder: Path, caplog: pytest.LogCaptureFixture):
    task = Task.text(novel(), files="data")
    (said,) = (record.getMessage() for record in caplog.records)
    assert said.startswith("note: 6 of the documents of '20 texts' are the reference, which fills ablations and fits")
    assert task.notes["reference"] == "documents split 30/70 by content hash (reference/scored)"


def test_short_rows_are_left_out_with_a_note_and_short_files_are_refused(folder: Path, caplog):
    path = rows("all.jsonl", [*TEXTS, "", "Too short.", " \n"])
    task = Task.text(novel(), files=path, reference=[text(99)])
    assert len(task.documents) == 20
    assert task.notes["texts_left_out"] == "3 of 23, which have fewer than 16 tokens"
    assert caplog.records[-1].getMessage() == "note: 20 texts: left out: 3 of 23, which have fewer than 16 tokens"
    Path("short.txt").write_text("Too short.")
    assert refused(files=["data", "short.txt"]) == ("short.txt has 4 tokens; a document needs at least 16 after BOS")
    assert "none of the 2 texts has 16 tokens" in refused(files=rows("none.jsonl", ["", "Too short."]))


def refused(**arguments: object) -> str:
    with pytest.raises(TaskError) as refusal:
        Task.text(novel(), **arguments)  # type: ignore[arg-type]
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_what_is_no_text_is_refused_in_one_sentence(folder: Path):
    rows("other.jsonl", TEXTS, "body")
    Path("empty.jsonl").write_text("\n")
    Path("ragged.csv").write_text("text,n\na,1,2\n")
    Path("numbers.jsonl").write_text('{"text": 3}\n')
    Path("list.jsonl").write_text("[1]\n")
    Path("pictures").mkdir()
    Path("pictures/a.png").write_bytes(b"")
    Path("torn.jsonl.gz").write_bytes(gzip.compress(b"x" * 500)[:-12])
    Path("plain.txt.xz").write_text("no xz")
    for arguments, message in (
        (
            {"files": "other.jsonl"},
            "other.jsonl:1: there is no column 'text'; valid: 'id', 'body'; 'column' names",
        ),
        ({"files": "other.jsonl", "column": "bodi"}, "other.jsonl:1: there is no column 'bodi'; did you mean 'body'?"),
        ({"files": "data", "column": "text"}, "the column 'text' is named, and nothing is given that has columns"),
        ({"texts": TEXTS, "column": "text"}, "the column 'text' is named, and nothing is given that has columns"),
        ({"column": "text"}, "the column 'text' is named, and nothing is given that has columns; leave it out"),
        ({"files": "empty.jsonl"}, "there are no rows in 'empty.jsonl'"),
        ({"texts": pa.table({"text": []})}, "texts has no rows; give at least one text"),
        ({"files": "ragged.csv"}, "ragged.csv:2: the row has more cells than the header has columns"),
        ({"files": "numbers.jsonl"}, "numbers.jsonl:1: 'text' must be a text, not '3'"),
        ({"files": "list.jsonl"}, "list.jsonl:1: there is no column 'text'"),
        ({"files": "pictures"}, "the folder 'pictures' holds no file of texts (.txt, .text, .md, .csv, .tsv, .jsonl,"),
        ({"files": "dat/*.txt"}, "no file matches 'dat/*.txt'"),
        ({"files": ["data/a/1.txt"]}, "the file 'data/a/1.txt' does not exist here"),
        ({"files": "torn.jsonl.gz"}, "the file 'torn.jsonl.gz' cannot be unpacked: it ends in the middle"),
        ({"files": "plain.txt.xz"}, "the file 'plain.txt.xz' cannot be unpacked: "),
        ({"files": "data", "split": "test"}, "'split' and 'files' are both given; a task has one or the other"),
        (
            {"texts": (one for one in TEXTS)},
            "texts: a generator has no length; give a list, such as list(it.take(",
        ),
        ({"texts": {"train": TEXTS}}, "texts: this is a dict of 'train', not a list of rows; give one of them"),
        ({"texts": [TEXTS[0], 3]}, "texts[1] is int, not a text"),
        ({"texts": [{"txt": "a"}]}, "texts, row 0: there is no column 'text'; did you mean 'txt'?"),
    ):
        assert message in refused(**arguments)


def test_packed_files_are_read_as_far_as_is_allowed(folder: Path, monkeypatch: pytest.MonkeyPatch):
    Path("two.txt.gz").write_bytes(gzip.compress(b"first ") + gzip.compress(b"second"))
    Path("two.txt.xz").write_bytes(lzma.compress(b"first ") + lzma.compress(b"second"))
    assert [one.text for one in read_texts(["two.txt.gz", "two.txt.xz"])] == ["first second"] * 2
    monkeypatch.setattr(text_files, "LARGEST", 1000)
    for name, pack in (("a.gz", gzip.compress), ("a.bz2", bz2.compress), ("a.xz", lzma.compress)):
        Path(name).write_bytes(pack(b"x" * 1000))
        assert len(read_texts([name])[0].text) == 1000
        Path(name).write_bytes(pack(b"x" * 5_000))
        with pytest.raises(TaskError, match=f"the file '{name}', unpacked, has over 1,000 bytes, and at most 1,000"):
            read_texts([name])
    monkeypatch.setattr(text_files, "TOGETHER", 1500)
    Path("a.txt").write_text("x" * 900)
    Path("b.txt").write_text("y" * 900)
    with pytest.raises(TaskError, match=r"the texts up to 'b.txt' have 1,800 characters, and at most 1,500 are read"):
        read_texts(["a.txt", "b.txt"])


def test_a_file_with_magic_characters_in_its_name_is_that_file(folder: Path):
    Path("a[1].txt").write_text(text(1))
    Path("a1.txt").write_text(text(2))
    assert expand("a[1].txt") == ["a[1].txt"]
    assert expand("a[0-9].txt") == ["a1.txt"]


@pytest.mark.parametrize("entry", ["many", "many/**/*"])
def test_a_folder_of_too_many_files_is_refused_before_they_are_looked_into(
    entry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(text_files, "MOST_FILES", 3)
    Path("many").mkdir()
    for name in ("a.txt", "b.png", "c.png"):
        Path("many", name).write_text("once upon a time")
    assert len(text_files.expand("many")) == 1
    Path("many/d.png").write_text("")
    monkeypatch.setattr(text_files.inputs, "suffix", lambda file: pytest.fail(f"looked into {file}"))
    with pytest.raises(TaskError, match=r"^'many.*' names more than 3 files; name a folder or a glob"):
        text_files.expand(entry)
