"""Hypotheses in claim files: there and back, and each mistake in one sentence with file and line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.numpy import save_file

from assay.errors import ClaimError, TaskError
from assay.explanations import Hypothesis
from assay.explanations.claims.file import load_claim
from assay.explanations.hypothesis.places import Place
from assay.model.transformer import Model
from assay.names import overlap, parse_site
from tests.explanations.hypothesis.test_scrub import PLACES, RIGHT, VARIABLES, workbench

CLAIM = {
    "model": "planted:sums_0",
    "task": {"kind": "planted"},
    "explanation": {"kind": "hypothesis", "variables": VARIABLES, "places": PLACES},
}


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "claim.yaml"
    path.write_text(yaml.safe_dump({**CLAIM, "explanation": {**CLAIM["explanation"], **changes}}, sort_keys=False))
    return path


def test_there_and_back_is_the_same(tmp_path: Path):
    for claim in (RIGHT, Hypothesis(VARIABLES, PLACES, treeify=False)):
        path = tmp_path / "claim.yaml"
        path.write_text(claim.to_yaml("planted:sums_0", {"kind": "planted"}))
        found = load_claim(path).explanation.build()
        assert isinstance(found, Hypothesis)
        assert found.fields() == claim.fields()
        assert found.sentence("m") == claim.sentence("m")


def test_a_subspace_lies_in_a_file_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """There and back; what is measured is the span, and the file is part of the claim's identity."""
    monkeypatch.chdir(tmp_path)
    random, bench = np.random.default_rng(0), workbench()
    assert isinstance(bench.model, Model)
    width = bench.model.config.d_model
    basis = np.linalg.qr(random.normal(size=(width, 5)))[0]
    np.save("u.npy", 3 * basis[:, :2] @ random.normal(size=(2, 2)))
    save_file({"v": basis[:, 2:].astype(np.float32), "w": basis.astype(np.float32)}, "more.safetensors")
    places = {"u": [Place.read("r1@1", "u.npy")], "v": [Place.read("r1@1", "more.safetensors", "v")], "total": ["m1"]}
    claim = Hypothesis(VARIABLES, places)
    path = tmp_path / "claim.yaml"
    path.write_text(claim.to_yaml("planted:sums_0", {"kind": "planted"}))
    assert yaml.safe_load(path.read_text())["explanation"]["places"] == {
        "u": [{"r1@1": {"file": "u.npy"}}],
        "v": [{"r1@1": {"file": "more.safetensors", "tensor": "v"}}],
        "total": ["m1"],
    }
    file = load_claim(path)
    found = file.explanation.build()
    assert isinstance(found, Hypothesis)
    assert found.fields() == claim.fields()
    file.explanation.check_model(file, bench.model)
    given = Hypothesis(VARIABLES, {**places, "u": [Place("r1@1", torch.from_numpy(basis[:, :2]).float())]})
    rows = np.arange(8)
    one, other = (bench.runner.logits(each.plan(bench, "mean"), rows) for each in (found, given))
    torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    before = file.explanation.content
    np.save("u.npy", basis[:, 2:4])
    assert load_claim(path).explanation.content != before
    with pytest.raises(ClaimError, match=r"claim.yaml:\d+: the variable 'v': 'r1@1' overlaps 'r1@1' of 'u'"):
        file.explanation.check_model(file, bench.model)  # the two are no longer apart
    np.save("u.npy", basis[:8, :2])
    file = load_claim(written(tmp_path, places={"u": [{"r1@1": {"file": "u.npy"}}], "v": ["a0.h2"]}))
    with pytest.raises(ClaimError, match=rf"'r1@1' is given a basis of vectors of 8 numbers, and it has {width}$"):
        file.explanation.check_model(file, bench.model)
    (tmp_path / "u.npy").unlink()
    with pytest.raises(ClaimError, match=r"u.npy"):
        file.explanation.build()


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ({"r1@1": {"fiel": "u.npy"}}, r"claim.yaml:\d+: 'r1@1' is given the unknown field 'fiel'; did you mean 'file'"),
        ({"r1@1": {"file": "none.npy"}}, r"claim.yaml:\d+: the basis 'none.npy' does not exist"),
        ({"r1@1": {"file": "claim.yaml"}}, r"claim.yaml:\d+: the basis 'claim.yaml' is no .npy or .safetensors file"),
        (
            {"r1@1": {"pca": 2}},
            r"claim.yaml:\d+: 'r1@1' is given .*pca.*, and a subspace that carries .* lies in a file",
        ),
        ({"r1@1": "u.npy"}, r"claim.yaml:\d+: 'r1@1' is given 'u.npy', and a subspace is "),
    ],
)
def test_a_subspace_that_cannot_be_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: dict[str, Any], sentence: str
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ClaimError, match=sentence):
        load_claim(written(tmp_path, places={"u": [place], "v": ["a0.h2"]}))


