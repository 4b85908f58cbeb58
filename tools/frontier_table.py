"""The table of docs/results/circuits.md of a search's run folder: a line a method, largest area first.

    python -m tools.frontier_table runs/text [--shares 0.01 0.03 0.1 0.3]

For each share of the edges the size that is nearest to it (on a logarithmic scale): edges, R_D with its interval, and
in brackets the median and the 95th percentile of the random circuits like it, and p. Last, at how many sizes a method
does better than 95 % of these. † begun from another method's scores.
"""

from __future__ import annotations

import argparse
import math

from assay.record.read import read_search
from assay.record.search import MethodRecord, SearchRecord
from assay.report.plain import plain_text
from assay.report.words import number, said


def line(method: MethodRecord, total: int, shares: list[float]) -> str:
    """A method's line."""
    cells = [method.method.partition(",")[0] + (" †" if method.settings.get("seeded_by") else "")]
    for share in shares:
        one = min(
            (size for size in method.sizes if 0 < size.edges < total),
            key=lambda s: abs(math.log(s.edges / total / share)),
        )
        control = one.control
        known = control is not None and control.n and control.median is not None
        like = f" ({number(control.median, 2)}; {number(control.high, 2)}; {number(control.p, 2)})" if known else ""
        cells.append(f"{one.edges}: {said(one.recovered)}{like}")
    cells += [said(method.area.log), said(method.mib.cpr), said(method.mib.cmd), f"{method.passes:,.0f}"]
    compared = [size.control for size in method.sizes if size.control is not None and size.control.p is not None]
    cells.append(f"{sum((one.p or 0.0) < 0.05 for one in compared)} of {len(compared)}")
    return f"| {' | '.join(map(plain_text, cells))} |"


def table(record: SearchRecord, shares: list[float]) -> list[str]:
    head = ["method", *(f"~{100 * share:g} %" for share in shares), "area, log", "CPR", "CMD", "passes", "better"]
    methods = sorted(record.methods, key=lambda one: -(one.area.log.value or 0.0))
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    return lines + [line(one, record.total, shares) for one in methods]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run folder of `assay find circuit`")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.01, 0.03, 0.1, 0.3])
    given = parser.parse_args()
    print("\n".join(table(read_search(given.run), given.shares)))


if __name__ == "__main__":
    main()
