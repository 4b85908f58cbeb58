"""Every check of docs/definitions.md, through `assay.measure`: a planted case in which it fires, and one as near to it
as possible in which it does not. docs/checks.md is the table of these cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

import assay
from assay.explanations import Constant, Keep, Program, Remove, programs
from assay.explanations.base import Explanation
from assay.measure.checks.checks import run_checks
from assay.measure.checks.evidence import Evidence
from assay.model.load import load
from assay.model.transformer import Model
from assay.planted.worlds import world
from assay.task.examples import Examples, fields_of
from assay.task.found_on import found_on
from assay.task.task import Task
from tests.measure.planted import texts
from tests.measure.two_voices import ANSWER, IDLE, OTHER, calibrated, task, voices
from tests.model.tiny import build, tiny_tokenizer

CLAIM = """\
model: zoo:stories-260k
task: {{kind: repeat, n: 4, length: 6}}
explanation: {{kind: constant, components: [{part}]}}
ablation: zero
controls: 0
"""

Case = Callable[[], dict[str, Any]]


def measured(claim: Explanation, model: Model, on: Task, **settings: Any) -> dict[str, Any]:
    """The checks of a measurement by name."""
    found = assay.measure(claim, model, on, **{"ablation": "mean", "controls": 0, **settings})
    return {check.name: check for check in found.record.checks}


def case(claim: Explanation, name: str, **settings: Any) -> Case:
    """A claim about one of the built-in planted networks."""
    return lambda: measured(claim, world(name).model, world(name).task(n=48), **settings)


def two_voices(
    claim: Explanation, share: float = 1.0, n: int = 64, loud: float = 1.5, reference: int = 128, **settings: Any
) -> Case:
    def run() -> dict[str, Any]:
        network = voices(other=loud)
        return measured(claim, network.model, task(network, share, n, reference=reference), **settings)

    return run


def honest(claim: Explanation) -> Case:
    """The two voices where each token is right as often as the model says."""
    return lambda: measured(claim, voices().model, calibrated(voices()))


def own(*names: str) -> Program:
    """Programs that give these heads' own outputs."""
    weights = voices().model.W_O(0)

    def exact(index: int) -> programs.CustomProgram:
        function = lambda tokens, z: z @ weights[index]  # noqa: E731
        return programs.custom(function, returns="output", reads=[f"a0.h{index}"])

    return Program({name: exact(int(name.split("h")[1])) for name in names})


