"""The world of a program: its compiled network, its inputs, and the edges that it needs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from assay.model.load import load
from assay.model.transformer import Model
from assay.planted.compiler import network_of, tokenizer_of
from assay.planted.inputs import REFERENCE_ROWS, Inputs
from assay.planted.program import PlantedProgram
from assay.planted.program_truth import ABLATIONS, ProgramTruth, program_truth
from assay.stats.estimate import Undefined
from assay.task.task import Task


@dataclass(frozen=True, eq=False)
class CompiledWorld:
    """A program with its inputs.

    Attributes:
        program: what the network computes; inputs: what it is run on.
        decoys: heads a layer that do nothing of use; seed: keys weights that do not matter.
    """

    program: PlantedProgram
    inputs: Inputs
    decoys: int = 1
    seed: int = 0

    @property
    def name(self) -> str:
        return self.program.name

    @cached_property
    def model(self) -> Model:
        """The compiled network, opened and proved."""
        network = network_of(self.program, decoys=self.decoys, seed=self.seed)
        model = load(network, tokenizer=tokenizer_of(self.program.tokens))
        assert isinstance(model, Model)
        return replace(model, name=f"planted:{self.name}")

    def save(self, folder: str | Path) -> None:
        """Network and tokenizer in the hub's format, as `assay.load` opens them."""
        network: Any = self.model.source
        network.save_pretrained(folder)
        self.model.tokenizer.save_pretrained(folder)

    def task(self, n: int = 64, seed: int = 0, *, reference: int = REFERENCE_ROWS, metric: str = "loss") -> Task:
        """Rows scored on their answers, with counterfactuals, and a reference that shares no row with them.

        A program with one answer a row gives a task of the kind "prompts" (with an incorrect answer beside the correct
        one), the others of the kind "text", whose tokens are the answers.

        Raises:
            TaskError: when there are not so many different rows; for an unknown metric.
        """
        return self.inputs.task(self.model.tokenizer, n, seed, reference=reference, metric=metric)

    def truth(self, ablation: str, seed: int = 0) -> ProgramTruth | Undefined:
        """The edges that the program needs, or could use instead of others, derived from it; see `program_truth`."""
        if ablation not in ABLATIONS:
            return Undefined(f"no truth of planted:{self.name} is derived under the ablation {ablation!r}")
        if (ablation, seed) not in self._truths:
            found = program_truth(self.program, self.inputs, self.model.edges, ablation, seed)
            self._truths[ablation, seed] = found
        return self._truths[ablation, seed]

    @cached_property
    def _truths(self) -> dict[tuple[str, int], ProgramTruth]:
        return {}
