"""Length in bits (DEFINITIONS §7): claim bits, stand-alone bits, the two-part code, and the rivals on the same axis."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import gammaln

from assay.explanations.base import Explanation
from assay.explanations.circuit import Circuit
from assay.explanations.components import Constant, Keep, Remove
from assay.explanations.program import Program
from assay.explanations.programs import RULES, AnyProgram, AttentionProgram, CustomProgram, LabelProgram, NGramProgram
from assay.model.edge_sets import EdgeSet
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.task.ngram_tables import integer_bits

NUMBER = 16  # bits of a stored number before the search for fewer


def log2_choose(n: int, k: int) -> float:
    """log2 of the binomial coefficient."""
    if not 0 <= k <= n:
        raise ValueError(f"cannot choose {k} of {n}")
    return float((gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)) / math.log(2))


def subset_bits(total: int, size: int) -> float:
    """A subset of `size` of `total` parts: log2(total + 1) + log2 C(total, size)."""
    return math.log2(total + 1) + log2_choose(total, size)


@dataclass(frozen=True)
class ClaimBits:
    """Claim bits, the model being free; comparable within one kind only."""

    bits: float
    how: str


def circuit_bits(edges: EdgeSet, model: Model) -> ClaimBits:
    """A set of k edges of E: log2(E+1) + log2 C(E, k), and a bit that says whether positions are named.

    With positions E counts an edge once for every column of the model's context, and once more for all of them."""
    total, kept = len(edges.kept), edges.count
    if edges.by_position:
        total *= model.config.context + 1
    return ClaimBits(1 + subset_bits(total, kept), f"1 + log2({total}+1) + log2 C({total}, {kept}) edges")


def text_bits(text: str) -> float:
    """A text: how long it is, then its bytes."""
    data = text.encode()
    return integer_bits(len(data)) + 8.0 * len(data)


def grammar_bits(program: AnyProgram, vocab: int) -> float:
    """A program's own text: a prefix code, so that all programs together have a Kraft sum of at most 1."""
    if isinstance(program, CustomProgram):
        from assay.measure.source_bits import source_bits

        reads = integer_bits(len(program.reads)) + sum(map(text_bits, program.reads))
        return math.log2(RULES) + 1 + reads + source_bits(program.function)  # it returns a pattern or an output
    bits = sum(math.log2(choices) for choices in program.productions)
    if isinstance(program, AttentionProgram | NGramProgram):
        return bits + sum(integer_bits(number - 1) for number in program.numbers)
    assert isinstance(program, LabelProgram)
    if program.source is not None:
        return bits + text_bits(program.source)
    return bits + subset_bits(vocab, len(set(program.tokens)))


def claim_bits(explanation: Explanation, model: Model | ModuleModel, channels: int = 0) -> ClaimBits:
    """The length of the claim itself: which parts, and for programs which productions and fitted numbers.

    Args:
        channels: of a module: how many names such as `conv1[3]` it has.
    """
    if isinstance(explanation, Circuit):
        assert isinstance(model, Model)
        return circuit_bits(explanation.kept(model), model)
    parts = explanation.scope(model)
    if isinstance(model, ModuleModel):
        total = len(model.components) + (channels if any(site.index is not None for site in parts) else 0)
    else:
        neurons = sum(width or 0 for width in model.config.d_mlp)
        total = len(model.components) - 1 + (neurons if any(site.kind == "neuron" for site in parts) else 0)
        if any(site.position is not None for site in parts):
            total *= model.config.context + 1  # a part once for every column, and once more for all of them
    # a bit says whether neurons or channels are among the parts, and a bit whether positions are
    where, words = 2 + subset_bits(total, len(parts)), f"2 + log2({total}+1) + log2 C({total}, {len(parts)})"
    match explanation:
        case Keep() | Remove():
            return ClaimBits(where, words)
        case Constant():
            return ClaimBits(where + 2, f"{words} + log2 4 for the constant")
        case Program() if isinstance(model, Model):
            programs = [program for _, program in explanation.assigned(model)]
            words = [grammar_bits(program, model.config.vocab) for program in programs]
            # one bit says whether all parts do the same, which is then said once
            same = len(programs) > 1 and all(program == programs[0] for program in programs)
            grammar = (words[0] if same else sum(words)) + (len(programs) > 1)
            numbers = sum(program.parameters for program in programs if isinstance(program, AttentionProgram))
            how = f"which parts {where:.1f} + productions {grammar:.1f} + {numbers} fitted numbers of {NUMBER} bits"
            return ClaimBits(where + grammar + NUMBER * numbers, how)
    raise TypeError(f"no length is defined for {type(explanation).__name__}")
