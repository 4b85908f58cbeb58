"""How circuits are searched for and scored, as one asks for it; checked before anything heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from assay.errors import ClaimError, UserError
from assay.intervene.fill.spec import ablation_problem
from assay.methods.edge_sizes import log_sizes
from assay.methods.registry import Options, check_methods, takers
from assay.task import bounds

SHARE, FEWEST = 0.01, 12  # of the edges, and how many at least, that masks and greedy aim at where no size is given
REACH = 0.9  # of the model's metric that the written circuit recovers, where no size is given
SIZES = 24
MOST_SIZES, MOST = 1_000, 1_000_000  # of a frontier; edges, rows and steps


def sizes_of(text: str) -> int | tuple[int, ...]:
    """How many sizes, such as "24", or which, such as "10,100,1000".

    Raises:
        UserError: for anything else.
    """
    try:
        numbers = tuple(int(part) for part in text.replace(" ", "").strip(",").split(","))
    except ValueError:
        raise UserError(f"--sizes is {text!r}; give how many, such as 24, or which, such as 10,100,1000") from None
    return numbers if "," in text else numbers[0]


@dataclass(frozen=True)
class SearchPlan:
    """How circuits are searched for and scored.

    Attributes:
        methods: names of searches; ablation: what fills every edge that is cut.
        sizes: how many the frontier has, or the numbers of edges.
        keep_edges, share: the size of the circuit that is written, and that masks and greedy aim at; without either,
            the smallest circuit is written that recovers `reach` of the model's metric on the selection.
        reach: see `keep_edges`; None: `REACH`.
        controls: random circuits of each size; control_rows: rows that they are scored on at most (default: as all
            controls).
        draws: how many a random ablation has.
    """

    methods: tuple[str, ...]
    ablation: str = "mean"
    sizes: int | tuple[int, ...] = SIZES
    keep_edges: int | None = None
    share: float | None = None
    reach: float | None = None
    tau: tuple[float, ...] | None = None
    steps: int | None = None
    seed_with: str | None = None
    controls: int = 100
    control_rows: int | None = None
    draws: int = 4
    seed: int = 0

    def check(self) -> None:
        """Raises a `UserError` for what no model could have; nothing is loaded."""
        check_methods(self.methods, self.seed_with)
        if clause := ablation_problem(self.ablation):
            raise UserError(clause)
        if self.keep_edges is not None and self.share is not None:
            raise UserError(f"keep_edges={self.keep_edges} and share={self.share:g} are both given; give one")
        if self.share is not None and not 0 < self.share <= 1:
            raise UserError(f"a share of {self.share:g} of the edges cannot be kept; give one above 0 and up to 1")
        if self.reach is not None and self.sized:
            size = f"keep_edges={self.keep_edges}" if self.keep_edges is not None else f"share={self.share:g}"
            raise UserError(f"reach={self.reach:g} and {size} are both given; give one")
        if self.reach is not None and not 0 < self.reach <= 1:
            raise UserError(
                f"no circuit is looked for that reaches {self.reach:g} of the model's metric; give a share "
                "above 0 and up to 1"
            )
        for tau in self.tau or ():
            if not 0 < tau < np.inf:
                raise UserError(f"ACDC's threshold tau must be a number above 0, not {tau:g}")
        if isinstance(self.sizes, int) and not 2 <= self.sizes <= MOST_SIZES:
            raise UserError(f"a frontier needs at least 2 sizes and at most {MOST_SIZES:,}, not {self.sizes}")
        if not isinstance(self.sizes, int) and (len(set(self.sizes)) < 2 or min(self.sizes) < 1):
            raise UserError(f"a frontier needs at least 2 sizes of 1 edge or more, not {list(self.sizes)}")
        limits = {"controls": bounds.CONTROLS, "control_rows": (2, MOST), "draws": (1, bounds.DRAWS[1])}
        limits |= {"seed": bounds.SEED, "keep_edges": (1, MOST), "steps": (1, MOST)}
        for name, limit in limits.items():
            value = getattr(self, name)
            if value is not None and (problem := bounds.problem(name, value, limit)):
                raise UserError(problem)
        for given in ("tau", "steps"):
            (method,) = takers(given)
            if getattr(self, given) is not None and method not in self.methods:
                raise UserError(f"{given!r} is of the method {method!r}, which is not among those given")

    def options(self, size: int) -> Options:
        """The methods' options, for a circuit of this size."""
        given = {name: getattr(self, name) for name in ("tau", "steps") if getattr(self, name) is not None}
        return Options(size, seed_with=self.seed_with, seed=self.seed, **given)

    @property
    def sized(self) -> bool:
        """Whether the size of the written circuit is given."""
        return self.keep_edges is not None or self.share is not None

    def size(self, edges: int, name: str) -> int:
        """The size that is given, or that masks and greedy aim at without one.

        Raises:
            ClaimError: for one that the model does not have.
        """
        size = self.keep_edges
        if size is None:
            size = round(self.share * edges) if self.share is not None else max(round(SHARE * edges), FEWEST)
            size = min(max(size, 1), edges)
        if size > edges:
            raise ClaimError(f"a circuit of {size} edges was asked for; {name} has 1 to {edges}")
        return size

    def all_sizes(self, edges: int, name: str) -> Int[np.ndarray, "sizes"]:
        """The sizes of the frontier, with `size` among them.

        Raises:
            ClaimError: for one that the model does not have.
        """
        if isinstance(self.sizes, int):
            return np.union1d(log_sizes(edges, self.sizes), [self.size(edges, name)])
        if max(self.sizes) > edges:
            raise ClaimError(f"a circuit of {max(self.sizes)} edges was asked for; {name} has 1 to {edges}")
        return np.union1d(np.array(self.sizes), [self.size(edges, name)])
