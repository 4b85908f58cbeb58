"""A measurement that is stopped: what was said is saved, and going on gives what an unbroken run does."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from assay.errors import RunError
from assay.explanations.claims.file import load_claim
from assay.measure import unfinished, workbench
from assay.measure.budget import STAGES
from assay.measure.measure import measure_into
from assay.measure.measurement import Measurement, load_run
from assay.measure.settings import Settings
from assay.measure.unfinished import Unfinished
from assay.record.about import STOPPED
from assay.record.measurement import MeasurementRecord
from assay.store.register import REGISTER, entries
from tests.measure.conftest import claim_in

BUDGET = "30"


def run(
    path: Path,
    out: Path,
    budget: int | str = int(BUDGET),
    before: Measurement | None = None,
    overwrite: bool = False,
    told: Callable[[str], None] = print,
) -> Measurement:
    file = load_claim(path)
    settings = Settings.resolve(file, budget=budget, out=str(out), overwrite=overwrite or before is not None)
    return measure_into(file, settings, told=told, before=before)[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> MeasurementRecord:
    """Of the unbroken run."""
    folder = tmp_path_factory.mktemp("unbroken")
    return run(claim_in(folder), folder / "run").record


def assert_same(found: MeasurementRecord, wanted: MeasurementRecord) -> None:
    """But for what says how it was made: times, commands, passes."""
    ways = {"arguments", "budget", "timing"}
    for name in MeasurementRecord.model_fields:
        if name not in ways:
            assert getattr(found, name) == getattr(wanted, name), name
    assert found.budget.wanting == wanted.budget.wanting


@pytest.fixture
def assay(run: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[int, str, str]]:
    """The command, here: what a process that was killed has left is on disk."""
    return run


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_process_is_gone_on_with(
    claim: Path,
    tmp_path: Path,
    how: signal.Signals,
    whole: MeasurementRecord,
    assay: Callable[..., tuple[int, str, str]],
):
    out = tmp_path / "run"
    killed = subprocess.Popen(
        [sys.executable, "-m", "assay", "measure", str(claim), "--out", str(out), "--budget", BUDGET],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    assert killed.stderr is not None
    for line in killed.stderr:
        if line.startswith("headline:"):
            break
    killed.send_signal(how)
    _, said = killed.communicate(timeout=120)
    assert killed.returncode == (-how if how == signal.SIGKILL else 130)
    if how == signal.SIGINT:
        assert f"assay measure --continue {out} goes on" in said
    half = load_run(out).record
    assert half.budget.ahead
    assert half.controls.reason == STOPPED

    code, shown, _ = assay("report", str(out))
    assert code == 0
    assert "not measured, as the run was stopped or still goes on: " in shown
    assert f"next: assay measure --continue {out}" in shown
    assert "stopped" in (out / "report.html").read_text()

    assert assay("measure", "--continue", str(out))[0] == 0
    found = load_run(out).record
    assert_same(found, whole)
    assert found.arguments.resolved == whole.arguments.resolved  # the budget, too
    assert len(entries(tmp_path / REGISTER)) == 1


class StopError(Exception):
    """Something that ends a measurement."""


STAGES_OF_A_RUN = ["headline", *STAGES]


@pytest.mark.parametrize("stage", ["headline", "parts", "controls", "bits"])
def test_stopped_after_a_stage_and_gone_on_with_it_is_the_unbroken_run(
    claim: Path, tmp_path: Path, stage: str, monkeypatch: pytest.MonkeyPatch, whole: MeasurementRecord
):
    out, save, calls = tmp_path / "run", Unfinished.save, list[str]()
    monkeypatch.setattr(unfinished, "SHARE", 1e9)  # every stage is saved

    def saving(self: Unfinished, make: Callable[[], Measurement]) -> None:
        save(self, make)
        calls.append(STAGES_OF_A_RUN[len(calls)])
        if calls[-1] == stage:
            raise StopError

    with monkeypatch.context() as within:
        within.setattr(Unfinished, "save", saving)
        with pytest.raises(StopError):
            run(claim, out)
    half = load_run(out)
    left = [block for one in STAGES_OF_A_RUN[len(calls) :] for block in STAGES[one]]
    assert half.record.budget.ahead == left
    again = run(claim, out, before=half).record
    assert_same(again, whole)
    assert load_run(out).record == again
    repeated = {one.name: one.passes for one in again.budget.stages if one.name.endswith("(continued)")}
    assert not repeated.get("headline (continued)")


def test_a_finished_run_stays_until_the_one_that_replaces_it_is_finished(
    claim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out, beside = tmp_path / "run", tmp_path / "run.unfinished"
    first = run(claim, out, "headline").record
    with monkeypatch.context() as within:
        within.setattr(workbench, "measure_yardsticks", stopping)
        with pytest.raises(StopError):
            run(claim, out, "headline", overwrite=True)
    assert load_run(out).record == first
    assert load_run(beside).record.budget.ahead
    run(claim, out, "headline", overwrite=True)
    assert not beside.exists()


def test_what_cannot_be_saved_early_is_said_and_measured_on(
    claim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object, **__: object) -> Path:
        raise RunError("no space left")

    monkeypatch.setattr(Measurement, "save_unfinished", full)
    lines = list[str]()
    assert run(claim, tmp_path / "run", "headline", told=lines.append).record.budget.wanting
    assert [line for line in lines if "no space left" in line] == [
        "what is measured is not saved until the run is done: no space left"
    ]
    assert load_run(tmp_path / "run").record.budget.ahead == []


def stopping(*_: object) -> None:
    raise StopError


def test_the_least_budget_goes_on_with_nothing(claim: Path, tmp_path: Path, assay: Callable[..., tuple[int, str, str]]):
    out = tmp_path / "run"
    assert assay("measure", str(claim), "--out", str(out), "--budget", "headline")[0] == 0
    before = load_run(out).record
    code, _, said = assay("measure", "--continue", str(out), "--budget", "headline")
    assert code == 0, said
    assert_same(load_run(out).record.model_copy(update={"budget": before.budget}), before)
