"""Intervals over documents hold what they promise; each test plants the truth and counts."""

# pyright: reportOperatorIssue=false, reportOptionalOperand=false, reportOptionalMemberAccess=false
# An estimate that is undefined where a value is expected fails the test by itself.
from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate
from assay.stats.keyed import generator
from assay.stats.sums import Sums

SETS = 1_000


def clustered(rng: np.random.Generator, documents: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums of a KL explained and a floor's, and token counts: heavy-tailed document effects, lengths that vary.

    The floor's KL a token is lognormal by document; the explained share of it is 0.3 on average, by document too.
    """
    tokens = rng.integers(200, 2_000, documents).astype(float)
    level = np.exp(0.6 * rng.standard_normal(documents)) * 0.5
    floor = tokens * level * rng.gamma(50, 1 / 50, documents)
    explained = tokens * level * 0.3 * rng.gamma(4, 1 / 4, documents)
    return explained, floor, tokens


def coverage(make, truth: float, sets: int = SETS) -> float:
    inside = 0
    for i in range(sets):
        estimate = make(generator(7, "set", i), i)
        assert estimate.low is not None
        assert estimate.high is not None
        inside += estimate.low <= truth <= estimate.high
    return inside / sets


def test_stratified_mean_covers_its_truth():
    strata = np.repeat(["en", "fr", "de", "py"], 20)  # small strata, far apart
    resamples = Resamples(80, strata, seed=1, draws=1_000)
    level = np.repeat([1.0, 2.0, 3.0, 5.0], 20)
    tokens = np.full(80, 100.0)

    def make(rng, i):
        return resamples.mean(tokens * (level + 0.5 * rng.standard_t(6, 80)), tokens)

    assert 0.93 <= coverage(make, 2.75) <= 0.97


def test_fifteen_clusters_are_covered_by_t_on_the_jackknife():
    resamples = Resamples(15, seed=3)
    tokens = np.full(15, 500.0)

    def make(rng, i):
        floor = tokens * (1 + 0.3 * rng.standard_normal(15)) * 0.5
        explained = 0.3 * floor + tokens * 0.05 * rng.standard_normal(15)
        estimate = resamples.recovered(explained, floor, tokens)
        assert estimate.method == "jackknife_t"
        return estimate

    assert 0.93 <= coverage(make, 0.7) <= 0.97


def test_paired_difference_covers_and_is_narrower_than_unpaired():
    resamples = Resamples(150, seed=3, draws=1_000)
    widths = []

    def make(rng, i):
        shared, _, tokens = clustered(rng, 150)
        other = shared + tokens * (0.02 + 0.01 * rng.standard_normal(150))
        difference = resamples.difference(other, shared, tokens)
        if i < 5:
            one = resamples.mean(shared, tokens)
            widths.append((difference.high - difference.low) / (one.high - one.low))
        return difference

    assert 0.93 <= coverage(make, 0.02) <= 0.97
    assert max(widths) < 0.5


def test_paired_difference_of_shares_is_zero_for_the_same_system():
    explained, floor, tokens = clustered(generator(0), 60)
    same = Resamples(60).recovered_difference((explained, floor), (explained, floor), tokens)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)


def test_ratio_of_sums_is_not_the_mean_of_ratios():
    """Planted: long documents are explained, short ones are not. The wrong formula gives another answer."""
    tokens = np.array([1_000.0] * 50 + [10.0] * 50)
    floor, explained = tokens * 1.0, np.where(tokens > 100, 0.1, 0.9) * tokens
    estimate = Resamples(100).recovered(explained, floor, tokens)
    wrong = float(np.mean(1 - explained / floor))
    assert estimate.value == pytest.approx(1 - (0.1 * 1_000 + 0.9 * 10) / 1_010)
    assert abs(estimate.value - wrong) > 0.3
    assert not estimate.low <= wrong <= estimate.high


def test_resampling_tokens_instead_of_documents_would_be_too_narrow():
    rng = generator(2)
    effect = np.repeat(rng.standard_normal(60), 100)
    loss = effect + 0.1 * rng.standard_normal(6_000)
    whole = Resamples(60).mean(loss.reshape(60, 100).sum(1), np.full(60, 100.0))
    tokens = Resamples(6_000, draws=200).mean(loss, np.ones(6_000))
    assert whole.high - whole.low > 5 * (tokens.high - tokens.low)


def test_fieller_gives_an_open_end_or_undefined_where_the_gap_is_not_resolved():
    rng = generator(4)
    resamples = Resamples(40)
    ones = np.ones(40)
    gap = 0.1 + rng.standard_normal(40)  # mean far within its own noise
    undefined = resamples.ratio(ones + 0.01 * rng.standard_normal(40), gap)
    assert undefined.value is None
    assert "not resolved from 0" in undefined.reason
    anything = resamples.ratio(rng.standard_normal(40), rng.standard_normal(40))
    assert anything.value is None
    lone = np.zeros(40)
    lone[0] = 1.0  # a denominator that one document carries
    one_sided = resamples.ratio(ones, lone, nonnegative=True)
    assert one_sided.method == "fieller"
    assert one_sided.low is not None
    assert 0 < one_sided.low <= 40.0 == one_sided.value
    assert one_sided.high is None
    assert "not resolved" in one_sided.reason


def test_fieller_covers_where_the_denominator_is_barely_resolved():
    """Denominator 2.5 standard errors from 0: bounded or not, the set holds the truth in 95 of 100."""
    resamples = Resamples(20)
    inside, fieller = 0, 0
    for i in range(SETS):
        rng = generator(5, i)
        bottom = 1 + 20**0.5 / 2.5 * rng.standard_normal(20)
        top = 0.5 * bottom + 0.3 * rng.standard_normal(20)
        estimate = resamples.ratio(top, bottom, nonnegative=True)
        fieller += estimate.method == "fieller" or estimate.value is None
        low = -np.inf if estimate.low is None else estimate.low
        high = np.inf if estimate.high is None else estimate.high
        inside += low <= 0.5 <= high
    assert fieller > 300
    assert inside / SETS > 0.93


def test_undefined_is_never_zero_or_nan():
    resamples = Resamples(40)
    zero, one = np.zeros(40), np.ones(40)
    for estimate in (
        resamples.recovered(zero, zero, one),
        resamples.mean(one, zero),
        resamples.ratio(one, zero),
        resamples.function(lambda a: np.log(a), zero),
    ):
        assert estimate.value is None
        assert estimate.low is None
        assert estimate.high is None
        assert estimate.reason
    with pytest.raises(ValueError, match="column 0 holds nan at document 2"):
        resamples.mean(np.where(np.arange(40) == 2, np.nan, 1.0), one)


def test_one_document_has_a_value_and_no_interval():
    for resamples in (Resamples(1), Resamples(40)):
        counts = np.zeros(resamples.n)
        counts[0] = 10.0
        estimate = resamples.mean(counts * 3, counts)
        assert estimate.value == 3.0
        assert estimate.n == 1
        assert estimate.low is None
        assert "1 document" in estimate.reason


def test_documents_without_tokens_are_no_clusters():
    explained, floor, tokens = clustered(generator(0), 25)
    padded = [np.concatenate([c, np.zeros(30)]) for c in (explained, floor, tokens)]
    estimate = Resamples(55).recovered(*padded)
    alone = Resamples(25).recovered(explained, floor, tokens)
    assert (estimate.value, estimate.low) == pytest.approx((alone.value, alone.low))
    assert estimate.method == "jackknife_t"
    assert estimate.n == 25


def test_strata_keep_their_tokens():
    strata = ["en"] * 30 + ["fr"] * 10 + ["lone"]
    tokens = np.linspace(50.0, 90.0, 41)
    resamples = Resamples(41, strata, draws=300, tokens=tokens)
    assert np.allclose(resamples.totals(tokens * (np.arange(41) < 30)), tokens[:30].sum())
    assert np.allclose(resamples.totals(tokens), tokens.sum())  # the lone one joins the smallest stratum
    between = np.array([1.0] * 30 + [5.0] * 11)  # all variance lies between strata
    estimate = resamples.mean(between * tokens, tokens)
    assert estimate.high - estimate.low < 1e-9
    with pytest.raises(ValueError, match="2 strata labels for 41 documents"):
        Resamples(41, ["en", "fr"])


def test_pieces_of_one_work_are_one_cluster():
    """Forty pieces of ten works, alike within a work: the interval is that of ten works, not of forty documents."""
    level = np.repeat(generator(3).standard_normal(10), 4)
    tokens = np.full(40, 100.0)
    pieces = Resamples(40, clusters=np.repeat(np.arange(10), 4)).mean(level * tokens, tokens)
    works = Resamples(10).mean(level[::4] * 400, np.full(10, 400.0))
    apart = Resamples(40).mean(level * tokens, tokens)
    assert (pieces.value, pieces.low, pieces.n) == (works.value, pytest.approx(works.low), 10)
    assert apart.high - apart.low < 0.6 * (pieces.high - pieces.low)


def test_equal_documents_give_no_interval():
    estimate = Resamples(40, clusters=["the same"] * 40).mean(np.full(40, 31.4), np.full(40, 100.0))
    assert (estimate.value, estimate.low, estimate.high, estimate.n) == (pytest.approx(0.314), None, None, 1)
    assert "equal documents, are one) is too few" in estimate.reason


@pytest.mark.parametrize(("documents", "given"), [(7, False), (8, True)])
def test_fewer_than_eight_clusters_give_no_interval(documents: int, given: bool):
    estimate = Resamples(documents).mean(np.arange(1.0, 1 + documents), np.ones(documents))
    assert estimate.value == (1 + documents) / 2
    assert (estimate.low is not None) == given
    assert given or "7 documents are too few" in estimate.reason


def test_one_cluster_that_outweighs_all_others_gives_no_interval():
    tokens = np.array([1e6] + [1.0] * 19)
    estimate = Resamples(20).mean(tokens * np.linspace(1, 2, 20), tokens)
    assert estimate.low is None
    assert "which weigh as 1.0 equal ones" in estimate.reason


def test_effective_clusters_count_equal_ones_whole_and_a_heavy_one_alone():
    assert Resamples(20).effective(np.ones(20)) == pytest.approx(20)
    assert Resamples(20).effective(np.array([1e9] + [1.0] * 19)) == pytest.approx(1)
    assert Resamples(20, ["a"] * 10 + ["b"] * 10).effective(np.array([1.0] * 10 + [5.0] * 10)) == pytest.approx(20)


def test_same_seed_gives_the_same_draws_and_another_seed_others():
    column = np.arange(50.0)
    a, b, c = (Resamples(50, seed=seed).totals(column) for seed in (1, 1, 2))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_resamples_of_a_total_have_the_variance_of_the_total():
    column = generator(0).standard_normal(33)
    found = Resamples(33, draws=20_000).totals(column)[0]
    assert found.mean() == pytest.approx(column.sum(), abs=0.15)
    assert found.var() == pytest.approx(33 * column.var(ddof=1), rel=0.06)


def test_the_jackknife_equals_leaving_out_documents_one_by_one():
    """The naive form: leave out a cluster, scale what is left of its stratum back to the stratum's tokens, sum up."""
    rng = generator(8)
    tokens, top, bottom = rng.integers(50, 900, 24).astype(float), rng.random(24), 1 + rng.random(24)
    strata = ["a"] * 9 + ["b"] * 15
    estimate = Resamples(24, strata, tokens=tokens).ratio(top * tokens, bottom * tokens)
    variance, parts = 0.0, 0.0
    for stratum, m in (("a", 9), ("b", 15)):
        here = [i for i in range(24) if strata[i] == stratum]
        left = []
        for out in here:
            sums = [0.0, 0.0]
            for i in range(24):
                scale = sum(tokens[here]) / (sum(tokens[here]) - tokens[out]) if i in here else 1.0
                for k, column in enumerate((top, bottom)):
                    sums[k] += 0.0 if i == out else column[i] * tokens[i] * scale
            left.append(sums[0] / sums[1])
        own = (m - 1) / m * sum((x - sum(left) / m) ** 2 for x in left)
        effective = sum(tokens[here]) ** 2 / sum(tokens[here] ** 2)
        squares = sum(tokens[here] ** 2) ** 2 / sum(tokens[here] ** 4)
        own *= 1 + 1 / effective - 1 / m
        variance, parts = variance + own, parts + own**2 / min(effective - 1, squares)
    reach = scipy.stats.t.ppf(0.975, variance**2 / parts) * variance**0.5
    assert estimate.high == pytest.approx(estimate.value + reach, rel=1e-9)


def test_where_a_document_left_out_leaves_no_value_the_end_beyond_is_open():
    column = np.r_[np.full(30, 0.01), 1.0]  # without the last one nothing is reached

    def reached(total: np.ndarray) -> np.ndarray:
        return np.where(total > 0.5, 1 / (total - 0.5), np.inf)

    estimate = Resamples(31).function(reached, column)
    assert estimate.method == "percentile"
    assert estimate.low is not None
    assert estimate.high is None
    assert "no finite value" in estimate.reason


def test_merged_shards_equal_one_run():
    rng = generator(6)
    document, loss, kl = rng.integers(0, 40, 5_000), rng.standard_normal(5_000), rng.random(5_000)
    names = [f"d{i}" for i in range(40)]
    whole = Sums.of(names, document, loss=loss, kl=kl)
    first = Sums.of(names, document[:1_234], loss=loss[:1_234], kl=kl[:1_234])
    order = names[::-1]  # the second shard lists its documents in another order
    second = Sums.of(order, 39 - document[1_234:], loss=loss[1_234:], kl=kl[1_234:])
    merged = first.merge(second)
    assert merged.documents == whole.documents
    assert np.array_equal(merged.count, whole.count)
    for name in ("loss", "kl"):
        assert np.allclose(merged.columns[name], whole.columns[name], rtol=1e-12, atol=1e-12)
    resamples = Resamples(40)
    one, two = (resamples.mean(s.columns["kl"], s.count) for s in (whole, merged))
    assert isinstance(one, Estimate)
    assert two.low == pytest.approx(one.low)
    assert two.value == pytest.approx(one.value)
    with pytest.raises(ValueError, match="cannot be merged"):
        first.merge(Sums.of(names, document, loss=loss))


@pytest.mark.parametrize("documents", [12, 60])
def test_p_of_zero_agrees_with_the_interval(documents: int):
    resamples = Resamples(documents, seed=1)
    for i in range(40):
        rng = np.random.default_rng(i)
        column = rng.normal(0.02 * i, 1.0, documents)
        found, p = resamples.function(lambda total: total, column), resamples.p_zero(lambda total: total, column)
        assert found.low is not None
        assert found.high is not None
        assert p is not None
        assert (p < 0.05) == (found.low > 0 or found.high < 0)


def test_p_of_zero_is_none_without_an_interval():
    assert Resamples(1).p_zero(lambda total: total, np.ones(1)) is None


def test_a_mean_of_what_cannot_be_negative_has_no_end_below_zero_nor_a_share_one_above_one():
    rng = np.random.default_rng(3)
    tokens = np.full(12, 100.0)
    kl = np.where(np.arange(12) == 0, 60.0, 0.1 * rng.random(12))
    r = Resamples(12, tokens=tokens)
    free, bounded = r.mean(kl, tokens), r.mean(kl, tokens, least=0.0)
    assert free.low is not None
    assert free.low < 0
    assert (bounded.value, bounded.low, bounded.high) == (free.value, 0.0, free.high)
    share = r.mean(tokens - kl, tokens, least=0.0, most=1.0)
    assert share.high == 1.0
    assert r.difference(-kl, kl, tokens).low < 0  # a difference has no such end


def test_too_few_documents_are_said_where_the_figure_is_printed():
    found = Resamples(40, clusters=[0] * 40).mean(np.ones(40), np.ones(40))
    work = "1 independent work (pieces of one work, and equal documents, are one)"
    assert str(found) == f"1.000 (no interval: {work} is too few)"


def test_a_floor_that_few_documents_of_one_source_hold_gives_no_interval():
    """A fourth such document might hold as much again, and no spread among three says so."""
    strata, floor = ["en"] * 9 + ["python"] * 3, np.array([1.0] * 9 + [9.0] * 3)
    explained = floor * np.linspace(0.2, 0.4, 12)
    resamples, tokens = Resamples(12, strata, tokens=np.ones(12)), np.ones(12)
    found = resamples.recovered(explained, floor, tokens)
    assert found.value == pytest.approx(1 - explained.sum() / floor.sum())
    assert (found.low, found.high) == (None, None)
    assert found.reason == "3 documents of one source, which hold 75 % of the floor, are too few"
    other = resamples.recovered_difference((explained, explained**2), (floor, floor), tokens)
    assert other.reason == found.reason
    even = np.ones(12)
    assert resamples.recovered(explained * even / floor, even, tokens).low is not None
    many = Resamples(14, ["en"] * 9 + ["python"] * 5, tokens=np.ones(14))
    five = np.array([1.0] * 9 + [9.0] * 5)
    assert many.recovered(five * np.linspace(0.2, 0.4, 14), five, np.ones(14)).low is not None
