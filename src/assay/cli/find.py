"""`assay find ...`: searches for explanations; arguments in, tables out, and nothing heavy before it is needed."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from assay.cli.options import Device, Dtype, Json, Overwrite
from assay.cli.output import command_line, console, print_cost, print_json, say
from assay.intervene.fill.spec import ABLATIONS
from assay.methods.registry import EDGE_METHODS

DOCUMENTS, SELECT, SIZES, CONTROLS, DRAWS = 64, 32, "24", 100, 4
LONG = 5.0  # minutes that a search may take without a word about it
QUICK_DOCUMENTS, QUICK_SELECT, QUICK_SIZES, QUICK_CONTROLS = 24, 12, "12", 19

find = typer.Typer(name="find", help="Search for explanations.", rich_markup_mode=None, no_args_is_help=True)

_METHODS = "; ".join(f"{name}: {search.what}" for name, search in EDGE_METHODS.items())


@find.callback()
def _find() -> None:
    """Has no work of its own."""


@find.command()
def circuit(
    source: Annotated[
        str, typer.Argument(metavar="MODEL|CLAIM.yaml", help="A model, or a claim file whose model and task are used.")
    ],
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method", metavar="NAME", help=f"May be given several times. {_METHODS}. [default: attribution]"
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option("--task", metavar="TASK", help="text, repeat, or a file of prompts. [default: repeat]"),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            "--text",
            metavar="FILE",
            help="Own text of the task text: a file, a folder or a glob; CSV and JSONL with a document in each row of "
            "the column text. Several times.",
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", metavar="NAME", help="A zoo model's text that is scored. [default: test]")
    ] = None,
    length: Annotated[
        int | None, typer.Option("--length", metavar="N", help="Of a repeated span. [default: 32]", min=2)
    ] = None,
    context: Annotated[
        int | None, typer.Option("--context", metavar="N", help="Tokens that a window of text has.", min=2)
    ] = None,
    metric: Annotated[
        str | None, typer.Option("--metric", metavar="NAME", help="loss, logit_diff, kl, accuracy or probability.")
    ] = None,
    ablation: Annotated[
        str | None,
        typer.Option("--ablation", metavar="NAME", help=f"Fills what is cut: {', '.join(ABLATIONS)}. [default: mean]"),
    ] = None,
    sizes: Annotated[
        str | None,
        typer.Option(
            "--sizes", metavar="N|A,B,...", help=f"How many sizes (log-spaced), or which ones. [default: {SIZES}]"
        ),
    ] = None,
    reach: Annotated[
        float | None,
        typer.Option(
            "--reach",
            metavar="X",
            help="The circuit that is written: the smallest that recovers this share of the model's metric on the "
            "documents that are searched, or else the one that comes nearest. [default: 0.9]",
        ),
    ] = None,
    keep_edges: Annotated[
        int | None,
        typer.Option("--keep-edges", metavar="N", help="Instead: write the best circuit of so many edges."),
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(
            "--share",
            metavar="X",
            help="Instead: of this share of the edges. Without either, masks and greedy aim at 0.01, and at least 12 "
            "edges.",
        ),
    ] = None,
    tau: Annotated[
        list[float] | None,
        typer.Option("--tau", metavar="X", help="ACDC's threshold in nats; several times. [default: 1e-4 to 0.1]"),
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", metavar="N", help="Steps of learned masks. [default: 400]")
    ] = None,
    seed_with: Annotated[
        str | None,
        typer.Option("--seed-with", metavar="NAME", help="The method whose scores begin acdc, masks and greedy."),
    ] = None,
    controls: Annotated[
        int | None,
        typer.Option("--controls", metavar="N", help=f"Random circuits of each size. [default: {CONTROLS}]"),
    ] = None,
    control_rows: Annotated[
        int | None,
        typer.Option("--control-rows", metavar="N", help="Rows that random circuits are scored on. [default: 32]"),
    ] = None,
    draws: Annotated[
        int | None,
        typer.Option("--draws", metavar="N", help="Random fills of a scored document; searches see one. [default: 4]"),
    ] = None,
    documents: Annotated[
        int | None, typer.Option("--documents", metavar="N", help=f"Scored at most. [default: {DOCUMENTS}]", min=1)
    ] = None,
    select: Annotated[
        int | None,
        typer.Option(
            "--select", metavar="N", help=f"Other documents, searched on, at most. [default: {SELECT}]", min=1
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help=f"A first look: {QUICK_DOCUMENTS} documents, {QUICK_SELECT} to search on, {QUICK_SIZES} sizes and "
            f"{QUICK_CONTROLS} random circuits of each, where none are given.",
        ),
    ] = False,
    roc: Annotated[
        bool, typer.Option("--roc", help="Compare each method with the right edges, of a model planted:NAME.")
    ] = False,
    out: Annotated[
        str | None, typer.Option("--out", metavar="DIR", help="Run folder. [default: runs/find-MODEL]")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Keys every random choice.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would cost (forward passes, minutes); search nothing.")
    ] = False,
    as_json: Json = False,
    device: Device = None,
    dtype: Dtype = None,
    overwrite: Overwrite = False,
) -> None:
    """Search for circuits, and measure them on other documents than they were found on.

    Prints how much circuits of growing size recover beside random ones of the same size, and writes frontier.json, the
    circuit, a claim file that `assay measure` takes, and report.html into the run folder.
    """
    from assay.find.circuit.plan import SearchPlan, sizes_of
    from assay.find.request import request

    options = {"split": split, "length": length, "context": context, "metric": metric}
    wanted = request(source, task, text or [], {k: v for k, v in options.items() if v is not None})
    seed = seed if seed is not None else wanted.seed or 0
    plan = SearchPlan(
        methods=tuple(method or ["attribution"]),
        ablation=ablation or wanted.ablation(source) or "mean",
        sizes=sizes_of(sizes or (QUICK_SIZES if quick else SIZES)),
        keep_edges=keep_edges,
        share=share,
        reach=reach,
        tau=tuple(tau) if tau else None,
        steps=steps,
        seed_with=seed_with,
        controls=controls if controls is not None else QUICK_CONTROLS if quick else CONTROLS,
        control_rows=control_rows,
        draws=draws if draws is not None else wanted.draws or DRAWS,
        seed=seed,
    )
    plan.check()
    wanted.check(plan.ablation, dtype)
    given: dict[str, Any] = {"method": list(plan.methods), "task": task, "text": text or None, **options}
    given |= {"ablation": ablation, "sizes": sizes, "reach": reach, "keep-edges": keep_edges, "share": share}
    given |= {"tau": tau or None, "steps": steps, "seed-with": seed_with, "controls": controls, "draws": draws}
    given |= {"control-rows": control_rows, "documents": documents, "select": select, "quick": quick or None}
    given |= {"roc": roc or None, "seed": seed or None, "device": device, "dtype": dtype}
    folder = out or f"runs/find-{Path(wanted.model).name.replace(':', '-')}"
    most = QUICK_DOCUMENTS if quick else DOCUMENTS
    documents = documents or (min(wanted.documents or most, most) if quick else wanted.documents or most)
    select = select or (QUICK_SELECT if quick else SELECT)

    from assay.find.circuit.folder import CLAIM, check_folder, save

    if not dry_run:
        check_folder(folder, overwrite)  # before the minutes, not after
    from assay.find.circuit.cost import cost
    from assay.find.circuit.roc import truth_of
    from assay.find.circuit.search import find_circuit
    from assay.find.split import open_split
    from assay.report.terminal.progress import Bar

    truth = truth_of(wanted, plan.ablation) if roc else None
    command = command_line("find", given, "circuit", source)
    with Bar(everywhere=True) as progress:
        progress(f"loading {wanted.model}", 0, None)
        model, data = open_split(
            wanted, plan.seed, documents=documents, select=select, folder=folder, device=device, dtype=dtype,
        )  # fmt: skip
        if dry_run:
            print_cost(cost(model, data, plan), as_json)
            return
        if not quick and not as_json and (minutes := cost(model, data, plan)["minutes"]) > LONG:
            say(
                f"note: this search takes about {minutes:.0f} minutes on this machine; --quick is a first look with "
                "fewer documents, sizes and random circuits, and --dry-run says what a search would cost"
            )
        passed = {k: v for k, v in given.items() if v is not None}
        resolved = {**vars(plan), "task": dict(wanted.task), "documents": documents, "select": select}
        arguments = {"passed": passed, "resolved": resolved, "command": command}
        found = find_circuit(model, data, plan, arguments=arguments, truth=truth, progress=progress)
        progress("writing", 0, None)
        _, problem = save(
            found, data, model=wanted.model, folder=folder, draws=plan.draws, seed=plan.seed, overwrite=overwrite
        )
    if problem is not None:
        say(problem)
    if as_json:
        print_json(found.record)
        return
    from assay.report.terminal.find import table

    follow = f"assay measure {shlex.quote(str(Path(folder) / CLAIM))}"
    console().print(table(found.record, report=str(Path(folder) / "report.html"), follow=follow))


@find.command()
def hypothesis(
    source: Annotated[
        str, typer.Argument(metavar="CLAIM.yaml", help="A claim of the kind hypothesis: its model, task and variables.")
    ],
    variable: Annotated[
        str | None,
        typer.Option("--variable", metavar="NAME", help="Whose places are searched for. [default: the first that has]"),
    ] = None,
    agreeing: Annotated[
        list[str] | None,
        typer.Option(
            "--agreeing",
            metavar="NAME",
            help="A variable on which a swap takes its source from rows that agree; may be given several times.",
        ),
    ] = None,
    parts: Annotated[
        str, typer.Option("--parts", metavar="A,B", help="Which parts are tried: heads, mlps.")
    ] = "heads,mlps",
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns",
            metavar="A,B",
            help="In which columns: numbers (negative from the end), the prompts' names, or all for every column at "
            "once. [default: those of the claim's places]",
        ),
    ] = None,
    most: Annotated[int, typer.Option("--most", metavar="N", help="Places that are swapped together at most.")] = 8,
    rivals: Annotated[
        int, typer.Option("--rivals", metavar="N", help="Other alignments that what is found is held against.", min=0)
    ] = 50,
    documents: Annotated[
        int | None, typer.Option("--documents", metavar="N", help=f"Tested on at most. [default: {DOCUMENTS}]", min=1)
    ] = None,
    select: Annotated[
        int, typer.Option("--select", metavar="N", help="Other documents, searched on, at most.", min=1)
    ] = SELECT,
    budget: Annotated[
        float | None,
        typer.Option(
            "--budget", metavar="N", help="Passes over the documents that are searched; a search that takes more is "
            "refused before it begins. [default: none]",
        ),
    ] = None,
    out: Annotated[
        str | None, typer.Option("--out", metavar="DIR", help="Run folder. [default: runs/places-VARIABLE]")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Keys every random choice.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would cost (passes, minutes); search nothing.")
    ] = False,
    as_json: Json = False,
    device: Device = None,
    dtype: Dtype = None,
    overwrite: Overwrite = False,
) -> None:  # fmt: skip
    """Search for the places that carry a variable of a hypothesis, and test them on other documents.

    Swaps every place alone, then the best together; counts rival alignments; and writes places.json and a claim file
    that `assay measure` takes into the run folder.
    """
    from assay.explanations.claims.file import load_claim
    from assay.find.hypothesis.folder import CLAIM, check_folder, claim_of, save
    from assay.find.hypothesis.places import PlacePlan, find_places, places_cost
    from assay.find.request import request
    from assay.find.split import open_split
    from assay.report.terminal.progress import Bar

    wanted, explanation = request(source, None, [], {}), claim_of(load_claim(source), source)
    name = variable or next(one for one in explanation.places if one != explanation.high_level.answer)
    plan = PlacePlan(
        variable=name,
        agreeing=tuple(agreeing or ()),
        parts=tuple(filter(None, parts.split(","))),
        columns=None if columns is None else tuple(filter(None, columns.split(","))),
        most=most,
        rivals=rivals,
        seed=seed if seed is not None else wanted.seed or 0,
        budget=budget,
    )
    plan.check(explanation)
    given: dict[str, Any] = {"variable": variable, "agreeing": agreeing or None, "parts": parts, "columns": columns}
    given |= {"most": most, "rivals": rivals, "documents": documents, "select": select, "budget": budget}
    given |= {"seed": seed, "device": device, "dtype": dtype}
    folder = out or f"runs/places-{name}"
    if not dry_run:
        check_folder(folder, overwrite)
    command = command_line("find", given, "hypothesis", source)
    with Bar(everywhere=True) as progress:
        progress(f"loading {wanted.model}", 0, None)
        model, data = open_split(
            wanted, plan.seed, documents=documents or wanted.documents or DOCUMENTS, select=select, folder=folder,
            device=device, dtype=dtype,
        )  # fmt: skip
        if dry_run:
            print_cost(places_cost(model, data, explanation, plan), as_json)
            return
        passed = {k: v for k, v in given.items() if v is not None}
        arguments = {"passed": passed, "resolved": vars(plan), "command": command}
        record, made = find_places(model, data, explanation, plan, arguments=arguments, progress=progress)
        problem = save(record, made, data, model=wanted.model, folder=folder, overwrite=overwrite)
    if problem is not None:
        say(problem)
    if as_json:
        print_json(record)
        return
    from assay.report.terminal.places import table

    follow = f"assay measure {shlex.quote(str(Path(folder) / CLAIM))}"
    console().print(table(record, folder=folder, follow=follow))


@find.command()
def dictionary(
    source: Annotated[str, typer.Argument(metavar="MODEL", help="As in assay.load, for instance zoo:novel-4l.")],
    site: Annotated[
        str,
        typer.Option(
            "--site", metavar="NAME", help="r2 (a stream), m2 (an MLP's output), m2.hidden, a1.h3, or a1 (all heads)."
        ),
    ],
    reads: Annotated[
        str | None, typer.Option("--reads", metavar="NAME", help="Another site, such as m2.in: a transcoder.")
    ] = None,
    skip: Annotated[bool, typer.Option("--skip", help="A transcoder with a linear path beside its features.")] = False,
    architecture: Annotated[
        list[str] | None,
        typer.Option(
            "--architecture",
            metavar="NAME",
            help="topk, batchtopk, relu, jumprelu, matryoshka or gated; several times. [default: topk]",
        ),
    ] = None,
    width: Annotated[
        list[int] | None, typer.Option("--width", metavar="N", help="Features; several times. [default: 4096]", min=2)
    ] = None,
    k: Annotated[
        list[int] | None,
        typer.Option("--k", metavar="N", help="Active features of a value; several times. [default: 32]", min=1),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", metavar="N", help="Of each dictionary.", min=1)] = 1,
    tokens: Annotated[
        int, typer.Option("--tokens", metavar="N", help="That each is trained on, of text that is not scored.")
    ] = 1_000_000,
    batch: Annotated[int, typer.Option("--batch", metavar="N", help="Tokens of a step.", min=1)] = 2048,
    rate: Annotated[
        float | None, typer.Option("--rate", metavar="X", help="Adam's. [default: 3e-3 · sqrt(4096 / width)]")
    ] = None,
    bf16: Annotated[
        bool, typer.Option("--bf16", help="Choose features by products in bfloat16; values stay float32.")
    ] = False,
    controls: Annotated[
        str,
        typer.Option(
            "--controls",
            metavar="A,B",
            help="drawn (all weights of a copy drawn anew), embeddings (all but these), permuted (every matrix of it), "
            "frozen (a part of the dictionary stays as it was drawn), or none.",
        ),
    ] = "drawn,embeddings,permuted,frozen",
    text: Annotated[
        list[str] | None,
        typer.Option("--text", metavar="FILE", help="Own text in place of the zoo's: a half is trained on."),
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", metavar="NAME", help="A zoo model's text that is scored. [default: test]")
    ] = None,
    context: Annotated[
        int | None, typer.Option("--context", metavar="N", help="Tokens that a window of text has.", min=2)
    ] = None,
    bos: Annotated[
        str | None, typer.Option("--bos", metavar="TOKEN", help="That windows begin with. [default: the tokenizer's]")
    ] = None,
    documents: Annotated[
        int | None, typer.Option("--documents", metavar="N", help=f"Scored at most. [default: {DOCUMENTS}]", min=1)
    ] = None,
    keep_activations: Annotated[
        bool, typer.Option("--keep-activations", help="Leave what was harvested in the run folder.")
    ] = False,
    out: Annotated[
        str | None, typer.Option("--out", metavar="DIR", help="Run folder. [default: runs/dictionary-SITE]")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Keys every random choice.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would cost (passes, minutes); train nothing.")
    ] = False,
    as_json: Json = False,
    device: Device = None,
    dtype: Dtype = None,
    overwrite: Overwrite = False,
) -> None:
    """Train sparse dictionaries of a site, and the controls that say whether they mean anything.

    Harvests activations once a network and trains everything from that; measures all on text that is not trained on.
    Writes dictionaries.json, each dictionary, and a claim file that `assay measure` takes into the run folder. What is
    not finished lies in DIR.work: the same command goes on from there.
    """
    from assay.find.dictionary.plan import DictionaryPlan
    from assay.find.request import request

    options = {"split": split, "context": context}
    wanted = request(source, "text", text or [], {name: value for name, value in options.items() if value is not None})
    task = {**wanted.task, **({} if bos is None else {"bos": bos})}
    plan = DictionaryPlan(
        site=site, reads=reads, skip=skip, architectures=tuple(architecture or ["topk"]), widths=tuple(width or [4096]),
        ks=tuple(k or [32]), seeds=seeds, tokens=tokens, batch=batch, rate=rate, bf16=bf16,
        controls=() if controls == "none" else tuple(filter(None, controls.split(","))), context=context,
        seed=seed or 0,
    )  # fmt: skip
    plan.check()
    wanted.check("mean", dtype)
    given: dict[str, Any] = {"site": site, "reads": reads, "skip": skip or None, "architecture": architecture}
    given |= {"width": width, "k": k, "seeds": seeds, "tokens": tokens, "batch": batch, "rate": rate}
    given |= {"bf16": bf16 or None, "controls": controls, "text": text or None, **options, "bos": bos}
    given |= {"documents": documents, "keep-activations": keep_activations or None, "seed": seed, "device": device}
    given |= {"dtype": dtype}
    folder = out or f"runs/dictionary-{site}"

    from assay.find.dictionary.cost import cost
    from assay.find.dictionary.folder import CLAIM, check_folder, save, work_of
    from assay.find.dictionary.search import find_dictionaries
    from assay.find.dictionary.text import data_of
    from assay.report.terminal.progress import Bar

    if not dry_run:
        check_folder(folder, overwrite)
    with Bar(everywhere=True) as progress:
        progress(f"loading {wanted.model}", 0, None)
        model, data = data_of(
            wanted.model, task, plan, documents=documents or DOCUMENTS, folder=folder, device=device, dtype=dtype
        )
        if dry_run:
            print_cost(cost(model, data, plan), as_json)
            return
        work = work_of(folder, plan, overwrite, model.fingerprint)
        passed = {name: value for name, value in given.items() if value is not None}
        arguments = {
            "passed": passed,
            "resolved": vars(plan),
            "command": command_line("find", given, "dictionary", source),
        }
        record = find_dictionaries(model, data.task, plan, data.rows, work, arguments=arguments, progress=progress)
        save(
            record, work, model=wanted.model, claim=data.claim, files=data.files, folder=folder, overwrite=overwrite,
            keep=keep_activations,
        )  # fmt: skip
    if as_json:
        print_json(record)
        return
    from assay.report.terminal.dictionaries import table

    follow = f"assay measure {shlex.quote(str(Path(folder) / CLAIM))}"
    console().print(table(record, folder=folder, follow=follow))
