"""Compute on a synthetic family with a known law: N parameters and D tokens give linf + A·N^−α + B·D^−β."""

# pyright: reportOperatorIssue=false, reportOptionalOperand=false, reportOptionalMemberAccess=false
# An estimate that is undefined where a value is expected fails the test by itself.
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from assay.errors import ModelError
from assay.measure.compute.compute import LossSums, compute
from assay.measure.compute.family import Endpoint, load_endpoints, load_family
from assay.score.ids import SystemId
from assay.score.ids import rival as named
from assay.stats.bootstrap import Resamples
from assay.stats.fits import lower_envelope
from assay.stats.keyed import generator

DOCUMENTS = 60
NAMES = [f"en/work#{i}" for i in range(DOCUMENTS)]
SIZES = (3e5, 1e6, 3e6, 1e7, 3e7)
BUDGETS = (1e7, 3e7, 1e8, 3e8, 1e9)


def law(parameters, tokens):
    return 1.5 + 20 * parameters**-0.25 + 20 * tokens**-0.2


def texts(documents: int = DOCUMENTS) -> tuple[np.ndarray, np.ndarray]:
    """Token counts, and how hard each document is for every model alike."""
    rng = generator(0, "texts")
    return rng.integers(500, 2_000, documents).astype(float), np.exp(0.15 * rng.standard_normal(documents))


def family(names: list[str] = NAMES) -> list[Endpoint]:
    tokens, hard = texts(len(names))
    rng = generator(0, "family")
    out = []
    for size in SIZES:
        for budget in BUDGETS:
            sums = tokens * hard * law(size, budget) * np.exp(0.002 * rng.standard_normal(len(names)))
            pairs = {n: (float(s), float(t)) for n, s, t in zip(names, sums, tokens, strict=True)}
            out.append(Endpoint(f"size-{size:.0e}", int(size), int(budget), 6 * size * budget, pairs))
    return out


def column(endpoint: Endpoint, names: list[str] = NAMES) -> np.ndarray:
    return np.array([endpoint.documents[name][0] for name in names])


def members() -> tuple[list[Endpoint], Endpoint, Endpoint, Endpoint]:
    """The family, and model, explained run and floor that are members on the envelope: their compute is known."""
    points = family()
    by = {(e.parameters, e.tokens): e for e in points}
    return points, by[int(1e7), int(3e8)], by[int(3e6), int(1e8)], by[int(1e6), int(3e7)]


def measured(points, model, explained, floor, **options):
    tokens, _ = texts()
    more = {name: options.pop(name) for name in ("parts", "others", "floors") if name in options}
    loss = LossSums(NAMES, tokens, model, explained, floor, **more)
    return compute("synthetic", points, loss, Resamples(DOCUMENTS), **options)


def test_losses_of_members_are_worth_the_members_own_compute():
    points, model, explained, floor = members()
    found = measured(points, column(model), column(explained), column(floor))
    assert found.reason is None
    assert found.marks["explained"].flops == pytest.approx(explained.flops)
    assert found.share_explained.value == pytest.approx(explained.flops / model.flops)
    assert found.share_floor.value == pytest.approx(floor.flops / model.flops)
    expected = (explained.flops - floor.flops) / (model.flops - floor.flops)
    assert found.recovered.value == pytest.approx(expected)
    assert found.recovered.low - 1e-9 <= expected <= found.recovered.high + 1e-9


