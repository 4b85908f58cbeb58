"""`assay demo`: measures a claim that ships with assay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.measure import run_measurement
from assay.cli.options import Device, Json, Quick
from assay.cli.output import command_line


def demo(
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="Run folder; one that is there is replaced.")] = (
        "runs/demo"
    ),
    quick: Quick = False,
    as_json: Json = False,
    device: Device = None,
) -> None:
    """Measure a claim that ships with assay, as a first example.

    The claim: a head of zoo:novel-attn2-rep attends to the previous token.
    """
    from assay.explanations.claims.file import load_claim
    from assay.measure.settings import Settings

    claim = load_claim(Path(__file__).parent.parent / "zoo" / "claims" / "previous_token.yaml")
    command = command_line("demo", {"quick": quick or None, "device": device})
    settings = Settings.resolve(claim, quick=quick or None, device=device, out=out, overwrite=True, command=command)
    run_measurement(claim, settings, as_json)
