"""Opens the model that a command is about."""

from __future__ import annotations

from typing import Any

from assay.errors import UserError


def load_model(model: str, device: str | None) -> Any:
    """Opens a model by its name, with a bar; a name that cannot be one is said before anything heavy is imported."""
    from assay.explanations.claims.checks import model_problem

    problem = model_problem(model)
    if problem:
        raise UserError(problem)
    from assay.planted.load import load
    from assay.report.terminal.progress import Bar

    with Bar() as progress:
        progress(f"loading {model}", 0, None)
        return load(model, device=device)
