"""What stands around the code: the package's metadata, how it is cited, how to report."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import assay

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_package_is_marked_as_typed():
    assert (Path(assay.__file__).parent / "py.typed").read_bytes() == b""
    assert "Typing :: Typed" in PROJECT["classifiers"]


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (cited["cff-version"], cited["version"], cited["license"]) == (
        "1.2.0",
        assay.__version__,
        PROJECT["license"],
    )
    assert cited["message"]
    assert cited["title"].startswith("Assay")
    assert [author["name"] for author in cited["authors"]] == [author["name"] for author in PROJECT["authors"]]


@pytest.mark.parametrize("name", ["bug", "number", "wish"])
def test_an_issue_form_is_one(name: str):
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text())
    assert {"name", "description", "body"} <= form.keys()
    ids = [field["id"] for field in form["body"]]
    assert len(ids) == len(set(ids))
    assert all(field["attributes"]["label"] and field["type"] in ("textarea", "input") for field in form["body"])


def test_what_the_tests_install_is_pinned():
    pinned = {
        line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    }
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *extras["dev"], *extras["docs"]]
    names = {line.split(">")[0].split("[")[0].lower() for line in wanted} - {PROJECT["name"]}
    assert names <= pinned