def test_planted_law_is_recovered_by_curve_and_power_law_alike():
    """Between members: the frontier's compute of a loss, found by a fine grid over sizes, against curve and law."""
    points, model, _, floor = members()
    tokens, hard = texts()
    sizes = np.geomspace(1e5, 1e8, 20_000)
    difficulty = float((tokens * hard).sum() / tokens.sum())
    for flops in (3e14, 1e15, 5e15):
        loss = law(sizes, flops / (6 * sizes)).min()
        found = measured(points, column(model), tokens * hard * loss, column(floor))
        assert found.marks["explained"].loss == pytest.approx(loss * difficulty)
        assert found.marks["explained"].flops == pytest.approx(flops, rel=0.3)  # members are not all optimal
        fitted = found.power_law
        by_law = (fitted.a / (loss * difficulty - fitted.linf)) ** (1 / fitted.b)
        assert by_law == pytest.approx(flops, rel=0.3)
        assert found.share_explained.low < found.share_explained.value < found.share_explained.high
    assert found.power_law.linf < min(p.loss for p in found.points)
    assert found.power_law.intervals["b"].n == len(SIZES)


def test_floor_close_to_the_model_makes_a_large_share_and_a_small_recovered():
    """Explaining nothing about one head can be 'worth 93 %': the floor's own share stands beside the figure."""
    points, model, _, _ = members()
    near = column(model) * 1.002
    found = measured(points, column(model), near * 0.9998, near)
    assert found.share_explained.value > 0.9
    assert found.share_floor.value > 0.9
    assert found.recovered.value < 0.2
    assert "the floor alone is worth" in found.text


def test_curve_is_rebuilt_for_exactly_the_documents_measured():
    points, model, explained, floor = members()
    tokens, _ = texts()
    counts = np.where(np.arange(DOCUMENTS) < 35, tokens, 0.0)
    cut = [np.where(counts > 0, column(e), 0.0) for e in (model, explained, floor)]
    found = compute("synthetic", points, LossSums(NAMES, counts, *cut), Resamples(DOCUMENTS))
    own = sum(model.documents[name][0] for name in NAMES[:35]) / tokens[:35].sum()
    point = next(p for p in found.points if (p.model, p.tokens) == (model.model, model.tokens))
    assert point.loss == pytest.approx(own)
    assert found.share_explained.value == pytest.approx(explained.flops / model.flops)
    assert found.share_explained.n == 35


def test_out_of_range_is_undefined_with_the_nearest_member_and_a_bound():
    points, model, explained, _ = members()
    below = measured(points, column(model), column(explained), column(model) * 3)
    assert below.marks["floor"].where == "below"
    assert below.marks["floor"].flops is None
    assert below.recovered.value is None
    assert "below the family (nearest: size-3e+05 at 10M tokens)" in below.recovered.reason
    assert below.share_explained.value is not None
    assert "worth less than" in below.text
    above = measured(points, column(model), column(model) * 0.5, column(explained))
    assert above.marks["explained"].where == "above"
    assert above.share_explained.value is None
    assert "above the family (nearest: size-3e+07" in above.share_explained.reason


def test_the_best_member_is_not_above_itself_by_rounding():
    points, *_, floor = members()
    best = next(e for e in points if (e.parameters, e.tokens) == (int(3e7), int(1e9)))
    found = measured(points, column(best) - 1e-4 * texts()[0], column(floor) * 0.99, column(floor))
    assert found.marks["model"].where == "inside"
    assert found.share_model.value == pytest.approx(1.0)


def leaving(points, member, to: float) -> np.ndarray:
    """Losses about a member's, in total `to` of its, that leave the family's range in some resamples."""
    wild = column(member) + texts()[0] * 0.6 * generator(1).standard_normal(DOCUMENTS)
    return wild * column(member).sum() * to / wild.sum()


def test_a_floor_that_leaves_the_range_below_is_worth_between_nothing_and_the_cheapest_member():
    points, model, explained, _ = members()
    worst = next(e for e in points if (e.parameters, e.tokens) == (int(3e5), int(1e7)))
    found = measured(points, column(model), column(explained), leaving(points, worst, 0.9995))
    assert found.share_floor.low == 0.0
    assert found.share_floor.value < found.share_floor.high < 1.0
    low, high = found.recovered.low, found.recovered.high  # bounded, since the floor's compute is
    assert 0 < low <= found.recovered.value <= high < 1


