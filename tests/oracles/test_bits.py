"""Lengths in bits, worked by hand."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from functools import partial
from itertools import combinations, product
from math import log, log2

import numpy as np
import pytest
import torch
from torch import Tensor

from assay.errors import ClaimError, ComponentError
from assay.explanations import Constant, Keep, Program, Remove, programs
from assay.explanations.bits import log2_choose, subset_bits, text_bits
from assay.explanations.program.length import grammar_bits
from assay.explanations.program.source_bits import source_bits
from assay.measure.length.length import overtakes, reads, two_part
from assay.measure.length.quantise import coded_bits, low_rank, quantised, read_bits, tensors
from assay.record.compute import LengthPoint
from assay.stats.estimate import Estimate
from assay.task.bounds import PREFIX
from assay.task.ngrams.tables import choose_bits, integer_bits, values_bits
from tests.measure.tokens.test_residual import world
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
        # one of 8 rules, a level of 3, what is done without a match of 3
        (Program({"a1.h0": programs.previous_token()}), log2(11) + log2(10) + log2(72)),
        # and for induction a match of 3; for a prefix its length, a whole number
        (Program({"a1.h0": programs.induction()}), log2(11) + log2(10) + log2(216)),
        (Program({"a1.h0": programs.induction(match="prefix", prefix=2)}), log2(110) + log2(216) + 3),
        # level full fits one number a head; that both do the same is a bit, and what they do is said once
        (Program({"a1.h0": programs.copy("full"), "a1.h1": programs.copy("full")}), log2(11 * 45) + 1 + log2(72) + 32),
        (Program({"a1": programs.copy()}), log2(11 * 210) + 1 + log2(72)),
        (Program({"a1.h0": programs.copy(), "m0": programs.ngram(1)}), log2(11 * 45) + 1 + log2(72) + log2(40) + 3),
        # an order of 5, and from how many tokens on a context counts as seen: 2
        (Program({"m0": programs.ngram(2)}), log2(110) + log2(40) + 3),
        # a label of 2 of 50 tokens, or the name of a source
        (Program({"m0": programs.label(tokens=[3, 4])}), log2(110) + log2(16) + log2(51) + log2(1225)),
        (Program({"m0": programs.label("fr")}), log2(110) + log2(16) + 3 + 16),
    ],
)  # fmt: skip
def test_claim_bits_by_hand(claim, bits):
    """Two bits more say whether neurons are among the parts, and whether positions are."""
    assert claim.claim_bits(tiny()).bits == pytest.approx(2 + bits, abs=1e-6)


def test_a_position_costs_which_one_it_is():
    context = tiny().config.context
    assert Keep(["a0.h0@3"]).claim_bits(tiny()).bits == pytest.approx(
        2 + log2(PARTS * (context + 1) + 1) + log2(PARTS * (context + 1))
    )


def test_claims_about_parts_are_a_prefix_code():
    """None, one or two of heads, MLPs and neurons, with positions and without: one code holds them all."""
    model = tiny(heads=2, layers=1, d=8, d_mlp=3, context=4, d_head=4)
    parts = ["a0.h0", "a0.h1", "m0", "m0.n0", "m0.n1", "m0.n2"]
    names = [*parts, *(f"{part}@{column}" for part in parts for column in range(4))]
    total = 0.0
    for count in (1, 2):
        for chosen in combinations(names, count):
            with contextlib.suppress(ClaimError, ComponentError):  # a part and its own neuron, a place named twice
                total += 2 ** -Remove(list(chosen)).claim_bits(model).bits
    assert 0.19 < total <= 1


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
    assert source_bits(add) % 8 == 1  # whole bytes, and which compressor
    assert source_bits(longer) > source_bits(add)
    assert source_bits(helped) > source_bits(longer)  # what it calls is part of it
    with pytest.raises(ValueError, match="cannot be found"):
        source_bits(partial(add, bias=2.0))
    claim = Program({"m0": programs.custom(add, returns="output")})
    assert claim.claim_bits(tiny()).bits == pytest.approx(2 + log2(110) + 3 + 1 + 1 + source_bits(add))


TABLE = torch.randn(64, 8, generator=torch.Generator().manual_seed(1))


def looked_up(tokens: Tensor) -> Tensor:
    return TABLE[tokens]


def closed_over(table: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda tokens: table[tokens]


def by_default(table: Tensor) -> Callable[[Tensor], Tensor]:
    def look(tokens: Tensor, rows: Tensor = table) -> Tensor:
        return rows[tokens]

    return look


class Holder:
    def __init__(self, table: Tensor) -> None:
        self.table = table

    def look(self, tokens: Tensor) -> Tensor:
        return self.table[tokens]


@pytest.mark.parametrize("make", [closed_over, by_default, lambda table: Holder(table).look])
def test_data_that_free_code_reads_is_charged_wherever_it_lies(make):
    """A table of random numbers costs 16 bits a number, one of zeros nearly nothing."""
    none, large = (source_bits(make(TABLE[:n])) for n in (0, 64))
    assert 0.9 * 16 * TABLE.numel() < large - none < 1.1 * 16 * TABLE.numel()
    assert source_bits(make(torch.zeros(64, 8))) - none < 1_000
    assert source_bits(looked_up) > 0.9 * 16 * TABLE.numel()


def imported_inside(tokens: Tensor) -> Tensor:
    from tests.oracles.test_bits import TABLE as ROWS

    return ROWS[tokens]


def by_a_modules_name(tokens: Tensor) -> Tensor:
    import tests.oracles.test_bits as here

    return here.TABLE[tokens]


def by_a_packages_name(tokens: Tensor) -> Tensor:
    import tests.oracles.test_bits

    return tests.oracles.test_bits.TABLE[tokens]


@pytest.mark.parametrize("look", [imported_inside, by_a_modules_name, by_a_packages_name])
def test_data_that_free_code_imports_is_charged(look):
    assert source_bits(look) > 0.9 * 16 * TABLE.numel()


def from_a_file(tokens: Tensor) -> Tensor:
    return torch.load("table.pt")[tokens]


def test_free_code_that_reads_files_has_no_length():
    with pytest.raises(ValueError, match="may read data with 'load'"):
        source_bits(from_a_file)


def test_numbers_that_16_bits_do_not_hold_cost_more():
    """Whole numbers over 65,504 are infinite in float16, and a table of them would cost nothing."""
    whole = torch.randint(70_000, 10**6, (64, 8), generator=torch.Generator().manual_seed(0)).float()
    none = source_bits(closed_over(whole[:0]))
    assert source_bits(closed_over(whole)) - none > 0.9 * 20 * whole.numel()
    assert source_bits(closed_over(whole + 0.5)) - none > 0.9 * 20 * whole.numel()


def test_codes_cost_their_entropy_and_their_histogram():
    chance = torch.Generator().manual_seed(0)
    share = torch.tensor([0.7, 0.2, 0.1])
    codes = torch.multinomial(share, 20_000, replacement=True, generator=chance)
    assert coded_bits(codes, 3) == pytest.approx(20_000 * float(-(share * share.log2()).sum()), rel=0.01)
    assert coded_bits(torch.zeros(9, dtype=torch.int32), 3) == pytest.approx(log2(55))  # that all are the same is said


def kraft(lengths: Iterable[float]) -> float:
    return sum(2**-length for length in lengths)


def test_every_code_is_a_prefix_code():
    """The Kraft sum of all words of a code, or of as many as can be counted, is at most 1."""
    assert kraft(subset_bits(6, k) for k in range(7) for _ in combinations(range(6), k)) == pytest.approx(1)
    assert 0.9 < kraft(integer_bits(value) for value in range(100_000)) < 1
    assert kraft(text_bits("") for _ in range(1)) + 256 * 2 ** -(integer_bits(1) + 8) < 1
    assert kraft(choose_bits(4, k) for k in range(5) for _ in combinations(range(4), k)) <= 1
    for n in range(4):
        assert kraft(values_bits(np.array(v, dtype=np.int64)) for v in product(range(40), repeat=n)) <= 1
        lists = (torch.tensor(v, dtype=torch.int32) for v in product(range(3), repeat=n))
        assert kraft(coded_bits(codes, 3) for codes in lists) == pytest.approx(1)


def every_program(numbers: int, vocab: int) -> list[programs.AnyProgram]:
    """All programs but those of one's own code, whole numbers up to some number, sources of up to one byte."""
    out: list[programs.AnyProgram] = []
    for level, rest in product(("pattern", "pattern_token", "full"), ("mean", "first", "zero")):
        out += [make(level, rest) for make in (programs.previous_token, programs.copy, programs.first_token)]
        out.append(programs.duplicate_token(level, rest))
        out += [programs.induction(level, match, 1, rest) for match in ("recent", "all")]
        out += [programs.induction(level, "prefix", n, rest) for n in range(1, min(numbers, PREFIX[1] + 1))]
    out += [programs.ngram(n, smallest) for n in range(1, 6) for smallest in range(1, numbers)]
    out += [programs.label(chr(byte)) for byte in range(128)]
    out += [programs.label(tokens=t) for k in range(1, vocab + 1) for t in combinations(range(vocab), k)]
    return out


