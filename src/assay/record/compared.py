"""Runs compared with a first one: what `assay compare --json` gives."""

from __future__ import annotations

from assay.record.base import Block, Count, Number, Text
from assay.stats.estimate import Estimate


class ComparedFigure(Block):
    """A figure of both runs on the tokens that both scored.

    Attributes:
        difference: the second's minus the first's; p: of no difference; p_holm: adjusted over the runs.
    """

    first: Estimate
    second: Estimate
    difference: Estimate
    p: Number | None = None
    p_holm: Number | None = None


class ComparedRun(Block):
    """A run against the first.

    Attributes:
        documents, tokens: that both scored; shared: run -> of how many tokens.
        ablation: under which both are compared; None where they have none in common.
        figures: recovered (each over its own floor), kl, loss; none where nothing could be paired.
        reason: why nothing could be.
    """

    run: Text
    against: Text
    documents: Count
    tokens: Count
    shared: dict[Text, Count]
    ablation: Text | None = None
    figures: dict[Text, ComparedFigure]
    reason: Text | None = None
    sentence: Text = ""
