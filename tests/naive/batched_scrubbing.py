"""Causal scrubbing as a careful user would write it with hooks: rows in batches, one hook a layer, equal runs once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor

from assay.names import parse_site
from tests.naive.hooks import _layers, _modules

Rows = np.ndarray
Agreeing = Callable[[Sequence[str], Rows, tuple[str, ...]], Rows]  # (variables, data, path) -> rows that agree on them
Sources = dict[tuple[str, int], list[tuple[slice, Tensor, Rows]]]  # ("z" or "mlp", layer) -> columns, values, rows


class Scrubber:
    """A scrubbed run of every row, treeified.

    Args:
        network: the library's model; tokens: [rows, pos]; places: variable -> heads and MLPs.
        reads: variable -> those with places that it reads; loose: those without. rest: all other parts.
        agreeing: draws rows; joint: the rest is of one row for all of a run, and so are its tokens; else each part of
            the rest has a row of its own.
    """

    def __init__(
        self,
        network: Any,
        tokens: Tensor,
        places: Mapping[str, Sequence[str]],
        reads: Mapping[str, Sequence[str]],
        loose: Mapping[str, Sequence[str]],
        rest: Sequence[str],
        agreeing: Agreeing,
        *,
        joint: bool,
        batch: int = 64,
    ):
        self.network, self.tokens, self.places, self.reads, self.loose = network, tokens, places, reads, loose
        self.rest, self.agreeing, self.joint, self.batch = rest, agreeing, joint, batch
        self.width = network.config.hidden_size // network.config.num_attention_heads
        self.layers = range(len(_layers(network)))
        self.every = np.arange(len(tokens))
        self.clean: dict[tuple[str, int], Tensor] = {}

    def log_probs(self, answer: str) -> Tensor:
        """[rows, vocab] behind the last token."""
        kept = {(kind, layer) for kind in ("z", "mlp") for layer in self.layers}
        self.clean = self.run(self.every, {}, kept)[1]
        at, edits = self._edits(answer, self.every, ("scrubbed",))
        return self.run(at, edits, set())[0]

    def _edits(self, name: str, data: Rows, path: tuple[str, ...]) -> tuple[Rows, Sources]:
        edits: Sources = {}
        tokens = self.agreeing(self.loose[name], data, (*path, "rest"))
        for part in self.rest:
            rows = tokens if self.joint else self.agreeing(self.loose[name], data, (*path, "rest", part))
            where, columns = self._where(part)
            edits.setdefault(where, []).append((columns, self.clean[where], rows))
        for parent in self.reads[name]:
            below = (*path, parent)
            datum, values, rows = self.agreeing((parent,), data, below), self.clean, self.every
            if self.reads[parent]:
                at, more = self._edits(parent, datum, below)
                at, more, back = self._once(at, more)
                values, rows = self.run(at, more, {self._where(part)[0] for part in self.places[parent]})[1], back
            for part in self.places[parent]:
                where, columns = self._where(part)
                source = rows if self.reads[parent] else datum
                edits.setdefault(where, []).append((columns, values[where], source))
        return tokens, edits

    def _once(self, at: Rows, edits: Sources) -> tuple[Rows, Sources, Rows]:
        """The same runs without those that are equal; and of each row which of them it is."""
        every = [at, *(rows for some in edits.values() for _, _, rows in some)]
        _, first, back = np.unique(np.stack(every), axis=1, return_index=True, return_inverse=True)
        fewer = {key: [(columns, value, rows[first]) for columns, value, rows in some] for key, some in edits.items()}
        return at[first], fewer, back.reshape(-1)

    def _where(self, part: str) -> tuple[tuple[str, int], slice]:
        site = parse_site(part)
        if site.kind == "mlp":
            return ("mlp", site.layer or 0), slice(None)
        start = (site.index or 0) * self.width
        return ("z", site.layer or 0), slice(start, start + self.width)

    def run(self, at: Rows, edits: Sources, kept: set[tuple[str, int]]) -> tuple[Tensor, dict[tuple[str, int], Tensor]]:
        """Log-probabilities behind the last token, and values that are kept."""
        out, values = [], {where: list[Tensor]() for where in kept}
        for start in range(0, len(at), self.batch):
            rows = np.arange(start, min(start + self.batch, len(at)))
            with ExitStack() as stack, torch.no_grad():
                for where in {*edits, *kept}:
                    self._hook(where, edits.get(where, []), rows, values.get(where), stack)
                logits = self.network(self.tokens[at[rows]]).logits[:, -1]
            out.append(logits.log_softmax(-1))
        return torch.cat(out), {where: torch.cat(some) for where, some in values.items()}

    def _hook(
        self,
        where: tuple[str, int],
        edits: list[tuple[slice, Tensor, Rows]],
        rows: Rows,
        kept: list[Tensor] | None,
        stack: ExitStack,
    ) -> None:
        output, mlp, _ = _modules(_layers(self.network)[where[1]])

        def edited(value: Tensor) -> Tensor:
            if edits:
                value = value.clone()
                for columns, given, of in edits:
                    value[..., columns] = given[torch.from_numpy(of[rows])][..., columns]
            if kept is not None:
                kept.append(value)
            return value

        if where[0] == "mlp":
            stack.callback(mlp.register_forward_hook(lambda m, args, out: edited(out)).remove)
        else:
            stack.callback(output.register_forward_pre_hook(lambda m, args: (edited(args[0]), *args[1:])).remove)
