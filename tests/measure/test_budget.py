"""A budget in forward passes: the headline first, then what fits; what does not is named, and gone on with."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import assay
from assay.errors import RunError, UserError
from assay.explanations import Circuit, Keep, Program, Remove, programs
from assay.explanations.claims.file import load_claim
from assay.measure.budget import LEAST_CONTROLS, SHARES, Budget, fewer, runs
from assay.measure.measure import measure_into
from assay.measure.measurement import Measurement, load_run
from assay.measure.settings import Settings
from assay.measure.workbench import Workbench
from assay.methods.part_sizes import sizes
from assay.model import meter
from assay.model.load import load
from assay.model.meter import OverBudgetError, metered
from assay.model.sketch import Sketch
from assay.model.transformer import Model
from assay.names import Site
from assay.record.measurement import MeasurementRecord
from assay.score.packed import packed, unpacked
from assay.score.score import score
from assay.task.task import Task
from tests.measure.planted import texts
from tests.model.tiny import tiny

CLAIMS: dict[str, Any] = {
    "remove": Remove(["a1.h2", "m2"]),
    "keep": Keep(["a0.h1", "m0", "a3.h2"]),
    "program": Program({"a1.h1": programs.induction()}),
    "circuit": Circuit(nodes=["a0.h1", "m0", "a2.h1", "m3"]),
}
SETTINGS: dict[str, Any] = {"ablation": ["mean", "resample_joint"], "controls": 30}


@cache
def model() -> Model:
    return tiny("gpt2", layers=4, tokenizer=True)


@cache
def task() -> Task:
    return Task.text(model(), texts=list(texts(12, 0)), reference=list(texts(8, 1)), context=24)


@cache
def measured(kind: str, budget: int | str) -> Measurement:
    return assay.measure(CLAIMS[kind], model(), task(), budget=budget, progress=False, **SETTINGS)


def counted(record: MeasurementRecord) -> float:
    return float(sum(stage.passes for stage in record.budget.stages))


@pytest.mark.parametrize("kind", list(CLAIMS))
def test_no_more_is_run_than_the_budget_allows_and_all_that_is_run_is_counted(
    kind: str, monkeypatch: pytest.MonkeyPatch
):
    rows, layer = [0.0], Model.run_layer
    task()  # with the model, whose proof on load is no part of the measurement

    def counting(self: Model, x: torch.Tensor, *rest: Any) -> torch.Tensor:
        rows[0] += 0.0 if isinstance(self, Sketch) else x.shape[0] * x.shape[1] / 4  # a sketch says what others take
        return layer(self, x, *rest)

    monkeypatch.setattr(Model, "run_layer", counting)
    found = assay.measure(CLAIMS[kind], model(), task(), budget=40, progress=False, **SETTINGS).record
    passes = counted(found)
    assert passes <= 40.05  # stages are rounded
    assert rows[0] / task().tokens.numel() <= passes + 0.05
    assert found.budget.wanting
    assert set(found.budget.wanting) <= set(SHARES)


def test_the_headline_is_the_same_whatever_the_budget():
    for kind in CLAIMS:
        least, some, every = (measured(kind, budget).record for budget in ("headline", 40, "thorough"))
        for one in (least, some):
            assert one.table == every.table
            assert one.headline == every.headline
        assert not every.budget.wanting
        assert every.budget.passes is None
        assert counted(least) < counted(some) < counted(every)


def test_only_the_headline_is_run_when_it_alone_is_asked_for():
    record = measured("remove", "headline").record
    assert {stage.name for stage in record.budget.stages if stage.passes} == {"fitting on the reference", "headline"}
    assert set(record.budget.wanting.values()) == {"the budget is the headline's alone"}
    assert record.controls.reason == "the budget is the headline's alone"


def test_of_each_sort_there_are_19_controls_or_none():
    sizes = set[int]()
    claim = Remove(["a0.h1", "a1.h2", "a2.h0"])  # 63 other sets
    for budget in (20, 30, 60, 120):
        given = {"budget": budget, "only": ["controls"], "ablation": "mean", "controls": 30}
        controls = assay.measure(claim, model(), task(), progress=False, **given).record.controls
        for group in controls.groups:
            if group.p is not None:
                assert group.n >= min(LEAST_CONTROLS, group.possible)
                sizes.add(group.n * 100 + controls.rows)
    assert len(sizes) > 1  # more or on more rows where more is allowed


def test_a_block_reads_the_same_whatever_was_run_before_it():
    alone = assay.measure(CLAIMS["remove"], model(), task(), budget=60, only=["residual"], progress=False, **SETTINGS)
    assert alone.record.residual == measured("remove", 60).record.residual
    workbench = Workbench(model(), task())
    workbench.measure(CLAIMS["keep"], budget=60, progress=False, **SETTINGS)
    again = workbench.measure(CLAIMS["remove"], budget=60, progress=False, **SETTINGS).record
    first = measured("remove", 60).record
    assert again.controls.groups == first.controls.groups
    assert "controls" not in first.budget.wanting
    assert set(again.budget.wanting) <= set(first.budget.wanting)  # what was found done costs nothing


def test_a_small_model_is_measured_whole_where_nobody_gave_a_budget():
    record = assay.measure(CLAIMS["remove"], model(), task(), progress=False, **SETTINGS).record
    assert not record.budget.wanting
    assert record.budget.passes is not None
    assert record.budget.passes > 40
    assert record.controls == measured("remove", "thorough").record.controls


@pytest.mark.parametrize(
    ("budget", "sentence"),
    [
        (
            2,
            r"^a budget of 2 passes is too small for this claim's headline, which takes about \d+; the b",
        ),
        (1, r"^a budget of 1 pass is too small"),
        (0, r"^'budget' must be at least 1, not 0$"),
        ("least", r"^'budget' must be a number of passes, 'headline' or 'thorough', not 'least'$"),
        (True, r"^'budget' must be a number of passes, 'headline' or 'thorough', not True$"),
    ],
)
def test_a_budget_that_is_none_or_too_small_is_one_sentence(budget: Any, sentence: str):
    with pytest.raises(UserError, match=sentence):
        assay.measure(CLAIMS["remove"], model(), task(), budget=budget, progress=False, **SETTINGS)


def test_a_meter_stops_before_what_is_too_much_is_run():
    with metered(most=task().tokens.numel() * 1.5) as meter:
        model().normed(task().tokens)
        with pytest.raises(OverBudgetError):
            model().normed(task().tokens)
    assert meter.work > meter.most
    assert meter.work <= meter.most + task().tokens.numel() / 4  # a layer's worth, which was not run


def test_what_will_not_fit_is_not_begun():
    """Means of the reference, and sizes by gradient, whose cost is known beforehand."""
    workbench = Workbench(model(), task())
    site = Site("head", 1, 0)
    reference = workbench.statistics.real.numel()
    layers = model().config.layers
    with metered(most=reference * 2 / layers - 1) as meter, pytest.raises(OverBudgetError):
        workbench.statistics.need([site])
    assert meter.work == 0
    with metered(most=reference * 2 / layers) as meter:
        workbench.statistics.need([site])
    assert meter.work == meter.most
    with metered() as meter:
        sizes(Workbench(model(), task()), [site])
    with metered(most=meter.work - 1) as less, pytest.raises(OverBudgetError):
        sizes(Workbench(model(), task()), [site])
    assert less.work <= reference * 2 / layers  # the means, and no gradient


def test_scores_that_will_not_fit_stop_after_the_first_rows():
    workbench = Workbench(model(), task())
    workbench.runner.batch = 2
    plan = CLAIMS["remove"].plan(workbench, "zero")
    with metered() as meter:
        whole = score(workbench, {"removed": plan})
    workbench = Workbench(model(), task())
    workbench.runner.batch = 2
    with metered(most=meter.work - 1) as less, pytest.raises(OverBudgetError):
        score(workbench, {"removed": plan})
    assert less.work < 0.6 * meter.work
    with metered(most=meter.work):
        assert score(workbench, {"removed": plan})["removed"].kl.sum() == whole["removed"].kl.sum()


def test_rows_are_chosen_by_the_share_and_not_by_what_is_left():
    workbench = Workbench(model(), task())
    rows = np.arange(len(task()))
    width = task().tokens.shape[1]
    with metered(share=3.0 * 6 * width):
        model().normed(task().tokens[:2])
        assert len(fewer(workbench, rows, 3)) == 6
        with pytest.raises(OverBudgetError):
            fewer(workbench, rows, 9)
    assert len(fewer(workbench, rows, 3)) == len(rows)


def test_an_edited_run_costs_the_layers_from_its_first_edit_on():
    workbench = Workbench(model(), task())
    plans = [Remove([part]).plan(workbench, "mean") for part in ("a0.h1", "a2.h1", "m3")]
    assert [runs(model(), [plan]) for plan in plans] == [1.0, 0.5, 0.25]
    assert runs(model(), [plans[0], plans[0], plans[1:]]) == 1.75
    assert runs(model(), [Remove(["m3"]).plan(workbench, "resample_joint")]) == 1.25


def test_scores_are_the_same_when_they_were_written_and_read():
    scored = measured("keep", 40).scored
    assert scored is not None
    again = unpacked(packed(scored))
    assert list(again.systems) == list(scored.systems)
    for one, its in scored.systems.items():
        np.testing.assert_array_equal(again[one].draw_kl, its.draw_kl)
        if its.tokens is not None:
            np.testing.assert_array_equal(again[one].table.loss, its.tokens.loss)
    with pytest.raises(RunError, match="cannot be gone on with"):
        unpacked(b"nothing")


# -- going on ---------------------------------------------------------------------------------------------------------


def run(path: Path, out: Path, budget: int | str, before: Measurement | None = None) -> Measurement:
    file = load_claim(path)
    settings = Settings.resolve(file, budget=budget, out=str(out), overwrite=before is not None)
    return measure_into(file, settings, before=before)[0]


@pytest.mark.parametrize("budget", [12, "headline"])
def test_a_run_that_is_gone_on_with_holds_what_one_without_a_budget_does(
    claim: Path, tmp_path: Path, budget: int | str
):
    out = tmp_path / "run"
    first = run(claim, out, budget)
    assert first.record.budget.wanting
    assert (out / "scores.npz").exists()
    second = run(claim, out, "thorough", load_run(out)).record
    whole = run(claim, tmp_path / "whole", "thorough").record
    assert not second.budget.wanting
    assert not (out / "scores.npz").exists()
    for block in ("table", "headline", "agreement", "parts", "bits", "own", "controls", "checks", "compute"):
        if block in ("controls", "checks") and "controls" not in first.record.budget.wanting:
            continue  # those of the smaller budget are kept
        assert getattr(second, block) == getattr(whole, block), block
    assert {one.name for one in second.rivals} == {one.name for one in whole.rivals}
    assert load_run(out).record == second
    repeated = {stage.name: stage.passes for stage in second.budget.stages if stage.name.endswith("(continued)")}
    assert not repeated.get("headline (continued)")  # nothing of it is run again


def test_what_is_left_again_says_of_which_budget(claim: Path, tmp_path: Path):
    out = tmp_path / "run"
    run(claim, out, "headline")
    run(claim, out, 6, load_run(out))
    record = load_run(out).record
    assert "the budget of 6 passes" in record.budget.wanting["controls"]
    assert record.controls.reason == record.budget.wanting["controls"]


def test_a_run_that_cannot_be_gone_on_with_says_why(claim: Path, tmp_path: Path):
    out = tmp_path / "run"
    run(claim, out, 12)
    before = load_run(out)
    claim.write_text(claim.read_text().replace("a0.h1", "a0.h2"))
    with pytest.raises(RunError, match=r"^the claim of the run '.*' is another one now; measure again$"):
        run(claim, out, 40, before)
    claim.write_text(claim.read_text().replace("a0.h2", "a0.h1").replace("n: 24", "n: 25"))
    with pytest.raises(RunError, match=r"^the data of the run '.*' is another one now; measure again$"):
        run(claim, out, 40, before)
    done = run(claim, tmp_path / "whole", "thorough")
    with pytest.raises(RunError, match="left nothing for want of budget"):
        run(claim, tmp_path / "whole", 40, done)
    assert load_run(out).record == before.record


def test_budgets_by_the_models_size():
    settings = Settings.resolve()
    assert Budget.of(settings, model(), task()).passes > 1_000
    assert Budget.of(Settings.resolve(budget="thorough"), model(), task()).passes == float("inf")
    assert Budget.of(Settings.resolve(budget=7), model(), task()).passes == 7


def test_the_headline_alone_says_what_it_is_worth_in_compute():
    """The family's losses are stored; a member that was opened for its size was over a budget of no passes."""
    model = load("zoo:novel-1l")
    task = Task.text(model, split="test", max_documents=1)
    found = Workbench(model, task).measure(Keep(["m0"]), budget="headline", ablation="mean", progress=False)
    assert found.record.compute.reason is None
    assert found.record.compute.marks["model"].flops is not None


