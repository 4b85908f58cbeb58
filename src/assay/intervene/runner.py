"""The runner: executes plans of any engine, those of edits and those of circuits."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from assay.errors import ComponentError
from assay.intervene.circuits.engine import CircuitEngine
from assay.intervene.circuits.runs import engine_of, run_circuit
from assay.intervene.edits.engine import EditRunner
from assay.intervene.output import Output
from assay.intervene.plan import CircuitRun, Plan
from assay.intervene.rows import Key
from assay.model.transformer import Model


class Runner(EditRunner):
    """Runs plans of one model on one task."""

    _engine: tuple[CircuitRun, CircuitEngine] | None = None  # of the circuit that was run last: it comes batch by batch

    def close(self) -> None:
        super().close()
        self._engine = None

    def circuit_output(self, plan: Plan, run: CircuitRun, rows: np.ndarray, keep: dict[Key, Tensor]) -> Output:
        assert isinstance(self.model, Model)
        final = ("stream", self.model.config.layers)
        if keep and set(keep) != {final}:
            raise ComponentError("every reader of a circuit has an input of its own; only the final stream can be read")
        if self._engine is None or self._engine[0] is not run:
            self._engine = run, engine_of(self, plan, run)
        engine = self._engine[1]
        if run.frozen_norm and not keep:  # the last norm's scale is the clean run's
            return Output(None, run_circuit(engine, run.edges, rows))
        last = run_circuit(engine, run.edges, rows, stream=True)
        if keep:
            keep[final] = last
        return Output(self.model, self.model.weights.final_norm(last))
