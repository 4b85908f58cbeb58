"""Assay's own metrics, and one from outside, keep what a metric promises; those that break a promise are refused."""

from __future__ import annotations

import pytest

from assay.task.metrics import METRICS, Metric
from assay.testing import check_metric


@pytest.mark.parametrize("name", METRICS)
def test_metrics_that_keep_every_promise(name):
    check_metric(name)


def test_a_metric_from_outside_by_its_name_and_by_itself(plugins):
    import scaled

    check_metric("bits")
    check_metric(scaled.BITS)


def _of(log_probs, answers):
    return log_probs.gather(-1, answers[:, :1]).squeeze(-1)


@pytest.mark.parametrize(
    ("metric", "promise"),
    [
        (Metric("odd", " ", None), "it is a metric under its own name: it has no unit"),
        (Metric("odd", "nats", None, answers=3), "it is a metric under its own name: the metric 'odd' needs"),
        (Metric("odd", "nats", _of), "it is lower where the right answer is likelier: a right answer that gains 1.0"),
        (Metric("odd", "nats", lambda p, a: -p), "it gives a finite loss for every item"),
        (Metric("odd", "nats", lambda p, a: _of(p, a) / 0), "it gives a finite loss for every item: [-inf, -inf"),
        (Metric("odd", "nats", lambda p, a: p[:, 0] - _of(p, a).mean()), "an item's loss is its own"),
        (
            Metric("odd", "nats", lambda p, a: (p.argmax(-1) != a[:, 0]).float() * p.shape[1], of_answers=True),
            "it looks at its answers alone where 'of_answers' says so",
        ),
    ],
)
def test_a_metric_that_breaks_a_promise_is_refused(metric, promise):
    with pytest.raises(AssertionError) as said:
        check_metric(metric)
    assert promise in str(said.value)
