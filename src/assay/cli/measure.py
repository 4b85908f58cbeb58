"""`assay measure`: one explanation."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli.options import Ablations, Claim, Device, Dtype, Json, Overwrite, Quick, Register, Seed
from assay.cli.output import command_line, console, print_cost, print_json, say

if TYPE_CHECKING:
    from assay.explanations.claims.file import ClaimFile
    from assay.measure.settings import Settings


def measure(
    claim: Claim,
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="DIR", help="Run folder. [default: the claim file's 'out', else runs/CLAIM]"),
    ] = None,
    quick: Quick = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what it would cost (forward passes, minutes, memory); measure nothing."),
    ] = False,
    as_json: Json = False,
    device: Device = None,
    dtype: Dtype = None,
    seed: Seed = None,
    ablation: Ablations = None,
    overwrite: Overwrite = False,
    register: Register = False,
) -> None:
    """Measure how much one explanation explains.

    Prints a summary, and writes measurement.json, examples.parquet (a row for each scored token), report.html and the
    claim file into the run folder. A flag overrides the claim file.
    """
    from assay.explanations.claims.data import check_data
    from assay.explanations.claims.file import load_claim
    from assay.measure.settings import Settings

    file = load_claim(claim)
    flags: dict[str, Any] = {"ablation": ablation or None, "seed": seed, "device": device, "dtype": dtype}
    flags |= {"quick": quick or None, "register": register or None}
    settings = Settings.resolve(
        file,
        **flags,
        out=out or file.out or f"runs/{Path(claim).stem}",
        overwrite=overwrite,
        command=command_line("measure", flags, claim),
    )
    check_data(file, settings.ablation)
    if dry_run:
        from assay.measure.plan_cost import dry_run as cost

        print_cost(cost(file, settings), as_json)
    else:
        run_measurement(file, settings, as_json)


def run_measurement(claim: ClaimFile, settings: Settings, as_json: bool) -> None:
    from assay.store.register import check, register_path
    from assay.store.runs import check_target

    assert settings.out is not None
    check_target(settings.out, settings.overwrite)  # before torch is imported
    check(register_path(settings.out))
    from assay.measure.measure import measure_into
    from assay.report.card import Card
    from assay.report.progress import Bar

    with Bar() as progress:
        result, problem = measure_into(claim, settings, progress)
    for note in result.record.circuit.notes if result.record.circuit else ():
        say(f"note: {note}")
    if problem is not None:
        say(problem)
    if as_json:
        print_json(result.record)
    else:
        folder = Path(settings.out)
        follow = f"assay measure {shlex.quote(str(folder / 'claim.yaml'))}"
        console().print(Card(result.record, report=str(folder / "report.html"), follow=follow))
