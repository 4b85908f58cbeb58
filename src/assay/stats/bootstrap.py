"""95 % intervals over documents: one object for all systems of a measurement, so that every comparison is paired.

Takes per-document sums, gives estimates. The unit is the *cluster*: a work or module, whose pieces stand or fall
together. Every source keeps its share of the tokens. The variance is the jackknife's, which leaves out one cluster at
a time; t has Satterthwaite's degrees of freedom over the *effective* clusters of each source. What that covers:
tools/coverage.py.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from jaxtyping import Float64, Int, Num
from scipy import stats

from assay.stats.estimate import Estimate
from assay.stats.keyed import generator

DRAWS = 2_000
LEAST = 8  # clusters; fewer give no interval
LEAST_DEGREES = 1.0  # of freedom; fewer give no interval
LEAST_HOLDING = 5  # clusters of a source that holds over half of a floor, and over twice its share of the tokens
TAIL = 0.025
_CHUNK = 1 << 22  # entries of the count matrix that are made float64 at a time

Function = Callable[..., np.ndarray]


class Resamples:
    """The documents of a measurement, and how far a figure would move if others had been drawn.

    Args:
        n_documents: how many there are; columns are sums over each of them.
        strata: a label of each document (language, source); each keeps its share of the tokens. Those of one cluster
            have no variance of their own and are put together.
        seed: keys the resamples.
        draws: how many resamples, where a figure needs them.
        clusters: a label of each document (work, module): equal ones vary together. Default: each its own.
        tokens: scored tokens of each document, by which shares are kept where a method is not given counts.

    Raises:
        ValueError: no documents, or labels that are not one a document.
    """

    def __init__(
        self,
        n_documents: int,
        strata: Sequence[Hashable] | np.ndarray | None = None,
        seed: int = 0,
        draws: int = DRAWS,
        *,
        clusters: Sequence[Hashable] | np.ndarray | None = None,
        tokens: Num[np.ndarray, " documents"] | None = None,
    ) -> None:
        if n_documents < 1:
            raise ValueError(f"{n_documents} documents cannot be resampled")
        self.n, self.draws, self.seed = int(n_documents), int(draws), int(seed)
        self._cluster = _numbered(self.n, range(self.n) if clusters is None else clusters, "cluster")
        self.clusters = int(self._cluster.max()) + 1
        own = _numbered(self.n, [0] * self.n if strata is None else strata, "strata")
        self._stratum = np.zeros(self.clusters, dtype=int)
        self._stratum[self._cluster[::-1]] = own[::-1]  # a cluster is of its first document's
        self._tokens = np.ones(self.n) if tokens is None else _stack((tokens,), self.n)[0]

    def effective(self, counts: Num[np.ndarray, " documents"] | None = None) -> float:
        """How many clusters of equal size would say as much: Σ over strata of (Σ tokens)² / Σ tokens² (Kish 1965)."""
        _, weight, codes = self._grouped((), counts)
        return float(sum(_kish(weight[codes == code]) for code in np.unique(codes)))

    def totals(self, *columns: Num[np.ndarray, " documents"]) -> Float64[np.ndarray, "columns draws"]:
        """The sum of every column in every resample.

        A stratum of m clusters gives m − 1 of them (Rao and Wu 1988) and is brought back to its tokens.
        """
        data, weight, codes = self._grouped(columns, None)
        out = np.zeros((len(data), self.draws))
        for code in np.unique(codes):
            own = codes == code
            m = int(own.sum())
            if m == 1:
                out += data[:, own]
                continue
            drawn = generator(self.seed, "documents", int(code)).multinomial(m - 1, np.full(m, 1 / m), size=self.draws)
            step = max(1, _CHUNK // m)
            for i in range(0, self.draws, step):
                times = drawn[i : i + step].T.astype(np.float64)
                out[:, i : i + step] += data[:, own] @ times * (weight[own].sum() / (weight[own] @ times))
        return out

    def function(
        self,
        f: Function,
        *columns: Num[np.ndarray, " documents"],
        counts: Num[np.ndarray, " documents"] | None = None,
        undefined: str = "it has no value on these documents",
    ) -> Estimate:
        """The estimate of any function of the columns' sums: t on the jackknife.

        Where leaving out one cluster leaves no finite value, the quantiles of resamples serve, at a level that is as
        far out as t is; an end that lies beyond all values is open.

        Args:
            f: takes one array per column, [k] sums each, and gives [k] values. NaN is a resample without a value:
                it counts as beyond both ends of the interval. An infinity counts as beyond one.
            counts: scored tokens of each document; documents with none are no clusters. Default: `tokens`.
            undefined: the reason given where `f` has no finite value on the documents themselves.

        Raises:
            ValueError: a NaN or an infinity in a column, or columns of another length.
        """
        data, weight, codes = self._grouped(columns, counts)
        n = data.shape[1]
        with np.errstate(all="ignore"):
            value = float(f(*(data.sum(1)[:, None]))[0])
            if not np.isfinite(value):
                return Estimate.undefined(undefined, n)
            if n < LEAST:
                return self._too_few(value, n, None)
            left = np.asarray(f(*_left_out(data, weight, codes)), dtype=float)
            if np.isfinite(left).all():
                spread, degrees = _spread(left, weight, codes)
                if degrees < LEAST_DEGREES:
                    return self._too_few(value, n, weight)
                reach = float(stats.t.ppf(1 - TAIL, degrees)) * spread
                return Estimate(value, value - reach, value + reach, n, method="jackknife_t")
            found = np.asarray(f(*self.totals(*columns)), dtype=float)
        degrees = _spread(weight / weight.sum(), weight, codes)[1]
        tail = float(stats.norm.cdf(stats.t.ppf(TAIL, max(degrees, LEAST_DEGREES))))
        return _percentile(value, found, n, tail)

    def ratio(
        self,
        numerator: Num[np.ndarray, " documents"],
        denominator: Num[np.ndarray, " documents"],
        counts: Num[np.ndarray, " documents"] | None = None,
        *,
        nonnegative: bool = False,
        undefined: str = "the denominator is 0",
    ) -> Estimate:
        """The ratio of two sums: t on the jackknife where the denominator's lower end is above 0, else Fieller's set.

        Args:
            counts: the documents' weights, as `function` takes them.
            nonnegative: the denominator cannot be below 0 by what it is (a KL, a count): an unbounded set is then cut
                to the side that the value lies on.
            undefined: the reason given where the denominator is 0.
        """
        data, weight, codes = self._grouped((numerator, denominator), counts)
        n = data.shape[1]
        top, bottom = data.sum(1)
        if bottom == 0:
            return Estimate.undefined(undefined, n)
        if nonnegative and (few := _held_by_few(data[1], weight, codes)):
            return Estimate(float(top / bottom), None, None, n, few)
        below = self.function(lambda d: d, denominator, counts=counts).low
        if n < LEAST or below is None or below > 0:
            return self.function(_divide, numerator, denominator, counts=counts)
        left = _left_out(data, weight, codes)
        _, degrees = _spread(left[0] - top / bottom * left[1], weight, codes)
        if degrees < LEAST_DEGREES:
            return self._too_few(float(top / bottom), n, weight)
        return _fieller(top, bottom, _covariance(left, codes), degrees, n, nonnegative)

    def mean(
        self,
        sums: Num[np.ndarray, " documents"],
        counts: Num[np.ndarray, " documents"],
        *,
        least: float | None = None,
        most: float | None = None,
    ) -> Estimate:
        """The token-weighted mean: the sum over the number of tokens.

        Args:
            least, most: what it cannot lie below or above by what it is (a KL, a share): the interval ends there.
        """
        return self.ratio(sums, counts, counts, nonnegative=True, undefined="nothing was scored").within(least, most)

    def difference(
        self,
        a: Num[np.ndarray, " documents"],
        b: Num[np.ndarray, " documents"],
        counts: Num[np.ndarray, " documents"],
    ) -> Estimate:
        """The paired difference of two systems' token-weighted means."""
        return self.mean(np.asarray(a, dtype=float) - np.asarray(b, dtype=float), counts)

    def recovered(
        self,
        explained: Num[np.ndarray, " documents"],
        floor: Num[np.ndarray, " documents"],
        counts: Num[np.ndarray, " documents"] | None = None,
    ) -> Estimate:
        """1 − Σ explained / Σ floor, for sums that cannot be below 0, such as KLs (docs/definitions.md#recovered)."""
        found = self.ratio(explained, floor, counts, nonnegative=True, undefined="the floor's sum is 0")
        return found.map(lambda r: 1 - r, decreasing=True)

    def recovered_difference(
        self,
        explained: tuple[Num[np.ndarray, " documents"], Num[np.ndarray, " documents"]],
        floor: tuple[Num[np.ndarray, " documents"], Num[np.ndarray, " documents"]],
        counts: Num[np.ndarray, " documents"] | None = None,
    ) -> Estimate:
        """The paired difference of two recovered shares: the first's minus the second's."""
        columns = (explained[0], floor[0], explained[1], floor[1])
        data, weight, codes = self._grouped(columns, counts)
        value = float(share_difference(*data.sum(1)[:, None])[0])
        few = _held_by_few(data[1], weight, codes) or _held_by_few(data[3], weight, codes)
        if few and np.isfinite(value):
            return Estimate(value, None, None, data.shape[1], few)
        return self.function(share_difference, *columns, counts=counts, undefined="the sum of one of the floors is 0")

    def p_zero(self, f: Function, *columns: Num[np.ndarray, " documents"]) -> float | None:
        """Two-sided p of a function of the columns' sums being 0: it is under 0.05 where the interval that `function`
        gives leaves out 0. None where there is no value or no interval.

        Example:
            >>> Resamples(40).p_zero(lambda a, b: a - b, np.ones(40), np.ones(40))
            1.0
        """
        found = self.function(f, *columns)
        if found.value is None or found.low is None or found.high is None:
            return None
        if found.method != "jackknife_t":
            return None
        data, weight, codes = self._grouped(columns, None)
        spread, degrees = _spread(np.asarray(f(*_left_out(data, weight, codes)), dtype=float), weight, codes)
        if spread == 0:
            return float(found.value == 0)
        return float(2 * stats.t.sf(abs(found.value) / spread, degrees))

    def _grouped(
        self, columns: Sequence[np.ndarray], counts: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sums by cluster [columns, clusters], its tokens, and its stratum; clusters without tokens are left out."""
        counted = self._tokens if counts is None else np.asarray(counts, dtype=float)
        every = _stack((*columns, counted), self.n)
        sums = np.stack([np.bincount(self._cluster, weights=c, minlength=self.clusters) for c in every])
        used = sums[-1] > 0
        return sums[:-1, used], sums[-1, used], _pooled(self._stratum[used])

    def _too_few(self, value: float, n: int, weight: np.ndarray | None) -> Estimate:
        things, pieces = "document", ""
        if self.clusters < self.n:
            things, pieces = "independent work", " (pieces of one work, and equal documents, are one)"
        weigh = "" if weight is None else f", which weigh as {_kish(weight):.1f} equal ones,"
        counted = f"{n} {things}{'' if n == 1 else 's'}{pieces}{weigh}"
        return Estimate(value, None, None, n, f"{counted} {'is' if n == 1 else 'are'} too few")


def share_difference(e0: np.ndarray, f0: np.ndarray, e1: np.ndarray, f1: np.ndarray) -> np.ndarray:
    """(1 − e0 / f0) − (1 − e1 / f1): a recovered share less another."""
    return _divide(e1, f1) - _divide(e0, f0)


def _stack(columns: Sequence[np.ndarray], n: int) -> Float64[np.ndarray, "columns documents"]:
    data = np.stack([np.asarray(c, dtype=np.float64) for c in columns])
    if data.shape[1] != n:
        raise ValueError(f"columns of {data.shape[1]} documents; the resamples are of {n}")
    if not np.isfinite(data).all():
        column, document = np.argwhere(~np.isfinite(data))[0]
        raise ValueError(f"column {column} holds {data[column, document]} at document {document}")
    return data


def _numbered(n: int, labels: Sequence[Hashable] | np.ndarray | range, what: str) -> Int[np.ndarray, " n"]:
    """Labels as 0, 1, ... in the order in which they first appear."""
    if len(labels) != n:
        raise ValueError(f"{len(labels)} {what} labels for {n} documents")
    order = {label: i for i, label in enumerate(dict.fromkeys(list(labels)))}
    return np.array([order[label] for label in list(labels)], dtype=int)


def _pooled(strata: Int[np.ndarray, " clusters"]) -> Int[np.ndarray, " clusters"]:
    """Strata as 0, 1, ..., none of them of one cluster unless there is but one.

    Lone ones are put together, and a single lone one joins the smallest other.
    """
    codes = np.unique(strata, return_inverse=True)[1].astype(int)
    sizes = np.bincount(codes) if len(codes) else np.zeros(0, dtype=int)
    lone = np.flatnonzero(sizes == 1)
    if len(lone) and len(sizes) > 1:
        if len(lone) == 1:
            codes[codes == lone[0]] = int(np.where(sizes > 1, sizes, len(strata) + 1).argmin())
        else:
            codes[np.isin(codes, lone)] = lone[0]
    return np.unique(codes, return_inverse=True)[1].astype(int)


def _kish(weight: np.ndarray) -> float:
    return float(weight.sum() ** 2 / (weight**2).sum())


def _held_by_few(column: np.ndarray, weight: np.ndarray, codes: np.ndarray) -> str:
    """Why there is no interval where most of a floor lies in a source of few clusters; empty where it does not.

    One more cluster of such a source may hold as much again, and no spread among the few tells of it.
    """
    for code in np.unique(codes):
        own = codes == code
        held, share = float(column[own].sum()), max(0.5, 2 * float(weight[own].sum() / weight.sum()))
        if own.sum() < LEAST_HOLDING and held > share * column.sum():
            share = held / column.sum()
            return f"{own.sum()} documents of one source, which hold {100 * share:.0f} % of the floor, are too few"
    return ""


def _left_out(data: np.ndarray, weight: np.ndarray, codes: np.ndarray) -> Float64[np.ndarray, "columns clusters"]:
    """The columns' sums without each cluster in turn, its stratum brought back to the tokens that it had."""
    out = np.empty_like(data)
    for code in np.unique(codes):
        own = codes == code
        here, tokens = data[:, own].sum(1, keepdims=True), weight[own].sum()
        with np.errstate(all="ignore"):  # one cluster in all has nothing left
            out[:, own] = data.sum(1, keepdims=True) - here + (here - data[:, own]) * (tokens / (tokens - weight[own]))
    return out


def _spread(left: np.ndarray, weight: np.ndarray, codes: np.ndarray) -> tuple[float, float]:
    """The jackknife's standard error, and Satterthwaite's degrees of freedom over effective clusters.

    Where clusters differ in size, a set that missed a large one has too small a variance: a stratum's is raised by what
    the unevenness costs, and its degrees of freedom count large clusters by their squares. Both chosen by what covers.
    """
    variances, degrees = [], []
    for code in np.unique(codes):
        own, size = left[codes == code], weight[codes == code]
        m, effective = len(own), _kish(size)
        variances.append((1 + 1 / effective - 1 / m) * (m - 1) / m * ((own - own.mean()) ** 2).sum())
        degrees.append(max(min(effective - 1, _kish(size**2)), 0.5))
    variance, parts = np.array(variances), np.array(degrees)
    if not variance.sum() > 0:
        return 0.0, float(parts.sum())
    share = variance / variance.sum()  # not squared as they are: variances may be tiny
    return float(np.sqrt(variance.sum())), float(1 / (share**2 / parts).sum())


def _covariance(left: np.ndarray, codes: np.ndarray) -> Float64[np.ndarray, "columns columns"]:
    """The jackknife's covariance of the columns' sums."""
    out = np.zeros((len(left), len(left)))
    for code in np.unique(codes):
        own = left[:, codes == code]
        centred = own - own.mean(1, keepdims=True)
        out += centred @ centred.T * ((own.shape[1] - 1) / own.shape[1])
    return out


def _divide(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """The ratio; past a denominator of 0 it has gone off to the infinity on the numerator's side."""
    with np.errstate(all="ignore"):
        return np.where(bottom > 0, top / bottom, np.where(top == 0, np.nan, np.sign(top) * np.inf))


def _percentile(value: float, found: np.ndarray, n: int, tail: float) -> Estimate:
    # Order statistics, not interpolated: an infinity must not spread to its neighbours.
    low = float(np.quantile(np.where(np.isnan(found), -np.inf, found), tail, method="lower"))
    high = float(np.quantile(np.where(np.isnan(found), np.inf, found), 1 - tail, method="higher"))
    reason = None
    if not (np.isfinite(low) and np.isfinite(high)):
        share = float(np.mean(~np.isfinite(found)))
        reason = f"{100 * share:.1f} % of the resamples have no finite value"
    ends = [end if np.isfinite(end) else None for end in (low, high)]
    return Estimate(value, ends[0], ends[1], n, reason, "percentile")


def _fieller(top: float, bottom: float, covariance: np.ndarray, degrees: float, n: int, nonnegative: bool) -> Estimate:
    """Fieller's (1954) set: all r for which top − r·bottom is not told from 0."""
    squared = float(stats.t.ppf(1 - TAIL, degrees)) ** 2
    a = bottom**2 - squared * covariance[1, 1]
    b = top * bottom - squared * covariance[0, 1]
    c = top**2 - squared * covariance[0, 0]
    value, root = float(top / bottom), b**2 - a * c
    if a > 0:
        reach = float(np.sqrt(max(root, 0.0)))
        return Estimate(value, (b - reach) / a, (b + reach) / a, n, method="fieller")
    if root <= 0 or a == 0:
        return Estimate.undefined("the denominator is not resolved from 0, and any ratio is possible", n)
    first, second = sorted(((b - np.sqrt(root)) / a, (b + np.sqrt(root)) / a))
    if nonnegative and bottom > 0:
        reason = "the denominator is not resolved from 0, and the ratio is not bounded on that side"
        if value >= second:
            return Estimate(value, float(second), None, n, reason, "fieller")
        return Estimate(value, None, float(first), n, reason, "fieller")
    why = f"the denominator is not resolved from 0: any ratio below {first:.3g} or above {second:.3g} is possible"
    return Estimate.undefined(why, n)
