"""The pictures of docs/results/, drawn from the tables of the same pages: `python -m tools.results_figures`.

A row of the table is a row of the picture, a column a colour: value and 95 % interval as they are printed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "docs" / "results"
WIDE, ROW, LEFT, RIGHT, TOP, FOOT = 760, 22, 300, 30, 34, 34  # pixels
COLOURS = ("#2b6cb0", "#b7791f", "#2f855a", "#9b2c2c")
_NUMBER = re.compile(r"[−-]?\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Figure:
    """A picture.

    Attributes:
        page: its page and its file's name.
        tables: how a table's header begins, with the columns that are drawn.
        axis: what the scale says; low, high: its ends; what lies beyond stands at them as an arrow.
        titles: of the tables, where there are several of one header.
    """

    page: str
    tables: tuple[tuple[str, tuple[str, ...]], ...]
    axis: str
    low: float
    high: float
    titles: tuple[str, ...] = ()


FIGURES = (
    Figure(
        "circuits",
        (("| method | ~1 %", ("area, log",)),),
        "area under the frontier, in log edges",
        -0.2,
        0.7,
        ("natural text", "repeated tokens"),
    ),
    Figure(
        "worth",
        (("| claim about", ("R_D over mean", "over the bigram", "over 5-grams")),),
        "share recovered",
        -1.5,
        1.0,
    ),
    Figure("planted", (("| method | mean |", ("mean", "resample_joint")),), "mean area under the ROC curve", 0.4, 1.0),
    Figure(
        "induction",
        (("| what stands for the heads", ("over mean", "over resample_joint", "over the bigram")),),
        "share recovered",
        -2.0,
        1.0,
    ),
)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def tables(text: str, head: str) -> list[tuple[list[str], list[list[str]]]]:
    """Header and rows of every table of a page whose header begins so."""
    lines, found = text.splitlines(), []
    for at, line in enumerate(lines):
        if line.startswith(head):
            end = next(i for i in range(at, len(lines) + 1) if i == len(lines) or not lines[i].startswith("|"))
            found.append((cells(line), [cells(row) for row in lines[at + 2 : end]]))
    return found


def figure(cell: str) -> tuple[float, float, float] | None:
    """Value and ends of "0.54 [0.52, 0.56]"; the value three times where there is no interval."""
    found = [float(one.replace("−", "-")) for one in _NUMBER.findall(cell)]
    if not found:
        return None
    value, low, high = found[:3] if len(found) >= 3 else [found[0]] * 3
    return value, low, high


def drawn(one: Figure, text: str) -> str:
    """The picture as SVG."""
    parts, y = list[str](), TOP
    wide = WIDE - LEFT - RIGHT

    def x(value: float) -> float:
        return LEFT + wide * (min(max(value, one.low), one.high) - one.low) / (one.high - one.low)

    columns = one.tables[0][1]
    for head, names in one.tables:
        for table, (header, rows) in enumerate(tables(text, head)):
            if one.titles:
                where = f'x="{LEFT - 10}" y="{y + 4}" text-anchor="end"'
                parts.append(f'<text {where} class="title">{escape(one.titles[table])}</text>')
                y += ROW
            for row in rows:
                label = re.sub(r"[`*]|\(`.*?`\)", "", row[0])
                parts.append(f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end">{escape(label[:48])}</text>')
                parts.append(f'<line x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{y}" y2="{y}" class="row"/>')
                for k, name in enumerate(names):
                    found = figure(row[header.index(name)])
                    if found is None:
                        continue
                    value, low, high = found
                    up = y + (k - (len(names) - 1) / 2) * 5
                    colour = COLOURS[k]
                    parts.append(f'<line x1="{x(low):.1f}" x2="{x(high):.1f}" y1="{up}" y2="{up}" stroke="{colour}"/>')
                    if one.low <= value <= one.high:
                        parts.append(f'<circle cx="{x(value):.1f}" cy="{up}" r="3.4" fill="{colour}"/>')
                    else:
                        end, turn = (one.low, -1) if value < one.low else (one.high, 1)
                        tip = f"{x(end) + 7 * turn:.1f},{up} {x(end):.1f},{up - 4} {x(end):.1f},{up + 4}"
                        parts.append(f'<polygon points="{tip}" fill="{colour}"/>')
                y += ROW
    bottom = y - ROW // 2
    step = 0.1 if one.high - one.low < 1.2 else 0.5
    first = round(one.low / step)
    for mark in range(first, round(one.high / step) + 1):
        value = mark * step
        bold = ' class="zero"' if mark == 0 else ' class="grid"'
        said = f"{value:.1f}".replace("-", "−")
        parts.insert(0, f'<line x1="{x(value):.1f}" x2="{x(value):.1f}" y1="{TOP - 12}" y2="{bottom}"{bold}/>')
        parts.append(f'<text x="{x(value):.1f}" y="{bottom + 14}" text-anchor="middle" class="small">{said}</text>')
    parts.append(f'<text x="{LEFT + wide / 2}" y="{bottom + 29}" text-anchor="middle" class="small">{one.axis}</text>')
    at = LEFT
    for k, name in enumerate(columns if len(columns) > 1 else ()):
        parts.append(f'<circle cx="{at + 4}" cy="12" r="4" fill="{COLOURS[k]}"/>')
        parts.append(f'<text x="{at + 12}" y="16" class="small">{escape(name)}</text>')
        at += 24 + 7 * len(name)
    style = (
        "text{font:12px sans-serif;fill:#1a202c}.small{font-size:11px;fill:#4a5568}.title{font-weight:bold}"
        ".row{stroke:#edf2f7}.grid{stroke:#e2e8f0}.zero{stroke:#718096}"
    )
    height = bottom + FOOT + 4
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {height}" width="{WIDE}" height="{height}" '
        f'role="img"><style>{style}</style><rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def pictures() -> dict[Path, str]:
    """Every picture, by the file that it belongs in."""
    return {
        RESULTS / f"{one.page}.svg": drawn(one, (RESULTS / f"{one.page}.md").read_text(encoding="utf-8"))
        for one in FIGURES
    }


if __name__ == "__main__":
    for path, picture in pictures().items():
        path.write_text(picture, encoding="utf-8")
        print(path)