def neuron(loud: float) -> Case:
    """A program that gives a neuron's value on some words and 0 on others, in an MLP whose outputs are scaled."""

    @cache
    def network() -> Model:
        network = build("gpt2", seed=0).float()
        with torch.no_grad():
            network.transformer.h[1].mlp.c_proj.weight *= loud
        made = load(network, tokenizer=tiny_tokenizer(50))
        assert isinstance(made, Model)
        return made

    def run() -> dict[str, Any]:
        on = Task.text(network(), texts=list(texts(12, 0)), reference=list(texts(24, 1)))

        def some(tokens: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
            return value * (tokens < 35)[..., None]

        claim = Program({"m1.n5": programs.custom(some, returns="output", reads=["m1.n5"])})
        return measured(claim, network(), on, controls=5)

    return run


def refilled(same: bool) -> Case:
    """Three rows, filled from themselves or from three others."""

    def run() -> dict[str, Any]:
        on = task(voices(), n=3, reference=3)
        if same:
            on = replace(on, reference=Examples(**fields_of(on)))
        return measured(Remove([ANSWER]), voices().model, on, ablation="resample_joint")

    return run


def leaky(path: Path, same: bool) -> Case:
    def run() -> dict[str, Any]:
        on = task(voices())
        assert on.reference is not None
        path.write_text(found_on(on if same else on.reference, "what it was found on").to_text())
        return measured(Remove([ANSWER]), voices().model, on, found_on=str(path))

    return run


def tried(folder: Path, tries: int) -> Case:
    def run() -> dict[str, Any]:
        checks: dict[str, Any] = {}
        folder.mkdir()
        for number in range(tries):
            claim = folder / f"claim{number}.yaml"
            claim.write_text(CLAIM.format(part=f"a2.h{number}"))
            found = assay.measure(claim, out=str(folder / f"run{number}"))
            checks = {check.name: check for check in found.record.checks}
        return checks

    return run


GATE = Keep(["a0.h0", "a0.h1", "m0"])
BOTH = {"ablation": ["mean", "zero"]}
FIRES: dict[str, Case] = {
    # without the first head the second speaks, but only where the first is silent, not where it says the mean
    "ablation-sensitive": case(Remove(["a0.h0"]), "backup", **BOTH),
    # what the claim leaves out is as often right as wrong, so that the loss hardly changes
    "cancellation": two_voices(Keep([ANSWER]), share=0.95, n=256),
    "vacuous": case(GATE, "or_gate", controls=3),
    "vacuous, a neuron": neuron(0.02),
    "self-match": refilled(same=True),
    "redundant": case(GATE, "or_gate"),
    "redundant, a backup": case(Keep(["a0.h0", "a1.h0"]), "backup"),
    "frivolous": two_voices(Keep([ANSWER, OTHER, IDLE])),
    "frivolous, alone": two_voices(Remove([OTHER]), loud=0.016),  # 4e-6 nats
    "over-specific": lambda: measured(own(ANSWER, OTHER, IDLE), voices().model, task(voices())),
    "tiny scope": two_voices(Remove([IDLE])),
    "off-manifold": two_voices(Constant([ANSWER], "zero")),
    "over-recovery": two_voices(Keep([ANSWER])),
    "harmful scope": two_voices(Remove([OTHER])),
    "harmful scope, a constant": two_voices(Constant([OTHER], "zero")),
    "weak floor": two_voices(Remove([ANSWER]), reference=16),
    "few clusters": two_voices(Remove([ANSWER]), n=8),
}
PASSES: dict[str, Case] = {
    "ablation-sensitive": case(Remove(["a0.h0"]), "induction", **BOTH),
    "cancellation": honest(Keep([ANSWER])),
    "vacuous": case(GATE, "and_gate", controls=3),
    "vacuous, a neuron": neuron(20.0),
    "self-match": refilled(same=False),
    "redundant": case(GATE, "and_gate"),
    "redundant, a backup": case(Keep(["a0.h0"]), "backup"),
    "frivolous": two_voices(Keep([ANSWER, OTHER])),
    "frivolous, alone": two_voices(Remove([OTHER])),
    "over-specific": lambda: measured(own(ANSWER, OTHER), voices().model, task(voices())),
    "tiny scope": two_voices(Remove([ANSWER])),
    "off-manifold": lambda: measured(own(ANSWER), voices().model, task(voices())),
    "over-recovery": honest(Keep([ANSWER])),
    "harmful scope": two_voices(Remove([OTHER]), share=0.5),
    "harmful scope, a constant": two_voices(Constant([OTHER], "zero"), share=0.5),
    "weak floor": two_voices(Remove([ANSWER]), reference=128),
    "few clusters": two_voices(Remove([ANSWER]), n=64),
}


@cache
def fires(name: str) -> dict[str, Any]:
    return FIRES[name]()


@pytest.mark.parametrize("name", FIRES)
def test_it_fires_on_the_planted_case(name: str):
    found = fires(name)[name.partition(",")[0]]
    assert found.state == "fired", found


@pytest.mark.parametrize("name", PASSES)
def test_it_passes_on_the_matched_case(name: str):
    found = PASSES[name]()[name.partition(",")[0]]
    assert found.state == "passed", found


def test_a_claim_found_on_what_is_scored_leaks(tmp_path: Path):
    assert leaky(tmp_path / "scored.json", same=True)()["leak"].state == "fired"
    assert leaky(tmp_path / "other.json", same=False)()["leak"].state == "passed"


def test_a_second_try_counts(tmp_path: Path):
    assert tried(tmp_path / "a", 1)()["1 of m"].state == "passed"
    assert tried(tmp_path / "b", 2)()["1 of m"].state == "fired"


def test_every_check_has_its_cases():
    names = {name.partition(",")[0] for name in FIRES} | {"leak", "1 of m"}
    assert names == {check.name for check in run_checks(Evidence(ablation="mean", recovered={}))}
    assert FIRES.keys() == PASSES.keys()


def test_a_backup_is_redundant_and_not_frivolous_and_the_ablation_is_named():
    found = fires("redundant, a backup")
    assert found["frivolous"].state == "passed"
    assert "a1.h0" in found["redundant"].evidence
    assert "under mean ablation" in found["redundant"].evidence
    assert "(zero)" in found["redundant"].evidence  # what woke it


def test_a_harmful_scope_is_not_tiny():
    assert fires("harmful scope")["tiny scope"].state == "passed"


def test_a_model_worse_than_its_bigram_has_no_gap_to_carry_a_share_of():
    worse = two_voices(Remove([IDLE]), share=0.0, loud=-4.0)()["tiny scope"]
    assert worse.state == "unknown"
    assert "worse than its bigram" in worse.evidence


def test_off_manifold_names_the_ablation_that_was_used():
    constant = fires("off-manifold")["off-manifold"].evidence
    assert constant.startswith("explained: ")  # a constant's run uses no ablation
    removed = two_voices(Remove([ANSWER]), ablation=["zero", "mean"])()["off-manifold"].evidence
    assert removed.startswith("zero: ")
    assert "; mean: " in removed
