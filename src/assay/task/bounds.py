"""How small and how large the numbers of claims, tasks and searches may be: beyond, a run takes days."""

from __future__ import annotations

SEED = (0, 2**63 - 1)
DRAWS = (4, 10_000)  # random fills of a document
DOCUMENTS = (1, 1_000_000)
CONTROLS = (0, 100_000)
BUDGET = (1, 1_000_000)  # passes over all scored rows
ROWS = (1, 20_000)  # of repeats, and of planted inputs
SPAN = (2, 100_000)  # tokens that are repeated, or that a window has
PREFIX = (1, 64)  # tokens that a prefix match compares
TOKEN = (0, 2**31 - 1)  # a token's id, before a vocabulary is known
TOKENS = (1, 100_000)  # that a label names


HEADLINE_ONLY, THOROUGH = "headline", "thorough"  # the least and the most that a measurement may cost


def budget_problem(value: object) -> str | None:
    """One clause on what is no budget, or None."""
    if isinstance(value, str):
        if value in (HEADLINE_ONLY, THOROUGH):
            return None
    elif isinstance(value, int) and not isinstance(value, bool):
        return problem("budget", value, BUDGET)
    return f"'budget' must be a number of passes, '{HEADLINE_ONLY}' or '{THOROUGH}', not {value!r}"


def problem(name: str, value: int, bounds: tuple[int, int], of: str = "") -> str | None:
    """One clause on a number out of its bounds, or None."""
    least, most = bounds
    if value < least:
        return f"{name!r}{of} must be at least {least}, not {value}"
    return f"{name!r}{of} must be at most {most:,}, not {_shown(value)}" if value > most else None


def _shown(value: int) -> str:
    return f"{value:,}" if value < 10**18 else "a number of more than 18 digits"
