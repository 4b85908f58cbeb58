"""Bases that somebody gave, as arrays or in files: what is no basis of a subspace is refused in one sentence."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np

from assay.errors import ClaimError, nearest
from assay.explanations.subspace.spec import Given
from assay.store import inputs
from assay.task.arrays import plain_array

LARGEST = 1 << 28  # bytes of a file
SUFFIXES = (".npy", ".safetensors")
RANK = 1e-6  # the least singular value of a basis, as a share of its largest
ORTHONORMAL = 1e-5  # how far a basis may be from orthonormal without being told so


def given(value: Any, what: str, file: str | None = None, tensor: str | None = None) -> Given:
    """A basis [width, k] (or one direction, [width]), orthonormalised by QR, which leaves its span as it is.

    Args:
        value: a numpy array, or a tensor; what: it is, for messages.
        file, tensor: where it came from.

    Raises:
        ClaimError: for what is no basis of a proper subspace: other shapes, numbers that are not finite, columns that
            depend on each other.
    """
    value = value.detach().cpu().double().numpy() if hasattr(value, "detach") else np.asarray(value)
    if value.dtype.kind not in "fiu":
        raise ClaimError(f"{what} holds {value.dtype}, and a basis is made of real numbers")
    matrix = value.astype(np.float64)
    matrix = matrix[:, None] if matrix.ndim == 1 else matrix
    if matrix.ndim != 2 or matrix.size == 0:
        raise ClaimError(f"{what} has the shape {list(value.shape)}, and a basis is [width, k]")
    width, k = matrix.shape
    if k >= width:
        tail = "transpose it" if k > width else "nothing of the site would be left to ablate"
        raise ClaimError(f"{what} has {width} rows and {k} columns, and a basis [width, k] has fewer columns; {tail}")
    if not np.isfinite(matrix).all():
        raise ClaimError(f"{what} holds numbers that are not finite")
    sizes = np.linalg.svd(matrix, compute_uv=False)
    if (rank := int((sizes > RANK * sizes[0]).sum())) < k:
        raise ClaimError(f"{what} has {k} columns of rank {rank}; give independent directions")
    basis = np.linalg.qr(matrix)[0]
    changed = bool(np.abs(matrix.T @ matrix - np.eye(k)).max() > ORTHONORMAL)
    digest = hashlib.sha256(repr(matrix.shape).encode() + matrix.tobytes()).hexdigest()
    return Given(basis, digest, file, tensor, changed)


def read(path: str, tensor: str | None = None) -> Given:
    """The basis in a .npy or .safetensors file.

    Args:
        tensor: which one of a .safetensors file; None: the only one.

    Raises:
        ClaimError: for a file that is not there or no such file, and as `given`.
    """
    name, ends = f"the basis {inputs.shown(path)}", inputs.suffix(path)
    if ends not in SUFFIXES:
        raise ClaimError(f"{name} is no {' or '.join(SUFFIXES)} file; save it as one")
    if tensor is not None and ends != ".safetensors":
        raise ClaimError(f"{name} holds one array, and 'tensor' names one of a .safetensors file; leave it out")
    content = inputs.read_bytes(path, "the basis", ClaimError, most=LARGEST, like=SUFFIXES)
    try:
        if ends == ".npy":
            return given(plain_array(io.BytesIO(content), path), name, path)
        from safetensors.numpy import load

        several = load(content)
    except ClaimError:
        raise
    except KeyError as problem:  # a type that numpy has not
        raise ClaimError(f"{name} holds numbers of type {problem.args[0]}; save it as float32") from problem
    except Exception as problem:  # broken bytes end in any error at all of numpy's and safetensors'
        said = str(problem).partition("\n")[0][:200]
        raise ClaimError(f"{name} cannot be read as a {ends} file: {said}") from problem
    if tensor is None and len(several) != 1:
        raise ClaimError(f"{name} holds {len(several)} tensors; name one as 'tensor'{nearest('', sorted(several))}")
    chosen = next(iter(several)) if tensor is None else tensor
    if chosen not in several:
        raise ClaimError(f"{name} holds no tensor {tensor!r}{nearest(tensor, sorted(several))}")
    return given(several[chosen], name, path, tensor)
