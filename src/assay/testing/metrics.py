"""Whether a metric is one: a loss of each item by itself, lower where the right answer is likelier."""

from __future__ import annotations

import torch
from torch import Tensor

from assay.promises import held
from assay.task.metrics import Metric, metric_of, token_scores
from assay.testing.promises import Promises, require

ITEMS, VOCABULARY = 6, 11


def check_metric(metric: str | Metric) -> None:
    """Checks a metric on items of random logits.

    Args:
        metric: its name, of an installed plug-in or one of assay's own; or itself.

    Raises:
        AssertionError: with every promise that is broken.

    Example:
        >>> check_metric("probability")
    """
    name = metric if isinstance(metric, str) else metric.name
    promises = Promises(f"the metric {name!r}")
    several: list[Metric] = []
    with promises.keep("it is a metric under its own name"):
        several.append(held(metric_of(metric, answers=2), Metric, f"the metric {name!r}"))
        require(several[0].unit.strip(), "it has no unit")
        require(several[0].answers in (1, 2), f"it needs {several[0].answers} answers, and items have 1 or 2")
    promises.check()
    (own,) = several
    random = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(ITEMS, VOCABULARY, generator=random)
    model = (2 * torch.randn(ITEMS, VOCABULARY, generator=random)).log_softmax(-1)
    answers = torch.stack([torch.randperm(VOCABULARY, generator=random)[: own.answers] for _ in range(ITEMS)])

    def losses(logits: Tensor, part: slice = slice(None), given: str = "logits") -> Tensor:
        return token_scores(own, logits[part], model[part], answers[part], given=given).loss  # type: ignore[arg-type]

    with promises.keep("it gives a finite loss for every item"):
        found = losses(logits.log_softmax(-1), given="log_probs")
        require(found.shape == (ITEMS,), f"shape {list(found.shape)} for {ITEMS} items")
        require(found.isfinite().all(), f"{found.tolist()}")
    with promises.keep("an item's loss is its own"):
        apart = torch.cat([losses(logits, slice(i, i + 1)) for i in range(ITEMS)])
        require(torch.allclose(apart, losses(logits), atol=1e-5), "alone an item has another loss than among others")
    with promises.keep("it looks at its answers alone where 'of_answers' says so"):
        plain = losses(logits.log_softmax(-1), given="log_probs")
        require(torch.allclose(plain, losses(logits), atol=1e-5), "given those alone, it gives other losses")
    with promises.keep("it is lower where the right answer is likelier"):
        for more in (1.0, 5.0, 20.0) if own.loss is not None else ():
            likelier = logits.scatter_add(1, answers[:, :1], torch.full((ITEMS, 1), more))
            rise = float((losses(likelier) - losses(logits)).max())
            require(rise <= 1e-6, f"a right answer that gains {more} logits raises it by {rise:.2g}")
    promises.check()
