"""Lines of stages that are done."""

from __future__ import annotations

from assay.record.residual import Residual, Slice
from assay.report.terminal import staged
from assay.stats.estimate import Estimate


def some(name: str, tokens: int, kl: float) -> Slice:
    return Slice(
        slice=name, tokens=tokens, kl=Estimate(kl, kl - 0.1, kl + 0.1, 30), gap=Estimate(0.0, -0.1, 0.1, 30), share=0.5
    )


def test_rivals_are_named_and_counted_beyond_six():
    assert staged.rivals(["unigram", "bigram"]) == "rivals: unigram, bigram"
    assert staged.rivals([f"r{i}" for i in range(9)]) == "rivals: r0, r1, r2, r3, r4, r5 and 3 more"


def test_the_slice_that_is_left_most_is_one_of_enough_tokens_and_no_single_document():
    slices = {
        "source": (some("en", 400, 0.3), some("fr", 200, 0.5)),
        "position": (some("the first", 3, 4.0),),
        "document": (some("a novel", 90, 2.0),),
    }
    left = Residual.undefined("not looked at").model_copy(update={"slices": slices})
    assert staged.residual(left) == "residual: a KL of 0.500 [0.400, 0.600] in the slice 'fr'"
    assert staged.residual(Residual.undefined("not looked at")) == "residual: nothing was looked at"
