"""From a program to a GPT-2 of the transformers library that computes it, with decoys that compute nothing of use.

Every variable gets dims of its own in a rotated basis. The basis is orthogonal to (1, 1, ...), so LayerNorm's centring
takes nothing away; its epsilon is so large (and its gain the square root of that) that its scale is the same whatever
is in the stream. So the norm is the identity up to var / (2 epsilon), also when writers are taken away: to the last
bit in float32, as epsilon is a power of 4.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from assay.planted.program import POSITION, TOKEN, Head, PlantedProgram
from assay.stats.keyed import generator

EPSILON = 4.0**14
SPARE = 3  # dims that decoys write and nothing reads
DECOY_UNITS = 4


def network_of(program: PlantedProgram, *, decoys: int = 1, seed: int = 0) -> Any:
    """A `GPT2LMHeadModel` in float32, in evaluation mode.

    Args:
        decoys: further heads a layer, which read tokens and positions at random and write where nothing reads; layers
            without units of the program then also get an MLP of that kind.
        seed: keys the basis and the decoys; the function of the network does not depend on it.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    by_layer = [[head for head in program.heads if head.layer == layer] for layer in range(program.layers)]
    heads = max(1, decoys + max(1 + max((h.index for h in layer), default=-1) for layer in by_layer))
    needed = sum(program.widths.values()) + SPARE + 1
    widest = max([SPARE, *(max(len(h.query[1]), program.widths[h.writes]) for h in program.heads)])
    d_head = max(widest, -(-needed // heads))
    units = max([DECOY_UNITS, *(len(unit.bias) for unit in program.units)])
    config = GPT2Config(
        vocab_size=len(program.tokens),
        n_positions=program.context,
        n_embd=heads * d_head,
        n_layer=program.layers,
        n_head=heads,
        n_inner=units,
        activation_function="relu",
        layer_norm_epsilon=EPSILON,
        bos_token_id=0,
        eos_token_id=0,
        tie_word_embeddings=False,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = GPT2LMHeadModel(config)
    with torch.no_grad():
        _Writer(program, network, heads, d_head, seed, bool(decoys)).write()
    return network.eval()


def tokenizer_of(words: Sequence[str]) -> Any:
    """Words split at white space; the first of them is BOS."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    bos = words[0]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=bos))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token=bos, unk_token=bos)


class _Writer:
    """Fills a fresh network's parameters."""

    def __init__(self, program: PlantedProgram, network: Any, heads: int, d_head: int, seed: int, decoys: bool):
        self.program, self.network, self.heads, self.d_head = program, network, heads, d_head
        self.decoys = decoys
        self.random = generator(seed, "planted", program.name)
        width = heads * d_head
        ones = np.ones((width, 1))
        basis = np.linalg.qr(np.concatenate([ones, self.random.normal(size=(width, width - 1))], axis=1))[0][:, 1:]
        self.basis: dict[str, np.ndarray] = {}
        start = 0
        for variable, size in {**program.widths, "spare": SPARE}.items():
            self.basis[variable] = basis[:, start : start + size]
            start += size

    def write(self) -> None:
        for name, parameter in self.network.named_parameters():
            parameter.fill_(EPSILON**0.5 if "ln_" in name and name.endswith("weight") else 0.0)
        inner = self.network.transformer
        _set(inner.wte.weight, self.basis[TOKEN].T)
        _set(inner.wpe.weight, self.basis[POSITION].T)
        readout = sum(self.basis[variable] @ table for variable, table in self.program.readout.items())
        _set(self.network.lm_head.weight, np.asarray(readout).T)
        taken = {(head.layer, head.index): head for head in self.program.heads}
        for layer, block in enumerate(inner.h):
            for index in range(self.heads):
                head = taken.get((layer, index))
                if head is not None:
                    self._head(block.attn, head)
                elif self.decoys:
                    self._decoy(block.attn, index)
            if not any(unit.layer == layer for unit in self.program.units) and self.decoys:
                self._decoy_units(block.mlp)
        for unit in self.program.units:
            mlp, count = inner.h[unit.layer].mlp, len(unit.bias)
            reads = [self.basis[variable] @ table for variable, table in unit.reads.items()]
            writes = [table @ self.basis[variable].T for variable, table in unit.writes.items()]
            _set(mlp.c_fc.weight[:, :count], sum(reads))
            _set(mlp.c_fc.bias[:count], unit.bias)
            _set(mlp.c_proj.weight[:count], sum(writes))

    def _columns(self, index: int, which: int, width: int) -> slice:
        """Columns of a head's queries (0), keys (1) or values (2) in the fused matrix."""
        start = (which * self.heads + index) * self.d_head
        return slice(start, start + width)

    def _head(self, attention: Any, head: Head) -> None:
        reading, bias = head.query
        strength = self.program.hardness * self.d_head**0.5
        size = self.program.widths[head.writes]
        queries, keys, values = (self._columns(head.index, i, w) for i, w in enumerate((len(bias), len(bias), size)))
        for variable, table in reading.items():
            _add(attention.c_attn.weight[:, queries], strength * self.basis[variable] @ table)
        _set(attention.c_attn.bias[queries], strength * bias)
        for variable, table in head.key.items():
            _add(attention.c_attn.weight[:, keys], self.basis[variable] @ table)
        for variable, table in head.value.items():
            _add(attention.c_attn.weight[:, values], self.basis[variable] @ table)
        start = head.index * self.d_head
        _set(attention.c_proj.weight[start : start + size], self.basis[head.writes].T)

    def _decoy(self, attention: Any, index: int) -> None:
        seen = np.concatenate([self.basis[TOKEN], self.basis[POSITION]], axis=1)
        for which in range(3):
            table = self.random.normal(size=(seen.shape[1], SPARE)) * (1.0 if which == 2 else 2.0)
            _set(attention.c_attn.weight[:, self._columns(index, which, SPARE)], seen @ table)
        start = index * self.d_head
        _set(attention.c_proj.weight[start : start + SPARE], self.basis["spare"].T)

    def _decoy_units(self, mlp: Any) -> None:
        seen = np.concatenate([self.basis[TOKEN], self.basis[POSITION], self.basis["spare"]], axis=1)
        _set(mlp.c_fc.weight[:, :DECOY_UNITS], seen @ self.random.normal(size=(seen.shape[1], DECOY_UNITS)))
        _set(mlp.c_proj.weight[:DECOY_UNITS], self.random.normal(size=(DECOY_UNITS, SPARE)) @ self.basis["spare"].T)


def _set(target: torch.Tensor, value: Any) -> None:
    target.copy_(torch.from_numpy(np.ascontiguousarray(value, dtype=np.float64)))


def _add(target: torch.Tensor, value: np.ndarray) -> None:
    target.add_(torch.from_numpy(np.ascontiguousarray(value)).to(target.dtype))
