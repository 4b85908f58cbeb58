"""Subspaces, measured: a planted direction is found right, what controls and lengths are, every yardstick on a page."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import assay
from assay.errors import ClaimError
from assay.explanations import Subspace
from assay.explanations.subspace import fits
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.plan import Edit, Mix, Own
from assay.intervene.runner import Runner
from assay.model.load import load
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.names import Site, parse_site
from assay.score.score import score
from assay.stats.estimate import Undefined
from assay.task.task import Task
from tests.measure.digits import digits
from tests.measure.digits import workbench as digits_bench
from tests.measure.planted import texts
from tests.model.tiny import build, tiny_tokenizer

HEAD, D_HEAD = "a1.h2", 8
TRUE = torch.linalg.qr(torch.randn(D_HEAD, D_HEAD, generator=torch.Generator().manual_seed(7))).Q[:, 0]


@cache
def one_direction() -> Model:
    """A head whose output matrix reads one rotated direction of its z, strongly; z varies in all eight."""
    network = build("gpt2", d=4 * D_HEAD, seed=5).float()
    written = torch.randn(4 * D_HEAD, generator=torch.Generator().manual_seed(8))
    with torch.no_grad():
        network.transformer.h[1].attn.c_proj.weight[2 * D_HEAD : 3 * D_HEAD] = 3 * torch.outer(TRUE, written)
    model = load(network.eval(), tokenizer=tiny_tokenizer(50))
    assert isinstance(model, Model)
    return model


@cache
def text_task() -> Task:
    return Task.text(one_direction(), texts=list(texts(12, 0)), reference=list(texts(24, 1)))


@cache
def workbench() -> assay.Workbench:
    return assay.Workbench(one_direction(), text_task())


def recovered(claim: Subspace, ablation: str = "mean") -> float:
    value = workbench().measure(claim, ablation=ablation, only=("headline",)).recovered.value
    assert value is not None
    return value


@pytest.mark.parametrize("ablation", ["mean", "resample_joint", "noise"])
def test_the_planted_direction_recovers_all_and_no_other_does(ablation: str):
    assert recovered(Subspace({HEAD: TRUE}), ablation) > 0.999
    others = [recovered(Subspace({HEAD: {"random": 1, "seed": seed}}), ablation) for seed in range(6)]
    assert max(others) < 0.9
    assert np.median(others) < 0.5
    assert recovered(Subspace({HEAD: torch.stack([TRUE, torch.ones(D_HEAD)], 1)}), ablation) > 0.999  # and with more
    at, claim = workbench(), Subspace({HEAD: TRUE})
    (edit,) = claim.edits(at, ablation)
    assert isinstance(edit.source, Mix)
    swapped = at.plan((Edit(edit.site, Mix(edit.source.basis, edit.source.outside, Own())),))
    kl = score(at, {"right": claim.plan(at, ablation), "swapped": swapped, "floor": claim.floor(at, ablation)})
    assert 1 - kl.mean_kl("swapped") / kl.mean_kl("floor") < 0.01  # the wrong formula keeps what does not matter


def test_all_directions_but_the_least_are_nearly_all_and_more_are_never_much_worse():
    curve = [recovered(Subspace({"m0": {"pca": k}})) for k in (1, 8, 24, 31)]
    assert curve == sorted(curve)
    assert curve[-1] > 0.99 > curve[0]


def test_what_stands_beside_the_planted_direction():
    found = workbench().measure(Subspace({HEAD: TRUE}), ablation="mean", controls=19, budget="thorough")
    record = found.record
    assert (found.level, record.claim.kind) == ("what", "subspace")
    groups = {group.name: group for group in record.controls.groups}
    assert set(groups) == {"random subspaces", "principal directions"}
    assert groups["random subspaces"].p == 1 / 20
    assert groups["random subspaces"].n == 19
    assert groups["principal directions"].n == 1
    assert record.residual.signal.value.value == pytest.approx(0, abs=1e-4)  # the complement carries nothing
    (part,) = record.residual.parts
    assert part.part == HEAD
    checks = {check.name: check.state for check in record.checks}
    assert (checks["redundant"], checks["frivolous"], checks["over-specific"]) == ("passed",) * 3
    wrong = Subspace({HEAD: torch.linalg.qr(TRUE[:, None], mode="complete").Q[:, 1:4]})
    rest = workbench().measure(wrong, ablation="mean", only=("headline", "residual", "checks")).record
    assert rest.residual.signal.value.value == pytest.approx(1, abs=1e-4)  # it carries all
    assert {check.name: check.state for check in rest.checks}["over-specific"] == "fired"


def test_fitted_subspaces_are_compared_with_those_of_other_parts():
    claim = Subspace({HEAD: {"pca": 2}})
    found = workbench().measure(claim, ablation="mean", controls=19, only=("headline", "controls"))
    groups = {group.name: group for group in found.controls.groups}
    assert set(groups) == {"other heads", "random subspaces"}
    assert groups["other heads"].n == groups["other heads"].possible == 3
    assert groups["other heads"].what.startswith("as many dimensions, found alike, of 3 of the 3 other sets")
    stream = workbench().measure(Subspace({"r1": {"random": 2}}), ablation="mean", only=("headline", "controls"))
    groups = {group.name: group for group in stream.controls.groups}
    assert set(groups) == {"other parts", "random subspaces", "principal directions"}
    assert groups["other parts"].names == ("r0", "r2")
    model = one_direction()
    assert claim.assignment(model) == claim.like(claim.assignment(model) or {}).assignment(model)
    assert Subspace({HEAD: TRUE}).assignment(model) is None


def test_its_length_is_the_names_and_k_times_d_less_k_numbers():
    model, at = one_direction(), workbench()
    one = Subspace({HEAD: {"pca": 2}}).claim_bits(model)
    assert not isinstance(one, Undefined)
    names = 2 + math.log2(11) + math.log2(10)  # one of 8 heads and 2 MLPs
    assert one.bits == pytest.approx(names + math.log2(7) + 16 * 2 * 6)
    several = Subspace({"r1": {"random": 3}, "m0": TRUE.repeat(4)}).claim_bits(model)
    assert not isinstance(several, Undefined)
    names = 2 + math.log2(14) + math.log2(13 * 12 / 2)  # and of three streams
    assert several.bits == pytest.approx(names + 2 * math.log2(31) + 16 * (3 * 29 + 31))
    claim = Subspace({HEAD: {"pca": 2}, "m0": {"pca": 5}})
    assert claim.constants_bits(at, "mean") == 16 * 2 * (6 + 27)  # only the complement takes constants
    assert claim.constants_bits(at, "zero") == 0
    unread = claim.unread(model, "mean")
    assert not isinstance(unread, Undefined)
    assert list(unread) == []


def test_coarser_claims_drop_the_direction_of_least_variance_under_the_claims_own_ablation():
    at = workbench()
    claim = Subspace({HEAD: {"pca": 1}, "m0": {"pca": 3}})
    merged = claim.coarser(at, "resample_joint")
    assert set(merged) == {f"{HEAD}: its direction → ablated", "m0: 3 → 2 dimensions"}
    fewer = Subspace({HEAD: {"pca": 1}, "m0": {"pca": 2}}).plan(at, "resample_joint")
    kl = score(at, {"merged": merged["m0: 3 → 2 dimensions"], "fewer": fewer})
    assert kl.mean_kl("merged") == pytest.approx(kl.mean_kl("fewer"), rel=1e-3)
    alone = score(
        at,
        {
            "merged": merged[f"{HEAD}: its direction → ablated"],
            "by hand": at.plan(
                (*at.ablate([parse_site(HEAD)], "resample_joint"), claim.edits(at, "resample_joint")[1])
            ),
        },
    )
    assert alone.mean_kl("merged") == pytest.approx(alone.mean_kl("by hand"))
    assert Subspace({HEAD: TRUE}).coarser(at, "mean") == {}


def test_with_everything_that_reads_a_stream_frozen_only_its_own_way_to_the_logits_is_left():
    """The heads and the MLP of a stream's own layer read it too."""
    from assay.measure.checks.knockouts import Trial

    at, claim = workbench(), Subspace({"r1": {"pca": 2}})
    trial = Trial(at, claim.presence(at, "mean"), claim.scope(at.model), "mean")
    frozen = {str(edit.site) for edit in trial.frozen(parse_site("r1"))}
    assert frozen == {"a1.h0", "a1.h1", "a1.h2", "a1.h3", "m1"}
    assert {str(edit.site) for edit in trial.frozen(parse_site("a1.h0"))} == {"m1"}


