"""Claims from Python write themselves as claim files, which build equal claims."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from assay.errors import ClaimError
from assay.explanations import Circuit, Constant, Dictionary, Hypothesis, Keep, Program, Remove, Subspace, programs
from assay.explanations.base import Explanation
from assay.explanations.circuit.writing import write_circuit
from assay.explanations.claims.file import claim_of, load_claim
from assay.explanations.claims.source import parse
from assay.explanations.claims.writing import written
from assay.explanations.kinds import KINDS, block
from assay.model.edge_sets import EdgeSet
from assay.task.task import Task
from tests.explanations.dictionary.made import folder
from tests.model.tiny import tiny

TASK = {"kind": "repeat", "n": 8}
CLAIMS: list[Explanation] = [
    Keep(["a1.h3", "m2", "m3.n137", "a0.h1@5"]),
    Remove(["m0"]),
    Constant(["a0.h0"]),
    Constant(["a0.h0", "m1"], "optimal"),
    Program({"a1.h3": programs.induction(), "a2": programs.copy(level="full", without_match="zero")}),
    Program({"a1.h3": programs.induction("pattern_token", match="prefix", prefix=3), "a1.h2": programs.first_token()}),
    Program({"m1": programs.ngram(3, smallest=5), "a0.h0": programs.previous_token(), "a0.h1": programs.ngram()}),
    Program({"m1": programs.label("fr"), "m2": programs.label(tokens=[3, 4]), "a0.h0": programs.duplicate_token()}),
    Circuit(nodes=["a0.h1", "m1"]),
    Circuit(edges=["input->a1.h3<v>@2", "a1.h3->logits@-1", "m0->logits"]),
    Circuit(nodes=["a0.h1"], edges=["m0->logits"]),
    Hypothesis({"last": "token(-1)", "twice": "last, last"}, {"last": ["a1.h3@-1", "m2"]}, treeify=False),
    Subspace({"m1": {"pca": 4}, "r2@-1": {"random": 2, "seed": 3}}),
    Subspace({"r4": {"unembed": [5, 7, 9]}, "a0": {"random": 1}}, "which of the three comes"),
    Dictionary({"r2": {"folder": folder(), "keep": [3, 5], "error": True}}),
]


def same(one: Explanation, other: Explanation) -> bool:
    hidden = ("_resolved",)
    return type(one) is type(other) and all(
        getattr(other, name) == value for name, value in vars(one).items() if name not in hidden
    )


def read(text: str) -> Explanation:
    """What a file with only an explanation builds."""
    data: Any = parse(text, "the claim").data["explanation"]
    return block(data["kind"]).model_validate(data).build()


@pytest.mark.parametrize("claim", CLAIMS, ids=repr)
def test_a_claim_file_builds_the_claim_that_wrote_it(claim, tmp_path):
    assert same(read(claim.to_yaml()), claim)
    path = tmp_path / "claim.yaml"
    path.write_text(claim.to_yaml("zoo:novel-4l", TASK, ablation=["mean"], seed=3))
    file = load_claim(path)
    assert same(file.build_explanation(), claim)
    assert (file.model, file.task.kind, file.ablation, file.seed) == ("zoo:novel-4l", "repeat", ["mean"], 3)
    assert same(claim_of(parse(file.to_yaml(), "again").data).build_explanation(), claim)


def test_every_kind_is_tried():
    assert {claim.kind for claim in CLAIMS} == set(KINDS)


def test_an_alike_claim_is_not_the_same():
    one = Program({"a1.h3": programs.induction()})
    assert not same(read(Program({"a1.h3": programs.induction("full")}).to_yaml()), one)
    assert not same(read(Constant(["a0.h0"], "zero").to_yaml()), Constant(["a0.h0"]))


def test_a_circuit_of_numbers_is_written_by_its_models_names():
    model = tiny("llama")
    mask = np.zeros(len(model.edges), dtype=bool)
    through = model.edges.number("input->logits")[0]
    mask[[0, 3, through]] = True
    by_place = np.zeros((len(mask), 3), dtype=bool)
    by_place[through, 0] = by_place[through, 1] = by_place[0, 1] = by_place[3, 2] = True
    for edges in (EdgeSet.whole(mask), EdgeSet(by_place, (None, 2, -1))):
        claim = Circuit.of(edges)
        with pytest.raises(ClaimError, match=r"edges by number has names with its model only: to_yaml\(model\)"):
            claim.to_yaml()
        again = read(claim.to_yaml(model))
        assert isinstance(again, Circuit)
        found, wanted = again.kept(model), claim.kept(model)
        for position in (None, 2, -1):  # at every position, and at these; what is kept everywhere is at each
            assert (at(found, position) == at(wanted, position)).all()
    with pytest.raises(ClaimError, match="everything but other edges is not written"):
        Circuit.of(EdgeSet(by_place, (None, 2, -1)).complement()).to_yaml(model)


def at(edges: EdgeSet, position: int | None) -> np.ndarray:
    columns = [i for i, place in enumerate(edges.positions) if place in (None, position)]
    return edges.kept[:, columns].any(1)


def test_a_circuit_file_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = tiny("llama")
    mask = np.zeros(len(model.edges), dtype=bool)
    mask[model.edges.number("input->logits")[0]] = True
    write_circuit("circuit.json", model, mask)
    claim = Circuit.read("circuit.json")
    again = read(claim.to_yaml())
    assert isinstance(again, Circuit)
    assert again.file is not None
    assert again.file.path == "circuit.json"
    assert (again.mask(model) == mask).all()
    assert repr(claim) == "Circuit.read('circuit.json')"


def where_i_stand(tokens: Tensor) -> Tensor:
    return tokens


def test_what_no_file_can_hold_is_one_sentence():
    own = Program({"a0.h1": programs.custom(where_i_stand, returns="pattern")})
    with pytest.raises(ClaimError, match=r"'a0\.h1' is given the Python function 'where_i_stand', which no"):
        own.to_yaml()
    model = tiny("llama")
    with pytest.raises(ClaimError, match=r"give the task's block, such as .*, not <Task repeat, 2 x 4"):
        written(Remove(["m0"]), model, Task.repeat(model, n=2, length=4), {})
    with pytest.raises(ClaimError, match=r"a claim file names its model: to_yaml\(model, task\)"):
        Remove(["m0"]).to_yaml(task=TASK)
    with pytest.raises(ClaimError, match="a claim file with 'seed' names a model and a task"):
        Remove(["m0"]).to_yaml(seed=3)
    with pytest.raises(ClaimError, match=r"the claim:.* the component 'm0' is named a second time"):
        Remove(["m0", "m0"]).to_yaml("zoo:novel-4l", TASK)
    with pytest.raises(ClaimError, match="'components' is empty; name at least one"):
        Keep([]).to_yaml()
    with pytest.raises(ClaimError, match="write a circuit as a circuit file, and name that"):
        Remove([f"m{i}" for i in range(300_000)]).to_yaml()
    with pytest.raises(ClaimError, match="'prefix' of the program 'induction' goes with match='prefix' only"):
        programs.induction(prefix=3)


def test_a_kind_from_outside_says_how_it_is_written(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "plugins"))
    importlib.invalidate_caches()
    try:
        Scaled: Any = importlib.import_module("scaled").Scaled
        claim = Scaled(["a0.h1", "m1"], 0.5, rivals=False)
        assert same(read(claim.to_yaml()), claim)
        monkeypatch.delattr(Scaled, "fields")
        with pytest.raises(ClaimError, match="claims of kind 'scaled' do not say how a claim file holds them"):
            claim.to_yaml()
        monkeypatch.setattr(Scaled, "kind", "unheard")
        with pytest.raises(ClaimError, match="no claim file can hold the kind 'unheard': it is not registered"):
            claim.to_yaml()
    finally:
        sys.modules.pop("scaled", None)
