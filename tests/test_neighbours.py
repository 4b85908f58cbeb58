"""The examples of docs/how-to/neighbours.md that need another library, each where that library is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.test_docs import NEEDS, ROOT, blocks

PAGE = ROOT / "docs" / "how-to" / "neighbours.md"
EXAMPLES = blocks(PAGE, "python")


def test_every_neighbour_has_an_example():
    needed = {words.removeprefix(NEEDS) for _, words, _ in EXAMPLES if words}
    assert needed == {"transformer_lens", "nnsight", "peft", "datasets"}


@pytest.mark.filterwarnings("default")  # of the other library
@pytest.mark.parametrize("index", [i for i, (_, words, _) in enumerate(EXAMPLES) if words])
def test_an_example_runs_where_its_library_is_installed(index: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    line, words, text = EXAMPLES[index]
    library = words.removeprefix(NEEDS)
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for at, block in ((EXAMPLES[0][0], EXAMPLES[0][2]), (line, text)):
        exec(compile("\n" * at + block, str(PAGE), "exec"), names)
