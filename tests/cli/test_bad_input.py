"""Bad input, end to end: `assay measure` says one sentence on stderr, ends with 2, and leaves nothing behind.
What is wrong by its name alone is said before torch is imported."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from assay import cli
from assay.measure.measurement import load_run
from assay.zoo import index

CLAIM = """\
model: {model}
task: {task}
explanation: {explanation}
{more}
"""
TEXT, REPEAT = "{kind: text, split: test}", "{kind: repeat, n: 8, length: 8}"
KEEP = "{kind: keep, components: [a3.h6]}"
SOURCE = Path(cli.__file__).parents[2]
STORY = "Once upon a time, there was a little girl named Lily. She liked to play with her red ball in the park. "

Run = Callable[..., tuple[int, str, str]]


def test_arguments_of_another_type_are_a_sentence():
    """In a process of its own: here annotations are checked before the code is reached."""
    calls = {
        "assay.programs.label([3, 5])": "a label's source is a text such as 'fr', not [3, 5]",
        "assay.measure(assay.Keep(['a3.h6']), 'zoo:stories-260k', 'text')": "'text' is no task",
        "assay.measure('any.yaml', 'zoo:stories-260k', 'text')": "'text' is no task; use assay.Task.text, .repeat, ",
        "assay.Remove([(1, 0)])": "Remove takes names such as 'a1.h3' or 'm2', not (1, 0); did you mean 'a1.h0'?",
        "assay.Keep([3])": "Keep takes names such as 'a1.h3' or 'm2', not 3",
        "assay.Program({(1, 0): assay.programs.copy()})": "Program takes names such as 'a1.h3' or 'm2', not (1, 0);",
        "assay.Circuit(nodes=[(1, 0)])": "Circuit takes names such as 'a1.h3', not (1, 0); did you mean 'a1.h0'?",
        "assay.Circuit(edges=[5])": "Circuit takes names such as 'm0->logits', not 5",
    }
    code = f"""
import assay
for call in {list(calls)!r}:
    try:
        eval(call)
    except assay.UserError as problem:
        print(problem)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    said = done.stdout.splitlines()
    assert len(said) == len(calls)
    for sentence, line in zip(calls.values(), said, strict=True):
        assert line.startswith(sentence)


@pytest.fixture
def run(run: Run) -> Run:
    """Writes a claim file, measures it into `out`, and gives (exit code, stdout, stderr)."""

    def measure(
        *flags: str,
        model: str = "zoo:stories-260k",
        task: str = TEXT,
        explanation: str = KEEP,
        more: str = "",
    ) -> tuple[int, str, str]:
        Path("claim.yaml").write_text(CLAIM.format(model=model, task=task, explanation=explanation, more=more))
        return run("measure", "claim.yaml", "--quick", "--out", "out", *flags)

    return measure