def test_a_run_that_leaves_the_range_above_has_an_interval_that_is_open_above_only():
    points, _, explained, floor = members()
    best = min(points, key=lambda e: column(e).sum())
    found = measured(points, column(explained), leaving(points, best, 1.0005), column(floor))
    assert found.share_explained.high is None
    assert found.share_explained.low > 1
    assert "there is no upper end, because without some of the documents" in found.share_explained.reason
    assert "above the family" in found.share_explained.reason


def test_a_share_of_a_floors_gap_is_within_zero_and_one_where_the_model_leaves_the_range():
    """There the worth of model and rung are both unbounded, inf / inf, but the rung's loss is never the lower one."""
    points, _, explained, floor = members()
    best = min(points, key=lambda e: column(e).sum())
    found = measured(points, leaving(points, best, 1.0005), column(explained), column(floor),
                     floors={SystemId("floor", "mean"): column(floor)})  # fmt: skip
    for rung in found.ladder:
        share = rung.share
        assert 0 <= share.low < share.value < share.high <= 1
    last = found.ladder[-1].share
    assert last.high == 1


def test_a_member_that_is_read_off_its_own_curve_has_no_interval():
    points, model, explained, floor = members()
    others = {named("member"): column(explained), named("rival"): column(explained) * 1.01}
    found = measured(points, column(model), column(explained), column(floor), others=others)
    place = {row.name: row.share for row in found.systems}
    assert place["member"].value == pytest.approx(explained.flops / model.flops)
    assert (place["member"].low, place["member"].high) == (None, None)
    assert "a member of the family" in place["member"].reason
    assert place["rival"].low < place["rival"].high
    assert found.share_model.low is None
    assert "a member of the family" in found.share_model.reason


def test_the_same_share_by_log_linear_interpolation_stands_beside_it():
    points, model, explained, floor = members()
    between = column(explained) * 0.97
    found = measured(points, column(model), between, column(floor))
    flops, losses = (np.array([getattr(point, name) for point in found.points]) for name in ("flops", "loss"))
    kept = lower_envelope(flops, losses)
    log_c = np.interp(-found.marks["explained"].loss, np.sort(-losses[kept]), np.log(np.sort(flops[kept])))
    assert found.linear.share_explained == pytest.approx(np.exp(log_c) / model.flops)
    assert found.linear.share_explained != pytest.approx(found.share_explained.value, rel=1e-3)
    assert found.linear.recovered == pytest.approx((np.exp(log_c) - floor.flops) / (model.flops - floor.flops))
    assert "% by log-linear interpolation)" in found.text


def test_model_that_is_above_the_family_in_some_resamples_shares_at_least_nothing():
    """Its compute has no bound there, so a share of it is at least 0: the upper end must not open."""
    points, _, explained, floor = members()
    tokens, _ = texts()
    best = min(points, key=lambda e: column(e).sum())
    wild = column(best) + tokens * 0.6 * generator(1).standard_normal(DOCUMENTS)
    wild *= column(best).sum() * 1.0005 / wild.sum()
    found = measured(points, wild, column(explained), column(floor))
    assert found.share_model.high is None
    for share in (found.share_explained, found.share_floor):
        assert share.low == 0.0
        assert share.value < share.high < 1.0
    near = measured(points, column(best), column(best) * 1.0005, column(floor))
    assert 0 < near.share_explained.low < near.share_explained.value < near.share_explained.high


def test_an_interval_reaches_further_up_than_down_as_compute_is_about_exponential_in_loss():
    points, model, explained, floor = members()
    noise = texts()[0] * 0.05 * generator(2).standard_normal(DOCUMENTS)
    found = measured(points, column(model), column(explained) + noise, column(floor))
    for figure in (found.share_explained, found.recovered):
        assert figure.low > 0
        assert figure.high / figure.value == pytest.approx(figure.value / figure.low)


def test_harmful_or_unresolved_gap_leaves_recovered_undefined():
    points, model, explained, floor = members()
    harmful = measured(points, column(floor), column(explained), column(model))
    assert harmful.recovered.reason.startswith("harmful scope")
    same = measured(points, column(model), column(explained), column(model))
    assert same.recovered.reason.startswith("gap not resolved")


