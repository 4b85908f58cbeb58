"""Every search called in one way: a name, a workbench and options in, scores of all edges out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from assay.errors import ClaimError
from assay.intervene.ablations import Workbench
from assay.intervene.circuits import Circuits, transformer_of
from assay.methods import registry
from assay.methods.acdc import Acdc, acdc
from assay.methods.edge_methods import edge_scores
from assay.methods.edge_scores import EdgeScores, seeded
from assay.methods.exact import exact_edges
from assay.methods.greedy import greedy
from assay.methods.masks import learned_masks
from assay.methods.patching import patching
from assay.methods.registry import check_methods

TAUS = (1e-4, 1e-3, 1e-2, 1e-1)  # nats a token
STEPS = 400
GREEDY_FROM = "attribution"  # what greedy begins from when no other method is named
Say = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Options:
    """Options of searches.

    Attributes:
        size: edges that masks and greedy aim at.
        tau: thresholds of ACDC, in nats a token; with several an edge is the better the more of the runs keep it.
        steps: of learned masks.
        seed_with: the method whose scores begin ACDC, masks and greedy.
        seed: of what is drawn.
    """

    size: int
    tau: tuple[float, ...] = TAUS
    steps: int = STEPS
    seed_with: str | None = None
    seed: int = 0


def searches(
    bench: Workbench, ablation: str, methods: Sequence[str], options: Options, say: Say
) -> tuple[EdgeScores, ...]:
    """Scores of each method, on all rows of the bench's task.

    Raises:
        ClaimError: as `check_methods`, and for a size that the model does not have.
    """
    check_methods(methods, options.seed_with)
    edges = transformer_of(bench).edges
    if not 0 < options.size <= len(edges):
        raise ClaimError(f"a circuit of {options.size} edges was asked for; {bench.model.name} has 1 to {len(edges)}")
    run = _Run(bench, ablation, options, say)
    return tuple(run.method(name) for name in methods)


class _Run:
    def __init__(self, bench: Workbench, ablation: str, options: Options, say: Say):
        self.bench, self.ablation, self.options, self.say = bench, ablation, options, say
        self.edges = transformer_of(bench).edges
        self._plain: dict[str, EdgeScores] = {}  # without a seed

    def method(self, name: str) -> EdgeScores:
        with_ = self.options.seed_with
        if not registry.searches()[name].takes_seed:
            return self.plain(name)
        match name:
            case "acdc":
                if with_ is None:
                    return self.acdc(None)
                return seeded(self.acdc, self.plain(with_))
            case "masks":
                begin = None if with_ is None else self.plain(with_)
                found = learned_masks(
                    self.bench, self.ablation, self.options.size, begin=begin, steps=self.options.steps,
                    seed=self.options.seed, advance=self._counter(name, self.options.steps),
                ).scores  # fmt: skip
                return replace(found, method=name if begin is None else f"{name}, seeded by {begin.method}")
            case _:
                by = self.plain(with_ or GREEDY_FROM)
                found = greedy(
                    self.bench, self.ablation, by, self.options.size, seed=self.options.seed,
                    advance=self._counter(name, None),
                ).scores  # fmt: skip
                return replace(found, method=f"greedy, seeded by {by.method}")

    def plain(self, name: str) -> EdgeScores:
        if name not in self._plain:
            self._plain[name] = self._fresh(name)
        return self._plain[name]

    def _fresh(self, name: str) -> EdgeScores:
        if name == "exact":
            return exact_edges(self.bench, self.ablation, advance=self._counter(name, None))
        self.say(f"searching: {name}", 0, None)
        if name == "patching":
            return patching(self.bench, self.ablation)
        scores = edge_scores(name, Circuits(self.bench, self.ablation), seed=self.options.seed)
        if name == scores.method:
            return scores
        return replace(scores, method=name, settings={**scores.settings, "score": scores.method})

    def acdc(self, order: np.ndarray | None) -> EdgeScores:
        """ACDC at every tau: edges that more runs keep come first, then those whose cut cost more at the lowest tau."""
        taus = sorted(set(self.options.tau))
        found: list[Acdc] = []
        for tau in taus:
            advance = self._counter(f"acdc, tau {tau:g}", len(self.edges))
            found.append(acdc(self.bench, self.ablation, tau, order=order, advance=advance))
        kept = np.sum([one.mask for one in found], axis=0)
        rise = np.maximum(found[0].increase, 0)
        settings = {**found[0].settings, "tau": taus, "kept": [int(one.mask.sum()) for one in found]}
        passes = sum(one.passes for one in found)
        return EdgeScores(kept + rise / (1 + rise), "acdc", settings, float(passes))

    def _counter(self, name: str, total: int | None) -> Callable[[int], None]:
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            self.say(f"searching: {name}", done, total)

        self.say(f"searching: {name}", 0, total)
        return advance