def test_each_component_alone_is_the_claim_about_it_with_all_of_its_draws():
    claim = Subspace({HEAD: {"pca": 2}, "m0": {"pca": 4}})
    found = workbench().measure(claim, ablation="resample_joint", only=("headline", "parts"))
    rows = {row.component: row.recovered.value for row in found.record.parts.components}
    assert rows[HEAD] == pytest.approx(recovered(Subspace({HEAD: {"pca": 2}}), "resample_joint"), abs=1e-6)
    assert rows["m0"] == pytest.approx(recovered(Subspace({"m0": {"pca": 4}}), "resample_joint"), abs=1e-6)


def test_the_block_says_what_was_done_to_a_basis_and_where_directions_are_any():
    at = workbench()
    skew = torch.stack([TRUE, TRUE + 0.5 * torch.linalg.qr(TRUE[:, None], mode="complete").Q[:, 1]], 1)
    claim = Subspace({HEAD: skew, "r0": {"pca": 31}}, variable="what comes next")
    block = claim.block(at, "mean", np.arange(2), lambda: None)
    table, notes = block.pieces[0], block.notes
    assert [row[:3] for row in table.rows] == [(HEAD, 8, 2), ("r0", 32, 31)]
    assert 0 < table.rows[0][4] < table.rows[1][4] <= 1
    assert notes[0] == f"the basis of {HEAD} was orthonormalised (QR), which leaves its span as it is"
    said = claim.sentence("a model")
    assert f"of {HEAD} of a model only the 2 given directions (orthonormalised) matter" in said
    assert said.endswith(", said to carry what comes next; the rest of each is ablated")
    one = Subspace({HEAD: 3 * TRUE}).block(at, "mean", np.arange(2), lambda: None)
    assert len(one.notes) == 1  # of another length is not orthonormal either
    assert Subspace({HEAD: TRUE}).block(at, "mean", np.arange(2), lambda: None).notes == ()
    few = PlanContext(
        Runner(one_direction(), Task.text(one_direction(), texts=list(texts(8, 0)), reference=["w21 w22 " * 8]))
    )
    assert fits.varying(few, parse_site("m0")) == 15  # of sixteen positions about their mean
    noted = Subspace({"m0": {"pca": 20}}).block(few, "mean", np.arange(2), lambda: None).notes
    assert noted == ("m0 varies along 15 directions on the reference; the other 5 are any",)


