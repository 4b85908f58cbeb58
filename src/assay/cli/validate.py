"""`assay validate`: a claim file, without a model."""

from __future__ import annotations

from assay.cli.options import Claim
from assay.cli.output import print_plain


def validate(claim: Claim) -> None:
    """Check a claim file, and say what it claims; no model is loaded."""
    from assay.explanations.claims.file import load_claim
    from assay.measure.settings import Settings

    file = load_claim(claim)
    settings = Settings.resolve(file)
    expected = "" if file.expect is None else f", expects {file.expect.sentence}"
    print_plain(
        f"{claim} is valid: {file.kind} (level: {file.level}) on {file.explanation.about} of {file.model}, "
        f"task {file.task.kind}, ablation {', '.join(settings.ablation)}{expected}"
    )
