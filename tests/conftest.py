"""Types and shapes are checked as the tests run: in each test, the first calls of each function of assay.

The checks of one call take longer than a small model's layer, and a test that calls a function a hundred times rarely
brings it another shape after the first few. CALLS = math.inf checks every call. A function that is made within another
is never checked: it would be instrumented anew whenever it is made.
"""

from __future__ import annotations

import dataclasses
import functools
import gc
import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jaxtyping
import pytest

CALLS = 3
called: dict[Any, int] = {}
every_call = jaxtyping.jaxtyped


def first_calls(*, typechecker: Any) -> Callable[[Any], Any]:
    """In place of `jaxtyping.jaxtyped`, with which jaxtyping's import hook decorates what it imports."""

    def decorated(made: Any) -> Any:
        if inspect.isclass(made):
            if dataclasses.is_dataclass(made):
                made.__init__ = decorated(made.__init__)
            return made
        if "<locals>" in made.__qualname__:
            return made

        @functools.cache
        def checked() -> Any:  # made late: most functions are called by few tests
            return every_call(made, typechecker=typechecker)

        @functools.wraps(made)
        def call(*args: Any, **kwargs: Any) -> Any:
            before = called.get(made, 0)
            if before >= CALLS:
                return made(*args, **kwargs)
            called[made] = before + 1
            return checked()(*args, **kwargs)

        return call

    return decorated


assert "assay" not in sys.modules, "what is imported already cannot be checked"
jaxtyping.jaxtyped = first_calls
jaxtyping.install_import_hook("assay", "beartype.beartype")


LONG = ("test_stress.py", "test_docs.py", "test_coverage.py", "test_real.py")  # files of few tests and many seconds


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files begin first, or a worker would be left alone with the last of them."""
    items.sort(key=lambda item: item.path.name not in LONG)


gc.disable()  # what is imported and collected stays to the end: the garbage collector need not look at it


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    called.clear()


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command in an empty folder: (exit code, stdout, stderr)."""
    from assay import cli  # not before its checks are in place

    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            cli.main(list(arguments))
        output = capsys.readouterr()
        return int(end.value.code or 0), output.out, output.err

    return command


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch):
    """Installs the plug-ins beside the tests."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "plugins"))
    importlib.invalidate_caches()
    yield
    for name in ("scaled", "echo", "shifted"):
        sys.modules.pop(name, None)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Adds a package with one entry point, and its one module."""

    def installed(package: str, group: str, name: str, code: str = "", value: str = "") -> None:
        folder = tmp_path / package
        info = folder / f"{package}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[assay.{group}]\n{name} = {value or package + ':made'}\n")
        (folder / f"{package}.py").write_text(code)
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, package, raising=False)

    return installed
