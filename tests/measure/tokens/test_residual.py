"""Slices, worst examples, restored parts and the residual signal, on planted residuals of a tiny transformer."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from assay.explanations import Constant, Keep, Program, Remove, programs
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.residue import Residue
from assay.intervene.plan import Call, Data, Edit, EditRun, Own, Plan, Value
from assay.intervene.runner import Runner
from assay.measure.tokens import residual
from assay.measure.tokens.residual import (
    buckets,
    by_document,
    frequency,
    parts,
    repeats,
    slices,
    token_class,
)
from assay.measure.tokens.residual_signal import TokenReader, complement, other_documents, residual_signal
from assay.model.transformer import Model
from assay.names import Site, parse_site
from assay.score.ids import SystemId
from assay.score.score import score
from assay.score.scores import Scored
from assay.stats.bootstrap import Resamples
from assay.task.rows import control_rows
from assay.task.task import Task
from tests.measure.ids import EXPLAINED, FLOOR
from tests.model.tiny import tiny

HEADS = ("a0.h1", "a1.h2")


def texts(count: int, seed: int) -> list[str]:
    """Documents of random words whose second half repeats the first."""
    words = np.random.default_rng(seed).integers(20, 50, size=(count, 11))  # "w1" is the tokenizer's unknown word
    return [" ".join(f"w{w}" for w in np.tile(row, 2)) for row in words]


@cache
def world() -> PlanContext:
    view = tiny(tokenizer=True)
    task = Task.text(view, texts=texts(36, 0), reference=texts(40, 1), context=24)
    return PlanContext(Runner(view, task))


def model() -> Model:
    found = world().model
    assert isinstance(found, Model)
    return found


def measured(workbench: PlanContext, explanation: object, ablation: str = "mean") -> tuple[Scored, Resamples]:
    systems = {
        SystemId("explained", ablation): explanation.plan(workbench, ablation),  # type: ignore[attr-defined]
        SystemId("floor", ablation): explanation.floor(workbench, ablation),  # type: ignore[attr-defined]
    }
    scored = score(workbench, systems, keep=systems)
    return scored, Resamples(int((scored.count > 0).sum()), draws=200)


def own_pattern(name: str) -> programs.CustomProgram:
    """A program that gives a head's own output exactly, in the stream."""
    site = parse_site(name)
    weights = model().W_O(site.layer or 0)[site.index]

    def exact(tokens: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return z @ weights

    return programs.custom(exact, returns="output", reads=[name])


def test_signal_is_zero_where_the_program_gives_the_parts_own_values():
    workbench = world()
    claim = Program({name: own_pattern(name) for name in HEADS})
    scored, resamples = measured(workbench, claim)
    assert scored[EXPLAINED].kl.sum() < 1e-6 * scored[FLOOR].kl.sum()
    signal = residual_signal(workbench, claim, scored, resamples, floor=FLOOR)
    assert signal.value.value == pytest.approx(0, abs=1e-4)
    assert signal.noise.value == pytest.approx(0, abs=1e-3)
    assert signal.share.value is None
    assert signal.share.reason


def test_signal_is_that_of_the_parts_where_the_explanation_is_the_mean():
    workbench = world()
    claim = Constant(HEADS, "mean")
    scored, resamples = measured(workbench, claim)
    signal = residual_signal(workbench, claim, scored, resamples, floor=FLOOR)
    assert signal.value.value == pytest.approx(1, abs=1e-6)
    assert signal.noise.value is not None
    assert signal.noise.value < 0.5
    assert signal.shuffled.value is not None
    assert signal.shuffled.value < 0.5


def test_signal_does_not_depend_on_a_constant_that_is_off_by_a_constant():
    workbench = world()
    scored, resamples = measured(workbench, Constant(HEADS, "mean"))
    values = [
        residual_signal(workbench, Constant(HEADS, kind), scored, resamples, floor=FLOOR).value.value
        for kind in ("mean", "zero")
    ]
    assert values[0] == pytest.approx(values[1], abs=1e-4)  # E takes the constant out


def test_reader_predicts_a_residual_that_is_a_function_of_the_token_and_no_noise():
    workbench = world()
    site = parse_site("a0.h1")
    by_token = torch.randn(model().config.vocab, 8, generator=torch.Generator().manual_seed(3))
    residue = Residue(workbench, [Edit(site, Call(lambda b: b.read(site) - by_token[b.tokens], (site,)))])
    reader = TokenReader(residue)
    rows = np.arange(8)
    seen = Batchlike(workbench.task.tokens[rows], rows)
    (predicted,) = reader.predict(seen)
    (actual,) = residue.centred("scored", rows)
    left = (predicted - actual)[:, 1:][workbench.task.real[rows][:, 1:]].square().sum()
    assert left < 0.2 * actual[:, 1:][workbench.task.real[rows][:, 1:]].square().sum()


class Batchlike:
    data: Data = "scored"

    def __init__(self, tokens: torch.Tensor, rows: np.ndarray):
        self.tokens, self.rows = tokens, rows

    def read(self, site: Site) -> torch.Tensor:
        raise AssertionError


def test_reader_tells_structure_that_was_left_out_from_what_no_token_table_has():
    workbench = world()
    shares = {}
    # a label says almost nothing of an MLP that depends on the token; the table by token says all that a token can
    for name, program in (("label", programs.label(tokens=[20])), ("table", programs.ngram(1))):
        claim = Program({"m0": program})
        scored, resamples = measured(workbench, claim)
        signal = residual_signal(workbench, claim, scored, resamples, floor=FLOOR)
        assert signal.to_json().keys() == {"value", "noise", "shuffled", "reader", "share", "text"}
        assert (signal.value.low or 0) > max(signal.noise.high or 0, signal.shuffled.high or 0)
        shares[name] = signal.share
        assert str(signal.share) in signal.text
    assert (shares["label"].low or 0) > 0.3
    assert (shares["table"].high or 1) < 0.2


def test_noise_has_the_residuals_covariance():
    workbench = world()
    residue = Residue(workbench, Constant(HEADS, "mean").values(workbench))
    white = torch.randn(4000, 3, sum(residue.widths), generator=torch.Generator().manual_seed(0))
    drawn = torch.cat(residue.sample(white), -1)[:, 1:].flatten(0, 1)
    rows = workbench.statistics.rows
    assert workbench.task.reference is not None
    actual = torch.cat(residue.centred("reference", rows), -1)[:, 1:][workbench.task.reference.real[rows][:, 1:]]
    assert torch.allclose(drawn.T.cov(), actual.T.cov(), atol=0.1 * float(actual.T.cov().diagonal().max()))


def test_residuals_are_exact_in_z_and_in_the_stream():
    workbench = world()
    zero = Residue(workbench, [Edit(parse_site("a0.h1"), Own())]).raw("scored", np.arange(3))[0]
    assert float(zero.abs().max()) == 0
    all_of_it = Residue(workbench, [Edit(parse_site("m0"), Value(torch.zeros(())))]).raw("scored", np.arange(3))[0]
    run = EditRun("clean")
    own = workbench.runner.values(Plan((run,)), run, [parse_site("m0")], np.arange(3))[parse_site("m0")]
    assert torch.equal(all_of_it, own)
    stream = Residue(workbench, Program({"a1.h2": own_pattern("a1.h2")}).values(workbench))
    assert stream.widths == [model().config.d_model]


def test_a_source_that_is_another_run_is_refused():
    workbench = world()
    edits = workbench.ablate([parse_site("a0.h1")], "resample_joint")
    with pytest.raises(TypeError, match=r"a0\.h1.*From"):
        Residue(workbench, edits)


def test_keep_has_the_complements_run_as_its_residual_and_remove_has_none():
    workbench = world()
    claim = Keep(["a0.h1", "m0", "m1"])
    scored, resamples = measured(workbench, claim)
    at = score(workbench, {FLOOR: claim.floor(workbench, "mean")})
    scored = scored if FLOOR in scored.systems else scored.with_systems(at)
    signal = residual_signal(
        workbench, claim, scored, resamples, floor=FLOOR, rest=complement(workbench, claim, scored, "mean")
    )
    assert signal.value.value is not None
    assert signal.noise.value is None
    everything = Keep([c for c in workbench.model.components if c != "input"])
    rest = complement(workbench, everything, scored, "mean")
    whole = residual_signal(workbench, everything, scored, resamples, floor=FLOOR, rest=rest)
    assert whole.value.value == pytest.approx(0, abs=1e-6)  # the complement of everything is the empty floor
    assert complement(workbench, Remove(["m0"]), scored, "mean") is None
    assert residual_signal(workbench, Remove(["m0"]), scored, resamples, floor=FLOOR).value.value is None


def test_shuffled_documents_are_others():
    workbench = world()
    rows = np.arange(len(workbench.task.tokens))
    partners = other_documents(workbench, rows, 0)
    assert partners is not None
    assert (workbench.task.document[partners] != workbench.task.document).all()
    assert other_documents(workbench, rows[:1], 0) is None


@pytest.mark.parametrize("claim", [Constant(HEADS), Keep(["a0.h0", "a1.h1", "m0"])], ids=["constant", "keep"])
def test_restoring_all_parts_closes_everything(claim: Constant | Keep):
    workbench = world()
    sites = claim.restorable(workbench, "mean")
    assert sites == [edit.site for edit in claim.plan(workbench, "mean").final.edits]
    left = [set(claim.restored(workbench, "mean", site).final.edits) for site in sites]
    scored = score(
        workbench, {"all": workbench.plan(tuple(set.intersection(*left))), "whole": claim.plan(workbench, "mean")}
    )
    assert scored["whole"].kl.sum() > 1e-3
    assert scored["all"].kl.sum() < 1e-9


def test_restoring_the_only_part_closes_everything_and_each_of_two_less():
    workbench = world()
    for claim, whole in ((Constant(["a1.h2"]), True), (Constant(HEADS), False)):
        scored, resamples = measured(workbench, claim)
        found = parts(workbench, claim, scored, resamples, explained=EXPLAINED, ablation="mean")
        assert [p.part for p in found] == list(claim.components)
        closes = [p.closes.value for p in found]
        assert closes == [pytest.approx(1.0, abs=1e-9)] if whole else max(closes) < 1 - 1e-3


def test_many_parts_are_restored_on_fewer_rows_with_the_figures_of_those_rows(monkeypatch: pytest.MonkeyPatch):
    workbench = world()
    claim = Constant(HEADS)
    monkeypatch.setattr(residual, "MOST_RUNS", 1)
    monkeypatch.setattr(residual, "ROWS", 3)
    scored, resamples = measured(workbench, claim)
    few = score(
        workbench,
        {
            "whole": claim.plan(workbench, "mean"),
            "one": claim.restored(workbench, "mean", claim.scope(workbench.model)[0]),
        },
        rows=control_rows(workbench.task, 3),
    )
    found = parts(workbench, claim, scored, resamples, explained=EXPLAINED, ablation="mean")[0].closes
    assert found.n == 3 < int((scored.count > 0).sum())
    assert found.value == pytest.approx(1 - few["one"].kl.sum() / few["whole"].kl.sum(), abs=1e-12)


def test_parts_of_a_random_ablation_are_those_of_its_first_draw():
    workbench = world()
    claim = Keep([c for c in workbench.model.components if c not in ("input", "a0.h1")])
    both = SystemId("explained", "resample_joint")
    draws = [claim.plan(workbench, "resample_joint", draw) for draw in range(2)]
    scored = score(workbench, {both: draws})
    resamples = Resamples(int((scored.count > 0).sum()), draws=50)
    (only,) = parts(workbench, claim, scored, resamples, explained=both, ablation="resample_joint")
    assert only.part == "a0.h1"
    assert only.closes.value == pytest.approx(1, abs=1e-9)


def test_too_many_parts_are_undefined_with_their_number():
    workbench = world()
    claim = Keep([f"m0.n{i}" for i in range(4)])  # 44 other neurons, 8 heads, m1: fewer than 64; so two MLPs
    many = Constant([f"m0.n{i}" for i in range(40)] + [f"m1.n{i}" for i in range(40)])
    scored, resamples = measured(workbench, claim)
    (row,) = parts(workbench, many, scored, resamples, explained=EXPLAINED, ablation="mean")
    assert "80 parts" in row.closes.reason


def test_partitions_add_up_to_everything():
    workbench = world()
    scored, resamples = measured(workbench, Constant(HEADS))
    found = slices(scored, workbench.task, resamples, explained=EXPLAINED)
    table = scored[EXPLAINED].tokens
    assert table is not None
    for name in ("source", "position", "token_class", "frequency", "repeat"):
        assert sum(row.tokens for row in found[name]) == len(table.kl), name
        assert sum(row.share for row in found[name]) == pytest.approx(1)
        assert sum(row.kl.value * row.tokens for row in found[name]) == pytest.approx(table.kl.sum(), rel=1e-4)
    shares = [row.share for row in found["document"]]
    assert shares == sorted(shares, reverse=True)
    assert len(shares) == 12
    assert by_document(scored, table.kl).sum() == pytest.approx(table.kl.sum(), rel=1e-5)


def test_repeats_are_found_where_they_are():
    workbench = world()
    scored, _ = measured(workbench, Constant(HEADS))
    found = repeats(workbench.task, scored)
    # the second half repeats the first: from its second token on, the token stood after the same token before
    assert (found[scored.position >= 13] == "after the same token before").all()
    assert (found[scored.position == 1] == "new in the window").all()
    assert buckets(scored)[0] == (1, 1)
    assert buckets(scored)[-1][1] == scored.position.max()


def test_frequency_classes_split_the_reference_at_half_and_nine_tenths():
    assert frequency(np.array([50, 30, 15, 5, 0])).tolist() == ["frequent", "middle", "middle", "rare", "unseen"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (" the", "word start"),
        ("ing", "continuation"),
        ("12", "digit"),
        (" —", "punctuation"),
        ("\t", "whitespace"),
        (" \n", "newline"),
    ],
)
def test_token_classes(text: str, kind: str):
    assert token_class(text) == kind