@pytest.mark.parametrize(("kind", "passes"), [("program", 40), ("keep", 40), ("circuit", 40), ("program", 110)])
def test_random_weights_are_not_begun_where_one_copy_does_not_fit(
    kind: str, passes: int, monkeypatch: pytest.MonkeyPatch
):
    ran, own = dict[str, float](), Budget.run

    def run(self: Budget, block: str, *given: Any) -> Any:
        with metered() as meter:
            found = own(self, block, *given)
        ran[block] = meter.work
        return found

    monkeypatch.setattr(Budget, "run", run)
    found = assay.measure(CLAIMS[kind], model(), task(), budget=passes, progress=False, **SETTINGS)
    controls = found.record.controls
    if controls.random_weights is None:
        assert "random weights" in found.record.budget.wanting
        assert ran.get("random weights", 0.0) == 0.0  # where controls were not scored it is not asked for
    else:
        assert passes > 40
        assert not controls.random_weights.also
        assert "every matrix drawn anew was left out for want of budget" in controls.random_weights.what


def test_what_a_sketch_runs_apart_counts_for_nobody_outside():
    with metered(30.0, 40.0) as outside:
        with meter.apart() as inside:
            assert meter.meant() == 30.0
            meter.passed(1000)
        assert (outside.work, inside.work) == (0.0, 1000.0)
        assert meter.has_room(40.0)
        assert not meter.has_room(41.0)
        meter.passed(5)
    assert outside.work == 5.0
