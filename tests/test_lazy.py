"""The public face is lazy and complete."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import shutil
import subprocess
import sys

import pytest

import assay
from assay.measure.settings import Flags
from tests.explanations.claims.claim_texts import GOOD

HEAVY = ("torch", "transformers", "numpy", "scipy", "pyarrow", "altair", "sklearn")


def imported_after(code: str) -> list[str]:
    """Which heavy libraries a fresh interpreter has imported after running `code`."""
    code += f"\nimport sys; print(*[m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr.split()


def test_reading_a_claim_imports_nothing_heavy(tmp_path):
    (tmp_path / "claim.yaml").write_text(GOOD)
    load = "from assay.explanations.claims.file import load_claim; load_claim"
    assert imported_after(f"{load}({str(tmp_path / 'claim.yaml')!r})") == []


def test_import_assay_imports_nothing_heavy():
    assert imported_after("import assay; assay.__version__; dir(assay)") == []


def test_load_claim_and_settings_import_nothing_heavy():
    assert imported_after("import assay; assay.load_claim; assay.Settings.resolve(); assay.UserError") == []


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["measure", "--help"], ["zoo"], ["validate", "{demo}"], ["find", "circuit", "--help"]],
)
def test_light_commands_import_nothing_heavy(arguments: list[str]):
    code = (
        "import assay, assay.cli, pathlib\n"
        "demo = pathlib.Path(assay.__file__).parent / 'zoo/claims/previous_token.yaml'\n"
        f"try: assay.cli.main([a.format(demo=demo) for a in {arguments!r}])\n"
        "except SystemExit as end: assert not end.code, end.code"
    )
    assert imported_after(code) == []


def test_every_public_name_is_there():
    for name in assay.__all__:
        assert getattr(assay, name) is not None
    assert sorted(assay.__all__) == dir(assay)


def test_measure_is_the_function_also_after_its_package_was_imported():
    import assay.measure.settings as settings

    assert inspect.isfunction(assay.measure)
    assert settings.Settings is assay.Settings
    assert assay.measure.settings is settings  # where its package's modules are looked for too
    assert sys.modules["assay.measure.settings"] is settings


def test_help_shows_the_signature_with_every_setting_and_the_docstring():
    shown = subprocess.run(
        [
            sys.executable,
            "-c",
            "import assay.measure.settings, assay; help(assay.measure); help(assay.Workbench.measure)",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    signature = r"measure\(claim: .*model: 'Any' = None, task: 'Task \| None' = None, .*ablation: .* -> 'Measurement'"
    assert re.search(signature, shown)
    for name in Flags.__annotations__:
        assert shown.count(f" {name}: ") >= 2, name
    assert "Measures how much an explanation explains." in shown


def test_the_keywords_are_the_settings():
    names = [field.name for field in dataclasses.fields(assay.Settings)]
    assert [name for name in names if name not in ("passed", "command")] == list(Flags.__annotations__)


def test_a_saved_run_is_opened_without_torch():
    assert "torch" not in imported_after("import assay; assay.load_run; assay.Measurement; assay.Estimate")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'assay' has no attribute 'meassure'"):
        assay.meassure  # noqa: B018


def test_python_m_assay_is_the_command_and_completes_words_without_anything_heavy():
    code = (
        "import atexit, runpy, sys; sys.argv = ['assay']\n"
        f"atexit.register(lambda: print(*[m for m in {HEAVY} if m in sys.modules], file=sys.stderr))\n"
        "runpy.run_module('assay', run_name='__main__')"
    )
    asked = {"_ASSAY_COMPLETE": "complete_bash", "COMP_WORDS": "assay me", "COMP_CWORD": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **asked})
    assert (done.returncode, done.stdout.split(), done.stderr.split()) == (0, ["measure"], [])


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_the_completion_script_completes_in_bash(tmp_path):
    command = tmp_path / "assay"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m assay "$@"\n')
    command.chmod(0o755)
    script = """
source <(assay --show-completion bash)
COMP_WORDS=(assay measure --ov); COMP_CWORD=2; _assay_completion assay; echo "${COMPREPLY[@]}"
complete -p assay
"""
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert done.stdout.splitlines() == ["--overwrite", "complete -o default -F _assay_completion assay"], done.stderr
