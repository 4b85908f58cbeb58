"""The names and shapes of the built-in programs, without importing them."""

PREFIX = "planted:"
SHAPES = {  # layers, heads
    "reversal": (1, 2),
    "proportion": (1, 2),
    "sort": (1, 2),
    "induction": (2, 2),
    "and_gate": (1, 3),
    "or_gate": (1, 3),
    "cancelling": (1, 4),
    "backup": (2, 2),
}
NAMES = tuple(SHAPES)
