"""The length of a program: a prefix code, so that all programs together have a Kraft sum of at most 1."""

from __future__ import annotations

import math

from assay.explanations.bits import subset_bits, text_bits
from assay.explanations.program.library import RULES, AnyProgram, AttentionProgram, CustomProgram, NGramProgram
from assay.explanations.program.source_bits import source_bits
from assay.task.ngrams.tables import integer_bits


def grammar_bits(program: AnyProgram, vocab: int) -> float:
    """Bits of a program's own text.

    Raises:
        ValueError: for a custom program whose source or data has no known length.
    """
    if isinstance(program, CustomProgram):
        reads = integer_bits(len(program.reads)) + sum(map(text_bits, program.reads))
        return math.log2(RULES) + 1 + reads + source_bits(program.function)  # it returns a pattern or an output
    bits = sum(math.log2(choices) for choices in program.productions)
    if isinstance(program, AttentionProgram | NGramProgram):
        return bits + sum(integer_bits(number - 1) for number in program.numbers)
    if program.source is not None:
        return bits + text_bits(program.source)
    return bits + subset_bits(vocab, len(set(program.tokens)))