def refused(result: tuple[int, str, str], sentence: str) -> None:
    """Exactly one line on stderr, which says this; nothing on stdout, nothing half-written."""
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.count("\n") == 1, err
    assert err.startswith("assay: ")
    assert sentence in err
    assert not Path("out").exists()
    assert not list(Path().glob(".out*"))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"explanation": "{kind: keep, components: [b3.h6]}"}, "'b3.h6' is not in zoo:stories-260k: its components"),
        ({"explanation": "{kind: keep, components: [b3.h6]}"}, "did you mean 'a3.h6'"),
        (
            {"explanation": "{kind: keep, components: [L3H6]}"},
            "'L3H6' is not a component's name; did you mean 'a3.h6'?",
        ),
        (
            {"explanation": "{kind: keep, components: [h.3.mlp]}"},
            "named like 'a1.h3', 'm2' or 'm2.n137'; did you mean 'm3",
        ),
        (
            {"explanation": "{kind: keep, components: [a3, a3.h6]}"},
            "'a3.h6' lies in 'a3', which is named too; leave one",
        ),
        ({"model": "/etc/passwd"}, "claim.yaml:1: '/etc/passwd' is a file; give the folder that holds config.json"),
        (
            {"explanation": "{kind: circuit, edges: [A0.1->m1]}"},
            "'A0.1' is not something that writes; did you mean 'a0.h1'?",
        ),
        ({"explanation": "{kind: circuit, nodes: [L1H2]}"}, "'L1H2' is not a component's name; did you mean 'a1.h2'?"),
        ({"explanation": "{kind: keep, components: [a9.h6]}"}, "claim.yaml:3: 'a9.h6' is not in zoo:stories-260k: it"),
        ({"explanation": "{kind: remove, components: [a3.h60]}"}, "its layers have 8 heads, 0 to 7"),
        ({"explanation": "{kind: remove, components: [m2.n9999]}"}, "its layers have 172 neurons, 0 to 171"),
        ({"explanation": "{kind: remove, components: [a1.kv7]}"}, "its layers have 4 key/value groups, 0 to 3"),
        ({"task": "{kind: text, split: tset}"}, "claim.yaml:2: unknown split 'tset' of the text of zoo:stories-260k"),
        ({"more": "reference: {split: test}"}, "claim.yaml:4: the reference overlaps what is scored: both are"),
        ({"task": "{kind: text, files: [empty.txt]}"}, "claim.yaml:2: the file 'empty.txt' is empty"),
        ({"task": '{kind: text, texts: [" "]}'}, "claim.yaml:2: the text ' ' is empty"),
        ({"task": "{kind: text, files: [stry.txt]}"}, "the file 'stry.txt' does not exist here"),
        ({"task": "{kind: text, files: [stry.txt]}"}, "did you mean 'story.txt'"),
        ({"task": "{kind: text, files: 'no/*.txt'}"}, "claim.yaml:2: no file matches 'no/*.txt'"),
        ({"task": "{kind: text, files: pictures}"}, "claim.yaml:2: the folder 'pictures' holds no file of texts (.txt"),
        ({"task": "{kind: text, column: body}"}, "claim.yaml:2: 'column' goes with 'files' of a task of kind 'text'"),
        (
            {"task": "{kind: text, files: [story.txt]}", "more": "reference: {files: '*.txt'}"},
            "claim.yaml:4: the reference overlaps what is scored: '*.txt' is in both",
        ),
        (
            {"task": "{kind: text, files: [story.txt]}", "more": "reference: {files: [./story.txt]}"},
            "claim.yaml:4: the reference overlaps what is scored: './story.txt' is in both",
        ),
        (
            {"task": TEXT, "more": "ablation: [mean, counterfactual]"},
            "claim.yaml:4: a task of kind 'text' has no counterfactuals, which the ablation 'counterfactual' takes; "
            "valid: 'zero', 'mean',",
        ),
        (
            {"more": "ablation: counterfactual"},
            "claim.yaml:4: a task of kind 'repeat' has no counterfactuals, which the ablation",
        ),
        (
            {"task": "{kind: prompts, file: plain.csv, metric: loss}", "more": "ablation: counterfactual"},
            "claim.yaml:4: the file 'plain.csv' has no column 'corrupted', which the ablation 'counterfactual' takes; ",
        ),
        (
            {"task": "{kind: prompts, file: plain.csv, metric: logit_diff}"},
            "claim.yaml:2: the file 'plain.csv' has no column 'incorrect', which the metric 'logit_diff' needs; valid",
        ),
        (
            {"task": "{kind: prompts, file: plain.csv}"},
            "claim.yaml:2: the file 'plain.csv' has no column 'incorrect', which the metric 'logit_diff', the default",
        ),
        (
            {"task": "{kind: repeat, n: 8, metric: logit_diff}"},
            "claim.yaml:2: a task of kind 'repeat' has no incorrect answers, which the metric 'logit_diff' needs; ",
        ),
        (
            {"task": REPEAT, "more": "reference: {split: train}"},
            "claim.yaml:4: a task of kind 'repeat' makes its own reference; leave it out",
        ),
        (
            {"task": "{kind: prompts, file: plain.csv, metric: loss}", "more": "reference: {texts: [Lily]}"},
            "claim.yaml:4: a task of kind 'prompts' takes one file as 'reference'",
        ),
        (
            {"explanation": "{kind: keep, components: a3.h6}"},
            "'components' must be a list such as [a1.h3], not 'a3.h6'",
        ),
        (
            {"task": "{kind: prompts, file: ragged.csv}"},
            "ragged.csv:3: the row has more cells than the header has columns",
        ),
    ],
)
def test_what_is_wrong_by_its_name_is_said_before_a_model_is_loaded(
    run: Run, monkeypatch: pytest.MonkeyPatch, fields: dict[str, str], sentence: str
):
    monkeypatch.setattr("assay.model.load.load", lambda *_, **__: pytest.fail("a model was loaded"))
    Path("empty.txt").write_text(" \n")
    Path("plain.csv").write_text("clean,correct\nLily went to the, park\n")
    Path("ragged.csv").write_text("clean,correct,incorrect\nLily ran, up, down\nTom ran, up, down, left\n")
    Path("story.txt").write_text(STORY)
    Path("pictures").mkdir()
    fields = {"task": TEXT if "split" in fields.get("more", "") else REPEAT, **fields}
    if "split: test" in fields.get("more", ""):
        fields["task"] = TEXT
    refused(run(**fields), sentence)


