"""How often a 95 % interval holds the truth, by simulation from real per-document sums of the built-in text.

    python -m tools.coverage --sets 1000

A population is works with their documents (blocks of 2,000 tokens; tests/data/document_sums_*.npz: nats summed by
document for three claims: tools/document_sums.py). A set is a
split of as many works of every source, drawn with replacement, and a sample of its documents as `Task.text` takes it.
The truth is the population's, with the sources' shares of the tokens as they are in the set. "Before" are the intervals
that assay gave until November 2026: documents in proportion to their number, modules whole, a percentile bootstrap over
documents (t on the jackknife under 30), against the population's own ratio.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from assay.frontier.curves import Curve, area_log
from assay.measure.headline.recovered import necessity, nines, recovered_kl, recovered_loss
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate
from assay.stats.keyed import generator
from assay.task.documents import Document
from assay.task.zoo_text import sample

DATA = Path(__file__).parent.parent / "tests" / "data"
DESIGNS = (8, 15, 30, 60, None)  # documents; None: all of the set's
STRATA = {
    "en, fr, python": ("test", ("en", "fr", "python")),
    "en, fr": ("test", ("en", "fr")),
    "python": ("test", ("python",)),
    "python, unseen": ("unseen", ("python",)),
}  # fmt: skip
Columns = list[np.ndarray]


@dataclass(frozen=True, eq=False)
class Quantity:
    """A figure, made from some columns of the sums.

    Attributes:
        estimate: (resamples, tokens, columns) -> the figure as assay gives it.
        naive: columns' sums [columns, k] -> [k] values: the truth, and what "before" resampled.
        one_sided: only an upper end that lies below the truth counts as a miss, of 2.5 %.
    """

    name: str
    columns: tuple[str, ...]
    estimate: Callable[[Resamples, np.ndarray, Columns], Estimate]
    naive: Callable[[np.ndarray], np.ndarray]
    one_sided: bool = False


def _certified(resamples: Resamples, tokens: np.ndarray, columns: Columns) -> Estimate:
    found = nines(resamples, *columns, tokens, "mean")
    if found.value.high is None or found.value.low is None:
        return found.value
    return Estimate(found.value.value, found.certified.value, 99.0, found.value.n)


def _area(resamples: Resamples, tokens: np.ndarray, columns: Columns) -> Estimate:
    zero = np.zeros_like(tokens)
    kl = np.stack(columns[:2])
    curve = Curve(np.array([40, 400]), 1_000, kl, columns[2], kl, columns[2], zero, tokens, resamples)
    return area_log(curve)


def _naive_area(sums: np.ndarray) -> np.ndarray:
    x = np.log([1.0, 40.0, 400.0, 1_000.0])
    heights = np.stack([np.zeros_like(sums[0]), 1 - sums[0] / sums[2], 1 - sums[1] / sums[2], np.ones_like(sums[0])])
    return np.trapezoid(heights, x, axis=0) / (x[-1] - x[0])


def _share(sums: np.ndarray) -> np.ndarray:
    return 1 - sums[0] / sums[1]


QUANTITIES = (
    Quantity(
        "R_D, induction over mean", ("induction/explained/kl", "induction/floor:mean/kl"),
        lambda r, n, c: recovered_kl(r, *c, n), _share,
    ),
    Quantity(
        "R_D, keep over mean", ("keep/explained:mean/kl", "keep/floor:mean/kl"),
        lambda r, n, c: recovered_kl(r, *c, n), _share,
    ),
    Quantity(
        "R_L, keep over mean", ("keep/model/loss", "keep/explained:mean/loss", "keep/floor:mean/loss"),
        lambda r, n, c: recovered_loss(r, *c, n), lambda s: (s[2] - s[1]) / (s[2] - s[0]),
    ),
    Quantity(
        "nines certified, keep over mean", ("keep/explained:mean/kl", "keep/floor:mean/kl"),
        _certified, lambda s: -np.log10(np.minimum(s[0] / s[1], 1.0)), one_sided=True,
    ),
    Quantity(
        "necessity, remove", ("remove/model/loss", "remove/explained:mean/loss", "remove/bigram/loss",
                              "remove/explained:mean/kl"),
        lambda r, n, c: necessity(
            r, n, loss_model=c[0], loss_removed=c[1], loss_bigram=c[2], kl_removed=c[3]
        ).necessity, lambda s: (s[1] - s[0]) / (s[2] - s[0]),
    ),
    Quantity(
        "difference of R_D, two floors, induction",
        ("induction/explained/kl", "induction/floor:resample_joint/kl", "induction/explained/kl",
         "induction/floor:mean/kl"),
        lambda r, n, c: r.recovered_difference((c[0], c[2]), (c[1], c[3]), n), lambda s: s[2] / s[3] - s[0] / s[1],
    ),
    Quantity(
        "KL in nats, remove", ("remove/explained:mean/kl", "tokens"),
        lambda r, n, c: r.mean(c[0], n), lambda s: s[0] / s[1],
    ),
    Quantity(
        "area of a frontier, keep",
        ("keep/explained:resample_joint/kl", "keep/explained:mean/kl", "keep/floor:mean/kl"), _area, _naive_area,
    ),
)  # fmt: skip


def sums_file(split: str) -> Path:
    return DATA / f"document_sums_{split}.npz"


class Population:
    """Works with their documents, and sets drawn from them."""

    def __init__(self, split: str = "test", sources: Sequence[str] = ("en", "fr", "python")) -> None:
        with np.load(sums_file(split)) as file:
            chosen = np.isin(file["source"], sources)
            self.data = {name: file[name][chosen] for name in file.files}
        self.tokens = self.data["tokens"].astype(float)
        self.source = self.data["source"]
        self.names = [Document(str(name), "", np.zeros(0)).work for name in self.data["documents"]]
        self.works = {
            source: [np.flatnonzero(np.array(self.names) == name) for name in dict.fromkeys(self.of(source))]
            for source in dict.fromkeys(self.source.tolist())
        }

    def of(self, source: str) -> list[str]:
        return [name for name, one in zip(self.names, self.source, strict=True) if one == source]

    def columns(self, names: tuple[str, ...]) -> np.ndarray:
        return np.stack([self.data[name].astype(float) for name in names])

    def split(self, rng: np.random.Generator) -> list[Document]:
        """As many works of every source as there are, with replacement; `tokens` holds the document's index."""
        out = []
        for source, works in self.works.items():
            for copy, place in enumerate(rng.integers(len(works), size=len(works))):
                out += [Document(f"{source}/{copy}#{i}", source, np.array([d])) for i, d in enumerate(works[place])]
        return out


