"""`assay measure`: one explanation."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli.options import (
    CLAIM_HELP,
    Ablations,
    Budget,
    Device,
    Dtype,
    Json,
    Overwrite,
    Quick,
    Register,
    Seed,
    Thorough,
)
from assay.cli.output import command_line, console, go_on_with, print_cost, print_json, say
from assay.errors import RunError, UserError

if TYPE_CHECKING:
    from assay.explanations.claims.file import ClaimFile
    from assay.measure.measurement import Measurement
    from assay.measure.settings import Settings


def measure(
    claim: Annotated[str | None, typer.Argument(metavar="CLAIM.yaml", help=CLAIM_HELP)] = None,
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
    budget: Budget = None,
    thorough: Thorough = False,
    go_on: Annotated[
        str | None,
        typer.Option("--continue", metavar="RUN", help="Measure into this run what it lacks: stopped, or over budget."),
    ] = None,
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

    passes = _passes(budget, thorough)
    if go_on is not None:
        others = {"--out": out, "--quick": quick, "--seed": seed, "--ablation": ablation, "--register": register}
        others |= {"--dry-run": dry_run, "a claim": claim}
        if given := next((name for name, value in others.items() if value), None):
            raise UserError(f"--continue goes on with a run as it is, so it is not given with {given}")
        _continue(go_on, passes, as_json)
        return
    if claim is None:
        raise UserError("give a claim file: assay measure CLAIM.yaml; or a run to go on with: --continue RUN")
    file = load_claim(claim)
    flags: dict[str, Any] = {"ablation": ablation or None, "seed": seed, "device": device, "dtype": dtype}
    flags |= {"quick": quick or None, "register": register or None, "budget": passes}
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

        print_cost(cost(file, replace(settings, out=None)), as_json, settings.budget)  # nothing is written
    else:
        run_measurement(file, settings, as_json)


def _passes(budget: str | None, thorough: bool) -> int | str | None:
    """The budget as settings take it."""
    from assay.task.bounds import THOROUGH

    if thorough:
        if budget is not None:
            raise UserError(f"--thorough measures everything, and --budget {budget} does not; give one of them")
        return THOROUGH
    return int(budget) if budget is not None and budget.isdecimal() else budget


def _continue(folder: str, budget: int | str | None, as_json: bool) -> None:
    from assay.explanations.claims.file import load_claim
    from assay.measure.measurement import load_run
    from assay.measure.settings import Settings

    before = load_run(folder)
    if before.claim is None:
        raise RunError(f"the run {folder!r} was made from Python, without a claim file, so it is measured again there")
    file, flags = load_claim(Path(folder) / "claim.yaml"), dict[str, Any](before.record.arguments.passed)
    if budget is not None or not before.record.budget.ahead:  # a run that was stopped has its own
        flags["budget"] = budget
    settings = Settings.resolve(
        file, **flags, out=folder, overwrite=True, command=command_line("measure", flags, "claim.yaml")
    )
    run_measurement(file, settings, as_json, before)


def run_measurement(claim: ClaimFile, settings: Settings, as_json: bool, before: Measurement | None = None) -> None:
    from assay.store.register import check, register_path
    from assay.store.runs import check_target

    assert settings.out is not None
    check_target(settings.out, settings.overwrite)  # before torch is imported
    check(register_path(settings.out))
    from assay.measure.measure import measure_into
    from assay.report.terminal.card import Card, telling
    from assay.report.terminal.progress import Bar

    with Bar() as progress:
        result, problem = measure_into(claim, settings, progress, progress.tell, before)
    for note in result.record.own.notes if result.record.own else ():
        say(f"note: {note}")
    if problem is not None:
        say(problem)
    if as_json:
        print_json(result.record)
    else:
        folder = Path(settings.out)
        follow = f"assay report {shlex.quote(str(folder))} --section {telling(result.record)}"
        if result.record.budget.wanting:
            follow = go_on_with(folder, "" if result.record.budget.passes == 0 else " --thorough")
        console().print(Card(result.record, report=str(folder / "report.html"), follow=follow), crop=False)
