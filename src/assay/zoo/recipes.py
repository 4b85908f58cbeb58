"""Settings of the built-in `novel` models: shapes, budgets and training data. Data only; `assay.train` runs them."""

from __future__ import annotations

from dataclasses import dataclass

CONTEXT = 256
VOCABULARY = 4_096
BUDGETS = tuple(3_000_000 * 2**k for k in range(8))  # training tokens of the scaling points, up to 384 million
COOL_DOWN = 0.2  # share of a budget over which the rate falls to zero
BATCH = 16  # windows a step


@dataclass(frozen=True)
class Recipe:
    """How one member of the family is made.

    Attributes:
        layers, d_model, heads: the shape; an attention-only member has MLPs of width 1 whose weights are zero.
        repeats: whether spans are repeated: a first phase of nothing but repeats, then a tenth of the windows.
        shown: whether a head of the second layer is drawn to what follows the current token's last occurrence while the
            repeat phase begins; without that the four-layer model learns to copy with no head that does so.
        budgets: tokens at which a cooled-down endpoint is stored; the last one reached is the model that ships.
    """

    layers: int
    d_model: int
    heads: int
    attention_only: bool = False
    repeats: bool = False
    shown: bool = False
    seed: int = 0
    budgets: tuple[int, ...] = BUDGETS

    @property
    def scaling(self) -> bool:
        """Whether it is a point of the scaling curve: trained on text alone, like the others but for its size."""
        return not (self.attention_only or self.repeats or self.seed)

    @property
    def d_mlp(self) -> int:
        return 1 if self.attention_only else (8 * self.d_model // 3 + 7) // 8 * 8


RECIPES = {
    "novel-attn2": Recipe(2, 256, 8, attention_only=True),
    "novel-attn2-rep": Recipe(2, 256, 8, attention_only=True, repeats=True),
    "novel-1l": Recipe(1, 64, 4, budgets=(750_000, 1_500_000, *BUDGETS)),
    "novel-2l": Recipe(2, 128, 4),
    "novel-3l": Recipe(3, 192, 6),
    "novel-4l": Recipe(4, 256, 8, budgets=BUDGETS[:-1]),
    "novel-4l-seed1": Recipe(4, 256, 8, seed=1, budgets=BUDGETS[:-1]),
    "novel-4l-rep": Recipe(4, 256, 8, repeats=True, shown=True, budgets=BUDGETS[:-1]),
}
