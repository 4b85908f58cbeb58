import math

import pytest
import torch

from assay.errors import TaskError
from assay.task.metrics import METRICS, MIX, Given, kl_divergence, log_probabilities, metric_of, token_scores
from tests.naive.scores import scores as naive

# two items over three tokens, worked by hand
MODEL = torch.tensor([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]])
EXPLAINED = torch.tensor([[0.25, 0.5, 0.25], [0.2, 0.2, 0.6]])
ANSWERS = torch.tensor([[0, 1], [2, 0]])
BY_HAND = {
    "loss": [math.log(4), -math.log(0.6)],
    "logit_diff": [math.log(2), -math.log(3)],
    "kl": [0.25 * math.log(2), 0.0],
    "accuracy": [1.0, 0.0],
    "probability": [0.75, 0.4],
}


@pytest.mark.parametrize("name", METRICS)
def test_metric_is_the_loss_worked_by_hand(name):
    found = token_scores(METRICS[name], EXPLAINED.log(), MODEL.log(), ANSWERS)
    assert found.loss.tolist() == pytest.approx(BY_HAND[name], abs=1e-6)
    assert found.kl.tolist() == pytest.approx(BY_HAND["kl"], abs=1e-7)
    assert found.agree.tolist() == [False, True]


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_lower_for_the_better_answer(name):
    good = torch.tensor([[0.8, 0.1, 0.1]]).log()
    bad = torch.tensor([[0.1, 0.8, 0.1]]).log()
    answer = torch.tensor([[0, 1]])
    assert (
        token_scores(METRICS[name], good, good, answer).loss < token_scores(METRICS[name], bad, good, answer).loss
    ).all()


def test_logits_probabilities_and_log_probabilities_give_the_same_scores():
    logits = EXPLAINED.log() + torch.tensor([[3.0], [-70.0]])
    plain = token_scores(METRICS["loss"], EXPLAINED.log(), MODEL.log(), ANSWERS)
    cases: list[tuple[Given, torch.Tensor]] = [("logits", logits), ("probabilities", EXPLAINED)]
    for given, values in cases:
        other = token_scores(METRICS["loss"], values, MODEL.log(), ANSWERS, given=given)
        torch.testing.assert_close(other.loss, plain.loss, atol=2e-6, rtol=0)
        torch.testing.assert_close(other.kl, plain.kl, atol=2e-6, rtol=0)


def test_targets_of_one_column_may_be_flat():
    flat = token_scores(METRICS["loss"], EXPLAINED.log(), MODEL.log(), ANSWERS[:, 0])
    assert flat.loss.tolist() == pytest.approx(BY_HAND["loss"])


def test_kl_is_zero_for_identical_distributions_and_never_negative():
    generator = torch.Generator().manual_seed(0)
    p = torch.randn(200, 97, generator=generator).mul(8).log_softmax(-1)
    assert (kl_divergence(p, p) == 0).all()
    for noise in (1e-7, 1e-3, 1.0, 30.0):
        q = (p + noise * torch.randn(p.shape, generator=generator)).log_softmax(-1)
        found = kl_divergence(p, q)
        assert (found >= 0).all()
        exact = (p.double().exp() * (p.double() - q.double().log_softmax(-1))).sum(-1)
        torch.testing.assert_close(found, exact, atol=1e-6 if noise < 1 else 1e-5, rtol=1e-5)


def test_kl_of_runs_that_differ_by_rounding_is_far_below_float32s_resolution():
    logits = torch.randn(64, 4_096, generator=torch.Generator().manual_seed(1)).mul(4)
    other = logits * (1 + 1e-7 * torch.randn(logits.shape, generator=torch.Generator().manual_seed(2)))
    assert float(kl_divergence(logits.log_softmax(-1), other.log_softmax(-1)).max()) < 1e-10


def test_kl_of_tokens_without_probability_is_finite_where_the_model_gives_none_and_infinite_where_it_gives_some():
    p = torch.tensor([[0.5, 0.5, 0.0]]).log()
    q = torch.tensor([[0.25, 0.25, 0.5]]).log()
    assert float(kl_divergence(p, q)) == pytest.approx(math.log(2))
    assert float(kl_divergence(q, p)) == math.inf


def test_mixing_bounds_the_loss_of_a_program_by_its_share_of_uniform():
    sure = torch.tensor([[1.0, 0.0, 0.0]])
    found = token_scores(METRICS["loss"], sure, MODEL[:1].log(), torch.tensor([1]), given="probabilities", mix=MIX)
    assert float(found.loss) == pytest.approx(-math.log(MIX / 3), rel=1e-6)
    assert math.isfinite(float(found.kl))
    mixed = log_probabilities(torch.randn(5, 11), mix=0.25).exp()
    torch.testing.assert_close(mixed.sum(-1), torch.ones(5))
    assert float(mixed.min()) >= 0.25 / 11


def test_chunks_change_nothing():
    generator = torch.Generator().manual_seed(3)
    p, q = (torch.randn(37, 50, generator=generator).log_softmax(-1) for _ in range(2))
    targets = torch.randint(50, (37,), generator=generator)
    whole = token_scores(METRICS["loss"], q, p, targets)
    parts = token_scores(METRICS["loss"], q, p, targets, chunk=120)
    assert torch.equal(whole.loss, parts.loss)
    torch.testing.assert_close(whole.kl, parts.kl, rtol=0, atol=1e-12)
    assert torch.equal(whole.agree, parts.agree)