def test_an_ablation_given_by_flag_is_refused_at_the_line_of_the_task(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("assay.model.load.load", lambda *_, **__: pytest.fail("a model was loaded"))
    refused(
        run("--ablation", "counterfactual", task=REPEAT),
        "claim.yaml:2: a task of kind 'repeat' has no counterfactuals, which the ablation 'counterfactual' takes; ",
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_here(run: Run):
    refused(run("--device", "cuda", task=REPEAT), "the device 'cuda' is not available here")


def test_validate_refuses_what_measure_refuses(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    Path("claim.yaml").write_text(
        CLAIM.format(model="zoo:stories-260k", task=TEXT, explanation=KEEP, more="ablation: counterfactual")
    )
    with pytest.raises(SystemExit) as end:
        cli.main(["validate", "claim.yaml"])
    assert end.value.code == 2
    assert "claim.yaml:4: a task of kind 'text' has no counterfactuals" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"task": "{kind: text, files: [short.txt]}"}, "claim.yaml:2: short.txt has 4 tokens; a document"),
        ({"task": "{kind: text, texts: [Lily ran.]}"}, "claim.yaml:2: texts[0] has"),
        (
            {"task": "{kind: text, files: [rows.jsonl]}"},
            "claim.yaml:2: rows.jsonl:1: there is no column 'text'; valid: 'b",
        ),
        ({"task": f"{{kind: text, texts: ['{STORY}']}}"}, "scored ones when at least two differ; give 'reference'"),
        ({"task": "{kind: repeat, length: 500}"}, "claim.yaml:2: two copies of 500 tokens do not fit the context"),
        ({"task": "{kind: prompts, file: story.txt}"}, "claim.yaml:2: the prompts 'story.txt' must be a file that"),
        ({"task": "{kind: text, files: [bytes.txt]}"}, "claim.yaml:2: the file 'bytes.txt' cannot be read as UTF-8"),
        (
            {"task": "{kind: text, files: [story.txt]}", "more": "reference: {files: [copy.txt]}"},
            "claim.yaml:4: the reference overlaps what is scored: copy.txt equals story.txt",
        ),
        (
            {"task": "{kind: text, files: [story.txt]}", "more": "reference: {files: [longer.txt]}"},
            "overlaps what is scored: story.txt stands word for word in longer.txt",
        ),
    ],
)
def test_data_that_cannot_be_scored(run: Run, fields: dict[str, str], sentence: str):
    Path("short.txt").write_text("Lily ran.")
    Path("rows.jsonl").write_text('{"body": "Lily ran."}')
    Path("bytes.txt").write_bytes(b"\xff\xfe\x00" * 40)
    Path("story.txt").write_text(STORY * 2)
    Path("copy.txt").write_text(STORY * 2)
    Path("longer.txt").write_text("The end was near. " + STORY * 2 + "So they went home.")
    refused(run(**fields), sentence)


def broken(weight: str, change: Callable[[torch.Tensor], torch.Tensor | None], **config: object) -> None:
    """A copy of the stories model in ./broken, with one weight changed or taken away."""
    shutil.copytree(index.folder("stories-260k"), "broken")
    weights = load_file("broken/model.safetensors")
    changed = change(weights.pop(weight))
    if changed is not None:
        weights[weight] = changed.contiguous()
    save_file(weights, "broken/model.safetensors", metadata={"format": "pt"})
    settings = json.loads(Path("broken/config.json").read_text()) | config
    Path("broken/config.json").write_text(json.dumps(settings))


