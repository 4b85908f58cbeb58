"""N-gram models: exact Kneser–Ney by hand and against the naive one, distributions, pruning, cache, files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from assay.errors import TaskError
from assay.task.documents import Document, windows
from assay.task.ngrams import ngrams
from assay.task.ngrams.cache import Cache, components, matches
from assay.task.ngrams.ngrams import NGram
from assay.task.ngrams.tables import choose_bits, values_bits
from tests.naive.kneser_ney import KneserNey


def text(seed: int, n: int = 400, vocab: int = 12) -> list[np.ndarray]:
    """Skewed random documents in which runs repeat."""
    rng = np.random.default_rng(seed)
    runs = rng.integers(1, vocab, (10, 6))
    pieces = [
        runs[min(rng.geometric(0.3) - 1, 9)] if rng.random() < 0.7 else rng.integers(1, vocab, 6) for _ in range(n // 6)
    ]
    flat = np.concatenate(pieces)
    return [flat[i : i + 57] for i in range(0, len(flat), 57)]


def rows(seed: int, vocab: int = 12) -> np.ndarray:
    found = windows([Document(str(i), "", d) for i, d in enumerate(text(seed, 600, vocab))], 24, 0)
    return found.tokens[:8]


def test_bigram_worked_by_hand() -> None:
    # a b a b a c in one document: raw bigrams ab 2, ba 2, ac 1; raw unigrams a 3, b 2, c 1.
    model = NGram.fit([np.array([0, 1, 0, 1, 0, 2])], vocab=4, order=2)
    # Counts of counts 1 and 2 are there, 3 and 4 are not, so all discounts are Y = n1 / (n1 + 2 n2).
    d2 = 1 / (1 + 2 * 2)  # bigrams: n1 = 1 (ac), n2 = 2 (ab, ba)
    # Continuation counts: a after b, and once at the start with nothing before: 2; b after a: 1; c after a: 1.
    d1 = 2 / (2 + 2 * 1)
    total = 4
    base = np.array([2 - d1, 1 - d1, 1 - d1, 0]) / total + (3 * d1 / total) / 4
    after_a = np.array([0, 2 - d2, 1 - d2, 0]) / 3 + (2 * d2 / 3) * base
    after_b = np.array([2 - d2, 0, 0, 0]) / 2 + (d2 / 2) * base
    given = model.distribution(np.array([[0, 1, 2]]), dtype=torch.float64)[0].numpy()
    np.testing.assert_allclose(given, [after_a, after_b, base], rtol=1e-12)  # nothing follows c: the lower order
    # Without context: raw counts a 3, b 2, c 1, Y = 1 / (1 + 2).
    raw = np.array([3 - 1 / 3, 2 - 1 / 3, 1 - 1 / 3, 0]) / 6 + (1 / 6) / 4
    np.testing.assert_allclose(np.exp(model.log_prob(np.array([[1]]))), [[raw[1]]], rtol=1e-12)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("bos", [None, 0])
@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_equals_naive(seed: int, bos: int | None, order: int) -> None:
    documents, tokens = text(seed), rows(seed + 100)[:3]
    if bos is None:
        tokens = tokens[:, 1:]
    fast = NGram.fit(documents, 12, 5, bos).log_prob(tokens, order)
    naive = KneserNey([d.tolist() for d in documents], 12, 5, bos)
    for row, given in zip(tokens.tolist(), fast, strict=True):
        for t, value in enumerate(given):
            expected = naive.probability(row[max(0, t - order + 1) : t], row[t])
            assert value == pytest.approx(np.log(expected), abs=1e-10)


def test_raw_counts_below_the_highest_order_are_not_kneser_ney() -> None:
    documents, tokens = text(0), rows(100)[:2]
    naive = KneserNey([d.tolist() for d in documents], 12, 5, 0)
    naive.continuation, naive.spoken_continuation = naive.raw, naive.spoken_raw
    wrong = [[np.log(naive.probability(row[t - 2 : t], row[t])) for t in range(2, 24)] for row in tokens.tolist()]
    right = NGram.fit(documents, 12, 5, 0).log_prob(tokens, 3)[:, 2:]
    assert np.abs(right - wrong).max() > 0.01


@pytest.mark.parametrize("starts", ["document", "cut"])
@pytest.mark.parametrize("bos", [None, 0])
@pytest.mark.parametrize("order", [None, 1, 2, 3, 4])
@pytest.mark.parametrize("form", ["whole", "pruned", "cached"])
def test_distribution_sums_to_one_and_equals_log_prob(starts, bos: int | None, order: int | None, form: str) -> None:
    model = NGram.fit(text(1), 12, 5, bos, starts=starts)
    tokens = rows(7)
    tokens[0, 9] = 0  # a BOS in the middle of a row
    if form == "pruned":
        model = model.pruned(0.6 * model.bits)
    if form == "cached":
        model = model.with_cache(Cache.of(0.3, half_life=5.0))
    given = model.distribution(tokens, order, dtype=torch.float64).numpy()
    np.testing.assert_allclose(given.sum(-1), 1, atol=1e-12)
    assert (given[:, :-1] > 0).all()
    observed = np.take_along_axis(given[:, :-1], tokens[:, 1:, None], -1)[..., 0]
    np.testing.assert_allclose(np.log(observed), model.log_prob(tokens, order)[:, 1:], atol=1e-12)
    single = model.distribution(torch.from_numpy(tokens), order)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), given, atol=1e-6)


def test_contexts_never_cross_documents() -> None:
    halves = [np.array([1, 2, 3]), np.array([4, 5, 6])]
    apart, joined = NGram.fit(halves, 8, 3), NGram.fit([np.concatenate(halves)], 8, 3)
    assert apart.tables.sizes == (8, 4, 2)
    assert joined.tables.sizes == (8, 5, 4)
    assert joined.log_prob(np.array([[3, 4]]))[0, 1] > apart.log_prob(np.array([[3, 4]]))[0, 1]


def test_a_bos_hides_what_came_before() -> None:
    for starts in ("document", "cut"):
        model = NGram.fit(text(2), 12, 5, 0, starts=starts)
        row = rows(3)[:1]
        twice = np.concatenate([rows(4)[:1], row], axis=1)
        np.testing.assert_allclose(model.log_prob(twice)[0, 25:], model.log_prob(row)[0, 1:], atol=1e-12)


def test_what_a_bos_says_depends_on_starts() -> None:
    documents = [np.array([1, 2, 3, 2, 3, 2, 3])] * 5
    window = np.array([[0, 1]])
    begins = NGram.fit(documents, 4, 2, 0, starts="document").log_prob(window)[0, 1]
    cut = NGram.fit(documents, 4, 2, 0, starts="cut")
    assert begins > np.log(0.8)  # every document begins with 1
    assert cut.log_prob(window)[0, 1] == pytest.approx(np.log(cut.unigram[0][1]))  # one token in seven is a 1


def test_longer_orders_are_better_on_text_with_runs() -> None:
    documents = text(5, 6000)
    held_out = windows([Document(str(i), "", d) for i, d in enumerate(documents[-20:])], 24, 0)
    model = NGram.fit(documents[:-20], 12, 5, 0, starts="cut")
    losses = [model.loss(held_out, k) for k in (1, 2, 3)]
    assert losses == sorted(losses, reverse=True)


def test_pruning_is_within_budget_nested_and_costs_loss() -> None:
    documents = text(6, 12000, 30)
    held_out = windows([Document(str(i), "", d) for i, d in enumerate(documents[-20:])], 24, 0)
    model = NGram.fit(documents[:-20], 30, 5, 0, starts="cut")
    sizes, losses, shares = [], [], (1.0, 0.6, 0.3, 0.1)
    for share in shares:
        small = model.pruned(share * model.bits)
        assert small.bits <= share * model.bits
        assert small.bits > 0.9 * share * model.bits
        assert all((s >= 0).all() for s in small.tables.suffix)
        sizes.append(sum(small.tables.sizes))
        losses.append(small.loss(held_out))
    assert sizes == sorted(sizes, reverse=True)
    assert losses[-1] > min(losses)
    assert losses[-1] < model.loss(held_out, 1)
    best = model.pruned(0.1 * model.bits)
    assert best.loss(held_out) < at_random(model, sum(best.tables.sizes[1:])).loss(held_out)
    assert best.pruned(best.bits).tables is best.tables


def at_random(model: NGram, n: int) -> NGram:
    """A rival: the same number of n-grams, drawn from the bigrams."""
    keep = [np.ones(model.vocab, dtype=bool)] + [np.zeros(size, dtype=bool) for size in model.tables.sizes[1:]]
    keep[1][np.random.default_rng(0).permutation(len(keep[1]))[:n]] = True
    return replace(model, tables=model.tables.subset(keep))


def test_orders_kept_entirely_stay_exact() -> None:
    model, tokens = NGram.fit(text(8, 2000), 12, 5, 0), rows(9)
    small = model.pruned(0.7 * model.bits, whole=2)
    assert small.tables.sizes[:2] == model.tables.sizes[:2]
    assert small.tables.sizes[4] < model.tables.sizes[4]
    np.testing.assert_array_equal(small.log_prob(tokens, 2), model.log_prob(tokens, 2))


def test_a_budget_under_what_must_be_kept_is_refused() -> None:
    with pytest.raises(TaskError, match=r"under the .* bits of orders up to 1 alone"):
        NGram.fit(text(8), 12, 3).pruned(10)


def test_bits_are_those_of_the_arrangements() -> None:
    assert choose_bits(10, 3) == pytest.approx(np.log2(120) + 5)
    # Values 1 1 2: two different ones; gaps 2, 1 and frequencies 2, 1 in gamma codes; 3 arrangements.
    assert values_bits(np.array([1, 1, 2])) == pytest.approx((3 + 1) + (3 + 1) + np.log2(3) + 3)
    # All four of four possible bigrams is no choice, and equal counts have one arrangement: what is left are the sizes.
    tables = NGram.fit([np.array([0, 0, 1, 1, 0])], 2, 2).tables
    assert tables.bits == pytest.approx(
        values_bits(np.array([3, 2]))
        + choose_bits(4, 4)
        + values_bits(np.array([1, 1, 1, 1]))
        + choose_bits(2, 1)
        + values_bits(np.array([1]))
    )


def test_cache_finds_matches() -> None:
    tokens = np.array([[0, 5, 6, 7, 5, 6, 8]])
    parts, match = matches(tokens, np.ones_like(tokens), 0, np.inf)
    np.testing.assert_array_equal(match[0], [0, 1, 1, 1, 2, 3, 1])
    assert parts[1, 0, 4, 2] == 1  # after 5: 6 followed it
    assert parts[2, 0, 5, 3] == 1  # after 5 6: 7 followed them
    np.testing.assert_allclose(parts[0, 0, 3], [0, 1 / 3, 1 / 3, 1 / 3, 0, 0, 0])  # never the BOS
    given, _ = components(tokens, np.ones_like(tokens), 0, np.inf)
    np.testing.assert_allclose(given[0, 5], [1 / 4 * 1, 1, 0])


def test_cache_helps_on_repeated_text_and_is_fitted_to_it() -> None:
    rng = np.random.default_rng(0)
    half = rng.integers(1, 50, (20, 16))
    documents = [Document(str(i), "", np.concatenate([row, row])) for i, row in enumerate(half)]
    repeats = windows(documents, 33, 0)
    model = NGram.fit([rng.integers(1, 50, 100) for _ in range(30)], 50, 3, 0)
    cached = model.with_cache(windows(documents[:10], 33, 0))
    assert cached.loss(repeats) < model.with_cache(0.2).loss(repeats) < model.loss(repeats)
    assert cached.cache is not None
    np.testing.assert_allclose(cached.cache.weights.sum(1), 1)
    assert cached.cache.weights[3, 3] > 0.9  # two tokens match: the third follows
    np.testing.assert_allclose(
        model.with_cache(0.0).log_prob(repeats.tokens), model.log_prob(repeats.tokens), atol=1e-12
    )


@pytest.mark.parametrize("bos", [None, 0])
def test_a_file_gives_the_model_back(tmp_path: Path, bos: int | None) -> None:
    for model in (
        NGram.fit(text(3, 6000, 300), 300, 5, bos, starts="cut"),
        NGram.fit(text(3, 6000, 300), 300, 5, bos).pruned(60_000).with_cache(0.2),
        NGram.fit([np.full(70_000, 3), np.array([1])], 5, 2, bos),
        NGram.fit([np.array([3])], 5, 4, bos),
    ):
        model.save(tmp_path / "n.xz")
        back = NGram.load(tmp_path / "n.xz")
        for part in ("keys", "counts", "ends"):
            for one, two in zip(getattr(back.tables, part), getattr(model.tables, part), strict=True):
                np.testing.assert_array_equal(one, two)
        assert (back.bits, back.tokens, back.bos, back.starts) == (model.bits, model.tokens, model.bos, model.starts)
        tokens = np.random.default_rng(0).integers(1, 5, (4, 20))
        np.testing.assert_array_equal(back.log_prob(tokens), model.log_prob(tokens))


def test_more_text_is_better_and_little_is_weak() -> None:
    documents = text(4, 12000)
    held_out = windows([Document(str(i), "", d) for i, d in enumerate(text(4, 12000)[-20:])], 24, 0)
    curve = NGram.learning_curve(documents[:-20], held_out, (0.02, 0.2, 1.0), 12, 3, 0, block=57)
    assert [n for n, _ in curve] == sorted(n for n, _ in curve)
    assert curve[0][1] > curve[1][1] > curve[2][1]
    assert NGram.fit([np.arange(10).repeat(19)], 10, 2).weak
    assert not NGram.fit([np.arange(10).repeat(20)], 10, 2).weak


def test_errors_say_what_and_where(tmp_path: Path) -> None:
    model = NGram.fit(text(0), 12, 3)
    with pytest.raises(TaskError, match="the n-gram has no order 4"):
        model.log_prob(rows(0), 4)
    with pytest.raises(TaskError, match="token id 12 is outside the vocabulary of 12"):
        NGram.fit([np.array([1, 12])], 12)
    with pytest.raises(TaskError, match="do not fit the n-gram's vocabulary of 12"):
        model.distribution(np.array([[40]]))
    with pytest.raises(TaskError, match="no tokens at all"):
        NGram.fit([], 12)
    (tmp_path / "x").write_bytes(b"hello")
    with pytest.raises(TaskError, match="is not a file of n-grams"):
        NGram.load(tmp_path / "x")
    with pytest.raises(TaskError, match="no n-grams ship for 'nowel'; did you mean 'novel'"):
        ngrams.zoo("nowel")


def test_the_shipped_file_is_small_and_scores_like_a_5gram() -> None:
    model = ngrams.zoo("novel")
    assert (ngrams.FOLDER / "novel" / "ngrams.xz").stat().st_size <= 5_000_000
    assert model.cache is None
    assert ngrams.zoo("novel", cache=True).cache is not None
    assert model is ngrams.zoo("novel")
    assert (model.vocab, model.order, model.bos, model.weak) == (4096, 5, 0, False)
    given = model.distribution(np.array([[0, 44, 73, 405, 1128]]))
    torch.testing.assert_close(given.sum(-1), torch.ones(1, 5))