def test_the_grammar_of_programs_is_a_prefix_code():
    vocab = 5
    known = every_program(500, vocab)
    assert len({repr(program) for program in known}) == len(known)
    total = kraft(grammar_bits(program, vocab) for program in known)
    assert 0.75 < total <= 7 / 8  # the eighth rule is code of one's own, which marks its own end
    own = programs.custom(add, returns="output", reads=["a0.h1"])
    assert grammar_bits(own, vocab) > log2(8) + source_bits(add)


def test_claims_of_several_programs_are_a_prefix_code():
    """Two heads are named; what each does is any of these, and that both do the same can be said once."""
    some = [program for program in every_program(40, 5) if isinstance(program, programs.AttentionProgram)]
    where = log2(11) + log2(45)
    fitted = [16 * program.parameters for program in some]
    lengths = [
        Program({"a1.h0": p, "a1.h1": q}).claim_bits(tiny()).bits - where - fitted[i] - fitted[j]
        for (i, p), (j, q) in product(enumerate(some[::7]), repeat=2)
        for i, j in [(7 * i, 7 * j)]
    ]
    assert kraft(lengths) <= 1
    together = Program({"a1": programs.copy()}).claim_bits(tiny()).bits
    apart = Program({f"a1.h{h}": programs.copy() for h in range(4)}).claim_bits(tiny()).bits
    assert together == apart  # one claim in two spellings


