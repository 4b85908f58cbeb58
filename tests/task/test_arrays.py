"""Arrays of a stranger's .npz file: what is there is read, what is claimed is held against it, and nothing runs."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from assay.errors import TaskError
from assay.task import arrays
from assay.task.arrays import read_arrays
from assay.task.task import Task
from tests.task.test_classify import NET

INPUTS = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
LABELS = np.array([0, 1, 2, 1])


@pytest.fixture
def archive(tmp_path: Path):
    """Writes an .npz file, plainly or packed, with members that may be any bytes; gives its path."""

    def write(method: int = zipfile.ZIP_DEFLATED, **members: np.ndarray | bytes) -> Path:
        with zipfile.ZipFile(tmp_path / "arrays.npz", "w", method) as file:
            for name, member in members.items():
                content = io.BytesIO()
                if not isinstance(member, bytes):
                    np.save(content, member)
                file.writestr(f"{name}.npy", member if isinstance(member, bytes) else content.getvalue())
        return tmp_path / "arrays.npz"

    return write


def header(shape: object, descr: str = "<f4", version: bytes = b"\x01\x00") -> bytes:
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text


def refused(path: Path, *also: str) -> str:
    with pytest.raises(TaskError) as problem:
        read_arrays(path, ("inputs", "labels"), also)
    assert "\n" not in str(problem.value)
    return str(problem.value)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_arrays_come_back_as_numpy_wrote_them(archive, method):
    given = {"inputs": np.asfortranarray(INPUTS), "labels": LABELS.astype(">i2"), "groups": np.array(list("aabb"))}
    found = read_arrays(archive(method, **given, other=np.zeros(3)), ("inputs", "labels"), ("groups", "absent"))
    assert list(found) == ["inputs", "labels", "groups"]
    for name, array in given.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].flags.writeable
        assert found[name].dtype == array.dtype.newbyteorder("=")


def test_what_numpy_itself_saved_is_read(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", inputs=INPUTS, labels=LABELS)
    assert read_arrays(tmp_path / "a.npz", ("inputs", "labels"))["inputs"].tolist() == INPUTS.tolist()


@pytest.mark.parametrize("shape", [(10**12,), (10**30,), (5, 2, 3), (3, 2, 3), (-4, 2, 3), (-1,), (), (0, 10**30)])
def test_a_header_may_not_claim_another_shape_than_there_is(archive, monkeypatch, shape):
    path = archive(inputs=header(shape) + INPUTS.tobytes(), labels=LABELS)
    monkeypatch.setattr(np, "ndarray", lambda *_, **__: pytest.fail("memory was taken"))
    assert "cannot be read as an .npz file of plain arrays: 'inputs.npy' says" in refused(path)


@pytest.mark.parametrize(
    "member",
    [
        b"",
        b"PK",
        header((4,), "|O"),
        header((1,), "|V999999999"),
        header((1,), "nonsense"),
        header((1,), version=b"\x03\x00"),
        header((1,), version=b"\x09\x00"),
        header("(1,)"),
        header((1,))[:20],
        b"\x93NUMPY\x01\x00\x10\x00{'descr': (((((",
        header((4,), "<f4" + " " * 11_000),
    ],
)
def test_a_member_that_is_no_plain_array_is_refused(archive, member):
    assert "cannot be read as an .npz file of plain arrays: " in refused(archive(inputs=member, labels=LABELS))


def test_a_broken_file_is_refused_wherever_it_is_cut_or_changed(archive, tmp_path):
    content = archive(inputs=INPUTS, labels=LABELS).read_bytes()
    path, whole = tmp_path / "broken.npz", 0
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place])
        assert "broken.npz' " in refused(path)
        path.write_bytes(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
        with contextlib.suppress(TaskError):  # a date, or a flag that means nothing, changes no number
            np.testing.assert_array_equal(read_arrays(path, ("inputs", "labels"))["inputs"], INPUTS)
            whole += 1
    assert 0 < whole < len(content) / 14


def test_a_bomb_is_refused_by_what_its_members_unpack_to(archive, monkeypatch):
    path = archive(inputs=header((1 << 22,)) + bytes(1 << 24), labels=LABELS)
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(arrays, "LARGEST", 1 << 20)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("it was unpacked"))
    assert "have 16,7" in refused(path)
    monkeypatch.setattr(arrays, "LARGEST", 1_000)
    assert "and at most 1,000 are read" in refused(path)


def test_what_is_missing_or_no_archive_is_said(archive, tmp_path):
    assert "has no array 'labels'; did you mean 'label'?" in refused(archive(inputs=INPUTS, label=LABELS))
    np.save(tmp_path / "alone.npy", INPUTS)
    assert "File is not a zip file" in refused(tmp_path / "alone.npy")
    assert "does not exist here" in refused(tmp_path / "gone.npz")


class Ran:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_no_code_runs_from_arrays(archive, tmp_path):
    trap = pickle.dumps(Ran(tmp_path / "ran"))
    hostile = np.empty(1, dtype=object)
    hostile[0] = Ran(tmp_path / "ran")
    refused(archive(inputs=hostile, labels=LABELS))
    refused(archive(inputs=header((1,), "|O") + trap, labels=LABELS))
    refused(archive(inputs=trap, labels=LABELS))
    refused(archive(inputs=header("__import__('os').mkdir('ran')"), labels=LABELS))
    (tmp_path / "arrays.npz").write_bytes(trap)
    refused(tmp_path / "arrays.npz")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("inputs", "labels", "sentence"),
    [
        (INPUTS.astype(np.longdouble), LABELS, "inputs are of type .*float128; give whole or floating-point numbers"),
        (np.array(["a", "b", "c", "d"]), LABELS, "inputs are of type <U1; give whole"),
        (INPUTS, LABELS.astype("M8[s]"), r"labels are of type datetime64\[s\]"),
        (INPUTS, np.array([0, 1, 2**63, 1], dtype=np.uint64), "label -9223372036854775808 of example 2 is negative"),
        (INPUTS, LABELS.astype(np.float32), "labels must be whole numbers"),
    ],
)
def test_types_that_are_no_numbers_are_refused(inputs, labels, sentence):
    with pytest.raises(TaskError, match=sentence):
        Task.classify(NET, inputs, labels)


def test_unsigned_labels_are_read():
    inputs = np.random.default_rng(0).normal(size=(20, 3, 4)).astype(np.float32)
    for kind in (np.uint8, np.uint16, np.uint64):
        assert len(Task.classify(NET, inputs, (np.arange(20) % 3).astype(kind)).documents) == 14
