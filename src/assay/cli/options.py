"""Arguments and flags that commands share, with their help: each is said once."""

from __future__ import annotations

from typing import Annotated

import typer

from assay.intervene.fill.spec import ABLATIONS

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A built-in model such as zoo:stories-260k, a name on the hub such as gpt2, or a folder."
    ),
]
CLAIM_HELP = "A claim file; `assay init MODEL` writes one."
Claim = Annotated[str, typer.Argument(metavar="CLAIM.yaml", help=CLAIM_HELP)]
Quick = Annotated[bool, typer.Option("--quick", help="A first look: at most 40 documents.")]
Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="PASSES",
        help="What it may cost, in passes of the model over all that is scored: a number, or 'headline', the least. "
        "[default: 40, more where the model is small]",
    ),
]
Thorough = Annotated[bool, typer.Option("--thorough", help="Measure everything, whatever it costs.")]
Json = Annotated[bool, typer.Option("--json", help="Print the record as JSON on stdout instead of tables.")]
Device = Annotated[
    str | None,
    typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:1 or mps. [default: as the model has it]"),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        "--dtype", metavar="NAME", help="float32, float64, bfloat16 or float16. [default: as the model has it]"
    ),
]
Seed = Annotated[int | None, typer.Option("--seed", metavar="N", help="Keys every random choice. [default: 0]")]
Ablations = Annotated[
    list[str] | None,
    typer.Option(
        "--ablation",
        metavar="NAME",
        help=f"What fills in for everything that is not explained: {', '.join(ABLATIONS)}, or a plug-in's. "
        "May be given several times; the one under which the claim does worst leads. [default: the claim file's, "
        "else mean and resample_joint]",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a run folder that exists.")]
Register = Annotated[
    bool,
    typer.Option(
        "--register", help="Log the claim's hash beside the run folder before the data is opened, as try n of m."
    ),
]
