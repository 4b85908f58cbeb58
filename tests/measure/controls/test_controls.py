"""Controls: what they are drawn from, that they are ranked rightly, and that a planted truth beats them."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from assay.explanations import Constant, Keep, Program, Remove, programs
from assay.explanations.program.neighbours import other_programs, program_sets, shuffled, variants
from assay.intervene.components import expand
from assay.intervene.edits.engine import Seen
from assay.intervene.plan import Call, Edit
from assay.measure.controls.controls import HOWS, ControlledClaim, controls
from assay.measure.controls.random_weights import randomised
from assay.measure.settings import Settings
from assay.methods.head_scores import head_scores
from assay.methods.part_sets import other_sets
from assay.methods.part_sizes import largest, sizes
from assay.methods.similar_claims import by_attention
from assay.model.transformer import fingerprint
from assay.names import parse_site
from assay.record.controls import Controls
from assay.stats.fits import p_value
from assay.task.rows import control_rows
from tests.measure.planted import PLANTED, planted, text_task
from tests.measure.planted import workbench as new_workbench
from tests.model.tiny import tiny

CLAIM = Program({name: programs.previous_token() for name in PLANTED})
SETTINGS = Settings(controls=30, quick=True)


def claimed(claim=CLAIM, settings=SETTINGS, ablation="mean", workbench=None):
    workbench = new_workbench() if workbench is None else workbench
    return ControlledClaim(workbench, claim, settings, ablation, control_rows(workbench.task))


@pytest.fixture(scope="module")
def measured():
    return controls(claimed())


def group(record, name):
    return next(g for g in record.groups if g.name == name)


def sites(*names):
    return dict.fromkeys(expand(names, planted()))


def test_two_of_eight_heads_have_27_other_pairs_and_all_are_listed():
    draws = other_sets(new_workbench(), sites(*PLANTED), most=100, seed=0)
    assert draws.possible == len(draws.items) == len({frozenset(item) for item in draws.items}) == 27
    assert draws.enumerated
    assert frozenset(sites(*PLANTED)) not in {frozenset(item) for item in draws.items}


def test_a_cap_takes_a_keyed_sample_that_says_so():
    first, again, other = (other_sets(new_workbench(), sites(*PLANTED), most=10, seed=s) for s in (0, 0, 1))
    assert len(first.items) == 10
    assert first.possible == 27
    assert not first.enumerated
    assert first.items == again.items != other.items


def test_sets_keep_the_layer_profile_and_are_sampled_where_a_thousand_or_more_exist():
    claim = sites("a0.h0", "a0.h1", "a1.h0", "a1.h1", "m1")
    draws = other_sets(new_workbench(), claim, most=50, seed=0)
    assert draws.possible == 28 * 28 - 1
    large = other_sets(new_workbench(), sites("a0.h0", "a0.h1", "a0.h2", "a1.h0", "a1.h1"), most=50, seed=0)
    assert large.possible == 56 * 28 - 1
    assert len(large.items) == 50
    assert not large.enumerated
    for item in (*draws.items, *large.items):
        assert sum(s.layer == 1 and s.kind == "head" for s in item) == 2
    assert all(parse_site("m1") in item for item in draws.items)


def test_a_lone_mlp_is_compared_with_mlps_of_other_layers():
    draws = other_sets(new_workbench(), sites("m0"), most=10, seed=0)
    assert [str(s) for item in draws.items for s in item] == ["m1"]
    assert "any layer" in draws.how


def test_different_programs_are_handed_out_in_every_way():
    first, second = programs.previous_token(), programs.copy()
    claim = dict(zip(expand(PLANTED, planted()), (first, second), strict=True))
    draws = other_sets(new_workbench(), claim, most=100, seed=0)
    assert draws.possible == len(draws.items) == 2 * 28 - 1


def test_other_programs_are_never_the_claimed_rule_and_variants_always_are():
    site = parse_site("a0.h2")
    claimed = programs.induction()
    assert all(getattr(p, "name", "") != "induction" for p in other_programs(claimed, site, new_workbench()))
    assert {p.name for p in variants(claimed)} == {"induction"}
    assert claimed not in variants(claimed)
    items, possible = program_sets(new_workbench(), CLAIM.assignment(planted()), 30)
    assert len(items) == 30 < possible
    assert not any(programs.previous_token() in item.values() for item in items)


def test_shuffled_tokens_change_what_the_program_sees_and_nothing_else():
    workbench = new_workbench()
    task = workbench.task
    site = parse_site("a0.h2")
    rows = np.arange(4)
    seen = []
    edit = Edit(site, Call(lambda batch: seen.append(batch.tokens) or batch.read(site), (site,)))
    value = torch.randn(4, task.tokens.shape[1], 8, 4)
    for draw in (0, 0, 1):
        batch = Seen(task.tokens[rows], rows, "scored", {("z", 0): value})
        (fed,) = shuffled(workbench, (edit,), draw)
        assert torch.equal(fed.source.program(batch), value[:, :, site.index])
    first, again, other = seen
    true = task.tokens[rows]
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, true)
    assert torch.equal(first.sort(-1).values, true.sort(-1).values)
    still = ~task.real[rows]
    still[:, 0] = True
    assert torch.equal(first[still], true[still])


def test_a_rule_on_tokens_attends_elsewhere_when_they_are_shuffled():
    workbench = new_workbench()
    rule = programs.duplicate_token()
    rows = np.arange(len(text_task()))
    seen = []
    edit = Edit(parse_site("a0.h2"), Call(lambda batch: seen.append(batch.tokens) or batch.tokens))
    shuffled(workbench, (edit,), 0)[0].source.program(Seen(text_task().tokens, rows, "scored"))
    assert not torch.equal(rule.attend(seen[0]).weights, rule.attend(text_task().tokens).weights)


def test_p_is_one_more_than_those_at_least_as_good_over_one_more_than_all(measured):
    for row in measured.groups:
        values = [v for v in row.values if v is not None]
        if row.p is not None:
            assert row.p == p_value(row.claim.value, values)
            assert row.p == (1 + sum(v >= row.claim.value for v in values)) / (1 + len(values))
    assert group(measured, "other heads").p == 1 / 28


def test_a_planted_truth_beats_every_control(measured):
    assert group(measured, "other heads").claim.value > 0.999
    for name in ("other heads", "other programs"):
        row = group(measured, name)
        assert row.p == 1 / (1 + row.n)
        assert max(row.values) < 0.9
    weights = measured.random_weights
    assert weights.claim.value > 0.999
    assert weights.difference.low > 0


def test_nats_and_shares_are_those_of_the_controls_own_scope(measured):
    row = group(measured, "other heads")
    assert row.enumerated
    assert row.n == 27
    assert len(row.names) == 27
    near = [n for n, name in zip(row.nats, row.names, strict=True) if PLANTED[0] in name or PLANTED[1] in name]
    assert row.claim_nats > np.mean(near) > np.mean(row.nats)


def test_a_rule_on_positions_is_not_fed_shuffled_tokens_which_would_be_itself(measured):
    assert "shuffled tokens" not in [row.name for row in measured.groups]
    read = Program({name: programs.duplicate_token() for name in PLANTED})
    block = controls(claimed(read, Settings(controls=4, quick=True)), random_weights=False)
    row = group(block, "shuffled tokens")
    assert any(value != row.claim.value for value in row.values)


def test_a_search_that_finds_the_claim_itself_is_no_control_and_no_reason_for_doubt(measured):
    """How heads attend to the previous token does not depend on the tokens: shuffled, the same heads are found."""
    row = group(measured, "search on a shuffled task")
    assert (row.n, row.reason, row.possible) == (0, "this is the claim itself", 1)
    assert "difference" not in row


def test_the_same_seed_gives_the_same_record_and_it_is_json():
    few = Settings(controls=5, quick=True)
    first, again = (controls(claimed(CLAIM, few, "resample_joint")) for _ in range(2))
    assert first.model_dump_json() == again.model_dump_json()
    other = controls(claimed(CLAIM, replace(few, seed=1), "resample_joint", new_workbench(1)), random_weights=False)
    assert group(other, "other programs").names != group(first, "other programs").names


def test_controls_leave_the_claims_fits_alone():
    workbench = new_workbench()
    full = Program({name: programs.previous_token("full") for name in PLANTED})
    assigned = full.assigned(planted())
    before = {site: strength.clone() for site, strength in full.strengths(workbench, assigned).items()}
    controls(claimed(full, Settings(controls=4, quick=True), workbench=workbench), random_weights=False)
    assert len(before) == len(PLANTED)
    assert all(torch.equal(now, before[site]) for site, now in full.strengths(workbench, assigned).items())


@pytest.mark.parametrize("how", HOWS)
def test_random_weights_keep_embeddings_change_matrices_and_leave_the_model_alone(how):
    model = planted()
    before = fingerprint(model.source)
    copied = randomised(model, how, seed=0)
    assert fingerprint(model.source) == before != copied.fingerprint
    assert torch.equal(copied.W_E, model.W_E)
    assert torch.equal(copied.weights.positions, model.weights.positions)
    theirs = dict(copied.source.named_parameters())
    for name, own in model.source.named_parameters():
        if own.ndim < 2 or "wte" in name or "wpe" in name:
            assert torch.equal(own, theirs[name])
        else:
            assert not torch.equal(own, theirs[name])
            torch.testing.assert_close(own.std(), theirs[name].std(), rtol=0.1, atol=0)
            if how == "permuted":
                assert torch.equal(own.flatten().sort().values, theirs[name].flatten().sort().values)
    assert (
        randomised(model, how, seed=0).fingerprint == copied.fingerprint != randomised(model, how, seed=1).fingerprint
    )


def test_the_search_finds_the_planted_heads_and_others_on_random_weights():
    workbench = new_workbench()
    found, how = by_attention(workbench, CLAIM.assignment(planted()), CLAIM.searched_by(planted()))
    assert {str(s) for s in found} == set(PLANTED)
    assert "previous_token" in how


def test_shuffling_leaves_nothing_for_an_induction_search():
    model = tiny("gpt2", tokenizer=True)
    plain, mixed, again = (head_scores(model, length=20, shuffle=s).values["induction"] for s in (None, 0, 0))
    assert not torch.equal(plain, mixed)
    assert torch.equal(mixed, again)


def test_the_largest_parts_are_those_with_the_largest_effect():
    model = copy.copy(planted())
    everything = expand(["a0", "m0", "a1", "m1"], model)
    norm, attribution = sizes(new_workbench(), everything)
    assert all(v > 0 for v in (*norm.values(), *attribution.values()))
    claim = sites("a0.h0", "a0.h1")
    top = largest(new_workbench(), claim, norm)
    heads = sorted((s for s in everything if s.kind == "head" and s.layer == 0), key=lambda s: -norm[s])
    assert set(top) == set(heads[:2])


@pytest.mark.parametrize(
    ("claim", "measure"),
    [
        (Keep(["a0", "a1.h0", "a1.h3", "m0", "m1"]), "recovered"),
        (Remove(PLANTED), "kl"),
        (Constant(["a1.h0"]), "recovered"),
        (Keep(["a0", "a1", "m0", "m1.n3", "m1.n5"]), "recovered"),
    ],
)
def test_sets_of_parts_have_controls_of_their_own_profile(claim, measure):
    record = controls(claimed(claim, Settings(controls=5, quick=True), "zero"))
    row = record.groups[0]
    assert row.n == 5
    assert row.measure == measure
    assert all(np.isfinite(row.nats))
    assert {g.name for g in record.groups} >= {"top norm", "top attribution"}
    assert record.random_weights.difference.value is not None
    assert Controls.model_validate_json(record.model_dump_json()) == record


def test_controls_of_which_each_is_fitted_are_few():
    """Beside 5 under a fill that is not fitted, above."""
    record = controls(claimed(Remove(PLANTED[:1]), Settings(controls=5, quick=True), "optimal"), random_weights=False)
    assert record.groups[0].n == 3


def test_rows_spread_over_documents():
    task = text_task()
    assert control_rows(task, 100).tolist() == list(range(len(task)))
    chosen = control_rows(task, 4)
    assert len(chosen) == len(set(np.asarray(task.document)[chosen])) == 4


def test_an_mlp_table_has_other_tables_for_controls():
    table = Program({"m0": programs.ngram(1)})
    record = controls(claimed(table, Settings(controls=5, quick=True)), random_weights=False)
    assert group(record, "other programs").n == 4
    assert group(record, "other parts").names == ("m1",)
