"""Products with few active features: work that grows with the features that are active, and not with those there are.

Each equals the dense product that it stands for, which tests hold it to.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.train.dictionary.code import Chosen

GROUP = 16  # features of which one maximum is taken first
CHUNK = 64  # rows at once, where a processor has no sampled product


def largest(pre: Float[Tensor, "n width"], k: int) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The k largest of each row with their columns, which ascend.

    The k largest lie in the k groups with the largest maxima, so that only these are looked through.
    """
    n, width = pre.shape
    if width % GROUP == 0 and width // GROUP >= 4 * k:
        groups = pre.view(n, width // GROUP, GROUP)
        group = groups.amax(-1).topk(k, dim=-1, sorted=False).indices
        some = groups.gather(1, group.unsqueeze(-1).expand(-1, -1, GROUP)).flatten(1)
        value, place = some.topk(k, dim=-1, sorted=False)
        column = group.gather(1, place // GROUP) * GROUP + place % GROUP
    else:
        value, column = pre.topk(k, dim=-1, sorted=False)
    column, order = column.sort(-1)
    return value.gather(1, order), column


def at_chosen(chosen: Chosen, left: Float[Tensor, "n d"], right: Float[Tensor, "width d"]) -> Float[Tensor, "active"]:
    """`(left @ right.T)` at the active features alone. Their columns must ascend in each row."""
    if _samples(left.device.type, left.dtype):
        rows = torch.cat([chosen.offset, chosen.offset.new_tensor([len(chosen.column)])])
        with quiet():
            zeros = torch.zeros_like(chosen.value, dtype=left.dtype)
            mask = torch.sparse_csr_tensor(rows, chosen.column, zeros, size=(len(left), len(right)))
            return torch.sparse.sampled_addmm(mask, left, right.T, beta=0.0).values()
    row, parts = chosen.row, []
    for first in range(0, len(chosen.column), CHUNK * 32):
        some = slice(first, first + CHUNK * 32)
        parts.append((left[row[some]] * right[chosen.column[some]]).sum(-1))
    return torch.cat(parts) if parts else chosen.value


def gathered(
    chosen: Chosen, value: Float[Tensor, "active"], right: Float[Tensor, "n d"], width: int
) -> Float[Tensor, "width d"]:
    """`dense(value).T @ right`, where `dense(value)` has these values at the active features."""
    order = chosen.column.argsort(stable=True)
    counts = torch.bincount(chosen.column, minlength=width)
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    with quiet():
        by_feature = torch.sparse_csr_tensor(starts, chosen.row[order], value[order], size=(width, len(right)))
        return by_feature @ right


def added(chosen: Chosen, value: Float[Tensor, "active"], width: int) -> Float[Tensor, "width"]:
    """`dense(value).sum(0)`."""
    return value.new_zeros(width).index_add_(0, chosen.column, value)


@contextmanager
def quiet() -> Iterator[None]:
    """Without torch's word on every compressed tensor that such are in beta."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse")
        yield


@cache
def _samples(device: str, dtype: torch.dtype) -> bool:
    """Whether this build of torch has the sampled product there."""
    try:
        one = torch.ones(1, 1, device=device, dtype=dtype)
        starts, columns = torch.tensor([0, 1], device=device), torch.tensor([0], device=device)
        with quiet():
            mask = torch.sparse_csr_tensor(starts, columns, one[0], size=(1, 1))
            return float(torch.sparse.sampled_addmm(mask, one, one, beta=0.0).values()) == 1.0
    except (RuntimeError, NotImplementedError):
        return False
