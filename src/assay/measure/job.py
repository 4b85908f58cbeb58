"""A measurement with everything loaded: what `measure` resolves its arguments to."""

from __future__ import annotations

from dataclasses import dataclass, field

from assay.explanations.base import Explanation
from assay.explanations.claims.file import ClaimFile
from assay.measure.settings import Settings
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.task.found_on import FoundOn
from assay.task.task import Task


@dataclass(frozen=True, eq=False)
class Job:
    """A measurement with everything loaded.

    Attributes:
        claim: the claim file, where there was one; found: the data that the claim was found on, where a file has it.
        floors: other models that are floors, by name.
    """

    explanation: Explanation
    model: Model | ModuleModel
    task: Task
    settings: Settings
    claim: ClaimFile | None
    floors: dict[str, Model | ModuleModel] = field(default_factory=dict)
    found: FoundOn | None = None
