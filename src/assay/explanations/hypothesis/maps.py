"""Maps of a place's value: a subspace, or some coordinates of a reversible map.

A reversible map is there to show how little its score says: one that is large enough finds nearly any variable in
nearly any network (docs/definitions.md#hypotheses).
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

BITS = 16  # of a number, before it is asked how many it needs


class Couplings(nn.Module):
    """Additive couplings (Gomez et al. 2017), y = (a + f(b), b) and then the other half, behind a fixed rotation.

    Args:
        width: of the value; depth: couplings; hidden: of each coupling's one hidden layer; seed: of its start, which is
            the rotation alone.
    """

    rotation: Tensor

    def __init__(self, width: int, depth: int, hidden: int, seed: int):
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        self.register_buffer("rotation", torch.linalg.qr(torch.randn(width, width, generator=random))[0])
        self.width, self.cut = width, width // 2
        self.steps = nn.ModuleList()
        for index in range(depth):
            given, taken = (self.cut, width - self.cut) if index % 2 else (width - self.cut, self.cut)
            first, last = nn.Linear(given, hidden), nn.Linear(hidden, taken)
            with torch.no_grad():
                first.weight.copy_(torch.randn(hidden, given, generator=random) / math.sqrt(max(given, 1)))
                first.bias.copy_(torch.randn(hidden, generator=random) * 0.1)
                last.weight.zero_()
                last.bias.zero_()
            self.steps.append(nn.Sequential(first, nn.GELU(), last))

    def forward(self, x: Float[Tensor, "*some width"]) -> Float[Tensor, "*some width"]:
        x = x @ self.rotation
        a, b = x[..., : self.cut], x[..., self.cut :]
        for index, step in enumerate(self.steps):
            a, b = (a, b + step(a)) if index % 2 else (a + step(b), b)
        return torch.cat([a, b], -1)

    def inverse(self, y: Float[Tensor, "*some width"]) -> Float[Tensor, "*some width"]:
        a, b = y[..., : self.cut], y[..., self.cut :]
        for index in reversed(range(len(self.steps))):
            step = self.steps[index]
            a, b = (a, b - step(a)) if index % 2 else (a - step(b), b)
        return torch.cat([a, b], -1) @ self.rotation.T


@dataclass(frozen=True, eq=False)
class Reversible:
    """Coordinates of a reversible map.

    Attributes:
        net: the map; first, last: its coordinates, from first up to last, without last.
    """

    net: Couplings
    first: int
    last: int

    def mix(self, inside: Float[Tensor, "*some width"], outside: Float[Tensor, "*some width"]) -> Tensor:
        a, b = self.net(inside), self.net(outside)
        return self.net.inverse(
            torch.cat([b[..., : self.first], a[..., self.first : self.last], b[..., self.last :]], -1)
        )


PlaceMap = Tensor | Reversible  # a basis [width, k], orthonormal, or coordinates


def numbers(map: PlaceMap) -> int:
    """How many free numbers it takes to say it: k(d − k) of a subspace, all weights of a reversible map."""
    if isinstance(map, Tensor):
        d, k = map.shape
        return k * (d - k)
    return sum(parameter.numel() for parameter in map.net.parameters())


def size(map: PlaceMap) -> int:
    """Of how many dimensions it is."""
    return map.shape[1] if isinstance(map, Tensor) else map.last - map.first


def apart(one: PlaceMap | None, other: PlaceMap | None) -> bool:
    """Whether two maps of one place have no dimension in common."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape[0] == other.shape[0] and float((one.T @ other).detach().abs().max()) < 1e-4
    if isinstance(one, Reversible) and isinstance(other, Reversible):
        return one.net is other.net and (one.last <= other.first or other.last <= one.first)
    return False


def same(one: PlaceMap | None, other: PlaceMap | None) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    if isinstance(one, Reversible) and isinstance(other, Reversible):
        return (one.net, one.first, one.last) == (other.net, other.first, other.last)
    return one is None and other is None


def rounded(map: PlaceMap, bits: int) -> PlaceMap:
    """The map with every number at so many bits: of a subspace its basis, made orthonormal again; of a reversible map
    all weights, a matrix at a time on an even grid over its range."""
    if isinstance(map, Tensor):
        return torch.linalg.qr(_grid(map, bits))[0]
    net = copy.deepcopy(map.net)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(_grid(parameter, bits))
    return Reversible(net, map.first, map.last)


def _grid(values: Tensor, bits: int) -> Tensor:
    step = 2 * values.abs().max().clamp(min=1e-12) / (2**bits - 1)
    return (values / step).round() * step
