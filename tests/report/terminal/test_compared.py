"""Runs side by side: every figure with its interval, a sentence a pair, and what must be minded."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from assay.record.compared import ComparedFigure, ComparedRun
from assay.report.terminal import compared
from assay.stats.estimate import Estimate
from tests.report import records


def printed(renderable: Any, width: int = 120) -> str:
    sink = io.StringIO()
    Console(file=sink, width=width, color_system=None).print(renderable)
    return sink.getvalue()


def pair(run: str, reason: str | None = None) -> ComparedRun:
    first, second, difference = (Estimate(x, x - 0.03, x + 0.03, 9) for x in (0.62, 0.70, 0.08))
    figure = ComparedFigure(first=first, second=second, difference=difference, p=0.001, p_holm=0.002)
    none = ComparedFigure(first=first, second=second, difference=Estimate.undefined("the metrics differ"))
    figures = {} if reason else {"recovered": figure, "kl": figure, "loss": none}
    many = {"documents": 9, "tokens": 90, "shared": {"runs/a": 90}}
    sentence = f"{run} is better than runs/a"
    return ComparedRun(run=run, against="runs/a", **many, reason=reason, figures=figures, sentence=sentence)


def test_runs_stand_side_by_side_with_their_differences():
    runs = [records.measured()] * 2
    text = printed(compared.compare(runs, ["runs/a", "runs/b"], [pair("runs/b")]))
    once = " ".join(text.split())
    assert "0.62 [0.59, 0.65] 0.70 [0.67, 0.73] 0.08 [0.05, 0.11] 0.002" in once
    assert "0.620 [0.590, 0.650] 0.700 [0.670, 0.730] undefined" in once
    assert "runs/b: loss is not compared, because the metrics differ." in once
    assert "In one sentence: runs/b is better than runs/a" in once
    assert "(Holm)" not in text
    assert "Mind" not in text


def test_a_tasks_own_metric_is_compared_in_its_own_unit():
    record = records.data()
    record["task"] |= {"kind": "prompts", "metric": "logit_diff"}
    figures = [Estimate(x, x - 0.1, x + 0.1, 9) for x in (-3.0, -2.5, 0.5)]
    one = pair("runs/b")
    one = one.model_copy(update={"figures": one.figures | {
        "loss": ComparedFigure(first=figures[0], second=figures[1], difference=figures[2])}})  # fmt: skip
    once = " ".join(printed(compared.compare([records.measured(record)] * 2, ["runs/a", "runs/b"], [one]), 160).split())
    assert "3.000 [2.900, 3.100] 2.500 [2.400, 2.600] −0.500 [−0.600, −0.400]" in once
    assert "logit difference, explained" in once
    assert "loss" not in once


def test_p_is_said_to_be_adjusted_where_it_is():
    pairs = [pair("runs/b"), pair("runs/c"), pair("runs/d", "they scored no token in common")]
    text = printed(compared.compare([records.measured()] * 4, ["runs/a", "runs/b", "runs/c", "runs/d"], pairs), 160)
    assert "p (Holm)" in text
    assert text.count("In one sentence:") == 3


def test_what_differs_is_said():
    one, two = records.data(), records.data()
    assert compared.cautions([records.measured(one), records.measured(two)]) == []
    two["task"]["fingerprint"] = "other"
    two["claim"]["scope"] = ["a0.h1"]
    two["level"] = "where"
    two["headline"]["ablation"] = "zero"
    two["model"]["fingerprint"] = "another"
    said = "; ".join(compared.cautions([records.measured(one), records.measured(two)]))
    for part in ("the models differ", "the levels differ", "headline", "the scopes differ", "the scored data differ"):
        assert part in said


def test_markup_in_a_name_is_text():
    text = printed(compared.compare([records.measured()] * 2, ["[red]a", "\x1b[31mb"], [pair("[bold]b")]))
    assert "[red]a" in text
    assert "[bold]b" in text
    assert "\x1b" not in text
