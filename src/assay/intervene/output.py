"""What a run ends with. Logits are formed where they are read only: of some items, a block of them at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.intervene.plan import Plan
from assay.model.transformer import Model
from assay.task.examples import Items
from assay.task.metrics import log_probabilities
from assay.task.task import Task

BLOCK = 1 << 24  # logits that are formed together: at fewer items than some hundreds the product itself gets slower


@dataclass(frozen=True, eq=False)
class Output:
    """The end of a run of some rows.

    Attributes:
        model: unembeds `values`; None: they are the logits.
        values: [rows, pos, width], or a module's output.
    """

    model: Model | None
    values: Tensor

    @property
    def logits(self) -> Tensor:
        """All of them."""
        return self.unembed(self.values)

    def unembed(self, read: Float[Tensor, "*some width"]) -> Float[Tensor, "*some vocab"]:
        """Logits of what was read of `values`."""
        return read if self.model is None else self.model.unembed(read)

    def blocks(self, task: Task, items: Items) -> Iterator[tuple[slice, Float[Tensor, "some vocab"]]]:
        """Logits of the items, in blocks of about equal size, each with its place among them."""
        read = task.gather(self.values, items)
        vocab = read.shape[-1] if self.model is None else self.model.config.vocab
        count = max(1, -(-len(read) * vocab // BLOCK))
        start = 0
        for block in read.tensor_split(count):
            yield slice(start, start + len(block)), self.unembed(block)
            start += len(block)

    def log_probs(self, task: Task, items: Items) -> Float[Tensor, "items vocab"]:
        """Log-probabilities of the items, at least in float32."""
        blocks = list(self.blocks(task, items))
        if len(blocks) == 1:
            return log_probabilities(blocks[0][1])
        return torch.cat([log_probabilities(logits) for _, logits in blocks])


# (inputs, rows) -> log-probabilities of the next token, or what they are formed of where they are read
Distribution = Callable[[Tensor, np.ndarray], Tensor | Output]
System = Plan | Distribution


@dataclass(frozen=True)
class OwnTarget:
    """What a claim's systems are held against in place of the model's own distribution.

    Attributes:
        what: in words that go on after "the KL to": "the answers of a high-level model".
        system: a run, or a function of (inputs, rows) that gives log-probabilities [rows, pos, vocab]. An answer is a
            distribution that has next to nothing elsewhere.
    """

    what: str
    system: System


@dataclass
class Traced:
    """A run of a micro-batch: its end, and the stream entering every layer, from which others start."""

    output: Output
    streams: dict[int, Tensor] = field(default_factory=dict)

    @property
    def logits(self) -> Tensor:
        return self.output.logits

    @property
    def nbytes(self) -> int:
        return self.output.values.nbytes + sum(stream.nbytes for stream in self.streams.values())


def joined(parts: Sequence[Traced], rows: Int[np.ndarray, "rows"]) -> Traced:
    """These rows of several runs, counted through all of them."""
    chosen = torch.from_numpy(rows)

    def of(several: Sequence[Tensor]) -> Tensor:
        return torch.cat([*several])[chosen.to(several[0].device)]

    streams = {layer: of([part.streams[layer] for part in parts]) for layer in parts[0].streams}
    return Traced(Output(parts[0].output.model, of([part.output.values for part in parts])), streams)