def with_value(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(weight: torch.Tensor) -> torch.Tensor:
        weight[0, 0] = value
        return weight

    return change


DOWN = "model.layers.1.mlp.down_proj.weight"


@pytest.mark.parametrize(
    ("weight", "change", "config", "sentence"),
    [
        (DOWN, with_value(float("nan")), {}, f"broken: the weights '{DOWN}' hold 1 NaN or infinite values"),
        (DOWN, with_value(float("inf")), {}, f"broken: the weights '{DOWN}' hold 1 NaN or infinite values"),
        (DOWN, lambda weight: None, {}, f"broken lacks 1 of its weights, the first of them '{DOWN}'"),
        (
            "model.embed_tokens.weight",
            lambda weight: weight[:400],
            {"vocab_size": 400},
            "broken: the tokenizer has 512 entries but the model's vocabulary only 400",
        ),
        (
            DOWN,
            lambda weight: weight,
            {"model_type": "nonesuch"},
            "broken is of the kind 'nonesuch', which transformers",
        ),
    ],
)
def test_a_model_that_cannot_be_trusted(
    run: Run,
    weight: str,
    change: Callable[[torch.Tensor], torch.Tensor | None],
    config: dict[str, object],
    sentence: str,
):
    broken(weight, change, **config)
    refused(run(model="./broken", task=REPEAT), sentence)


def test_a_model_that_fails_the_proof_is_refused_with_the_numbers(run: Run, monkeypatch: pytest.MonkeyPatch):
    from assay.model.transformer import Model

    forward = Model.forward
    monkeypatch.setattr(Model, "forward", lambda *args, **more: forward(*args, **more) * 1.5)
    result = run(task=REPEAT)
    refused(
        result, "fails the proof on load: the component view's logits differ from the library's own forward pass by"
    )
    assert "times the library's own rounding (at most 5)" in result[2]


def test_a_run_that_fails_leaves_an_earlier_one_as_it_was(run: Run, monkeypatch: pytest.MonkeyPatch):
    Path("out").mkdir()
    for name in ("measurement.json", "examples.parquet", "report.html"):
        Path("out", name).write_text("an earlier run")
    code, out, err = run(task=REPEAT)
    assert (code, out) == (2, "")
    assert "the output folder 'out' exists; choose another one, or give --overwrite" in err
    code, out, err = run("--overwrite", task="{kind: text, texts: [Lily ran.]}")
    assert (code, out) == (2, "")
    monkeypatch.setattr("assay.measure.workbench.controls", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    code, out, err = run("--overwrite", task=REPEAT)
    assert (code, out) == (130, "")
    kept = {"out.unfinished", "register.jsonl"}  # what the run had until it was stopped
    assert sorted(os.listdir()) == sorted({"claim.yaml", "out", *kept, *(p.name for p in Path().glob("runs"))})
    assert load_run("out.unfinished").record.budget.ahead
    assert {p.name: p.read_text() for p in Path("out").iterdir()} == dict.fromkeys(
        ("measurement.json", "examples.parquet", "report.html"), "an earlier run"
    )


def test_a_claim_that_is_wrong_by_its_names_never_imports_torch(tmp_path: Path):
    (tmp_path / "claim.yaml").write_text(
        CLAIM.format(model="zoo:stories-260k", task=TEXT, explanation="{kind: keep, components: [b3.h6]}", more="")
    )
    code = (
        "import sys, assay.cli\n"
        "try:\n    assay.cli.main(['measure', 'claim.yaml'])\n"
        "except SystemExit as end:\n    print(end.code, 'torch' in sys.modules)"
    )
    there = os.environ | {"PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=there, capture_output=True, text=True, check=True
    )
    assert done.stdout == "2 False\n"


def test_a_floor_that_is_no_worse_than_the_model_is_said_and_not_divided_by(run: Run):
    task = "{kind: repeat, n: 12, length: 8}"
    code, out, err = run("--json", task=task, explanation="{kind: constant, components: [a2.h1]}", more="controls: 2")
    assert code == 0, err
    record = json.loads(out)
    assert record["recovered_loss"]["value"] is None
    assert "model's" in record["recovered_loss"]["reason"]
