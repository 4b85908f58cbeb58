"""What a dictionary is like on text: how much of the variance it explains, how many features are active, how often each
is, and on how many different tokens.

Explained variance is 1 − Σ‖y − y'‖² / Σ‖y − mean‖², sums over values in float64: 0 for the mean, 1 for the value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from assay.intervene.rows import RowBatches
from assay.intervene.wide_sites import WideSite, read_wide
from assay.model.transformer import Model
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate
from assay.train.dictionary.code import SparseCode

ONE_TOKEN = 0.9  # share of what a feature is, above which it counts as one token's
RIDGE = 1e-6  # of the linear maps, as a share of the mean variance
KIN = 0.5  # least cosine of a feature with the one that it is said to come from
TOP = 6  # places where a feature is largest


@dataclass(frozen=True, eq=False)
class Values:
    """Values of one micro-batch, without rows' first positions and padding.

    Attributes:
        read, written: of the site that a dictionary reads, and of the one that it says; token: at each place.
        row, column: where it stands; document: an index.
    """

    read: Float[Tensor, "n d_in"]
    written: Float[Tensor, "n d_out"]
    token: Int[np.ndarray, "n"]
    row: Int[np.ndarray, "n"]
    column: Int[np.ndarray, "n"]
    document: Int[np.ndarray, "n"]


def values_of(
    inputs: RowBatches, pairs: Sequence[tuple[WideSite, WideSite]], rows: Int[np.ndarray, "rows"]
) -> Iterator[list[Values]]:
    """Values of pairs of sites (read, written) on scored rows of a task, in one pass for all of them."""
    model, task = inputs.model, inputs.task
    assert isinstance(model, Model)
    keys = {key for pair in pairs for site in pair for key in site.taps}
    for batch in inputs.batches(rows):
        found = inputs.unedited("scored", batch, keys)
        real = task.real[torch.from_numpy(batch)].clone()
        real[:, 0] = False
        row, column = (array.numpy() for array in real.nonzero(as_tuple=True))
        token = task.tokens[torch.from_numpy(batch)][real].numpy()
        document = np.asarray(task.document)[batch][row]
        out = []
        for pair in pairs:
            read, written = (read_wide(model, site, found.__getitem__)[real.to(model.device)].float() for site in pair)
            out.append(Values(read, written, token, batch[row], column, document))
        yield out


@dataclass(frozen=True, eq=False)
class CodeMeasures:
    """A dictionary's figures on some text.

    Attributes:
        explained: share of the variance that it explains; active: features that are, a value; coded: share of values
            that are coded.
        density: [width] share of values at which each feature is active; mass: [width] its mean value.
        one_token: share of the features that are ever active, whose values lie on one token for 90 % and more.
        token: [width] that token, and its share; top: [width, TOP] the largest values, with row and column of each.
        values: how many there are.
    """

    explained: Estimate
    active: Estimate
    coded: float
    density: Float64[np.ndarray, "width"]
    mass: Float64[np.ndarray, "width"]
    one_token: float | None
    token: Int[np.ndarray, "width"]
    share: Float64[np.ndarray, "width"]
    top: tuple[Float64[np.ndarray, "width top"], Int[np.ndarray, "width top"], Int[np.ndarray, "width top"]]
    values: int

    @property
    def dead(self) -> float:
        """Share of the features that are never active."""
        return float((self.density == 0).mean())


class CodeSums:
    """Adds up what a dictionary's figures are made of, micro-batch by micro-batch."""

    def __init__(self, code: SparseCode, documents: int):
        self.code = code
        self.error, self.square, self.count, self.active = (np.zeros(documents) for _ in range(4))
        self.sum = np.zeros((documents, code.d_out))
        self.on, self.mass = np.zeros(code.width), np.zeros(code.width)
        self.by_token: dict[str, np.ndarray] = {}
        self.keys, self.amounts = np.zeros(0, np.int64), np.zeros(0)
        self.largest = np.zeros((code.width, 0))
        self.places = np.zeros((2, code.width, 0), np.int64)  # row and column of each
        self.seen = 0

    @torch.no_grad()
    def add(self, some: Values) -> None:
        code = self.code
        taken = code.takes(some.read)
        self.seen += len(taken)
        at = taken.cpu().numpy()
        read, written = some.read[taken], some.written[taken]
        document, token, row, column = some.document[at], some.token[at], some.row[at], some.column[at]
        for part in torch.arange(len(read)).split(2048):
            here = part.numpy()
            features = code.encode(read[part])
            error = (written[part] - code(read[part])).double().square().sum(-1).cpu().numpy()
            wide = written[part].double().cpu().numpy()
            np.add.at(self.error, document[here], error)
            np.add.at(self.square, document[here], (wide**2).sum(-1))
            np.add.at(self.sum, document[here], wide)
            np.add.at(self.count, document[here], 1)
            on = features > 0
            np.add.at(self.active, document[here], on.sum(-1).cpu().numpy())
            self.on += on.sum(0).cpu().numpy()
            self.mass += features.double().sum(0).cpu().numpy()
            self._tokens(features, on, token[here])
            self._largest(features, row[here], column[here])

    def _tokens(self, features: Tensor, on: Tensor, token: np.ndarray) -> None:
        place, feature = on.nonzero(as_tuple=True)
        amount = features[place, feature].double().cpu().numpy()
        keys = feature.cpu().numpy() * (1 << 32) + token[place.cpu().numpy()]
        keys, where = np.unique(np.concatenate([self.keys, keys]), return_inverse=True)
        self.amounts = np.bincount(where, np.concatenate([self.amounts, amount]), len(keys))
        self.keys = keys

    def _largest(self, features: Tensor, row: np.ndarray, column: np.ndarray) -> None:
        value, place = features.topk(min(TOP, len(features)), dim=0)
        place = place.T.cpu().numpy()
        values = np.concatenate([self.largest, value.T.double().cpu().numpy()], 1)
        places = np.concatenate([self.places, np.stack([row[place], column[place]])], 2)
        order = np.argsort(-values, axis=1, kind="stable")[:, :TOP]
        self.largest = np.take_along_axis(values, order, 1)
        self.places = np.stack([np.take_along_axis(one, order, 1) for one in places])

    def measures(self, resamples: Resamples) -> CodeMeasures:
        """The figures, with intervals over documents."""
        count = max(self.count.sum(), 1.0)
        mean = self.sum.sum(0) / count
        spread = np.maximum(self.square - 2 * self.sum @ mean + self.count * (mean @ mean), 0.0)
        feature, token = self.keys >> 32, self.keys & ((1 << 32) - 1)
        best, which = np.zeros(self.code.width), np.zeros(self.code.width, np.int64)
        order = np.lexsort((-token, self.amounts, feature))  # the largest of a feature comes last
        best[feature[order]], which[feature[order]] = self.amounts[order], token[order]
        alive = self.on > 0
        share = np.divide(best, self.mass, out=np.zeros_like(best), where=self.mass > 0)
        explained = resamples.ratio(
            self.error, spread, self.count, nonnegative=True, undefined="the values do not vary"
        )
        return CodeMeasures(
            explained=explained.map(lambda left: 1 - left, decreasing=True),
            active=resamples.mean(self.active, self.count, least=0.0),
            coded=float(self.count.sum() / max(self.seen, 1)),
            density=self.on / count,
            mass=self.mass / count,
            one_token=float((share[alive] >= ONE_TOKEN).mean()) if alive.any() else None,
            token=which,
            share=share,
            top=(self.largest, self.places[0], self.places[1]),
            values=int(self.count.sum()),
        )


