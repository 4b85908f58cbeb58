"""`assay demo`: measures two claims that ship with assay, one that holds up and one that does not."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from assay.cli.options import Device, Json
from assay.cli.output import command_line, console, print_json

DOCUMENTS = 12  # of the claims' 30: the point is made in half a minute
CLAIMS = {
    "holds": ("previous_token", "head a0.h0 looks at the token before, and nothing else"),
    "fails": ("induction", "heads a1.h0 and a1.h5 look at what followed the last time this token occurred"),
}


def demo(
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="Run folder; one that is there is replaced.")] = (
        "runs/demo"
    ),
    as_json: Json = False,
    device: Device = None,
) -> None:
    """Measure two claims that ship with assay, one that holds up and one that only looks as if it did.

    Both are about heads of zoo:novel-attn2-rep. Each gets a run folder of its own below DIR, and both one picture.
    """
    from assay.explanations.claims.file import load_claim
    from assay.measure.measure import measure_each_into
    from assay.measure.settings import Settings
    from assay.report.charts.charts import save
    from assay.report.charts.side_by_side import SideBySide, picture
    from assay.report.terminal.progress import Bar

    folder, claims = Path(out), Path(__file__).parent.parent / "zoo" / "claims"
    jobs = []
    for name, (file, _) in CLAIMS.items():
        claim = load_claim(claims / f"{file}.yaml")
        flags = {
            "device": device,
            "documents": DOCUMENTS,
            "only": ("headline",),
            "ablation": "mean",
            "floors": ("unigram",),
        }
        command = command_line("demo", {"device": device})
        jobs.append((claim, Settings.resolve(claim, **flags, out=str(folder / name), overwrite=True, command=command)))
    with Bar() as progress:
        results = measure_each_into(jobs, progress)
    runs = [(said, result.record) for (_, said), result in zip(CLAIMS.values(), results, strict=True)]
    drawn = save(picture(runs), folder / "demo.svg")
    if as_json:
        print_json({name: record for name, (_, record) in zip(CLAIMS, runs, strict=True)})
        return
    first, second = (folder / name for name in CLAIMS)
    ends = [
        f"picture {drawn} · pages {first / 'report.html'} and {second / 'report.html'}",
        f"next: assay measure {shlex.quote(str(first / 'claim.yaml'))} --out runs/first   (the whole measurement)",
    ]
    console().print(SideBySide(runs, ends))
