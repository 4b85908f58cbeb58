"""Arrays of an .npz file that a stranger may have written: nothing in it can run, and what it claims to hold is looked
at before any memory is taken."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from io import BufferedIOBase
from pathlib import Path
from typing import IO

import numpy as np

from assay.errors import TaskError, nearest
from assay.store import inputs

LARGEST = 1 << 29  # bytes of a file, and of its arrays together


def read_arrays(path: str | Path, needed: Sequence[str], also: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """The arrays of these names, and of those in `also` that are there.

    Raises:
        TaskError: for a file that is no .npz file of plain arrays, that lacks one, or that is too large.
    """
    name = inputs.shown(path)
    with inputs.open_input(path, "the file", TaskError, most=LARGEST, like=[".npz"]) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
                for one in needed:
                    if one not in members:
                        raise TaskError(f"the file {name} has no array {one!r}" + nearest(one, members))
                chosen = [one for one in (*needed, *also) if one in members]
                size = sum(members[one].file_size for one in chosen)
                if size > LARGEST:
                    raise TaskError(f"the arrays in {name} have {size:,} bytes, and at most {LARGEST:,} are read")
                return {one: _array(archive, members[one]) for one in chosen}
        except TaskError:
            raise
        except Exception as problem:  # broken bytes end in any error at all of zipfile's, zlib's and numpy's
            said = str(problem).partition("\n")[0][:200]  # what numpy says behind it is how to trust the file
            raise TaskError(f"the file {name} cannot be read as an .npz file of plain arrays: {said}") from problem


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as file:
        return plain_array(file, member.filename)


def plain_array(file: IO[bytes] | BufferedIOBase, name: str) -> np.ndarray:
    """The array of an open .npy file, whose header may not claim more than there is.

    Raises:
        ValueError: for what is no plain array of numbers or texts.
    """
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"{name!r} is of version {version}, which plain arrays are not")
    shape, fortran, dtype = read(file)
    if dtype.hasobject or dtype.names is not None:
        raise ValueError(f"{name!r} holds {dtype}, not plain numbers or texts")
    content = bytearray()
    while chunk := file.read(1 << 20):
        content += chunk
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"{name!r} says {shape} of {dtype}, and holds {len(content):,} bytes")
    array = np.frombuffer(content, dtype=dtype).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="), copy=False)
