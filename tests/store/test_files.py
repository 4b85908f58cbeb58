"""Single files are replaced whole and never through a link; folders are tried before anything is computed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from assay.errors import RunError
from assay.store import files
from assay.store.runs import check_target


def test_a_link_is_replaced_and_what_it_leads_to_is_left_alone(tmp_path: Path):
    outside = tmp_path / "precious.txt"
    outside.write_text("precious")
    for target in (outside, tmp_path / "nowhere"):
        (tmp_path / "page").unlink(missing_ok=True)
        (tmp_path / "page").symlink_to(target)
        files.write_file(tmp_path / "page", b"new")
        assert not (tmp_path / "page").is_symlink()
        assert (tmp_path / "page").read_bytes() == b"new"
    assert outside.read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_file_that_cannot_be_written_is_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call, error):
    def fail(*_: object) -> None:
        raise error

    (tmp_path / "page").write_bytes(b"old")
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(error)):
        files.write_file(tmp_path / "page", b"new" * 1000)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("page", b"old")]


def test_a_file_keeps_its_mode(tmp_path: Path):
    (tmp_path / "page").write_bytes(b"old")
    (tmp_path / "page").chmod(0o640)
    files.write_file(tmp_path / "page", b"new")
    assert (tmp_path / "page").stat().st_mode & 0o777 == 0o640


def test_a_folder_is_tried_by_making_something_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    files.check_writable(tmp_path / "a" / "b" / "c", "the output folder 'a/b/c'")
    assert list(tmp_path.iterdir()) == []
    real = os.mkdir

    def mkdir(path, *rest, **more):  # a file system that is mounted to be read, where permissions say nothing
        if str(path).startswith(str(tmp_path)):
            raise OSError(30, "Read-only file system")
        real(path, *rest, **more)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(RunError, match=r"cannot be made, because '.*' is not writable \(Read-only file system\)$"):
        check_target(tmp_path / "a" / "run")