def test_a_vector_of_any_network_has_subspaces_and_other_values_have_not():
    at, claim = digits_bench(), Subspace({"hidden": {"pca": 4}})
    model = digits()
    basis = claim.bases(at)[Site("module", module="hidden")]
    rows = np.arange(5)
    inputs, values = at.runner.inputs("scored", rows), list[torch.Tensor]()
    mean = at.statistics.mean(Site("module", module="hidden"))

    def hook(module: object, args: object, out: torch.Tensor) -> torch.Tensor:
        values.append(out)
        return mean + (out - mean) @ (basis @ basis.T)

    handle = model.network.hidden.register_forward_hook(hook)
    wanted = model.forward(inputs)
    handle.remove()
    got = at.runner.logits(claim.plan(at, "mean"), rows)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-5)
    assert isinstance(at.model, ModuleModel)
    assert claim.assignment(at.model) is None
    bits = claim.claim_bits(at.model, 0)
    assert not isinstance(bits, Undefined)
    assert "80 numbers" in bits.how
    assert isinstance(claim.values(at), Undefined)
    (drawn,) = Subspace({"hidden": {"random": 4}}).bases(at).values()
    torch.testing.assert_close(drawn.T @ drawn, torch.eye(4), rtol=0, atol=1e-5)
    for name, said in (("conv1", "of shape [6, 6, 6]"), ("hidden[3]", "one axis of it")):
        with pytest.raises(ClaimError, match="has no flat width") as caught:
            Subspace({name: {"pca": 2}}).scope(at.model)
        assert said in str(caught.value)
    with pytest.raises(ClaimError, match=r"reads a transformer's unembedding, which .* has not"):
        Subspace({"hidden": {"unembed": [1, 2]}}).scope(at.model)


FILE = """\
model: zoo:novel-1l
task: {kind: repeat, n: 4, length: 8}
explanation:
  kind: subspace
  components:
    m0: {file: basis.npy}
    r1@4: {unembed: [" the", " a"]}
    a0.h1: {pca: 3}
  variable: the article
ablation: [mean, noise]
controls: 3
budget: thorough
"""


def test_a_claim_file_is_measured_to_the_record_and_the_page(run):
    np.save("basis.npy", np.random.default_rng(0).normal(size=(64, 2)))
    Path("claim.yaml").write_text(FILE)
    code, out, err = run("validate", "claim.yaml")
    assert (code, err) == (0, "")
    assert "claim.yaml is valid: subspace (level: what) on m0, r1@4, a0.h1 of zoo:novel-1l" in out
    code, out, err = run("measure", "claim.yaml", "--dry-run")
    assert code == 0, err
    code, out, err = run("measure", "claim.yaml", "--out", "run")
    assert code == 0, err
    record = json.loads(Path("run/measurement.json").read_text())
    assert record["claim"]["sentence"].endswith(", said to carry the article; the rest of each is ablated")
    assert {row["ablation"] for row in record["table"]} >= {"mean", "noise"}
    assert {group["name"] for group in record["controls"]["groups"]} == {"random subspaces", "principal directions"}
    assert record["bits"]["standalone"]["bits"] > record["bits"]["claim"]["bits"] > 16 * (62 * 2 + 63 + 5 * 3)
    assert [row["part"] for row in record["residual"]["parts"]] == ["m0", "r1@4", "a0.h1"]
    assert record["own"]["notes"] == ["the basis of m0 was orthonormalised (QR), which leaves its span as it is"]
    page = Path("run/report.html").read_text()
    for said in ("What each part keeps", "the difference of the unembeddings of", "was orthonormalised (QR)"):
        assert said in page
