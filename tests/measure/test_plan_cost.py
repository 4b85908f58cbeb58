"""A dry run says what the measurement then runs, stage by stage, and hardly runs the model itself."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from assay.explanations import Circuit, Constant, Hypothesis, Keep, Program, Remove, programs
from assay.explanations.claims.file import load_claim
from assay.measure.job import Job
from assay.measure.plan_cost import CALLS, cost, dry_run
from assay.measure.request import MeasurementRequest, request
from assay.measure.settings import Settings
from assay.measure.stages import Stages
from assay.measure.workbench import Workbench, measured
from assay.model.transformer import Model
from assay.task.task import Task
from tests.measure.digits import digits
from tests.measure.digits import task as digits_task
from tests.measure.planted import texts
from tests.model.tiny import tiny

# sets that searches find are others in a sketch: runs of them begin in other layers, and leave others for later stages
BOUND = {"rel": 0.1, "abs": 2.0}
CLAIMS: dict[str, Any] = {
    "program": Program({"a1.h1": programs.induction(), "m1": programs.ngram(2)}),
    "keep": Keep(["a0.h1", "m0", "a3.h2"]),
    "remove": Remove(["a1.h2", "m2"]),
    "neuron": Remove(["m1.n3", "m2.n40"]),
    "circuit": Circuit(nodes=["a0.h1", "m0", "a2.h1", "m3"]),
    "hypothesis": Hypothesis({"last": "token(-1)", "answer": "last"}, {"last": ["a1.h1", "m2"]}),
}


@cache
def job(kind: str, ablation: str, family: str = "gpt2") -> Job:
    model = tiny(family, layers=4, tokenizer=True)
    task = Task.text(model, texts=list(texts(6, 0)), reference=list(texts(16, 1)))
    return request(CLAIMS[kind], model, task, None, {"ablation": ablation, "controls": 3}).open()


@cache
def repeated(kind: str) -> Job:
    """The same with one scored token a row, as swaps need."""
    model = tiny("gpt2", layers=4, tokenizer=True)
    task = Task.repeat(model, n=12, length=6, seed=1)
    last = torch.zeros_like(task.scored)
    last[:, -1] = True
    task = replace(task, scored=last & task.scored)
    return request(CLAIMS[kind], model, task, None, {"ablation": "mean", "only": "headline"}).open()


def passes(job: Job) -> dict[str, float]:
    """What the measurement runs, in passes over all scored rows."""
    with Stages() as stages:
        measured(Workbench(job.model, job.task, seed=0), job, stages, time.time())
    width = job.task.tokens.shape[1] if isinstance(job.model, Model) else 1
    return {name: stage.meter.tokens / width / len(job.task) for name, stage in stages.found.items()}


@pytest.mark.parametrize(
    ("kind", "ablation", "family"),
    [
        ("program", "mean", "gpt2"),
        ("keep", "resample_joint", "gpt_neox"),
        ("remove", "noise", "qwen3"),
        ("neuron", "mean", "llama"),
        ("circuit", "resample_independent", "gpt2"),
    ],
)
def test_what_is_predicted_is_what_is_run(kind: str, ablation: str, family: str):
    one = job(kind, ablation, family)
    found = cost(one)
    predicted, run = {name: stage["passes"] for name, stage in found["stages"].items()}, passes(one)
    assert list(predicted) == list(run)
    assert "swaps" not in run  # of a kind that names no variables
    for name, count in run.items():
        bound = {} if name == "fitting on the reference" else BOUND
        assert predicted[name] == pytest.approx(count, **bound), name
    assert found["forwards"] == pytest.approx(sum(run.values()) * len(one.task), rel=0.05)
    assert sum(stage["minutes"] for stage in found["stages"].values()) == pytest.approx(found["minutes"], abs=0.05)


def test_swaps_are_a_stage_of_their_own_that_is_predicted():
    one, seen = repeated("hypothesis"), list[tuple[str, int, int | None]]()
    predicted, run = cost(one)["stages"], passes(one)
    assert list(run)[:3] == ["fitting on the reference", "swaps", "headline"]
    assert run["swaps"] > 4  # two strengths and two draws, and what they take from
    assert predicted["swaps"]["passes"] == pytest.approx(run["swaps"])
    bench = Workbench(one.model, one.task, seed=0)
    measured(bench, one, lambda *said: seen.append(said), time.time())
    swaps = [(done, total) for stage, done, total in seen if stage == "swaps"]
    assert swaps[0] == (0, 1)
    assert swaps[-1] == (48, 48)


def test_what_loading_takes_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "claim.yaml").write_text(
        "model: planted:reversal\ntask: {kind: planted}\nexplanation: {kind: remove, components: [a0.h0]}\n"
    )
    opening = MeasurementRequest.open

    def slow(request: MeasurementRequest) -> Job:
        time.sleep(0.3)
        return opening(request)

    monkeypatch.setattr(MeasurementRequest, "open", slow)
    file = load_claim(tmp_path / "claim.yaml")
    found = dry_run(file, Settings.resolve(file, only="headline"))
    assert next(iter(found["stages"])) == "loading"
    assert found["stages"]["loading"]["minutes"] >= 0.3 / 60
    assert found["minutes"] == pytest.approx(sum(one["minutes"] for one in found["stages"].values()), abs=0.06)


def test_a_fit_by_gradient_is_predicted_by_what_most_fits_take():
    model = tiny("gpt2", layers=4, tokenizer=True)
    task = job("keep", "mean").task
    one = request(Constant(["m0"], "optimal"), model, task, None, {"ablation": "mean", "controls": 0}).open()
    stage = "fitting on the reference"
    assert 1 / 4 < cost(one)["stages"][stage]["passes"] / passes(one)[stage] < 4


def test_a_dry_run_runs_the_model_on_a_few_rows_only(monkeypatch: pytest.MonkeyPatch):
    one, rows, layer = job("remove", "mean"), [0.0], Model.run_layer

    def counted(view: Model, x: torch.Tensor, *rest: Any) -> torch.Tensor:
        rows[0] += len(x) / 4 if view is one.model else 0
        return layer(view, x, *rest)

    monkeypatch.setattr(Model, "run_layer", counted)
    cost(one)
    assert 0 < rows[0] <= (1 + CALLS) * len(one.task)


def test_a_modules_passes_are_predicted():
    one = request(
        Remove(["conv2[0]", "conv2[2]"]), digits(), digits_task(), None, {"ablation": "mean", "controls": 5}
    ).open()
    predicted, run = cost(one)["stages"], passes(one)
    for name, count in run.items():
        assert predicted[name]["passes"] == pytest.approx(count, **BOUND), name
