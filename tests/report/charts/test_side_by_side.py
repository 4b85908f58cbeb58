"""The demo's picture says which of two claims holds, by the floor that decides."""

import io

from rich.console import Console

from assay.report.charts.side_by_side import SideBySide, picture
from tests.report import records


def run(own: float, counts: float, half: float = 0.05):
    record = records.data()
    for row in record["table"]:
        row["recovered"] = records.estimate(own if row["headline"] else 0.9, half)
        row["recovered_loss"] = records.estimate(counts, half)
    return records.measured(record)


def shown(runs) -> str:
    sink = io.StringIO()
    Console(file=sink, width=120, color_system=None).print(SideBySide(runs, ["next: go on"]))
    return sink.getvalue()


def test_the_floor_that_decides_gives_the_verdict():
    text = shown([("one", run(0.9, 0.95)), ("two", run(-0.9, 0.9))])
    assert "A  holds up" in text
    assert "B  does not" in text
    usual, own = (next(line for line in text.splitlines() if name in line) for name in ("usual", "switched off  "))
    assert "95 %" in usual
    assert "90 %" in usual
    assert "−90 %" in own
    assert text.rstrip().endswith("next: go on")
    assert "A  is not shown to help" in shown([("one", run(0.01, 0.95))])


def test_the_picture_has_a_bar_a_claim_and_floor():
    drawn = picture([("one", run(0.9, 0.95)), ("two", run(-0.9, 0.9))]).to_dict()
    data = next(iter(drawn["datasets"].values()))
    assert [(row["claim"], round(row["value"], 2)) for row in data] == [
        ("A", 0.95),
        ("A", 0.9),
        ("B", 0.9),
        ("B", -0.9),
    ]
