"""Whether a program is one: assay can run it in a part's place, and it looks at nothing that it must not see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from assay.explanations.program.claim_block import ProgramFields
from assay.explanations.program.library import AnyProgram
from assay.explanations.program.program import Program
from assay.measure.workbench import Workbench
from assay.model.transformer import Model
from assay.planted.load import load
from assay.task.task import Task
from assay.testing.defaults import MODEL, small_task
from assay.testing.kinds import check_kind
from assay.testing.promises import Promises, require

ROUNDING = 1e-4  # of a logit, between runs of other rows


def check_program(
    program: AnyProgram | str | Mapping[str, Any],
    part: str = "a0.h0",
    model: str | Model = MODEL,
    task: Task | None = None,
) -> None:
    """Checks a program in the place of a part of a model: as a claim (`check_kind`), and what it looks at.

    Args:
        program: as in a claim file, its name or its name and arguments, which must be installed; or itself.
        part: of the model, which the program can stand for.
        model, task: as in `check_kind`.

    Raises:
        AssertionError: with every promise that is broken.

    Example:
        >>> check_program({"program": "induction", "match": "all"})
    """
    loaded = load(model) if isinstance(model, str) else model
    assert isinstance(loaded, Model)
    task = task or small_task(loaded)
    if isinstance(program, AnyProgram):
        claim = Program({part: program})
        check_kind(claim, loaded, task)
    else:
        block = {"kind": "program", "components": {part: program}}
        check_kind(block, loaded, task)
        claim = ProgramFields.model_validate(block).build()
    promises = Promises(f"the program {next(iter(claim.components.values())).name!r}")
    own = _logits(claim, loaded, task)
    other = task.tokens.roll(1, 0)
    with promises.keep("its run is finite"):
        require(own.isfinite().all(), f"{int((~own.isfinite()).sum())} of {own.numel()} logits are not")
    with promises.keep("what it does at a position depends on no later token"):
        changed = task.tokens.clone()
        changed[:, -1] = other[:, -1]
        _alike(own[:, :-1], _logits(claim, loaded, replace(task, tokens=changed))[:, :-1], "earlier positions")
    with promises.keep("what it does in a row depends on no other row"):
        changed = torch.cat([task.tokens[:1], other[1:]])
        _alike(own[:1], _logits(claim, loaded, replace(task, tokens=changed))[:1], "the row that was left")
    promises.check()


def _logits(claim: Program, model: Model, task: Task) -> Tensor:
    """[rows, pos, vocab] of the explained run."""
    workbench = Workbench(model, task)
    with torch.no_grad():
        return workbench.runner.logits(claim.plan(workbench), np.arange(len(task.tokens)))


def _alike(one: Tensor, other: Tensor, where: str) -> None:
    off = float((one - other).abs().max())
    require(off <= ROUNDING, f"with others changed, logits at {where} differ by up to {off:.2g}")
