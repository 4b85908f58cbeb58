"""`assay init`: a claim file to start from."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from assay.cli.loading import load_model
from assay.cli.options import Device, Model, Seed
from assay.cli.output import print_plain, say
from assay.errors import ClaimError, nearest

CLAIMS = ("program", "hypothesis")
PROMPTS = ".prompts.csv"  # in place of the claim file's ending


def init(
    model: Model,
    out: Annotated[str, typer.Option("--out", metavar="FILE", help="Where the claim file goes.")] = "claim.yaml",
    kind: Annotated[
        str, typer.Option("--kind", metavar="KIND", help="program, or hypothesis, with prompts beside the claim file.")
    ] = "program",
    device: Device = None,
    seed: Seed = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
) -> None:
    """Write a claim file to start from, out of a model's top heads.

    They are the heads that attend most as induction, previous token and duplicate token.
    """
    from assay.store.files import MARK, check_writable, given_path, reason, write_file

    path = given_path(out, "the claim file", spare=MARK)
    if os.path.lexists(path) and not overwrite:
        raise ClaimError(f"the file {out!r} exists; give --overwrite, or another name with --out")
    if path.is_dir() or not path.parent.is_dir():
        raise ClaimError(
            f"the claim file {out!r} cannot be written: " + ("it is a folder" if path.is_dir() else "no such folder")
        )
    if kind not in CLAIMS:
        raise ClaimError(f"unknown kind {kind!r}" + nearest(kind, CLAIMS))
    files = {path: f"the claim file {out!r}"}
    prompts, named = path.with_suffix(PROMPTS), str(Path(out).with_suffix(PROMPTS))
    if kind == "hypothesis":
        files = {prompts: f"the file of prompts {named!r}", **files}
        if os.path.lexists(prompts) and not overwrite:
            raise ClaimError(f"the file {named!r} exists; give --overwrite, or another name with --out")
    for file, what in files.items():
        check_writable(file, what)  # before the model is loaded
    from assay.find.template import hypothesis_template, template
    from assay.report.terminal.progress import Bar

    loaded = load_model(model, device)
    if kind == "hypothesis":
        with Bar(everywhere=True) as progress:
            text, rows, tried = hypothesis_template(loaded, model, named, seed=seed or 0, progress=progress)
        if not tried.chosen:
            say(
                f"{model} gives this hypothesis' answer to {tried.right:.0%} of the prompts, so no place carries "
                f"it there: write prompts that it gets right into {named}, or take another model"
            )
    else:
        text, rows = template(loaded, model, seed=seed or 0), ""
    for file, what in files.items():
        try:
            write_file(file, (text if file == path else rows).encode("utf-8", "replace"))
        except OSError as problem:
            raise ClaimError(f"{what} cannot be written: {reason(problem)}") from problem
    print_plain(
        f"wrote {out}{f' and {named}' if kind == 'hypothesis' else ''} · next: assay measure {shlex.quote(out)} --quick"
    )
