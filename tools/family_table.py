"""The tables of docs/results/family.md: every endpoint's loss, and what copying had formed there.

python tools/family_table.py [FOLDER]   (a folder of members as `assay zoo train` writes them; default: the package's)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from assay.zoo import index
from assay.zoo.recipes import RECIPES

MILLION = 1_000_000


def table(title: str, columns: list[int], rows: dict[str, dict[int, str]]) -> None:
    """One row a member, one column a budget."""
    print(f"\n| {title} | " + " | ".join(f"{c / MILLION:g} M" for c in columns) + " |")
    print("| --- |" + " --- |" * len(columns))
    for name, cells in rows.items():
        print(f"| {name} | " + " | ".join(cells.get(c, "") for c in columns) + " |")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else index.FOLDER
    found: dict[str, dict[int, dict]] = {}
    for name, recipe in RECIPES.items():
        endpoints = json.loads((folder / name / "endpoints.json").read_text())
        found[name] = dict(zip(recipe.budgets, endpoints, strict=False))
    columns = sorted({budget for endpoints in found.values() for budget in endpoints})

    def cells(say) -> dict[str, dict[int, str]]:
        return {name: {b: say(e) for b, e in endpoints.items()} for name, endpoints in found.items()}

    def loss(split: str):
        def say(endpoint: dict) -> str:
            # pieces of long modules stand beside the whole ones: each token counts once
            whole = [v for name, v in endpoint["documents"][split].items() if ":" not in name]
            total, count = np.array(whole).sum(0)
            return f"{total / count:.3f}"

        return say

    table("test: nats a token", columns, cells(loss("test")))
    table("unseen works: nats a token", columns, cells(loss("unseen")))
    table("FLOP", columns, cells(lambda e: f"{e['flops']:.2e}"))
    copied = {name for name, endpoints in found.items() if all("induction" in e for e in endpoints.values())}
    score = cells(lambda e: f"{e['induction']['score']:.2f}; {e['induction']['second_copy_nats']:.2f}")
    table("induction score; second copy, nats", columns, {n: row for n, row in score.items() if n in copied})


if __name__ == "__main__":
    main()
