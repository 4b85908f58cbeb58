"""The commands: what goes to stdout, what to stderr, and with which exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import assay
from assay import cli
from assay.cli import output as cli_output
from assay.errors import RunError
from assay.zoo import index

CLAIM = """\
model: zoo:novel-attn2-rep
task: {kind: repeat, n: 8}
explanation: {kind: keep, components: [a1.h3]}
"""


def test_version(run):
    assert run("--version") == (0, f"assay {assay.__version__}\n", "")


def test_help_and_no_command_name_every_command(run):
    for arguments in ((), ("--help",), ("-h",)):
        code, out, err = run(*arguments)
        assert (code, err) == (0, "")
        for name in ("demo", "init", "measure", "validate", "ls", "compare", "report", "zoo", "--version"):
            assert name in out


def test_help_says_what_the_defaults_are(run):
    assert "[default: runs/demo]" in " ".join(run("demo", "--help")[1].split())
    assert "else runs/CLAIM]" in " ".join(run("measure", "--help")[1].split())
    assert "runs/NAME" not in run("demo", "--help")[1] + run("measure", "--help")[1]
    assert "assay zoo [OPTIONS] [ACTION] [NAME]" in run("zoo", "--help")[1]
    for name in ("demo", "init", "measure", "validate", "ls", "compare", "report", "zoo"):
        for unclear in ("<bool>", "[[", "..."):
            assert unclear not in run(name, "--help")[1].replace("]...", "").replace("}...", "")


def test_ls_lists_components_and_says_what_the_proof_on_load_found(run):
    code, out, err = run("ls", "zoo:stories-260k")
    assert code == 0
    assert out.split()[:2] == ["input", "a0.h0"]
    assert err.startswith("proof on load: no layer differs from the library's by more than ")
    assert "times its own rounding (limit 5); the logits differ by " in err


def test_validate_says_what_a_file_claims(run):
    Path("claim.yaml").write_text(CLAIM)
    code, out, err = run("validate", "claim.yaml")
    assert (code, err) == (0, "")
    assert out == (
        "claim.yaml is valid: keep (level: where) on a1.h3 of zoo:novel-attn2-rep, task repeat, "
        "ablation mean, resample_joint\n"
    )


def test_find_alone_says_what_there_is(run):
    code, out, err = run("find")
    assert (code, err) == (0, "")
    assert "Commands:\n  circuit" in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("validate", "no.yaml"), "the claim file 'no.yaml' does not exist; did you mean '"),
        (("measure", "no.yaml"), "the claim file 'no.yaml' does not exist; did you mean '"),
        (("measure", "bad.yaml"), "bad.yaml:1: unknown field 'modle'; did you mean 'model'?"),
        (("measure", "claim.yaml", "--ablation", "men"), "unknown ablation 'men'; did you mean 'mean'?"),
        (("measure", "claim.yaml", "--device", "gpu"), "unknown device 'gpu'; did you mean 'cpu'?"),
        (("measure", "claim.yaml", "--dtype", "float8"), "unknown dtype 'float8'; did you mean 'float"),
        (("measure", "claim.yaml", "--seed", "-1"), "'seed' must be at least 0, not -1"),
        (("measure", "claim.yaml", "--out", "taken"), "the output folder 'taken' exists; "),
        (("measure", "claim.yaml", "--sede", "1"), "No such option: --sede"),
        (("measure", "claim.yaml", "--documents", "9"), "--documents is no flag of 'measure' but a field of the claim"),
        (("mesure", "claim.yaml"), "No such command 'mesure'. Did you mean 'measure'?"),
        (("measure",), "give a claim file: assay measure CLAIM.yaml; or a run to go on with: --continue RUN"),
        (
            ("measure", "x.yaml", "--continue", "runs/x"),
            "--continue goes on with a run as it is, so",
        ),
        (("measure", "--continue", "runs/nowhere"), "there is no run 'runs/nowhere'"),
        (
            ("measure", "x.yaml", "--budget", "9", "--thorough"),
            "--thorough measures everything, and --budget 9 does",
        ),
        (("ls", "zoo:novel-9l"), "unknown model 'zoo:novel-9l'; did you mean 'zoo:novel-4l'"),
        (("init", "novel-4l", "--out", "new.yaml"), "unknown model 'novel-4l'; did you mean 'zoo:novel-4l'?"),
        (("init", "zoo:novel-4l"), "the file 'claim.yaml' exists; give --overwrite, or another name with --out"),
        (
            ("init", "zoo:novel-4l", "--out", "no/claim.yaml"),
            "the claim file 'no/claim.yaml' cannot be written: no such folder",
        ),
        (("compare", "runs/a"), "compare needs two runs or more, and only 'runs/a' was given"),
        (("compare", "runs/a", "runs/b"), "there is no run 'runs/a'"),
        (("compare", "taken", "./taken/"), "the run './taken/' is given twice, first as 'taken'; name two different"),
        (("zoo", "list", "novel-4l"), "zoo list takes no name, and 'novel-4l' was given; to train it: assay zoo train"),
        (("zoo", "train"), "zoo train needs the name of a model; valid: 'novel-attn2', "),
        (("report", "taken"), "'taken' is not a run folder: it has no measurement.json"),
        (("zoo", "lst"), "zoo cannot 'lst'; did you mean 'list'?"),
        (("zoo", "train", "novel-5l"), "the zoo has no recipe for 'novel-5l'; did you mean 'novel-4l'"),
    ],
)
def test_a_mistake_is_one_sentence_on_stderr_and_exit_code_2(run, arguments: tuple[str, ...], sentence: str):
    Path("claim.yaml").write_text(CLAIM)
    Path("bad.yaml").write_text(CLAIM.replace("model", "modle"))
    Path("taken").mkdir()
    Path("taken/thesis.txt").write_text("mine")
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith(f"assay: {sentence}")
    if arguments[0] == "init":
        assert Path("claim.yaml").read_text() == CLAIM
        assert not Path("new.yaml").exists()


def test_an_unexpected_error_keeps_its_traceback(run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("assay.explanations.claims.file.load_claim", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(["validate", "claim.yaml"])


def test_an_error_in_the_input_from_anywhere_ends_with_2(run, monkeypatch: pytest.MonkeyPatch):
    def fail(path: str) -> None:
        raise RunError("the disk is full")

    monkeypatch.setattr("assay.explanations.claims.file.load_claim", fail)
    assert run("validate", "claim.yaml") == (2, "", "assay: the disk is full\n")


def test_ctrl_c_ends_with_130(tmp_path: Path):
    code = (
        "import assay.cli, assay.explanations.claims.file as c, signal, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job's children ignore it
        "def wait(path):\n    print('ready', flush=True); time.sleep(30)\n"
        "c.load_claim = wait\nassay.cli.main(['validate', 'x'])"
    )
    running = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=20)
    assert running.returncode == 130
    assert "Traceback" not in err


@pytest.mark.parametrize("module", ["ctypes", "typer", "assay.cli.app", "assay.intervene.fill.spec", "yaml"])
def test_ctrl_c_while_a_command_is_being_imported_ends_with_130_and_without_a_word(module: str):
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Interrupts:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupts())\n"
        "sys.argv = ['assay', 'validate', 'claim.yaml']\n"
        "from assay.cli import main\nmain()"
    )
    there = os.environ | {"PYTHONPATH": str(Path(assay.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=there)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_nothing_slow_is_imported_before_ctrl_c_is_answered():
    code = "import sys\nfrom assay.cli import main\nprint(*sys.modules)"
    there = os.environ | {"PYTHONPATH": str(Path(assay.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, env=there)
    assert not {"typing", "re", "importlib", "typer", "assay.errors"} & set(done.stdout.split())


def test_a_closed_pipe_is_no_error():
    read, write = os.pipe()
    os.close(read)
    code = "from assay.cli import main; main(['zoo'])"
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert done.stderr == ""


def test_command_line_says_what_reproduces_a_run_and_not_where_it_went():
    flags = {"ablation": ["mean", "zero"], "seed": 3, "quick": True, "register": True, "dtype": None}
    assert cli_output.command_line("measure", flags, "my claim.yaml") == (
        "assay measure 'my claim.yaml' --ablation mean --ablation zero --seed 3 --quick"
    )


def test_demo_claim_is_shipped_and_valid():
    demo = Path(assay.__file__).parent / "zoo" / "claims" / "previous_token.yaml"
    assert assay.load_claim(demo).model == "zoo:novel-attn2-rep"


def test_zoo_lists_the_models_that_are_here_and_says_what_can_be_fetched(run, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path.cwd()))
    code, out, err = run("zoo", "list")
    assert code == 0
    assert err.startswith("to be had with assay zoo fetch smollm2-135m: 30 layers, ")
    assert out == run("zoo")[1]
    assert set(index.names()) <= set(index.known())
    for name in index.names():
        assert f"zoo:{name}" in out.split()


def test_a_terminal_with_no_color_is_plain(monkeypatch):
    from rich.text import Text

    from assay.cli.output import rendered

    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes the output for a terminal
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[1" in rendered(Text("claim", style="bold"))
    monkeypatch.setenv("NO_COLOR", "1")
    assert rendered(Text("claim", style="bold")) == "claim\n"


def test_a_dry_run_needs_no_free_folder(run):
    Path("claim.yaml").write_text(CLAIM)
    Path("taken").mkdir()
    assert run("measure", "claim.yaml", "--out", "taken")[0] == 2
    code, out, err = run("measure", "claim.yaml", "--out", "taken", "--dry-run")
    assert (code, "passes over all scored rows" in out) == (0, True), err
    assert not list(Path("taken").iterdir())
