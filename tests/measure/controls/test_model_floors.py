"""A smaller model as a floor: recovered is of the difference between the two, by hand; what cannot be is refused."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

import assay
from assay.errors import ClaimError, UserError
from assay.explanations import Constant, Remove
from assay.explanations.claims.file import ClaimFile, claim_of, load_claim
from assay.measure.settings import Settings
from assay.task.task import Task
from tests.measure.planted import texts
from tests.model.tiny import tiny, tiny_network, tiny_tokenizer


def saved(folder: Path, *, vocab: int = 50, other_words: bool = False, **options: Any) -> str:
    """A tiny Llama of one layer on disk."""
    tiny_network("llama", dtype=torch.float32, layers=1, seed=5, vocab=vocab, **options).save_pretrained(folder)
    tiny_tokenizer(vocab).save_pretrained(folder)
    if other_words:
        file = folder / "tokenizer.json"
        file.write_text(file.read_text().replace('"w30"', '"v30"'))
    return str(folder)


@cache
def task() -> Task:
    """Text that the model wrote itself, so that every other model is worse at it."""
    model, chance = tiny("llama", tokenizer=True), torch.Generator().manual_seed(0)
    tokens = torch.stack([torch.zeros(40, dtype=torch.long), torch.arange(2, 42)], dim=1)
    with torch.no_grad():
        for _ in range(20):
            probabilities = model.forward(tokens)[:, -1].softmax(-1)
            probabilities[:, :2] = 0  # no BOS, no unknown word
            tokens = torch.cat([tokens, torch.multinomial(probabilities, 1, generator=chance)], dim=1)
    words = [" ".join(f"w{index}" for index in row[1:]) for row in tokens.tolist()]
    return Task.text(model, texts=words, reference=list(texts(24, 1)))


def claim(**more: Any) -> ClaimFile:
    explanation = {"kind": "keep", "components": ["a0.h1"]}
    return claim_of({"model": "zoo:novel-2l", "task": {"kind": "repeat"}, "explanation": explanation, **more})


def measured(floors: Any) -> Any:
    settings = {"ablation": "mean", "controls": 0, "floors": floors}
    return assay.measure(Constant(["m1"], "zero"), tiny("llama", tokenizer=True), task(), **settings)


def test_recovered_is_of_the_difference_between_the_two_models(tmp_path: Path):
    name = saved(tmp_path / "small", tie=False)
    found = measured(["bigram", {"model": name}])
    rows = {row.floor: row for row in found.record.table}
    assert set(rows) == {"ablated", "bigram", name}
    model, small, on = tiny("llama", tokenizer=True), assay.load(name), task()
    with torch.no_grad():
        own, its = (m.forward(on.tokens)[:, :-1].double().log_softmax(-1) for m in (model, small))  # type: ignore[union-attr]
    its = (its.exp() * (1 - 1e-6) + 1e-6 / 50).log()  # mixed with a little of uniform, as every other distribution
    scored = on.scored[:, 1:]
    kl = (own.exp() * (own - its)).sum(-1)[scored].mean()
    row = rows[name]
    assert row.kl_floor.value == pytest.approx(float(kl), rel=1e-3)
    explained = row.kl_explained.value
    assert row.recovered.value == pytest.approx(1 - explained / float(kl), rel=1e-3)
    nll = -torch.stack([x.gather(-1, on.tokens[:, 1:, None])[..., 0][scored].mean() for x in (own, its)])
    left = found.record.losses.explained.value
    gap = float(nll[1] - nll[0])
    assert row.recovered_loss.value == pytest.approx((float(nll[1]) - left) / gap, rel=1e-3)
    assert found.record.losses.floors[name].value == pytest.approx(float(nll[1]), rel=1e-3)
    assert name in [rival.name for rival in found.record.rivals]
    assert found.record.arguments.resolved["floors"] == ["bigram", f"model:{name}"]


def test_a_smaller_member_of_the_family_that_is_a_rival_anyway_is_not_scored_twice():
    model = assay.load("zoo:novel-2l")
    on = Task.repeat(model, n=2, length=8)
    found = assay.measure(Constant(["m1"], "zero"), model, on, controls=0, floors=[{"model": "zoo:novel-1l"}])
    assert [row.floor for row in found.record.table].count("zoo:novel-1l") == 1
    assert [rival.name for rival in found.record.rivals].count("zoo:novel-1l") == 1


SMALL = {"model": "zoo:novel-1l"}


@pytest.mark.parametrize("given", [SMALL, [SMALL], ["bigram", SMALL]])
def test_a_claim_file_names_it_and_reads_back(given: Any, tmp_path: Path):
    file = claim(floors=given)
    assert Settings.resolve(file).floors[-1:] == ("model:zoo:novel-1l",)
    path = tmp_path / "claim.yaml"
    path.write_text(file.to_yaml())
    assert load_claim(path) == file


@pytest.mark.parametrize(
    ("floors", "message"),
    [
        ([{"model": "zoo:novel-1x"}], "as a floor: unknown model 'zoo:novel-1x'; did you mean 'zoo:novel-1l'"),
        ([{"model": "zoo:stories-260k"}], "another tokenizer than 'zoo:novel-2l'"),
        ([{"model": "zoo:novel-2l"}], "cannot be a floor for itself"),
        ([{"model": ""}], "a floor is a name or {model: NAME}"),
        ([{"modle": "x"}], "a floor is a name or {model: NAME}, not {'modle': 'x'}"),
        (["bigrams"], "unknown floor 'bigrams'; did you mean 'bigram'"),
    ],
)
def test_what_cannot_be_a_floor_is_refused_before_anything_is_loaded(floors: Any, message: str):
    with pytest.raises(ClaimError) as found:
        claim(floors=floors)
    assert message in str(found.value)
    assert "\n" not in str(found.value)


def test_a_removal_has_no_floor(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("assay.measure.request.load", None)
    with pytest.raises(ClaimError, match="a remove claim has no floor"):
        claim(explanation={"kind": "remove", "components": ["m0"]}, floors=[{"model": "zoo:novel-1l"}])
    with pytest.raises(ClaimError, match="a remove claim has no floor"):
        assay.measure(Remove(["m0"]), "zoo:novel-2l", task(), floors=[{"model": "zoo:novel-1l"}])


def test_other_tokenizers_vocabularies_and_contexts_are_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def scored(*_: object, **__: object) -> None:
        raise AssertionError("nothing may be scored")

    monkeypatch.setattr("assay.measure.workbench.score", scored)
    cases = {
        "has another tokenizer than": saved(tmp_path / "words", other_words=True),
        "has another vocabulary than .* .40 and 50 tokens": saved(tmp_path / "vocab", vocab=40),
        "reads 16 tokens at most": saved(tmp_path / "context", context=16),
        "neither a folder here": str(tmp_path / "nothing"),
    }
    for message, name in cases.items():
        with pytest.raises(UserError, match=message) as found:
            measured([{"model": name}])
        assert "\n" not in str(found.value)
