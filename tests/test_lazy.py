"""The public face is lazy and complete."""

from __future__ import annotations

import subprocess
import sys

import pytest

import assay

HEAVY = ("torch", "transformers", "numpy", "scipy", "pyarrow", "altair", "sklearn")


def imported_after(code: str) -> list[str]:
    """Which heavy libraries a fresh interpreter has imported after running `code`."""
    code += f"\nimport sys; print(*[m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr.split()


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


def test_measure_is_called_even_after_its_package_was_imported():
    import assay.measure.settings  # binds the package `assay.measure` to the name of the function

    assert callable(assay.measure)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'assay' has no attribute 'meassure'"):
        assay.meassure  # noqa: B018
