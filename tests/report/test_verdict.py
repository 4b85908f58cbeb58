"""The verdict says what the figures say, in sentences to quote, for every way in which a claim can come out."""

from typing import Any

import pytest

from assay.report import slices, verdict
from tests.report import records


def _said(record: dict[str, Any]) -> verdict.Verdict:
    return verdict.verdict(records.measured(record))


def _share(record: dict[str, Any], value: float | None, half: float = 0.05, **more: Any) -> dict[str, Any]:
    found = records.estimate(value, half, reason="the gap is not resolved") | more
    record["headline"]["recovered"] = record["recovered"] = record["table"][0]["recovered"] = found
    return record


@pytest.mark.parametrize(
    ("value", "half", "title"),
    [
        (0.62, 0.03, "Recovers 62 % [59, 65] over mean ablation"),
        (0.02, 0.05, "Not shown to be better than its floor: recovers 2 % [−3, 7] over mean ablation"),
        (-0.95, 0.1, "Worse than its floor: recovers −95 % [−105, −85] over mean ablation"),
        (0.0, 0.0, "No better than its floor: recovers 0 % [0, 0] over mean ablation"),
        (None, 0.0, "What it recovers over mean ablation is undefined"),
    ],
)
def test_the_title_says_where_the_share_lies(value: float | None, half: float, title: str):
    assert _said(_share(records.data(), value, half)).title == title


def test_a_share_without_an_interval_says_why():
    missing = {"low": None, "high": None, "reason": "too few documents"}
    said = _said(_share(records.data(), 0.88, **missing))
    assert said.title == "Recovers 88 % over mean ablation"
    assert "recovers 88 % (no interval: too few documents) of what ablating the same parts" in said.recovers


def test_the_kl_moves_as_the_share_says():
    record = records.data()
    row = record["table"][0]
    for value, explained, moves in (
        (-0.95, 0.75, "rises from 0.387 to 0.750"),
        (0.5, 0.2, "falls from 0.387 to 0.200"),
    ):
        row["kl_explained"] = records.estimate(explained, 0.01)
        assert f"the KL to the model {moves} nats a token" in _said(_share(record, value)).recovers


def test_a_claim_that_is_its_own_floor_is_zero_by_construction():
    record = _share(records.data(), 0.0, 0.0)
    record["table"][0]["kl_explained"] = record["table"][0]["kl_floor"]
    said = _said(record)
    assert said.title == "0 over mean ablation by construction"
    assert "puts the same values in place as its floor" in said.recovers


def _groups(record: dict[str, Any], **values: list[float]) -> dict[str, Any]:
    """Groups of controls with these values, the claim at 0.5."""
    shape = record["controls"]["groups"][0]
    record["controls"]["groups"] = [
        shape
        | {"name": name.replace("_", " "), "what": name, "values": known, "n": len(known), "nats": known}
        | {"names": [f"c{i}" for i in range(len(known))], "claim": records.estimate(0.5, 0.05)}
        | {"p": (1 + sum(v >= 0.5 for v in known)) / (1 + len(known))}
        for name, known in values.items()
    ]
    record["rivals"] = []
    return record


def test_what_does_as_well_is_counted_group_by_group():
    record = _groups(records.data(), other_heads=[0.1] * 9 + [0.6, 0.5], other_programs=[0.1] * 19)
    assert _said(record).rivals == (
        "Of the controls, 2 of 11 other heads do at least as well (p = 0.250); none of 19 other programs does as well "
        "(p = 0.050)."
    )
    record = _groups(records.data(), other_heads=[0.1] * 7)
    assert _said(record).rivals.endswith("(p = 0.125, the lowest that 7 can give).")
    record = _groups(records.data(), other_heads=[0.1])
    assert _said(record).rivals == "Of the controls, the only one, “other heads”, does worse (p = 0.500)."


def test_near_misses_are_no_controls():
    record = _groups(records.data(), other_heads=[0.1] * 19, variants=[0.9, 0.9])
    record["controls"]["groups"][1] |= {"what": "the same rule (near misses, no controls)", "p": None}
    assert "variants" not in _said(record).rivals


def test_a_rival_and_a_single_control_that_do_as_well_are_named():
    record = _groups(_share(records.data(), 0.5), other_heads=[0.1] * 19, top_norm=[0.5])
    record["controls"]["groups"][1] |= {"p": None, "difference": records.estimate(0.01, 0.05)}
    record["rivals"] = [records.data()["rivals"][0] | {"name": "bigram", "recovered": records.estimate(0.7, 0.01)}]
    said = _said(record).rivals
    assert "It is not shown to be better than “top norm”." in said
    assert "The rival “bigram” recovers as much or more: 70 % [69, 71]." in said
    record["rivals"][0]["recovered"] = records.estimate(0.3, 0.01)
    assert "bigram" not in _said(record).rivals


def test_controls_that_were_not_run_say_why():
    record = records.data()
    record["controls"] |= {"groups": [], "reason": "that was not asked for"}
    record["rivals"] = []
    assert _said(record).rivals == "No controls were run, because that was not asked for."


def test_a_removal_says_what_it_costs():
    record = records.data("remove")
    record["headline"] |= {"kl": records.estimate(0.4, 0.02), "nats": records.estimate(0.3, 0.02)}
    said = _said(record)
    assert said.title == "Without m0, predictions move by a KL of 0.400 [0.380, 0.420] nats a token"
    assert "and changes the loss by 0.300 [0.280, 0.320], over 192 tokens of 8 documents." in said.recovers
    record["task"] |= {"kind": "prompts", "metric": "logit_diff"}
    assert "changes the logit difference by −0.300 [−0.320, −0.280] logits" in _said(record).recovers


def test_checks_are_counted_or_the_reason_is_said():
    record = records.data()
    for check in record["checks"]:
        check |= {"state": "unknown", "evidence": "that was not asked for"}
    assert _said(record).checks == "No check was made, because that was not asked for."
    record["checks"][0]["state"] = "passed"
    rest = f"{len(record['checks']) - 1} were not made, because that was not asked for."
    assert _said(record).checks == f"The one check that was made did not fire, {rest}"
    for check in record["checks"]:
        check["state"] = "passed"
    assert _said(record).checks == f"None of {len(record['checks'])} checks fired."
    record["checks"][0]["state"] = record["checks"][1]["state"] = "fired"
    names = [check["name"] for check in record["checks"][:2]]
    assert _said(record).checks == f"2 checks fired: {names[0]} and {names[1]}."


def test_the_slice_that_stands_out_has_most_kl_beyond_its_share_of_the_tokens():
    record = records.data()
    for rows in record["residual"]["slices"].values():
        total = sum(row["tokens"] for row in rows)
        for row in rows:  # everything spread evenly
            row |= {"kl": records.estimate(0.1, 0.001), "share": row["tokens"] / total}
    assert slices.telling(records.measured(record)) is None
    row = record["residual"]["slices"]["source"][1]
    row |= {"kl": records.estimate(0.3, 0.01), "share": 0.55}
    found = slices.telling(records.measured(record))
    assert found is not None
    assert (found.by, found.name, found.share) == ("source", "fr", 0.55)
    others = [one for one in record["residual"]["slices"]["source"] if one is not row]
    assert found.elsewhere == pytest.approx(
        sum(one["tokens"] * one["kl"]["value"] for one in others) / sum(one["tokens"] for one in others)
    )
    row["kl"]["low"] = 0.05  # not above the others any more
    assert slices.telling(records.measured(record)) is None