def test_whole_model_claim_has_a_share_and_nothing_recovered():
    points, model, explained, floor = members()
    found = measured(points, column(model), column(explained), column(floor), whole_model=True)
    assert found.recovered.value is None
    assert "its share is the figure" in found.recovered.reason
    assert found.share_explained.value == pytest.approx(explained.flops / model.flops)
    assert measured(points, column(model), column(explained), None).share_floor.reason == "there is no floor"


def test_parts_stand_beside_the_compound():
    points, model, explained, floor = members()
    half = (column(explained) + column(floor)) / 2
    parts = {"a0.h0": (half, column(floor)), "a0.h1": (half, column(floor))}
    found = measured(points, column(model), column(explained), column(floor), parts=parts)
    assert set(found.parts) == set(parts)
    assert found.parts["a0.h0"].recovered.value < found.recovered.value
    assert "the compound of 2 components" in found.text


def test_power_law_far_from_the_curve_gives_a_warning():
    points, model, explained, floor = members()
    bent = [
        Endpoint(e.model, e.parameters, e.tokens, e.flops * (30 if e is explained else 1), e.documents) for e in points
    ]
    bent = [e for e in bent if not (1e14 < e.flops < 5e16 and e.documents is not explained.documents)]
    found = measured(bent, column(model), column(explained), column(floor))
    assert found.power_law is not None
    assert "the power law gives" in found.power_law.warning
    calm = measured(points, column(model), column(explained), column(floor)).power_law
    assert calm is not None
    assert calm.warning is None


def test_few_documents_use_the_jackknife():
    names = NAMES[:12]
    points = family(names)
    tokens, _ = texts(12)
    by = {(e.parameters, e.tokens): column(e, names) for e in points}
    sums = by[int(1e7), int(3e8)], by[int(3e6), int(1e8)] * 1.01, by[int(1e6), int(3e7)]
    found = compute("synthetic", points, LossSums(names, tokens, *sums), Resamples(12))
    assert found.recovered.method == "jackknife_t"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda points, counts: (points[:10], counts), "2 sizes and 5 budgets; a curve needs 4 of each"),
        (lambda points, counts: (points, counts * 2), "was scored on"),
        (lambda points, counts: (points, counts * 0), "nothing was scored"),
        (
            lambda points, counts: ([*points, Endpoint("odd", 5, 5, 1.0, {NAMES[0]: (1.0, 1.0)})], counts),
            "no losses of 59 of the 60 documents measured (en/work#1, en/work#2, ...; first missed by odd)",
        ),
    ],
)
def test_family_that_cannot_be_used_says_why(change, reason):
    points, model, explained, floor = members()
    points, counts = change(points, texts()[0])
    loss = LossSums(NAMES, counts, *map(column, (model, explained, floor)))
    found = compute("synthetic", points, loss, Resamples(DOCUMENTS))
    assert reason in found.reason
    assert found.recovered.value is None
    assert found.recovered.reason == found.reason


def test_endpoints_are_read_as_training_writes_them(tmp_path: Path):
    rows = [{"tokens": 10, "repeat_steps": 0, "flops": 100, "train_loss": 3.0,
             "documents": {"test": {"a": [6.0, 2]}, "unseen": {"b": [9.0, 3]}}}]  # fmt: skip
    (tmp_path / "endpoints.json").write_text(json.dumps(rows))
    (only,) = load_endpoints(tmp_path, "novel-1l", 7, splits=("test", "unseen"))
    assert only == Endpoint("novel-1l", 7, 10, 100.0, {"a": (6.0, 2.0), "b": (9.0, 3.0)})
    with pytest.raises(ModelError, match="no documents of the split 'tets'; did you mean 'test'"):
        load_endpoints(tmp_path, "novel-1l", 7, splits=("tets",))


