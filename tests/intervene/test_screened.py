"""Runs in which places at a cut hold what they are and all else takes other rows', against plain hooks row by row."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from assay.errors import ComponentError
from assay.intervene.fill.donors import donors
from assay.intervene.screened import screened, upstream
from tests.intervene.naive_cases import assert_close, bench_of, logits, make, tolerance_of
from tests.naive import screening

SETS = ((), ("input",), ("a0.h1", "m0"), ("input", "a0.h0@3", "m0@2"), ("a1.h2", "a0.h3@1", "a0.h3@2"))


def donor_rows(kind: str, dtype: torch.dtype, part: str, draw: int) -> Tensor:
    workbench = bench_of(kind, dtype)
    name = "r0" if part == "input" else part
    assert workbench.task.reference is not None
    return workbench.task.reference.tokens[torch.from_numpy(donors(workbench.task, workbench.seed, draw, name))]


@pytest.mark.parametrize("kind", ["gpt2", "llama", "parallel"])
@pytest.mark.parametrize("held", SETS)
@pytest.mark.parametrize("cut", ["r1", "logits"])
def test_places_hold_their_own_and_all_else_is_of_a_row_each(kind: str, held: tuple[str, ...], cut: str):
    dtype = torch.float64
    workbench, (_, network) = bench_of(kind, dtype), make(kind, dtype)
    if cut == "r1" and any(name.startswith("a1") for name in held):
        with pytest.raises(ComponentError, match=r"'a1.h2' does not lie before the cut 'r1'; .* input, a0.h0, a0.h1, "):
            screened(workbench, held, cut)
        return
    parts = upstream(workbench.model, cut)
    given = {part: donor_rows(kind, dtype, part, 1) for part in parts}
    wanted = [
        screening.screened(network, row, parts, held, lambda part, index=index: given[part][index])
        for index, row in enumerate(workbench.task.tokens)
    ]
    plan = screened(workbench, held, cut, draw=1)
    assert_close(logits(workbench, plan), torch.stack(wanted), tolerance_of(kind, dtype))
    assert not torch.allclose(logits(workbench, plan), logits(workbench, screened(workbench, held, cut)), atol=1e-3)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("cut", ["r0", "r1", "r2"])
def test_the_stream_holds_directions_or_columns(kind: str, cut: str):
    dtype, layer = torch.float64, int(cut[1:])
    workbench, (model, network) = bench_of(kind, dtype), make(kind, dtype)
    rows, given = workbench.task.tokens, donor_rows(kind, dtype, cut, 0)
    basis = torch.linalg.qr(torch.randn(model.config.d_model, 5, dtype=dtype)).Q
    for places, within, column in (({cut: basis}, basis, None), ([f"{cut}@4"], None, 4)):
        wanted = [
            screening.screened_stream(network, row, layer, other, within, column)
            for row, other in zip(rows, given, strict=True)
        ]
        assert_close(
            logits(workbench, screened(workbench, places, cut)), torch.stack(wanted), tolerance_of(kind, dtype)
        )


@pytest.mark.parametrize("cut", ["r1", "r2"])
def test_everything_held_is_the_model_itself(cut: str):
    workbench, (_, network) = bench_of("llama", torch.float64), make("llama", torch.float64)
    with torch.no_grad():
        wanted = network(workbench.task.tokens).logits
    for places in (upstream(workbench.model, cut), [cut]):
        assert_close(logits(workbench, screened(workbench, places, cut)), wanted, 5e-6)


def test_no_directions_of_the_stream_are_another_rows_run():
    workbench, (_, network) = bench_of("gpt2", torch.float64), make("gpt2", torch.float64)
    nothing = torch.zeros(make("gpt2", torch.float64)[0].config.d_model, 0, dtype=torch.float64)
    with torch.no_grad():
        wanted = network(donor_rows("gpt2", torch.float64, "r2", 0)).logits
    assert_close(logits(workbench, screened(workbench, {"r2": nothing}, "r2")), wanted, 1e-10)


@pytest.mark.parametrize(
    ("places", "cut", "said"),
    [
        (["a0.h1"], "m1", "'m1' is no cut; a cut is a whole stream, 'r0' to 'r2', or 'logits'"),
        (["r1"], "r2", "'r1' is not the stream of the cut, 'r2'; name parts before it"),
        (["m1"], "r1", "'m1' does not lie before the cut 'r1'"),
        (["m0.n3"], "r1", "'m0.n3' is a neuron; what can be held there are input, a0.h0, a0.h1, ..., m0"),
        (["a0", "a0.h1"], "r2", "'a0.h1' is held twice"),
        (["a0.h1@2", "a0.h1"], "r2", "'a0.h1' is held twice"),
        (["a0.h1", "a0.h1@2"], "r2", "'a0.h1@2' is held twice"),
        (["r2", "a0.h1"], "r2", "'a0.h1' and 'r2' are both held, and one is part of the other"),
        (["a0.h9"], "r2", "head 9 does not exist"),
    ],
)
def test_what_cannot_be_held_is_one_sentence(places: list[str], cut: str, said: str):
    with pytest.raises(ComponentError) as problem:
        screened(bench_of("gpt2", torch.float64), places, cut)
    assert said in str(problem.value)
