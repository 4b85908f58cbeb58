"""`assay init`: a claim file to start from."""

from __future__ import annotations

import os
import shlex
from typing import Annotated

import typer

from assay.cli.loading import load_model
from assay.cli.options import Device, Model, Seed
from assay.cli.output import print_plain
from assay.errors import ClaimError


def init(
    model: Model,
    out: Annotated[str, typer.Option("--out", metavar="FILE", help="Where the claim file goes.")] = "claim.yaml",
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
    check_writable(path, f"the claim file {out!r}")  # before the model is loaded
    from assay.find.template import template

    text = template(load_model(model, device), model, seed=seed or 0)
    try:
        write_file(path, text.encode("utf-8", "replace"))
    except OSError as problem:
        raise ClaimError(f"the claim file {out!r} cannot be written: {reason(problem)}") from problem
    print_plain(f"wrote {out} · next: assay measure {shlex.quote(out)} --quick")