def truth(population: Population, quantity: Quantity, chosen: np.ndarray | None) -> float:
    """The population's figure; with documents given, its sources have the shares of the tokens that these have."""
    columns = population.columns(quantity.columns)
    total = np.zeros(len(columns))
    for source in population.works:
        here = population.source == source
        share = 1.0 if chosen is None else population.tokens[chosen][here[chosen]].sum() / population.tokens[here].sum()
        total += columns[:, here].sum(1) * share
    return float(quantity.naive(total[:, None])[0])


def now(population: Population, quantity: Quantity, design: int | None, set_: int) -> tuple[Estimate, float]:
    """The interval as assay gives it on one set, and the truth."""
    split = population.split(generator(0, "set", set_))
    documents = sample(split, design, set_)[0]
    chosen = np.array([int(d.tokens[0]) for d in documents])
    tokens = population.tokens[chosen]
    strata, works = [d.source for d in documents], [d.work for d in documents]
    resamples = Resamples(len(chosen), strata, set_, clusters=works, tokens=tokens)
    found = quantity.estimate(resamples, tokens, list(population.columns(quantity.columns)[:, chosen]))
    return found, truth(population, quantity, chosen)


def before(
    population: Population, quantity: Quantity, design: int | None, set_: int, draws: int = 400
) -> tuple[float, float]:
    """The interval as it was: whole modules, documents as clusters, percentiles of a bootstrap."""
    rng = generator(0, "before", set_)
    rows: list[tuple[str, np.ndarray]] = []
    for source, works in population.works.items():
        for place in rng.integers(len(works), size=len(works)):
            rows += [(source, works[place])] if source == "python" else [(source, np.array([d])) for d in works[place]]
    every = population.columns(quantity.columns)
    sums = np.stack([every[:, documents].sum(1) for _, documents in rows], axis=1)
    source = np.array([s for s, _ in rows])
    sizes = {s: int((source == s).sum()) for s in population.works}
    share = sizes if design is None else _proportional(sizes, design)
    chosen = np.concatenate([rng.permutation(np.flatnonzero(source == s))[:n] for s, n in share.items()])
    sums, source = sums[:, chosen], source[chosen]
    value = quantity.naive(sums.sum(1)[:, None])[0]
    total, strata = np.zeros((len(sums), draws)), [np.flatnonzero(source == s) for s in share if share[s]]
    strata = [s for s in strata if len(s) > 1] or [np.arange(len(source))]
    variance = 0.0
    for own in strata:
        m = len(own)
        total += sums[:, own] @ rng.multinomial(m - 1, np.full(m, 1 / m), size=draws).T * (m / (m - 1))
        rest = sums.sum(1)[:, None] + (sums[:, own].sum(1)[:, None] - m * sums[:, own]) / (m - 1)
        values = quantity.naive(rest)
        variance += (m - 1) / m * ((values - values.mean()) ** 2).sum()
    if len(source) < 30:
        reach = stats.t.ppf(0.975, max(1, len(source) - len(strata))) * variance**0.5
        return value - reach, value + reach
    low, high = np.nanquantile(quantity.naive(total), [0.025, 0.975])
    return float(low), float(high)


