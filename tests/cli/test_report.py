"""`assay report` of a run in other forms, and of a folder of runs: what is written, printed and refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from assay.report import export
from assay.store.runs import SEARCH, write_folder, write_run
from tests.report import records

Run = Callable[..., tuple[int, str, str]]


def stored(folder: str, name: str = "program") -> Path:
    return write_run(folder, records.data(name), records.examples(), "old page")


def folder_of_runs() -> None:
    """Two runs, a search in a folder of its own, and what is none of these."""
    stored("runs/one")
    stored("runs/two", "remove")
    search = json.dumps(records.data("search")).encode()
    write_folder("runs/searches/first", {"frontier.json": search, "report.html": b"a page"}, kind=SEARCH)
    Path("runs/notes.txt").write_text("mine")
    Path("runs/empty").mkdir()
    Path("runs/broken").mkdir()
    Path("runs/broken/measurement.json").write_text("{}")
    Path("runs/link").symlink_to("one")
    Path("runs/register.jsonl").write_text("")
    Path("runs/.hidden").mkdir()


@pytest.mark.parametrize(("form", "made"), [("md", export.markdown), ("tex", export.latex), ("bib", export.bibtex)])
def test_a_text_goes_to_stdout_or_into_a_file(run: Run, form: str, made: Callable[..., str]):
    stored("runs/one")
    text = made(records.measured())
    assert run("report", "runs/one", "--format", form) == (0, text, "")
    assert run("report", "runs/one", "--format", form, "--out", f"here.{form}") == (0, f"here.{form}\n", "")
    assert Path(f"here.{form}").read_text() == text
    assert Path("runs/one/report.html").read_text() == "old page"


@pytest.mark.parametrize(("form", "begins"), [("png", b"\x89PNG"), ("svg", b"<svg")])
def test_a_picture_goes_into_the_run(run: Run, form: str, begins: bytes):
    stored("runs/one")
    assert run("report", "runs/one", "--format", form) == (0, f"runs/one/report.{form}\n", "")
    drawn = Path(f"runs/one/report.{form}").read_bytes()
    assert drawn.startswith(begins)
    assert len(drawn) > 10_000
    if form == "svg":
        assert b"Recovers 99.90" in drawn
        assert b"other heads" in drawn
        assert b"http://www.w3.org/2000/svg" in drawn


def test_a_search_has_the_same_forms(run: Run):
    folder_of_runs()
    assert run("report", "runs/searches/first", "--format", "md") == (0, export.markdown(records.searched()), "")
    assert run("report", "runs/searches/first", "--format", "svg")[0] == 0


def test_a_folder_of_runs_becomes_one_page_and_what_is_no_run_is_named(run: Run):
    folder_of_runs()
    code, out, err = run("report", "runs")
    assert code == 0
    assert out.splitlines()[-1] == "index runs/index.html"
    for name in ("one", "two", "searches/first"):
        assert any(line.startswith(name) for line in out.splitlines())
    told = dict(line.removeprefix("skipped ").split(": ", 1) for line in err.splitlines())
    assert sorted(told) == ["broken", "empty", "link", "notes.txt"]
    assert told["notes.txt"] == "a file, and no run folder"
    assert told["link"] == "a link"
    assert told["empty"] == "a folder without runs"
    assert "has no schema number" in told["broken"]
    page = Path("runs/index.html").read_text()
    for name in ("one/report.html", "two/report.html", "searches/first/report.html"):
        assert f'href="{name}"' in page
    assert run("report", "runs")[0] == 0  # its own page is replaced
    assert Path("runs/one/report.html").read_text() == "old page"


def test_a_folder_of_runs_as_json(run: Run):
    folder_of_runs()
    _, out, err = run("report", "runs", "--json")
    found = json.loads(out)
    assert [line["run"] for line in found["runs"]] == ["one", "searches/first", "two"]
    assert found["runs"][0]["recovered"] == records.data()["headline"]["recovered"]["value"]
    assert set(found["skipped"]) == {"broken", "empty", "link", "notes.txt"}
    assert err == ""
    assert not Path("runs/index.html").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("runs/one", "--format", "pdf"), "there is no format 'pdf'"),
        (("runs/one", "--format", "markdown"), "there is no format 'markdown'"),
        (("runs/one", "--out", "a.md"), "--out 'a.md' needs a --format: md, tex, bib, png, svg"),
        (("runs/one", "--format", "md", "--out", "no/a.md"), "'no/a.md' cannot be written: No such file or directory"),
        (("runs", "--format", "md"), "'runs' is a folder of runs, and --format 'md' is for one of them"),
        (("runs", "--section", "checks"), "'runs' is a folder of runs, and --section 'checks' is for one of them"),
        (("runs/empty",), "'runs/empty' is not a run folder: it has no measurement.json"),
        (("nowhere",), "there is no run 'nowhere'"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(run: Run, arguments: tuple[str, ...], sentence: str):
    folder_of_runs()
    code, out, err = run("report", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert sentence in err


def test_a_page_that_is_not_ours_is_not_replaced(run: Run):
    folder_of_runs()
    Path("runs/index.html").write_text("<p>mine")
    code, _, err = run("report", "runs")
    assert code == 2
    assert "was not made by assay, so it is not replaced" in err
    assert Path("runs/index.html").read_text() == "<p>mine"
