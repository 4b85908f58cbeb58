"""`assay ls`: a model's components, its edges, or its heads' scores."""

from __future__ import annotations

from typing import Annotated

import typer

from assay.cli.loading import load_model
from assay.cli.options import Device, Model
from assay.cli.output import print_plain, print_table, say


def list_components(
    model: Model,
    scores: Annotated[
        bool,
        typer.Option(
            "--scores", help="For each head, how far it attends as induction, previous token, duplicate token."
        ),
    ] = False,
    edges: Annotated[
        bool, typer.Option("--edges", help="List the model's edges instead, by the names that circuits use.")
    ] = False,
    device: Device = None,
) -> None:
    """List a model's components, by the names that claim files use."""
    from assay.intervene.circuits.engine import with_edges
    from assay.model.transformer import Model as Transformer

    loaded = load_model(model, device)
    if edges:
        for name in with_edges(loaded).edges:
            print_plain(name)
    elif scores:
        from assay.methods.head_scores import KINDS, head_scores
        from assay.report.terminal.progress import Bar

        with Bar() as progress:
            progress("scoring heads", 0, None)
            values = head_scores(loaded).values
        layers, heads = values[KINDS[0]].shape
        rows = [[f"a{i}.h{j}", *(f"{values[k][i, j]:.3f}" for k in KINDS)] for i in range(layers) for j in range(heads)]
        print_table(("head", *KINDS), rows)
    else:
        for name in loaded.components:
            print_plain(name)
        if isinstance(loaded, Transformer):
            say(f"proof on load: {loaded.proof}")
