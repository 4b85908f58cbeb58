"""The pytest plug-in: a file `NAME.claim.yaml` is a test, that the claim holds what it says under `expect`.

It is inert where there are no such files, and imports nothing more of assay before one of them runs. Files that a claim
names are relative to where pytest was started, as they are for `assay measure`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SUFFIXES = (".claim.yaml", ".claim.yml")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A claim file among the files that are collected, or named on the command line."""
    return ClaimTests.from_parent(parent, path=file_path) if file_path.name.endswith(SUFFIXES) else None


class ClaimTests(pytest.File):
    """A claim file, which holds one test."""

    def collect(self) -> Iterator[pytest.Item]:
        yield ClaimTest.from_parent(self, name="claim")


class ClaimTest(pytest.Item):
    """The claim is valid, can be measured, and is what it says under `expect`."""

    def runtest(self) -> None:
        from assay.explanations.claims.file import load_claim
        from assay.testing.claims import assert_expected

        result = assert_expected(load_claim(self.path))
        self.user_properties.append(("headline", repr(result)))  # for reports in JUnit's XML

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        from assay.errors import UserError

        if isinstance(excinfo.value, AssertionError | UserError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, f"the claim {self.path.name}"