def test_a_mean_without_a_match_is_two_vectors_a_head():
    """The first position has one of its own."""
    workbench = world()
    one, zero = (Program({"a0.h1": programs.copy(without_match=rest)}) for rest in ("mean", "zero"))
    d_head = tiny(tokenizer=True).config.d_head
    assert one.constants_bits(workbench, "mean") - zero.constants_bits(workbench, "mean") == 2 * 16 * d_head


def test_a_full_program_is_charged_for_what_stands_in_its_heads_place():
    """α once, with the claim; a mean without a match as it is added to the stream, since no output matrix is read."""
    workbench, model = world(), tiny(tokenizer=True)
    one, zero, first = (Program({"a0.h1": programs.copy("full", without_match=w)}) for w in ("mean", "zero", "first"))
    assert zero.constants_bits(workbench, "mean") == 0
    assert one.constants_bits(workbench, "mean") == 2 * 16 * model.config.d_model
    read = reads(first, model, "mean")  # the first position's value is made by the head's own V and O
    assert (0, 1) in read.values
    assert (0, 1) in read.outputs
    assert (0, 1) not in reads(one, model, "mean").outputs


def test_a_low_rank_copy_is_made_of_codes():
    model = tiny("gpt2")
    coded = low_rank(model, 0.5)
    for name, matrix in tensors(model.weights).items():
        made = tensors(coded.model.weights)[name]
        if matrix.ndim < 2:
            torch.testing.assert_close(made, matrix.half().float(), rtol=0, atol=0)
            continue
        rank = min(matrix.shape) // 2
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        best = (left[:, :rank] * values[:rank]) @ right[:rank]
        error = (made - best).norm() / best.norm()
        assert 1e-4 < error < 0.03  # what 8 bits do
        assert coded.bits[name] > 16 * (len(matrix) + rank)  # a scale for each row of both factors
        assert torch.linalg.matrix_rank(made.double(), rtol=1e-5) <= rank


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3", "gpt_neox"])
@pytest.mark.parametrize("bits", [2, 3, 4, 8, 16])
def test_the_full_circuit_costs_exactly_the_quantised_model(family, bits):
    model = tiny(family)
    coded = quantised(model, bits)
    assert set(coded.bits) == set(tensors(model.weights))
    everything = Keep([name for name in model.components if name != "input"])
    total = read_bits(coded, reads(everything, model, "mean")) + everything.claim_bits(model).bits
    assert total == pytest.approx(coded.total + 2 + log2(PARTS + 1), abs=1e-6)
    assert everything.claim_bits(model).bits == pytest.approx(everything.everything_bits(model))
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
    def point(kind: str, bits: float, kl: float) -> LengthPoint:
        return LengthPoint(name=kind, bits=bits, kl=Estimate.exact(kl, 9), kind=kind)

    claim, rival = point("claim", 2000.0, 0.1 * log(2)), point("rival", 1000.0, 0.2 * log(2))
    assert two_part(claim, 10_000) == pytest.approx(3000)
    assert two_part(rival, 10_000) == pytest.approx(3000)
    assert overtakes(claim, rival) == pytest.approx(10_000)
    assert overtakes(rival, claim) is None  # shorter at first, longer for good
    assert overtakes(point("claim", 500.0, 0.0), rival) == 0.0
    assert overtakes(point("claim", 5000.0, log(2)), rival) is None
