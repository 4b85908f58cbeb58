"""Settings: defaults, then the claim file, then flags."""

from __future__ import annotations

import pytest

from assay.errors import UserError
from assay.explanations.claims.file import ClaimFile, claim_of
from assay.measure.settings import Settings


def claim(**fields: object) -> ClaimFile:
    keep = {"kind": "keep", "components": ["a0.h1"]}
    return claim_of({"model": "zoo:novel-4l", "task": {"kind": "repeat"}, "explanation": keep, **fields})


def test_flags_override_the_claim_file_which_overrides_defaults():
    file = claim(seed=3, draws=8, ablation="zero")
    assert Settings.resolve().seed == 0
    assert Settings.resolve(file).seed == 3
    settings = Settings.resolve(file, seed=5, device=None)
    assert (settings.seed, settings.draws, settings.ablation, settings.device) == (5, 8, ("zero",), None)
    assert Settings.resolve(file, ablation=["mean", "noise"]).ablation == ("mean", "noise")
    assert Settings.resolve(claim(register=True)).register


def test_what_was_passed_is_recorded_apart_from_what_was_resolved():
    settings = Settings.resolve(claim(draws=8), seed=5, out="runs/x", command="assay measure claim.yaml --seed 5")
    assert settings.passed == {"seed": 5}
    record = settings.arguments()
    assert record.command == "assay measure claim.yaml --seed 5"
    assert (record.resolved["seed"], record.resolved["draws"]) == (5, 8)
    assert "out" not in record.resolved


def test_quick_is_a_sample_of_the_documents_and_nothing_else():
    assert (Settings.resolve(quick=True).documents, Settings.resolve(quick=True).controls) == (40, 100)
    few = Settings.resolve(claim(documents=10, controls=5), quick=True)
    assert (few.documents, few.controls) == (10, 5)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"ablation": "men"}, "unknown ablation 'men'; did you mean 'mean'?"),
        ({"ablation": []}, "no ablation is given; valid: 'zero', "),
        ({"draws": 3}, "'draws' must be at least 4, not 3"),
        ({"draws": 10**9}, "'draws' must be at most 10,000, not 1,000,000,000"),
        ({"draws": "4"}, "'draws' must be a whole number, not '4'"),
        ({"draws": 8.5}, "'draws' must be a whole number, not 8.5"),
        ({"seed": True}, "'seed' must be a whole number, not True"),
        ({"documents": [3]}, "'documents' must be a whole number, not [3]"),
        ({"found_on": 5}, "'found_on' must be a text, not 5"),
        ({"controls": 10**9}, "'controls' must be at most 100,000, not 1,000,000,000"),
        ({"seed": 10**20}, "'seed' must be at most 9,223,372,036,854,775,807, not a number of more than 18 digits"),
        ({"documents": 0}, "'documents' must be at least 1, not 0"),
        ({"dtype": "bf16"}, "unknown dtype 'bf16'; "),
        ({"device": "cuda:x"}, "unknown device 'cuda:x'; did you mean 'cuda:0'"),
        ({"sed": 1}, "unknown setting 'sed'; did you mean 'seed'?"),
    ],
)
def test_a_value_that_cannot_be_is_refused(flags: dict[str, object], sentence: str):
    with pytest.raises(UserError) as caught:
        Settings.resolve(**flags)
    assert str(caught.value).startswith(sentence)
