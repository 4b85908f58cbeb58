"""A world of known features: more of them than dimensions, some within others, some together, rare ones and often ones.

Values are sums of directions, each times how much its feature is. Sparse codes that are trained on them can be held
against the features that there are.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import stats
from torch import Tensor
from torch.nn import functional

from assay.stats.keyed import generator, torch_generator

FAMILY = 4  # a root feature and so many less one within it, of which one at most is active, and only where the root is
FACTORS = 8  # hidden Gaussian factors that make roots come together
FOUND = 0.9  # least cosine at which a true feature counts as found


@dataclass(frozen=True)
class FeatureWorld:
    """Features, their directions, and what draws values of them.

    Args:
        features: how many; d: dimensions of a value. active: how many features are active at once, on average.
        together: share of a root's hidden variance that is common to roots; 0: they are independent.
        noise: standard deviation, as a share of a feature's mean size. seed: keys everything.
    """

    features: int = 2_048
    d: int = 128
    active: float = 16.0
    together: float = 0.3
    noise: float = 0.0
    seed: int = 0
    directions: Float[Tensor, "features d"] = field(init=False, repr=False, compare=False)
    rate: Float[np.ndarray, "roots"] = field(init=False, repr=False, compare=False)
    loading: Float[np.ndarray, "roots factors"] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        random = torch_generator(self.seed, "feature world")
        rows = torch.randn(self.features, self.d, generator=random)
        object.__setattr__(self, "directions", functional.normalize(rows, dim=-1))
        ranks = np.arange(1, self.roots + 1)
        shape = ranks**-0.8  # Zipf: a few roots are often, most are rare
        # each active root brings CHILD of a child
        rate = np.minimum(shape / shape.sum() * self.active / (1 + CHILD), 0.5)
        object.__setattr__(self, "rate", rate)
        drawn = generator(self.seed, "feature world", "factors").standard_normal((self.roots, FACTORS))
        loading = drawn / np.linalg.norm(drawn, axis=1, keepdims=True) * np.sqrt(self.together)
        object.__setattr__(self, "loading", loading)

    @property
    def roots(self) -> int:
        return self.features // FAMILY

    def draw(self, n: int, key: int | str) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n features"]]:
        """n values, and how much each feature is in them; the same for the same key."""
        random = generator(self.seed, "feature world", "draw", key)
        hidden = random.standard_normal((n, FACTORS)) @ self.loading.T
        hidden += np.sqrt(1 - self.together) * random.standard_normal((n, self.roots))
        root = hidden > stats.norm.isf(self.rate)
        child = random.random((n, self.roots)) < CHILD
        which = random.integers(1, FAMILY, (n, self.roots))
        on = np.zeros((n, self.roots, FAMILY), dtype=bool)
        on[:, :, 0] = root
        row, place = np.nonzero(root & child)
        on[row, place, which[row, place]] = True
        sizes = 0.5 + random.exponential(0.5, (n, self.roots, FAMILY))
        amounts = torch.from_numpy((on * sizes).reshape(n, -1)).float()
        values = amounts @ self.directions[: amounts.shape[1]]
        if self.noise:
            values = values + self.noise * torch.from_numpy(random.standard_normal((n, self.d))).float()
        return values, amounts

    def within(self, feature: int) -> int | None:
        """The root that a feature lies in; None: it is one."""
        return None if feature % FAMILY == 0 else feature - feature % FAMILY


CHILD = 0.5  # share of a root's values in which one of those within it is active


@dataclass(frozen=True)
class Recovered:
    """How many true features a dictionary has.

    Attributes:
        found: [features] whether one of its directions, matched one to one, lies within the cosine `FOUND`.
        cosine: [features] of the match; 0 where there is none. matched: [features] the dictionary's feature, −1: none.
        roots: share of the roots that are found; often: share of all that features are, that found ones are.
    """

    found: Bool[np.ndarray, "features"]
    cosine: Float[np.ndarray, "features"]
    matched: Int[np.ndarray, "features"]
    roots: float
    often: float

    @property
    def share(self) -> float:
        return float(self.found.mean())


def recovered_features(
    world: FeatureWorld, decoder: Float[Tensor, "width d"], amounts: Float[Tensor, "n features"]
) -> Recovered:
    """Which true features a dictionary's directions are, matched one to one for the largest sum of cosines.

    Args:
        amounts: how much each true feature is in some values, as `FeatureWorld.draw` gives them.
    """
    from scipy.optimize import linear_sum_assignment

    rows = functional.normalize(decoder.double(), dim=-1)
    truth = world.directions[: amounts.shape[1]].double()
    cosine = (truth @ rows.T).numpy()
    feature, own = linear_sum_assignment(-cosine)
    best, matched = np.zeros(len(truth)), np.full(len(truth), -1)
    best[feature], matched[feature] = cosine[feature, own], own
    found = best >= FOUND
    mass = amounts.double().sum(0).numpy()
    return Recovered(found, best, matched, float(found[::FAMILY].mean()), float(mass[found].sum() / mass.sum()))
