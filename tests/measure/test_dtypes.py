"""Models in half precision, of one dimension: measured whole, or refused in words."""

from __future__ import annotations

import pytest
import torch

import assay
from assay.errors import ModelError
from assay.explanations import Keep, Program, Remove, programs
from assay.model.load import load
from assay.task.task import Task
from tests.measure.planted import texts
from tests.model.tiny import build, tiny, tiny_tokenizer


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_measured_whole(dtype: torch.dtype):
    model = tiny("llama", tokenizer=True, dtype=dtype)
    task = Task.text(model, texts=list(texts(6, 0)), reference=list(texts(12, 1)))
    claim = Program({"a1.h0": programs.previous_token()})
    record = assay.measure(claim, model, task, controls=0, ablation=["mean", "optimal"]).record
    exact = tiny("llama", tokenizer=True)
    other = assay.measure(claim, exact, task, controls=0, ablation=["mean", "optimal"]).record
    assert record.bits.standalone.bits > record.bits.claim.bits == other.bits.claim.bits
    rivals = {p.name: p.bits for p in record.bits.points}
    for point in other.bits.points:
        if point.kind == "rival":  # the same weights, rounded
            assert rivals[point.name] == pytest.approx(point.bits, rel=0.05)
    kept = assay.measure(Keep(["a0.h1", "m1"]), model, task, controls=0, ablation="optimal").record
    assert kept.table[0].kl_floor.value > 0


def test_a_stream_of_one_dimension_is_measured():
    network = build("gpt2", d=1, heads=1, d_mlp=3).float()
    with torch.no_grad():
        for bias in (network.transformer.ln_f.bias, network.transformer.h[0].ln_1.bias):
            bias.fill_(0.5)
    model = load(network, tokenizer=tiny_tokenizer())
    task = Task.text(model, texts=list(texts(6, 0)), reference=list(texts(12, 1)))
    record = assay.measure(Remove(["m0"]), model, task, controls=0, ablation=["mean", "optimal"]).record
    assert record.recovered.value is None
    with pytest.raises(
        ModelError, match=r"\(llama\) cannot be opened: RoPE .* turns 2 of 1 dims"
    ):  # no rotation in half a dimension
        load(build("llama", d=1, heads=1, d_mlp=3))