def measured(
    inputs: RowBatches, placed: Sequence[tuple[WideSite, WideSite, SparseCode]], rows: Int[np.ndarray, "rows"],
    resamples: Resamples, documents: int,
) -> list[CodeMeasures]:  # fmt: skip
    """Figures of dictionaries (site that it says, site that it reads, code) on scored rows, in one pass."""
    sums = [CodeSums(code, documents) for _, _, code in placed]
    pairs = list(dict.fromkeys((read, site) for site, read, _ in placed))
    which = [pairs.index((read, site)) for site, read, _ in placed]
    for found in values_of(inputs, pairs, rows):
        for one, at in zip(sums, which, strict=True):
            one.add(found[at])
    return [one.measures(resamples) for one in sums]


def dark_share(
    code: SparseCode, fitted: Float[Tensor, "n d"], tested: Float[Tensor, "m d"]
) -> tuple[float | None, float | None]:
    """How much of what a dictionary leaves is a linear function of what it reads, on values that fit nothing: R² of the
    error, and of its squared norm. None where nothing is left.

    Engels et al. 2024 (arXiv 2410.14670).

    Args:
        fitted: values on which the linear maps are fitted; tested: others.
    """
    with torch.no_grad():
        errors = [(some - code(some)).double() for some in (fitted, tested)]
    ones = [torch.cat([some, torch.ones_like(some[:, :1])], 1).double() for some in (fitted, tested)]
    inside = ones[0].T @ ones[0]
    inside += RIDGE * inside.diagonal().mean() * torch.eye(len(inside), dtype=inside.dtype, device=inside.device)
    out: list[float | None] = []
    for wanted, test in (errors, [error.square().sum(-1, keepdim=True) for error in errors]):
        said = ones[1] @ torch.linalg.solve(inside, ones[0].T @ wanted)
        spread = float((test - test.mean(0)).square().sum())
        out.append(1 - float((test - said).square().sum()) / spread if spread > 0 else None)
    return out[0], out[1]