def test_what_no_file_can_hold_is_named():
    python = Hypothesis({"u": "number(1)", "twice": lambda u: 2 * u}, {"u": ["a0.h1"]})
    with pytest.raises(ClaimError, match=r"the variable 'twice' of this hypothesis is a Python function"):
        python.to_yaml()
    mapped = Hypothesis({"u": "number(1)", "twice": "2 * u"}, {"u": [Place("r1", torch.eye(8)[:, :1])]})
    with pytest.raises(ClaimError, match=r"the variable 'u' is carried by a subspace of 'r1', .*Place.read"):
        mapped.to_yaml()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"places": {"w": ["a0.h1"]}}, r"claim.yaml:\d+: places are given of 'w', which is no variable; valid: 'u', "),
        (
            {"places": {"u": ["a0.h9"]}},
            r"claim.yaml:\d+: the variable 'u': 'a0.h9' is not in planted:sums_0: its layers",
        ),
        ({"places": {"u": ["L0H1"]}}, r"claim.yaml:\d+: the variable 'u': 'L0H1'.*a0.h1"),
        ({"places": {"u": []}}, r"claim.yaml:\d+: "),
        ({"variables": {"u": "numbr(1)", "answer": "u"}}, r"claim.yaml:7: the variable 'u': .*did you mean 'number'"),
        ({"variables": {"u": "answer", "answer": "u"}}, r"claim.yaml:\d+: the variable 'u' depends on itself"),
        ({"answer": "sum"}, r"claim.yaml:\d+: the answer is 'sum', which is no variable"),
        ({"variables": {"u": 3, "answer": "u"}}, r"claim.yaml:7: 'u' must be a text such as number\(1\), not 3$"),
        ({"answer": ["total"]}, r"claim.yaml:\d+: 'answer' must be a text, not a list"),
        ({"treefy": True}, r"claim.yaml:\d+: unknown field 'treefy'.*did you mean 'treeify'"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_line(tmp_path: Path, changes: dict[str, Any], sentence: str):
    with pytest.raises(ClaimError, match=sentence):
        load_claim(written(tmp_path, **changes))


@pytest.mark.parametrize(
    ("places", "line", "sentence"),
    [
        ("u: [a0.h1]\nv: [a0.h1]", 2, "the variable 'v': 'a0.h1' overlaps 'a0.h1' of 'u'; leave one out"),
        ("u: [m1]\nv:\n- a0.h2\n- m1.n3", 4, "the variable 'v': 'm1.n3' overlaps 'm1' of 'u'; leave one out"),
        ("u: [a0]\nv: [a0.h1@2]", 2, "the variable 'v': 'a0.h1@2' overlaps 'a0' of 'u'; leave one out"),
        ("u: [a0.h1@1, a0.h1]", 1, "the variable 'u': 'a0.h1' overlaps 'a0.h1@1' of 'u'; leave one out"),
        ("u: [a0.h1, a0.h1]", 1, "the variable 'u': 'a0.h1' is named a second time"),
        ("answer: [m1]", 1, "only the answer 'answer' has places; give some of a variable that it depends on"),
        ("u: a0.h1", 1, "'u' must be a list such as [a0.h1], not 'a0.h1'"),
        ("u: [logits]", 1, "the variable 'u': 'logits' is always left as it is, so no claim can be about it"),
        ("u: [a0.h1.z]", 1, "the variable 'u': 'a0.h1.z' is a place inside the model, not a component"),
    ],
)
def test_places_that_cannot_be_are_seen_without_a_model(tmp_path: Path, places: str, line: int, sentence: str):
    head = yaml.safe_dump({**CLAIM, "explanation": {"kind": "hypothesis", "variables": VARIABLES}}, sort_keys=False)
    path = tmp_path / "claim.yaml"
    path.write_text(head + "  places:\n" + "".join(f"    {one}\n" for one in places.split("\n")))
    at = len(head.splitlines()) + 1 + line
    with pytest.raises(ClaimError, match=re.escape(f"claim.yaml:{at}: {sentence}")):
        load_claim(path)


def test_heads_overlap_the_group_whose_keys_they_share():
    assert overlap(parse_site("a0.kv0"), parse_site("a0.h1"), share=2)
    assert not overlap(parse_site("a0.kv0"), parse_site("a0.h2"), share=2)
    assert not overlap(parse_site("a0.kv0"), parse_site("a0.h1"))


@pytest.mark.parametrize(
    ("changes", "line", "sentence"),
    [
        ({"places": {"u": ["a0.h1@S2"]}}, "- a0.h1@S2", "the variable 'u': the task has no column 'S2'"),
        ({"places": {"v": ["a0.h2@9"]}}, "- a0.h2@9", "the variable 'v': the shortest example has columns 0 to 5"),
        ({"variables": VARIABLES | {"v": "number(30)"}}, "v: number(30)", "the variable 'v': there is no column 30"),
        ({"variables": VARIABLES | {"total": "u + v + 'x'"}}, "total: u", "the variable 'total' has no value where"),
    ],
)
def test_what_only_the_task_tells_has_its_line(tmp_path: Path, changes: dict[str, Any], line: str, sentence: str):
    path = written(tmp_path, **changes)
    at = next(i for i, one in enumerate(path.read_text().splitlines(), 1) if line in one)
    with pytest.raises(TaskError, match=re.escape(f"claim.yaml:{at}: {sentence}")):
        load_claim(path).build_task(workbench().model)


def test_python_refuses_one_place_twice():
    with pytest.raises(ClaimError, match=r"the variable 'u': 'a0.h1' is named a second time"):
        Hypothesis(VARIABLES, {"u": ["a0.h1", Place("a0.h1")]})


@pytest.mark.parametrize(
    ("places", "sentence"),
    [
        ({"u": ["a0.h1"], "v": ["a0.h1@2"]}, r"the variable 'v': 'a0.h1@2' overlaps 'a0.h1' of 'u'"),
        ({"u": ["m0"], "v": ["m0.n3"]}, r"the variable 'v': 'm0.n3' overlaps 'm0' of 'u'"),
        ({"answer": ["m1"]}, "only the answer 'answer' has places; give some of a variable that it depends on"),
        ({"u": ["a7.h1"]}, r"the variable 'u': 'a7.h1': layer 7 does not exist"),
        ({"u": ["logits"]}, r"the variable 'u': 'logits' is not a component"),
    ],
)
def test_a_place_that_cannot_be_is_named_with_its_variable(places: dict[str, Any], sentence: str):
    with pytest.raises(ClaimError, match=sentence):
        Hypothesis(VARIABLES, places).scope(workbench().model)


def test_a_hypothesis_without_places_says_nothing():
    with pytest.raises(ClaimError, match="names no places"):
        Hypothesis(VARIABLES, {})
    with pytest.raises(ClaimError, match=r"the variable 'u' takes a list of at least one place, not 'a0.h1'"):
        Hypothesis(VARIABLES, {"u": "a0.h1"})
    assert Hypothesis(VARIABLES, {"u": [Place("a0.h1")]}).place_names == ["a0.h1"]


def test_what_only_the_model_tells_has_the_line_of_its_place(tmp_path: Path):
    path = written(tmp_path, places={"answer": ["m1"], "u": ["a0.h1", "a7.h1"]})
    path.write_text(path.read_text().replace("planted:sums_0", "a-name/on-the-hub").replace("planted", "repeat"))
    at = next(i for i, one in enumerate(path.read_text().splitlines(), 1) if "a7.h1" in one)
    with pytest.raises(ClaimError, match=rf"claim.yaml:{at}: the variable 'u': 'a7.h1': layer 7 does not exist"):
        load_claim(path).check(workbench().model)