def test_family_file_is_read_and_its_mistakes_named(tmp_path: Path):
    member = {"model": "m", "parameters": 5, "tokens": 10, "flops": 1e3, "documents": {"a": [6.0, 2]}}
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"members": [member]}))
    assert load_family(file) == ("mine", [Endpoint("m", 5, 10, 1e3, {"a": (6.0, 2.0)})])
    for wrong, message in (
        ({"members": []}, "no list 'members'"),
        ({"members": [{**member, "flops": -1}]}, "'flops' of the endpoint in .* is -1, not a number above 0"),
        ({"members": [{**member, "documents": {"a": [1.0, 0]}}]}, "document 'a' .* count above 0"),
        ({"members": [{k: v for k, v in member.items() if k != "tokens"}]}, "has no 'tokens'"),
    ):
        file.write_text(json.dumps(wrong))
        with pytest.raises(ModelError, match=message):
            load_family(file)
    with pytest.raises(ModelError, match="does not exist here"):
        load_family(tmp_path / "none.json")


@pytest.mark.parametrize("value", [None, True, "1", [], {}, 10**400, float("inf"), float("nan"), 1e308, 0, -1])
@pytest.mark.parametrize("field", ["parameters", "tokens", "flops", "documents", "pair", "sum", "count", "member"])
def test_whatever_stands_in_a_family_is_a_number_in_range_or_a_sentence(tmp_path, field, value):
    member = {"model": "m", "parameters": 10, "tokens": 10, "flops": 1e3, "documents": {"a": [1.0, 2]}}
    if field == "pair":
        member["documents"] = {"a": value}
    elif field in ("sum", "count"):
        member["documents"] = {"a": [value, 2] if field == "sum" else [1.0, value]}
    elif field != "member":
        member[field] = value
    (tmp_path / "family.json").write_text(json.dumps({"members": [value if field == "member" else member]}))
    if (field == "sum" and value in (0, -1) and value is not False) or (field == "documents" and value == {}):
        assert len(load_family(tmp_path / "family.json")[1]) == 1
        return
    with pytest.raises(ModelError, match="the endpoint in"):
        load_family(tmp_path / "family.json")


@pytest.mark.parametrize("documents", [None, 3, "test", ["test"], {"test": 3}, {"test": [1, 2]}, {}])
def test_endpoints_without_a_splits_documents_are_refused(tmp_path, documents):
    row = {"tokens": 10, "flops": 1e3, "documents": documents}
    (tmp_path / "endpoints.json").write_text(json.dumps([row]))
    with pytest.raises(ModelError, match=r"endpoint 0 of .* has no documents of the split 'test'"):
        load_endpoints(tmp_path, "m", 10)


def test_a_rung_of_the_ladder_and_a_rivals_place_are_worth_what_their_loss_is():
    """90 % of the floor's gap is a loss; the curve's inverse at that loss, and nothing else, is its worth."""
    points, model, explained, floor = members()
    tokens, _ = texts()
    columns = column(model), column(explained), column(floor)
    found = measured(points, *columns, others={named("rival"): column(explained)},
                     floors={SystemId("floor", "mean"): column(floor)})  # fmt: skip
    (rival,) = found.systems
    assert rival.share.value == pytest.approx(explained.flops / model.flops)
    assert rival.loss.value == pytest.approx(column(explained).sum() / tokens.sum())
    rungs = {row.recovered: row for row in found.ladder}
    assert list(rungs) == [0.5, 0.9, 0.99, 0.999]
    between = 0.1 * column(floor) + 0.9 * column(model)
    same = measured(points, column(model), between, column(floor))
    assert rungs[0.9].share.value == pytest.approx(same.share_explained.value)
    assert rungs[0.9].share.low == pytest.approx(same.share_explained.low)
    shares = [row.share.value for row in rungs.values()]
    assert shares == sorted(shares)
    assert shares[1] < 0.9  # nine tenths of the loss are worth less than nine tenths of the compute
