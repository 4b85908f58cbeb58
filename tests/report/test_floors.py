"""A floor has one name wherever the report says it."""

import pytest

from assay.report.charts.intervals import recovered
from assay.report.terminal import staged
from assay.report.terminal.card import Card
from assay.report.verdict import verdict
from tests.report import records
from tests.report.printed import printed


@pytest.mark.parametrize(
    ("floor", "name"),
    [
        ("ablated", "mean ablation"),
        ("empty", "nothing kept (mean)"),
        ("unconditioned", "unconditioned data (mean)"),
        ("bigram", "the bigram"),
    ],
)
def test_a_floor_has_one_name_on_the_card_in_the_verdict_in_the_chart_and_while_it_is_measured(floor: str, name: str):
    given = records.data()
    for row in (given["headline"], given["table"][0]):
        row |= {"floor": floor, "ablation": "mean"}
    record = records.measured(given)
    chart = recovered(record)
    assert chart is not None
    assert f"over {name}" in chart.to_json()
    assert f"over {name}" in printed(Card(record))
    assert verdict(record).title.endswith(f"over {name}")
    assert f"over {name}" in staged.headline(record.headline)
