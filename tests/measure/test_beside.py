"""Agreement, tokens within ε, quantiles and hard tokens, on token tables that are written by hand."""

from __future__ import annotations

import numpy as np
import pytest

from assay.measure.beside import accuracies, beside, hard_tokens, select_hard, within
from assay.measure.score import Scored, Scores, TokenTable
from assay.stats.bootstrap import Resamples

DOCUMENTS, EACH = 40, 50


def system(
    loss: np.ndarray, kl: np.ndarray, agree: np.ndarray | None = None, document: np.ndarray | None = None
) -> Scores:
    """A system whose sums are those of its tokens."""
    agree = np.ones(len(loss)) if agree is None else agree
    document = np.repeat(np.arange(DOCUMENTS), EACH) if document is None else document
    sums = [np.bincount(document, weights=x, minlength=DOCUMENTS).astype(float) for x in (loss, kl, agree)]
    table = TokenTable(*(x.astype(np.float32) for x in (loss, kl, agree)))
    return Scores(sums[0], sums[1], sums[2], sums[1][:, None], sums[0][:, None], table)


def written(**systems: Scores) -> tuple[Scored, Resamples]:
    document = np.repeat(np.arange(DOCUMENTS), EACH)
    position = np.tile(np.arange(1, EACH + 1), DOCUMENTS)
    named = {name.replace("_", ":"): value for name, value in systems.items()}
    return Scored(np.full(DOCUMENTS, float(EACH)), document, position, document, named), Resamples(DOCUMENTS, draws=200)


def uniform(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(DOCUMENTS * EACH)


def test_within_counts_only_tokens_that_the_floor_moves():
    below = np.where(uniform(0) < 0.5, 0.5, 1e-4)
    kl = np.where(uniform(1) < 0.25, 5e-3, 0.2)
    kl[below < 1e-3] = 0.0  # right where nothing was at stake: must not count
    loss = uniform(2)
    scored, resamples = written(
        model=system(loss, 0 * loss), explained_mean=system(loss, kl), floor_mean=system(loss, below)
    )
    found = within(scored, resamples)
    moved = below > 1e-3
    assert found[1e-3].value == 0
    assert found[1e-2].value == pytest.approx((kl[moved] <= 1e-2).mean())
    low, high = found[1e-2].low or 0.0, found[1e-2].high or 0.0
    assert 0 < low < 0.25 < high
    nothing, _ = written(
        model=system(loss, 0 * loss), explained_mean=system(loss, kl), floor_mean=system(loss, 0 * loss)
    )
    assert within(nothing, resamples)[0.1].value is None


def test_the_block_has_the_records_fields():
    loss, kl, agree = uniform(0), uniform(1), (uniform(2) < 0.7).astype(float)
    scored, resamples = written(
        model=system(loss, 0 * loss), explained_mean=system(loss + 0.5, kl, agree), floor_mean=system(loss + 1, 2 * kl)
    )
    block = beside(scored, resamples)
    assert block["agreement"]["value"] == pytest.approx(agree.mean())
    assert list(block["within"]) == ["0.001", "0.01", "0.1"]
    assert block["kl_quantiles"]["1"] == pytest.approx(kl.max())
    assert list(block["kl_quantiles"]) == [
        "0.5",
        "0.9",
        "0.99",
        "1",
    ]
    assert block["delta_loss_quantiles"]["0.5"] == pytest.approx(0.5, abs=1e-5)
    assert block["accuracy"]["value"] is None
    assert block["hard_tokens"] is None


def test_hard_tokens_are_where_the_smaller_model_loses_most():
    loss, extra = np.full(DOCUMENTS * EACH, 2.0), uniform(3)
    scored, _ = written(model=system(loss, 0 * loss), small=system(loss + extra, extra))
    hard = select_hard(scored, "small")
    assert hard.sum() == 200
    assert extra[hard].min() >= extra[~hard].max()


def test_another_smaller_model_is_compared_with_and_not_the_one_that_selected():
    noise_a, noise_b, real = uniform(4), uniform(5), uniform(6) < 0.2
    loss = np.full(len(real), 1.0)
    small_a, small_b = loss + real + noise_a, loss + real + noise_b - 0.5
    kl = np.where(real, 0.3, 0.01)
    scored, resamples = written(
        model=system(loss, 0 * loss),
        explained_mean=system(loss + 0.25 * real, 0.25 * kl),
        floor_mean=system(loss + real, kl),
        a=system(small_a, kl),
        b=system(small_b, kl),
    )
    found = hard_tokens(scored, resamples, smaller=["a", "b"])
    assert found["recovered"]["value"] == pytest.approx(0.75, abs=1e-6)
    assert found["by"] == "a"
    assert list(found["kept"]) == ["b"]
    # all hard tokens are real gaps; b loses 1 nat there on average and the explained run 0.25
    assert found["kept"]["b"]["value"] == pytest.approx(0.75, abs=0.03)
    assert hard_tokens(scored, resamples, smaller=["a"])["kept"] == {}


def test_accuracy_is_the_share_of_right_first_guesses():
    from assay.explanations import Constant
    from assay.measure.score import score
    from tests.measure.test_residual import world

    bench = world()
    claim = Constant(["m0", "m1"])
    plans = {"explained:mean": claim.plan(bench, "mean")}
    scored = score(bench, plans)
    resamples = Resamples(int((scored.count > 0).sum()), draws=50)
    found = accuracies(bench, plans, scored, resamples)
    logits = bench.model(bench.task.tokens)[:, :-1].argmax(-1)
    real = bench.task.scored[:, 1:]
    assert found["model"].value == pytest.approx(float((logits == bench.task.tokens[:, 1:])[real].double().mean()))
    assert set(found) == {"model", "explained:mean"}
