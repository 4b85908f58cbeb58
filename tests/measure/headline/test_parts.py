"""Components alone beside the compound: what is run for them, and that each is what measuring it alone would give."""

from __future__ import annotations

import numpy as np
import pytest

import assay
from assay.explanations import Constant, Keep, Program, Remove, programs
from assay.explanations.base import Undefined
from assay.explanations.components.sets import MOST_ALONE
from assay.measure import yardsticks
from assay.measure.compute.family import Endpoint
from assay.measure.headline.parts import alone
from assay.measure.headline.systems import systems
from assay.model.transformer import Model
from assay.score.ids import SystemId
from assay.score.score import score
from assay.task.task import Task
from tests.measure.planted import PLANTED, planted, text_task, texts, workbench
from tests.model.tiny import tiny


def small() -> tuple[Model, Task]:
    model = tiny("llama", tokenizer=True)
    return model, Task.text(model, texts=list(texts(8, 0)), reference=list(texts(24, 1)))


@pytest.mark.parametrize(
    ("claim", "names"),
    [
        (Program({name: programs.copy() for name in PLANTED}), PLANTED),
        (Remove(["a0.h1", "m1"]), ("a0.h1", "m1")),
        (Constant(["a1"]), tuple(f"a1.h{i}" for i in range(8))),  # one name, eight heads
        (Constant(["a0", "a1"]), ("a0", "a1")),  # sixteen heads, two names
    ],
)
def test_components_are_the_parts_or_where_they_are_many_what_the_claim_names(claim, names):
    found = claim.alone(planted())
    assert not isinstance(found, Undefined)
    assert tuple(found) == names


@pytest.mark.parametrize(
    ("claim", "reason"),
    [
        (Keep(["a0", "a1"]), "kept alone"),
        (Remove(["m0"]), "one component"),
        (Constant([f"m0.n{i}" for i in range(MOST_ALONE + 1)]), "13 components; at most 12"),
    ],
)
def test_where_nothing_is_scored_alone_the_reason_is_given(claim, reason):
    found = claim.alone(planted())
    assert isinstance(found, Undefined)
    assert reason in found.reason


def test_only_the_first_ablations_systems_are_added_with_its_draws():
    claim = Program({name: programs.previous_token() for name in PLANTED})
    parts, plans = alone(workbench(), claim, "resample_joint", 4)
    assert {name: len(plan) for name, plan in plans.items()} == {
        SystemId(kind, part=name): count for name in PLANTED for kind, count in (("part", 1), ("part floor", 4))
    }
    assert parts.ids == set(plans)


def test_a_component_alone_is_what_measuring_it_alone_gives():
    several = {"a0.h2": programs.previous_token(), "a0.h3": programs.copy()}

    def scored(claim: Program):
        at = workbench(1)
        made = systems(at, claim, ["resample_joint", "mean"], 4)
        parts, several = alone(at, claim, "resample_joint", 4)
        return parts, score(at, {**made.plans, **several})

    parts, together = scored(Program(several))
    assert set(parts.systems) == set(several)
    for name, (explained, floor) in parts.systems.items():
        none, one = scored(Program({name: several[name]}))
        assert not none.systems
        assert "one component" in (none.reason or "")
        for mine, its in ((explained, SystemId("explained")), (floor, SystemId("floor", "resample_joint"))):
            assert mine is not None
            assert np.array_equal(together[mine].draw_kl, one[its].draw_kl)
            assert np.array_equal(together[mine].loss, one[its].loss)
    planted_head, other = (1 - together[e].kl.sum() / together[f or e].kl.sum() for e, f in parts.systems.values())
    assert planted_head > 0.999 > other


def test_removed_components_have_nats_and_necessity_of_their_own():
    model, task = small()
    record, one = (
        assay.measure(Remove(names), model, task, ablation="mean", controls=0).record
        for names in (["a0", "m1"], ["m1"])
    )
    row = record.parts.components[-1]
    assert row.component == "m1"
    for figure in ("kl_explained", "nats", "necessity"):
        assert getattr(row, figure) == getattr(one.table[0], figure)
    assert row.recovered.value is None
    assert record.parts.compound.nats == record.table[0].nats
    assert record.bits.claim.bits > 0
    assert record.bits.standalone.bits is None
    assert "puts nothing in the model's place" in record.bits.reason


def family(task: Task, low: float, high: float) -> list[Endpoint]:
    """Members whose loss falls evenly from `high` to `low` nats with their compute, on every document alike."""
    counts = np.bincount(np.asarray(task.document), weights=task.scored.sum(1).numpy())
    out = []
    for size in range(4):
        for budget in range(4):
            loss = high - (high - low) * (4 * size + budget) / 15
            documents = {d.name: (loss * c, float(c)) for d, c in zip(task.documents, counts, strict=True)}
            out.append(Endpoint(f"size {size}", 10**size, 10**budget, 10.0 ** (4 * size + budget), documents))
    return out


def test_every_component_has_compute_figures_beside_the_compounds(monkeypatch):
    model, task = planted(), text_task()
    claim = Program({name: programs.previous_token() for name in PLANTED})
    endpoints = family(task, 1, 20)
    monkeypatch.setattr(yardsticks, "family_of", lambda workbench, settings: ("even", endpoints))
    measured = assay.measure(claim, model, task, ablation="mean", controls=0)
    record = measured.record
    assert set(record.compute.parts) == set(PLANTED)
    assert "the compound of 2 components" in record.compute.text
    for row in record.parts.components:
        assert row.compute == record.compute.parts[row.component]
        # the planted rule is exact: alone too it leaves the loss, and so the compute, where it was
        assert row.compute.share_explained.value == pytest.approx(1, abs=1e-3)
        assert row.compute.share_floor.value != pytest.approx(1, abs=1e-3)
        assert row.recovered.value > 0.999
        assert row.nines_shown
    assert record.parts.compound.recovered == record.recovered
    assert not any("part" in column for column in measured.examples.column_names)


def test_documents_whose_losses_the_family_lacks_are_left_out_of_the_compute_and_said(monkeypatch):
    model, task = planted(), text_task()
    claim = Program({name: programs.previous_token() for name in PLANTED})
    found, names = {}, [document.name for document in task.documents]
    for lacking in (1, len(names) - 1):
        endpoints = family(task, 1, 20)
        for endpoint in endpoints:
            for name in names[:lacking]:
                del endpoint.documents[name]  # type: ignore[attr-defined]
        monkeypatch.setattr(yardsticks, "family_of", lambda workbench, settings, known=endpoints: ("even", known))
        found[lacking] = assay.measure(claim, model, task, ablation="mean", controls=0).record.compute
    assert f"(on the {len(names) - 1} of {len(names)} documents whose losses the family has)" in found[1].text
    assert found[1].documents == f"on the {len(names) - 1} of {len(names)} documents whose losses the family has"
    assert found[1].share_explained.value == pytest.approx(1, abs=1e-3)
    assert set(found[1].parts) == set(PLANTED)
    assert found[len(names) - 1].share_explained.value is None
    assert f"no losses of {len(names) - 1} of the {len(names)} documents" in found[len(names) - 1].reason
