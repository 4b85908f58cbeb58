"""Agreement, tokens within ε, quantiles and hard tokens, on token tables that are written by hand."""

from __future__ import annotations

import numpy as np
import pytest

from assay.measure.headline.agreement import accuracy, agreement, hard_tokens, select_hard, within
from assay.score.ids import rival
from assay.score.scores import Scored, Scores, TokenTable
from assay.stats.bootstrap import Resamples
from tests.measure.ids import EXPLAINED, FLOOR

DOCUMENTS, EACH = 40, 50
BOTH = {"explained": EXPLAINED, "floor": FLOOR}


def system(
    loss: np.ndarray,
    kl: np.ndarray,
    agree: np.ndarray | None = None,
    correct: np.ndarray | None = None,
) -> Scores:
    """A system whose sums are those of its tokens."""
    agree = np.ones(len(loss)) if agree is None else agree
    correct = np.ones(len(loss)) if correct is None else correct
    document = np.repeat(np.arange(DOCUMENTS), EACH)
    sums = [np.bincount(document, weights=x, minlength=DOCUMENTS).astype(float) for x in (loss, kl, agree, correct)]
    table = TokenTable(*(x.astype(np.float32) for x in (loss, kl, agree, correct)))
    return Scores(*(column[:, None] for column in sums), table)


def written(**systems: Scores) -> tuple[Scored, Resamples]:
    document = np.repeat(np.arange(DOCUMENTS), EACH)
    position = np.tile(np.arange(1, EACH + 1), DOCUMENTS)
    model = systems.pop("model")
    named = {"explained_mean": EXPLAINED, "floor_mean": FLOOR}
    keyed = {named.get(name, rival(name)): value for name, value in systems.items()}
    count = np.full(DOCUMENTS, float(EACH))
    return Scored(count, document, position, document, model, keyed), Resamples(DOCUMENTS, draws=200)


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
    found = within(scored, resamples, **BOTH)
    moved = below > 1e-3
    assert found[1e-3].value == 0
    assert found[1e-2].value == pytest.approx((kl[moved] <= 1e-2).mean())
    low, high = found[1e-2].low or 0.0, found[1e-2].high or 0.0
    assert 0 < low < 0.25 < high
    nothing, _ = written(
        model=system(loss, 0 * loss), explained_mean=system(loss, kl), floor_mean=system(loss, 0 * loss)
    )
    assert within(nothing, resamples, **BOTH)[0.1].value is None


def test_the_block_has_the_records_fields():
    loss, kl, agree = uniform(0), uniform(1), (uniform(2) < 0.7).astype(float)
    scored, resamples = written(
        model=system(loss, 0 * loss), explained_mean=system(loss + 0.5, kl, agree), floor_mean=system(loss + 1, 2 * kl)
    )
    block = agreement(scored, resamples, **BOTH)
    assert block.agreement.value == pytest.approx(agree.mean())
    assert list(block.within) == ["0.001", "0.01", "0.1"]
    assert block.kl_quantiles["1"] == pytest.approx(kl.max())
    assert list(block.kl_quantiles) == [
        "0.5",
        "0.9",
        "0.99",
        "1",
    ]
    assert block.delta_loss_quantiles["0.5"] == pytest.approx(0.5, abs=1e-5)
    assert block.accuracy.value == 1
    assert block.hard_tokens is None


def test_hard_tokens_are_where_the_smaller_model_loses_most():
    loss, extra = np.full(DOCUMENTS * EACH, 2.0), uniform(3)
    scored, _ = written(model=system(loss, 0 * loss))
    hard = select_hard(scored, loss + extra)
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
    )
    found = hard_tokens(scored, resamples, **BOTH, smaller={"a": small_a, "b": small_b})
    assert found.recovered.value == pytest.approx(0.75, abs=1e-6)
    assert found.by == "a"
    assert list(found.kept) == ["b"]
    # all hard tokens are real gaps; b loses 1 nat there on average and the explained run 0.25
    assert found.kept["b"].value == pytest.approx(0.75, abs=0.03)
    assert hard_tokens(scored, resamples, **BOTH, smaller={"a": small_a}).kept == {}


def right(share: float, seed: int) -> np.ndarray:
    return (uniform(seed) < share).astype(float)


def test_accuracy_recovered_is_the_share_of_what_the_floor_gets_wrong():
    zero = np.zeros(DOCUMENTS * EACH)
    model, floor = right(0.8, 0), right(0.8, 0) * right(0.5, 1)
    explained = np.where(right(0.75, 2) == 1, model, floor)
    scored, resamples = written(
        model=system(zero, zero, correct=model),
        explained_mean=system(zero, zero, correct=explained),
        floor_mean=system(zero, zero, correct=floor),
    )
    found = accuracy(scored, resamples, **BOTH)
    for name, column in (("_model", model), ("_floor", floor), ("", explained)):
        assert found[f"accuracy{name}"].value == pytest.approx(column.mean())
    share = found["accuracy_recovered"]
    assert share.value == pytest.approx((explained.mean() - floor.mean()) / (model.mean() - floor.mean()))
    assert 0.6 < (share.low or 0) < 0.75 < (share.high or 0) < 0.9


@pytest.mark.parametrize(("floor", "reason"), [(0.5, "not resolved"), (0.9, "harmful scope")])
def test_accuracy_recovered_is_undefined_where_the_model_is_not_shown_to_beat_the_floor(floor, reason):
    zero = np.zeros(DOCUMENTS * EACH)
    scored, resamples = written(
        model=system(zero, zero, correct=right(0.5, 0)),
        explained_mean=system(zero, zero, correct=right(0.5, 1)),
        floor_mean=system(zero, zero, correct=right(floor, 2)),
    )
    share = accuracy(scored, resamples, **BOTH)["accuracy_recovered"]
    assert share.value is None
    assert reason in (share.reason or "")


def test_without_a_floor_accuracies_stay_and_shares_say_why_not():
    loss, kl = uniform(0), uniform(1)
    scored, resamples = written(model=system(loss, 0 * loss), explained_mean=system(loss, kl))
    block = agreement(scored, resamples, explained=EXPLAINED, floor=None)
    assert block.accuracy.value == block.accuracy_model.value == 1
    for name in ("accuracy_floor", "accuracy_recovered"):
        assert "no floor" in getattr(block, name).reason
    assert all("no floor" in share.reason for share in block.within.values())


def test_accuracy_is_the_share_of_right_first_guesses():
    from assay.explanations import Constant
    from assay.score.score import score
    from tests.measure.tokens.test_residual import world

    workbench = world()
    claim = Constant(["m0", "m1"])
    plans = {EXPLAINED: claim.plan(workbench, "mean")}
    scored = score(workbench, plans)
    resamples = Resamples(int((scored.count > 0).sum()), draws=50)
    found = accuracy(scored, resamples, explained=EXPLAINED, floor=None)
    real = workbench.task.scored[:, 1:]

    def by_hand(logits) -> float:
        return float((logits[:, :-1].argmax(-1) == workbench.task.tokens[:, 1:])[real].double().mean())

    assert found["accuracy_model"].value == pytest.approx(by_hand(workbench.model(workbench.task.tokens)))
    rows = np.arange(len(workbench.task.tokens))
    again = by_hand(workbench.runner.logits(plans[EXPLAINED], rows))
    assert found["accuracy"].value == pytest.approx(again, abs=2 / float(real.sum()))
    tokens = scored.model.tokens
    assert tokens is not None
    assert tokens.correct.mean() == pytest.approx(found["accuracy_model"].value)
