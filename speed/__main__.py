"""Runs every benchmark of this folder that has a `rows()`: (what, seconds, beside what, seconds)."""

from __future__ import annotations

import importlib
import pkgutil

import speed


def main() -> None:
    """Prints a line for each comparison: both times and their ratio."""
    for module in sorted(m.name for m in pkgutil.iter_modules(speed.__path__) if not m.name.startswith("_")):
        for what, ours, beside, theirs in getattr(importlib.import_module(f"speed.{module}"), "rows", tuple)():
            pair = f"{what:44} {ours * 1e3:9.1f} ms   {beside:24} {theirs * 1e3:9.1f} ms"
            print(f"{module:8} {pair} {theirs / ours:6.2f} x")


if __name__ == "__main__":
    main()