@dataclass(frozen=True, eq=False)
class Splitting:
    """How a wider dictionary's features lie among those of a narrower one.

    Attributes:
        parent: [wide] the narrower one's feature whose decoder row is nearest, and the cosine with it.
        children: [narrow] how many features of the wider one have it for their parent, at a cosine of `KIN` and more.
    """

    parent: Int[np.ndarray, "wide"]
    cosine: Float64[np.ndarray, "wide"]
    children: Int[np.ndarray, "narrow"]

    @property
    def split(self) -> float:
        """The share of the narrower one's features that have two children and more."""
        return float((self.children >= 2).mean())

    @property
    def kept(self) -> float:
        """The share that have one."""
        return float((self.children == 1).mean())

    @property
    def new(self) -> float:
        """The share of the wider one's features that have no parent."""
        return float((self.cosine < KIN).mean())


def splitting(narrow: Float[Tensor, "narrow d"], wide: Float[Tensor, "wide d"]) -> Splitting:
    """A level of the splitting tree, by the cosines of decoder rows."""
    a, b = (rows / rows.norm(dim=-1, keepdim=True).clamp(min=1e-12) for rows in (narrow.double(), wide.double()))
    cosine, parent = (b @ a.T).cpu().max(1)
    related = parent[cosine >= KIN]
    return Splitting(parent.numpy(), cosine.numpy(), np.bincount(related.numpy(), minlength=len(a)))


def agreement(one: Float[Tensor, "a d"], other: Float[Tensor, "b d"]) -> tuple[float, float, float]:
    """How alike two dictionaries' features are by the cosine of what they write: the mean over the first's of its
    nearest in the other, the same the other way round, and the mean over the best one-to-one matching."""
    from scipy.optimize import linear_sum_assignment

    a, b = (rows / rows.norm(dim=-1, keepdim=True).clamp(min=1e-12) for rows in (one.double(), other.double()))
    cosine = (a @ b.T).cpu().numpy()
    rows, columns = linear_sum_assignment(-cosine)
    return float(cosine.max(1).mean()), float(cosine.max(0).mean()), float(cosine[rows, columns].mean())


def densities(found: CodeMeasures) -> Iterable[tuple[float, int]]:
    """How many features are active at a share of values of 10^-k to 10^-(k-1/2), by the upper end's logarithm."""
    alive = found.density[found.density > 0]
    ends = np.arange(-6, 0.5, 0.5)
    counts, _ = np.histogram(np.log10(alive), np.concatenate([[-np.inf], ends]))
    return [(float(end), int(count)) for end, count in zip(ends, counts, strict=True)]
