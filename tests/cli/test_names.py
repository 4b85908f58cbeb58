"""Names that no file can have, and text of strangers that a terminal would obey: one sentence, and nothing obeyed."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import pytest

import assay.find.circuit.search  # before `load` is replaced, or they would keep what it is replaced with
import assay.measure.measure  # noqa: F401
from assay.report.plain import plain_json, plain_lines, plain_text

CLAIM = """\
model: zoo:stories-260k
task: {kind: repeat, n: 4, length: 6}
explanation: {kind: constant, components: [a2.h1]}
"""
EVIL = "\u202e\x1b[2J\x9b31m\x07\u2066\u200f\x7f"


@pytest.fixture
def run(run, monkeypatch: pytest.MonkeyPatch):
    """Runs a command in a folder with a claim file, where no model may be loaded: (exit code, stdout, stderr)."""
    monkeypatch.setattr("assay.model.load.load", lambda *_, **__: pytest.fail("a model was loaded"))
    Path("claim.yaml").write_text(CLAIM)
    return run


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("n" * 256, "has a name of 256 bytes, "),
        ("é" * 150, "has a name of 300 bytes, "),
        (f"{'n' * 300}/run", "has a name of 300 bytes, "),
        ("n/" * 2_500 + "run", "is a path of 5,"),
        ("a\0b", "holds a NUL byte, which no name can have"),
        ("~nosuchuser/x", "cannot be found: there is no user '~nosuchuser'"),
    ],
)
@pytest.mark.parametrize(
    "arguments",
    [
        ("measure", "claim.yaml", "--out"),
        ("demo", "--out"),
        ("find", "circuit", "zoo:stories-260k", "--out"),
        ("init", "zoo:stories-260k", "--out"),
        ("report",),
        ("compare", "claim.yaml"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_name_that_cannot_be_is_one_sentence(run, arguments: tuple[str, ...], name: str, sentence: str):
    if arguments[0] == "compare":
        arguments = ("compare", name)
        name = "claim.yaml"
    code, out, err = run(*arguments, name)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("assay: the ")
    assert sentence in err


def test_a_run_folders_name_leaves_room_for_the_scratch_folders(run):
    code, out, err = run("measure", "claim.yaml", "--out", "n" * 245)
    assert (code, out) == (2, "")
    assert "the output folder has a name of 245 bytes" in err
    assert "at most 229 can be used" in err
    assert not Path("runs").exists()


def hidden(text: str) -> set[str]:
    return {char for char in text if unicodedata.category(char) in ("Cc", "Cf") and char != "\n"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", f"runs/{EVIL}"),
        ("compare", f"runs/{EVIL}", "runs/b"),
        ("ls", f"./{EVIL}"),
        ("init", f"./{EVIL}"),
        ("validate", f"{EVIL}\n.yaml"),
        ("measure", f"{EVIL}.yaml"),
        ("zoo", EVIL),
        (EVIL,),
        ("find", "circuit", f"./{EVIL}"),
        ("measure", "claim.yaml", "--ablation", EVIL),
    ],
)
def test_nothing_in_a_name_is_obeyed_by_the_terminal(run, arguments: tuple[str, ...]):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert hidden(err) == set()


def test_a_claim_files_name_is_shown_safely_on_stdout(run):
    Path(f"a{EVIL}.yaml").write_text(CLAIM)
    code, out, err = run("validate", f"a{EVIL}.yaml")
    assert (code, err, hidden(out)) == (0, "", set())


def test_text_is_shown_as_it_is_but_for_what_is_hidden():
    assert plain_text("Zoë ☃ 日本 a\u0301") == "Zoë ☃ 日本 a\u0301"
    assert plain_text("a\tb\r\nc") == "a⇥b␍↵c"
    assert plain_text(EVIL) == "�␛[2J�31m␇���"
    assert plain_text("\ud800") == "�"
    assert plain_lines("a\nb\x00") == "a\nb␀"
    value = {"a": EVIL, "b": ["\U000e0001", "é\n"]}
    text = plain_json(json.dumps(value, ensure_ascii=False, indent=1))
    assert json.loads(text) == value
    assert hidden(text) == set()
    assert "é" in text


def test_a_claim_in_a_folder_that_may_not_be_entered_is_not_said_to_be_absent(run, monkeypatch):
    real = os.stat

    def locked(path, *given, **more):
        if str(path).startswith("locked"):
            raise PermissionError(13, "Permission denied")
        return real(path, *given, **more)

    monkeypatch.setattr(os, "stat", locked)
    monkeypatch.setattr(os, "lstat", locked)
    code, _, err = run("validate", "locked/claim.yaml")
    assert (code, err) == (2, "assay: the claim file 'locked/claim.yaml' cannot be read: Permission denied\n")
