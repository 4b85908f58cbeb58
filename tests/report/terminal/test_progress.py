"""Progress is shown to whoever watches, by what there is to show it with, and its stages are logged."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from assay.report.terminal import progress as shown

Pass = Callable[[float], None]


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Pass:
    """Lets so many seconds pass."""
    now, ahead = time.monotonic, [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now() + ahead[0])

    def wait(seconds: float) -> None:
        ahead[0] += seconds

    return wait


@pytest.mark.parametrize("terminal", [True, False])
def test_the_bar_waits_two_seconds_and_for_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], later: Pass, terminal: bool
):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    with shown.watched(None) as progress:
        later(1)
        progress("scoring", 0, 10)
        assert capsys.readouterr().err == ""
        later(2)
        progress("scoring", 5, 10)
    assert ("scoring" in capsys.readouterr().err) is terminal


@pytest.mark.parametrize("where", ["a notebook without widgets", "a pipe"])
def test_without_a_bar_a_line_a_stage_says_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], later: Pass, where: str
):
    notebook = where != "a pipe"
    monkeypatch.setattr(shown, "_in_notebook", lambda: notebook)
    monkeypatch.setattr(shown, "find_spec", lambda name: None)
    with shown.watched(None if notebook else True) as progress:
        progress("loading", 0, None)
        later(3)
        for done in range(10):
            progress("scor\x1bing", done, 40)
        later(30)
        progress("scor\x1bing", 30, 40)
        progress("controls", 0, None)
    assert capsys.readouterr().err == "scor␛ing ...\nscor␛ing ... 75%\ncontrols ...\n"


def test_a_function_is_called_and_false_is_silence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], later: Pass
):
    calls: list[tuple[str, int, int | None]] = []
    with shown.watched(lambda *call: calls.append(call)) as progress:
        progress("scoring", 1, 2)
    assert calls == [("scoring", 1, 2)]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with shown.watched(False) as progress:
        later(3)
        progress("scoring", 1, 2)
    assert capsys.readouterr().err == ""


def test_each_stage_is_logged_once(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, logger="assay"):
        progress = shown.noted(shown.silent)
        for done in range(3):
            progress("scoring", done, 3)
        progress("controls", 0, None)
    assert [record.getMessage() for record in caplog.records] == ["stage: scoring", "stage: controls"]
    assert {record.name for record in caplog.records} == {"assay"}


def test_only_notices_are_heard_by_whoever_asks_for_nothing():
    code = "from assay import errors, log; log.log.info('a stage'); errors.notice('done without a word')"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (said.stdout, said.stderr) == ("", "note: done without a word\n")