def test_no_items_give_no_scores():
    empty = token_scores(METRICS["loss"], torch.zeros(0, 5), torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64))
    assert len(empty.loss) == len(empty.kl) == len(empty.agree) == 0


def test_probabilities_that_are_none_are_refused():
    for wrong in (torch.tensor([[0.5, 0.2]]), torch.tensor([[1.5, -0.5]])):
        with pytest.raises(ValueError, match=r"must not be negative and must sum to 1"):
            log_probabilities(wrong, "probabilities")


def test_an_unknown_metric_is_refused_with_the_nearest():
    with pytest.raises(TaskError, match=r"^unknown metric 'logitdiff'; did you mean 'logit_diff'\?$"):
        metric_of("logitdiff")


def test_a_metric_that_needs_two_answers_is_refused_where_there_is_one():
    with pytest.raises(TaskError, match=r"^the metric 'logit_diff' needs a correct and an incorrect answer"):
        metric_of("logit_diff", answers=1)
    assert metric_of("logit_diff", answers=2) is METRICS["logit_diff"]


def random_logits(vocab: int, spread: float, apart: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The model's, an explained run's, and two different answers of each item."""
    generator = torch.Generator().manual_seed(vocab)
    model = torch.randn(24, vocab, generator=generator) * spread + 20
    explained = model + apart * torch.randn(model.shape, generator=generator) - 7
    answers = torch.stack([torch.randperm(vocab, generator=generator)[:2] for _ in range(24)])
    return model, explained, answers


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(
    ("spread", "apart", "tolerance"), [(1, 0.01, 1e-6), (3, 0.3, 1e-6), (3, 3, 3e-6), (5, 8, 2e-5)]
)
def test_logits_score_as_their_whole_distributions_do(name: str, spread: float, apart: float, tolerance: float):
    model, explained, answers = random_logits(4_999, spread, apart)
    found = token_scores(METRICS[name], explained, model.log_softmax(-1), answers, given="logits")
    loss, kl, agree, correct = naive(name, explained, model, answers)
    torch.testing.assert_close(found.loss, loss, atol=max(tolerance, 3e-6), rtol=0)
    torch.testing.assert_close(found.kl, kl, atol=tolerance, rtol=1e-5)
    assert torch.equal(found.agree, agree)
    assert torch.equal(found.correct, correct)


def test_logits_of_double_precision_score_to_its_last_bits():
    model, explained, answers = (x.double() if x.is_floating_point() else x for x in random_logits(997, 4, 2))
    found = token_scores(METRICS["loss"], explained, model.log_softmax(-1), answers, given="logits")
    loss, kl, *_ = naive("loss", explained, model, answers)
    torch.testing.assert_close(found.loss, loss, atol=1e-13, rtol=0)
    torch.testing.assert_close(found.kl, kl, atol=1e-13, rtol=0)


def test_the_first_of_equal_logits_is_the_most_likely_in_bfloat16_too():
    model, explained, answers = (x.to(torch.bfloat16) if x.is_floating_point() else x for x in random_logits(50, 1, 1))
    explained, model = explained.round(), model.round()  # many are equal
    found = token_scores(METRICS["loss"], explained, log_probabilities(model), answers, given="logits")
    loss, kl, agree, correct = naive("loss", explained, model, answers)
    torch.testing.assert_close(found.loss, loss, atol=2e-6, rtol=0)
    torch.testing.assert_close(found.kl, kl, atol=1e-6, rtol=0)
    assert 0 < int(agree.sum()) < len(agree)
    assert torch.equal(found.agree, agree)
    assert torch.equal(found.correct, correct)


def test_a_probability_that_underflows_still_counts():
    model = torch.tensor([[0.0, -150.0, -1.0], [0.0, -150.0, -1.0]])
    explained = torch.tensor([[0.0, 5.0, -1.0], [-200.0, 0.0, -200.0]])  # what the model rules out
    answers = torch.tensor([[0, 1], [1, 0]])
    found = token_scores(METRICS["loss"], explained, model.log_softmax(-1), answers, given="logits")
    loss, kl, *_ = naive("loss", explained, model, answers)
    torch.testing.assert_close(found.loss, loss, atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(found.kl, kl, atol=1e-5, rtol=1e-6)


def test_a_token_that_a_run_rules_out_costs_infinitely_much():
    model, explained = torch.zeros(1, 3), torch.tensor([[0.0, -math.inf, 0.0]])
    found = token_scores(METRICS["loss"], explained, model.log_softmax(-1), torch.tensor([1]), given="logits")
    assert float(found.loss) == math.inf
    assert float(found.kl) > 1e30


def test_runs_that_differ_by_rounding_read_far_below_float32s_resolution():
    logits = torch.randn(64, 4_096, generator=torch.Generator().manual_seed(1)).mul(4)
    other = logits * (1 + 1e-7 * torch.randn(logits.shape, generator=torch.Generator().manual_seed(2)))
    targets = torch.zeros(64, dtype=torch.int64)
    found = token_scores(METRICS["loss"], other, logits.log_softmax(-1), targets, given="logits")
    assert 0 <= float(found.kl.min()) <= float(found.kl.max()) < 1e-10
