"""Rows of a task's data in micro-batches, and the unedited run of some of them, which goes on where it stopped."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from threading import Lock

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from assay.errors import TaskError
from assay.intervene.plan import Data, Inputs
from assay.model import meter
from assay.model.module import ModuleModel
from assay.model.transformer import NOWHERE, Model
from assay.task.examples import Examples
from assay.task.task import Task

Key = tuple[str, int]  # a tap of the model
EXACT = 1 << 20  # passes that threads count come in such parts of one, which add up to the same in any order
STREAMS = 256 << 20  # bytes of streams that an unedited run keeps to go on from


class RowBatches:
    """A model's inputs on one task, in micro-batches of a fixed size.

    Args:
        memory: bytes that the logits of a micro-batch and their copies may take.

    Attributes:
        forwards: forward passes of one row that were made; batch: rows of a micro-batch.
    """

    def __init__(self, model: Model | ModuleModel, task: Task, *, memory: int = 512 << 20):
        if isinstance(model, ModuleModel) and model.seen is None:
            model = model.on(task.tokens[:1].to(model.device))
        self.model, self.task = model, task
        self.forwards = 0.0
        self.batch = self._batch_rows(memory)
        self._counting = Lock()

    def count(self, passes: float) -> None:
        """Counts passes of one row that are computed node by node, from whichever thread."""
        passes = round(passes * EXACT) / EXACT
        with self._counting:
            self.forwards += passes
            meter.computed(passes * self.task.tokens.shape[1])

    def _batch_rows(self, memory: int) -> int:
        if isinstance(self.model, ModuleModel):
            return 256
        shape, tokens = self.model.config, self.task.tokens.shape[1]
        rows = memory // (tokens * shape.vocab * 4 * 6)  # logits, log-probabilities and their copies
        if self.model.scale > 1:  # a sketch forms few logits: as many rows as streams are kept of
            rows = max(rows, STREAMS // (tokens * shape.d_model * shape.layers * self.model.dtype.itemsize))
        return max(1, min(64, rows))

    def batches(self, rows: Int[np.ndarray, "rows"]) -> Iterator[Int[np.ndarray, "batch"]]:
        """Rows in micro-batches of the fixed size (the last one may be smaller)."""
        for start in range(0, len(rows), self.batch):
            yield rows[start : start + self.batch]

    def inputs(self, data: Data, rows: Int[np.ndarray, "batch"]) -> Tensor:
        """Token ids (or a module's inputs) of these rows, on the model's device."""
        source = self.examples(data).tokens
        if data == "counterfactual":
            if self.task.counterfactual is None:
                raise TaskError(f"the task {self.task.name!r} has no counterfactuals, which this ablation needs")
            source = self.task.counterfactual
        return source[torch.from_numpy(rows)].to(self.model.device)

    def examples(self, data: Data) -> Examples:
        """The examples of some data; a counterfactual has those of its own example.

        Raises:
            TaskError: where the task has no reference.
        """
        if isinstance(data, Inputs):
            return data.examples
        if data != "reference":
            return self.task
        if self.task.reference is None:
            raise TaskError(f"the task {self.task.name!r} has no reference examples, which this ablation needs")
        return self.task.reference

    @torch.no_grad()
    def unedited(
        self,
        data: Data,
        rows: Int[np.ndarray, "batch"],
        keys: Collection[Key],
        at: int = 0,
        stream: Tensor | None = None,
    ) -> dict[Key, Tensor]:
        """Values of taps in the unedited run of a micro-batch, which ends with the last of them.

        Args:
            at, stream: the layer that the run goes on from, with the stream that enters it; no tap is before it.
        """
        found: dict[Key, Tensor] = {}
        taps = {key: lambda value, key=key: found.update({key: value}) for key in keys}
        inputs = self.inputs(data, rows)
        if isinstance(self.model, ModuleModel):
            self.forwards += len(rows)
            self.model.forward(inputs, taps)
            return found
        self.forwards += len(rows) * max(0, self.model.depth(taps) - at) / self.model.config.layers
        self.model.normed(inputs, taps, stream=stream, start=at, positions=NOWHERE)
        return found


class UneditedRun:
    """The unedited run of some rows: made through as many layers as somebody asked for, and gone on with from there.

    What runs it is given each time: a runner keeps such runs.
    """

    def __init__(self, data: Data, rows: Int[np.ndarray, "rows"]):
        self.data: Data = data
        self.rows = rows
        self.reached = 0  # layers that were run, of which the streams behind the last are kept
        self._streams: list[Tensor] = []

    @property
    def nbytes(self) -> int:
        return sum(stream.nbytes for stream in self._streams)

    def starts(self, keys: Collection[Key]) -> int:
        """The layer that a run for these taps begins at."""
        return self.reached if self._streams and min(_layer(key) for key in keys) >= self.reached else 0

    def see(
        self, inputs: RowBatches, keys: Collection[Key]
    ) -> Iterator[tuple[Int[np.ndarray, "batch"], dict[Key, Tensor]]]:
        """Values of taps, one micro-batch after the other."""
        start, streams = self.starts(keys), []
        meter.ahead(len(self.rows) * self._tokens(inputs, keys, start))
        end = self._end(inputs, keys)
        for index, batch in enumerate(inputs.batches(self.rows)):
            wanted = {*keys, ("stream", end)} if end is not None else keys
            stream = self._streams[index] if start else None
            found = inputs.unedited(self.data, batch, wanted, start, stream)
            if end is not None:
                streams.append(found["stream", end])
            yield batch, found
        if end is not None:
            self.reached, self._streams = end, streams

    def _tokens(self, inputs: RowBatches, keys: Collection[Key], start: int) -> float:
        """What a row of it costs from a layer on, in tokens' worth of a whole pass."""
        model = inputs.model
        if isinstance(model, ModuleModel):
            return 1.0
        layers = max(0, model.depth(dict.fromkeys(keys, _nothing)) - start)
        return inputs.examples(self.data).tokens.shape[1] * layers / model.config.layers

    def _end(self, inputs: RowBatches, keys: Collection[Key]) -> int | None:
        """The layer whose stream is kept to go on from; None where nothing is left to go on with, or no room for it."""
        model = inputs.model
        if isinstance(model, ModuleModel):
            return None
        end = model.depth(dict.fromkeys(keys, _nothing))
        width = inputs.examples(self.data).tokens.shape[1] * model.config.d_model * model.dtype.itemsize
        further = self.reached < end < model.config.layers and len(self.rows) * width <= STREAMS
        return end if further else None


def _layer(key: Key) -> int:
    return -1 if key[0] == "input" else key[1]


def _nothing(_: Tensor) -> None:
    """A tap that looks at nothing."""
