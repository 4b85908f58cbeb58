"""Lengths in bits, worked by hand."""

from __future__ import annotations

from functools import partial
from math import log, log2

import pytest
import torch
from torch import Tensor

from assay.explanations import Constant, Keep, Program, Remove, programs
from assay.measure.bits import claim_bits, log2_choose, subset_bits
from assay.measure.length import Point, full_circuit, overtakes, reads, two_part
from assay.measure.quantise import entropy_bits, quantised, read_bits, tensors
from assay.measure.source_bits import source_bits
from tests.model.tiny import tiny

# two layers of four heads and an MLP: ten parts
PARTS = 10


def test_a_subset_costs_its_size_and_which_one_it_is():
    assert log2_choose(10, 3) == pytest.approx(log2(120))
    assert subset_bits(10, 3) == pytest.approx(log2(11) + log2(120))
    assert subset_bits(10, 0) == subset_bits(10, 10) == pytest.approx(log2(11))
    with pytest.raises(ValueError, match="cannot choose 3 of 2"):
        log2_choose(2, 3)


@pytest.mark.parametrize(
    ("claim", "bits"),
    [
        (Keep(["a0.h1"]), log2(11) + log2(10)),
        (Remove(["a0.h1", "m1"]), log2(11) + log2(45)),
        (Constant(["m0"]), log2(11) + log2(10) + 2),
        (Keep(["a0.h1", "a0.h2", "a0.h3", "a0.h0"]), log2(11) + log2(210)),
        (Keep(["a0"]), log2(11) + log2(210)),
        # with neurons in it, 2 x 48 more parts are there to choose from
        (Keep(["m0.n3"]), log2(107) + log2(106)),
        # a rule of 5, a level of 3, what is done without a match of 3
        (Program({"a1.h0": programs.previous_token()}), log2(11) + log2(10) + log2(45)),
        # and for induction a match of 3; for a prefix its length of 8
        (Program({"a1.h0": programs.induction()}), log2(11) + log2(10) + log2(135)),
        (Program({"a1.h0": programs.induction(match="prefix", prefix=2)}), log2(110) + log2(135 * 8)),
        # level full fits one number a head
        (Program({"a1.h0": programs.copy("full"), "a1.h1": programs.copy("full")}), log2(11 * 45) + 2 * log2(45) + 32),
        (Program({"m0": programs.ngram(2)}), log2(110) + log2(7) + log2(5)),
        # a label of 2 of 50 tokens
        (Program({"m0": programs.label(tokens=[3, 4])}), log2(110) + log2(14) + log2(51) + log2(1225)),
    ],
)  # fmt: skip
def test_claim_bits_by_hand(claim, bits):
    assert claim_bits(claim, tiny()).bits == pytest.approx(bits, abs=1e-6)


def add(tokens: Tensor, bias: float = 1.0) -> Tensor:
    """Adds."""
    total = tokens + bias
    return torch.stack([part * 2 for part in total])


def renamed(x: Tensor, y: float = 1.0) -> Tensor:
    # another comment, other names, another docstring
    """Sums."""
    z = x + y
    return torch.stack([q * 2 for q in z])


def longer(tokens: Tensor, bias: float = 1.0) -> Tensor:
    total = tokens + bias
    if int(tokens.sum()) > 3:
        total = total.softmax(-1) @ torch.ones(7)
    return torch.stack([part * 2 for part in total])


def helped(tokens: Tensor, bias: float = 1.0) -> Tensor:
    return longer(tokens, bias)


def test_the_length_of_code_does_not_depend_on_names_comments_and_docstrings():
    assert source_bits(add) == source_bits(renamed)
    assert source_bits(add) % 8 == 0
    assert source_bits(longer) > source_bits(add)
    assert source_bits(helped) > source_bits(longer)  # what it calls is part of it
    with pytest.raises(ValueError, match="cannot be found"):
        source_bits(partial(add, bias=2.0))
    claim = Program({"m0": programs.custom(add, returns="output")})
    assert claim_bits(claim, tiny()).bits == pytest.approx(log2(110) + source_bits(add))


def test_codes_cost_their_entropy():
    assert entropy_bits(torch.tensor([0, 0, 1, 1])) == pytest.approx(4)
    assert entropy_bits(torch.tensor([0, 0, 0, 1])) == pytest.approx(4 * (0.75 * log2(4 / 3) + 0.25 * 2))
    assert entropy_bits(torch.zeros(9)) == 0


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3", "gpt_neox"])
@pytest.mark.parametrize("bits", [2, 3, 4, 8, 16])
def test_the_full_circuit_costs_exactly_the_quantised_model(family, bits):
    model = tiny(family)
    coded = quantised(model, bits)
    assert set(coded.bits) == set(tensors(model.weights))
    assert full_circuit(model)(bits) == pytest.approx(coded.total + log2(PARTS + 1), abs=1e-6)
    if bits == 16:  # nothing is gained by a code: 16 bits a number
        assert coded.total == 16 * sum(t.numel() for t in tensors(model.weights).values())


def test_what_is_not_read_costs_nothing():
    model = tiny("gpt2")
    coded = quantised(model, 8)
    everything = read_bits(coded, reads(Keep([n for n in model.components if n != "input"]), model, "mean"))
    without = read_bits(coded, reads(Remove(["m1"]), model, "mean"))
    mlp = [
        bits
        for name, bits in coded.bits.items()
        if name.startswith("layers.1.") and name.split(".")[2] in ("up", "down")
    ]
    assert 0 < everything - without <= sum(mlp) + 1e-6
    assert read_bits(coded, reads(Remove(["m1"]), model, "resample_joint")) == pytest.approx(everything)
    # an attention program leaves queries and keys unread: of the fused matrix of four heads a twelfth each
    fused = sum(bits for name, bits in coded.bits.items() if name.startswith("layers.1.qkv.0"))
    pattern = read_bits(coded, reads(Program({"a1.h0": programs.copy()}), model, "mean"))
    assert everything - pattern == pytest.approx(fused / 6, rel=1e-6)


def test_the_two_part_code_and_where_a_rival_is_overtaken():
    claim = Point("claim", 2000.0, 0.1 * log(2), "claim")
    rival = Point("rival", 1000.0, 0.2 * log(2), "rival")
    assert two_part(claim, 10_000) == pytest.approx(3000)
    assert two_part(rival, 10_000) == pytest.approx(3000)
    assert overtakes(claim, rival) == pytest.approx(10_000)
    assert overtakes(rival, claim) is None  # shorter at first, longer for good
    assert overtakes(Point("c", 500.0, 0.0, "claim"), rival) == 0.0
    assert overtakes(Point("c", 5000.0, log(2), "claim"), rival) is None