def _proportional(sizes: dict[str, int], count: int) -> dict[str, int]:
    exact = {s: count * n / sum(sizes.values()) for s, n in sizes.items()}
    share = {s: max(1, int(x)) for s, x in exact.items()}
    while sum(share.values()) < count:
        share[max(share, key=lambda s: exact[s] - share[s])] += 1
    return share


@dataclass(frozen=True)
class Coverage:
    """Of the sets: the share whose interval holds the truth, lies above or below it (of those with an interval), the
    share that has none, and the interval's median width."""

    holds: float
    above: float
    below: float
    none: float
    width: float


def coverage(population: Population, quantity: Quantity, design: int | None, sets: int) -> Coverage:
    ends, none = [], 0
    for i in range(sets):
        found, true = now(population, quantity, design, i)
        if found.low is None or found.high is None:
            none += 1
        else:
            ends.append((found.low, found.high, true))
    if not ends:
        return Coverage(float("nan"), float("nan"), float("nan"), 1.0, float("nan"))
    low, high, true = np.array(ends).T
    holds = (low <= true + 1e-12) & (true <= high + 1e-12)
    widths = float(np.median(high - low))
    return Coverage(holds.mean(), (low > true).mean(), (high < true).mean(), none / sets, widths)


def coverage_before(population: Population, quantity: Quantity, design: int | None, sets: int) -> float:
    true = truth(population, quantity, None)
    found = np.array([before(population, quantity, design, i) for i in range(sets)])
    upper = found[:, 1] if not quantity.one_sided else np.full(len(found), np.inf)
    return float(((found[:, 0] <= true) & (true <= upper)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=1_000)
    sets = parser.parse_args().sets
    head = "strata", "quantity", "documents", "holds the truth", "lies above", "lies below", "no interval", "width"
    print(f"| {' | '.join((*head, 'before'))} |\n|{' --- |' * 9}")
    for strata, (split, sources) in STRATA.items():
        population = Population(split, sources)
        for quantity in QUANTITIES:
            for design in DESIGNS:
                c = coverage(population, quantity, design, sets)
                old = coverage_before(population, quantity, design, max(1, sets // 2))
                shares = (f"{share:.1%}" for share in (c.holds, c.above, c.below, c.none))
                width = "one-sided" if quantity.one_sided else f"{c.width:.3f}"
                cells = (strata, quantity.name, str(design or f"all ({len(population.tokens)})"), *shares, width)
                print(f"| {' | '.join(cells)} | {old:.1%} |", flush=True)


if __name__ == "__main__":
    main()
