"""`assay measure --register`: the claim's hash is stored before anything is loaded, and the report says "n of m"."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import assay
from assay import cli

CLAIM = """\
model: zoo:stories-260k
task: {{kind: repeat, n: 4, length: 6}}
explanation: {{kind: constant, components: [{part}]}}
ablation: zero
controls: 0
"""


def measure(*flags: str) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main(["measure", *flags])
    return int(end.value.code or 0)


def lines(folder: Path) -> list[dict[str, Any]]:
    path = folder / "register.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, part in (("first", "a2.h1"), ("second", "a2.h2")):
        Path(f"{name}.yaml").write_text(CLAIM.format(part=part))


def stopped(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_the_hash_is_stored_before_the_model_or_the_data_is_opened(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("assay.measure.request.load", stopped)
    assert measure("first.yaml") == 130
    assert lines(Path("runs")) == []
    assert measure("first.yaml", "--register") == 130
    (entry,) = lines(Path("runs"))
    assert entry["claim"] == assay.load_claim("first.yaml").hash
    assert entry["ablations"] == ["zero"]
    assert "zoo:stories-260k" in entry["split"]
    assert not Path("runs/first").exists()


def test_the_claim_file_can_ask_for_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("assay.measure.request.load", stopped)
    Path("first.yaml").write_text(CLAIM.format(part="a2.h1") + "register: true\n")
    assert measure("first.yaml") == 130
    assert len(lines(Path("runs"))) == 1


def test_a_claim_that_is_not_valid_is_not_a_try():
    Path("first.yaml").write_text(CLAIM.format(part="b2.h1"))
    assert measure("first.yaml", "--register") == 2
    assert measure("second.yaml", "--register", "--ablation", "counterfactual") == 2
    assert lines(Path("runs")) == []


def test_a_dry_run_is_not_a_try():
    assert measure("first.yaml", "--dry-run", "--register") == 0
    assert lines(Path("runs")) == []


def test_every_try_counts_once_and_the_report_says_which_it_was(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    with monkeypatch.context() as patched:
        patched.setattr("assay.measure.request.load", stopped)
        measure("first.yaml", "--register")
        measure("first.yaml", "--register")  # the same try again
        measure("first.yaml", "--register", "--ablation", "mean", "--ablation", "zero")  # another test of it
    assert measure("second.yaml", "--register") == 0
    assert "claim 3 of 3 tried on this split; no p to adjust" in " ".join(capsys.readouterr().out.split())
    assert len(lines(Path("runs"))) == 3
    record = json.loads(Path("runs/second/measurement.json").read_text())
    assert record["tries"] == {"tried": 3, "this": 3, "p": None, "p_holm": None, "without_p": 3}
    assert "by construction" not in record["sentence"]  # its ablation is zero, its constant the mean
    (check,) = [check for check in record["checks"] if check["name"] == "1 of m"]
    assert (check["state"], check["evidence"]) == ("fired", "this is try 3 of 3 on this data")
    assert "Claim 3 of 3 tried on this split; no p to adjust" in Path("runs/second/report.html").read_text()


def test_p_of_a_measured_try_is_logged_and_adjusted_for_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for name in ("first", "second"):  # on the same data, else the first is no try on the second's
        file = Path(f"{name}.yaml")
        file.write_text(file.read_text().replace("controls: 0", "controls: 3").replace("n: 4", "n: 16"))
    with monkeypatch.context() as patched:
        patched.setattr("assay.measure.request.load", stopped)
        measure("first.yaml", "--register")
    assert measure("second.yaml", "--register") == 0
    record = json.loads(Path("runs/second/measurement.json").read_text())
    largest = max(group["p"] for group in record["controls"]["groups"] if group["p"] is not None)
    assert record["tries"]["p"] == largest
    assert record["tries"]["p_holm"] == min(1.0, 2 * largest)  # one other try, of which nothing is known
    assert record["tries"]["without_p"] == 1
    assert [line.get("p") for line in lines(Path("runs"))] == [None, None, largest]
    assert "Holm-adjusted for 2 tries" in " ".join(capsys.readouterr().out.split())
    # The claim on the controls' rows carries its interval.
    own = record["controls"]["groups"][0]["claim"]
    assert own["low"] <= own["value"] <= own["high"]


def test_a_constant_over_a_floor_of_the_same_constant_is_zero_by_construction():
    text = Path("first.yaml").read_text().replace("ablation: zero", "ablation: mean")
    Path("first.yaml").write_text(text)
    assert measure("first.yaml") == 0
    record = json.loads(Path("runs/first/measurement.json").read_text())
    assert record["recovered"]["value"] == 0.0
    assert (
        "the same values in place as its floor, mean ablation, and so recovers 0 by construction" in record["sentence"]
    )
    assert f"KL to the model of {record['table'][0]['kl_explained']['value']:.3f}"[:24] in record["sentence"]
