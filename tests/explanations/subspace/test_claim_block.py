"""Claim files of kind `subspace`: what is read and written again, and every bad input in one sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import assay
from assay.errors import ClaimError, ComponentError, TaskError
from assay.explanations import Subspace
from assay.explanations.claims.file import load_claim
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.runner import Runner
from assay.model.load import load
from assay.task.task import Task
from tests.measure.planted import workbench
from tests.model.tiny import build, tiny

CLAIM = """\
model: {model}
task: {{kind: repeat, n: 8, length: 8}}
explanation:
  kind: subspace
  components:
    {components}
"""
BASIS = np.random.default_rng(0).normal(size=(64, 3))


@pytest.fixture
def claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Reads a claim file with these components, in a folder with files of bases."""
    monkeypatch.chdir(tmp_path)
    np.save("basis.npy", BASIS)
    np.save("flat.npy", BASIS[:, :2].T)
    np.save("words.npy", np.array([["a"], ["b"]]))
    np.save("nan.npy", np.where(BASIS > 2, np.nan, BASIS))
    np.save("twice.npy", BASIS[:, [0, 1, 0]])
    np.save("pickled.npy", np.array([{1: 2}], dtype=object), allow_pickle=True)
    save_file({"one": BASIS}, "one.safetensors")
    save_file({"left": BASIS, "right": BASIS[:, :1]}, "two.safetensors")
    Path("broken.safetensors").write_bytes(b"no tensors")
    Path("basis.csv").write_text("1,2\n")

    def read(components: str, model: str = "zoo:novel-1l"):
        Path("claim.yaml").write_text(CLAIM.format(model=model, components=components))
        return load_claim("claim.yaml")

    return read


def test_every_way_to_give_a_subspace_is_read_built_and_written_again(claim):
    text = """m0: {file: basis.npy}
    r0: {file: two.safetensors, tensor: left}
    r1@3: {unembed: [" the", 7]}
    a0.h1: {pca: 3}
    a0.h0@-2: {random: 2, seed: 5}
  variable: whose turn it is"""
    file = claim(text)
    assert (file.kind, file.level) == ("subspace", "what")
    assert file.scope == ("m0", "r0", "r1@3", "a0.h1", "a0.h0@-2")
    built = file.build_explanation()
    assert isinstance(built, Subspace)
    assert [spec.k for spec in built.components.values()] == [3, 3, 1, 3, 2]
    file.check(load("zoo:novel-1l"))
    Path("again.yaml").write_text(built.to_yaml("zoo:novel-1l", {"kind": "repeat", "n": 8, "length": 8}))
    again = load_claim("again.yaml")
    assert again.build_explanation().components == built.components
    assert again.build_explanation().variable == built.variable == "whose turn it is"
    assert claim(text).hash == file.hash
    np.save("basis.npy", BASIS[:, :2])
    assert claim(text).hash != file.hash  # it is of the file's contents
    one = claim("m0: {file: one.safetensors}").build_explanation()
    (spec,) = one.components.values()
    np.testing.assert_allclose(spec.basis @ spec.basis.T, BASIS @ np.linalg.pinv(BASIS), atol=1e-12)
    assert "(orthonormalised)" in one.sentence("a model")


def test_an_array_is_used_as_it_is_and_no_file_holds_it():
    direction = torch.nn.functional.one_hot(torch.tensor(2), 32)
    one, same = Subspace({"m1": direction}), Subspace({"m1": direction.double().numpy()[:, None]})
    assert one.components == same.components
    assert repr(one) == "Subspace({'m1': '<basis [32, 1]>'})"
    with pytest.raises(
        ClaimError, match=r"the basis of 'm1' is an array, which no claim file holds; save it as a file"
    ):
        one.to_yaml()
    assert repr(Subspace({"m1": {"pca": 2}}, "x")) == "Subspace({'m1': {'pca': 2}}, 'x')"


@pytest.mark.parametrize(
    ("components", "sentence"),
    [
        ("m0: 4", "claim.yaml:6: 'm0' is given 4, and a subspace is {pca: 4}, {unembed: [' he', ' she']}, {random: 4}"),
        ("m0: {pcaa: 4}", "claim.yaml:6: 'm0' is given the unknown field 'pcaa'; did you mean 'pca'?"),
        ("m0: {}", "claim.yaml:6: 'm0' needs a subspace: {pca: 4}"),
        ("m0: {pca: 4, random: 3}", "claim.yaml:6: 'm0' is given both 'pca' and 'random'; give one"),
        ("m0: {pca: 4, seed: 3}", "claim.yaml:6: 'seed' of 'm0' goes with 'random', not with 'pca'; leave it out"),
        ("m0: {pca: 0}", "claim.yaml:6: 'pca' of 'm0' must be a whole number from 1, not 0"),
        ("m0: {pca: 1.5}", "claim.yaml:6: 'pca' of 'm0' must be a whole number from 1, not 1.5"),
        ("m0: {pca: true}", "must be a whole number from 1, not True"),
        ("m0: {random: 2, seed: x}", "claim.yaml:6: 'seed' of 'm0' must be a whole number from 0, not 'x'"),
        ("m0: {unembed: [3]}", "claim.yaml:6: 'unembed' of 'm0' must be a list of at least two tokens"),
        ("m0: {unembed: [3, 3]}", "claim.yaml:6: 'unembed' of 'm0' names 3 twice"),
        ("m0: {unembed: [3, 1.5]}", "claim.yaml:6: 'unembed' of 'm0' takes texts of one token each, or ids, not 1.5"),
        ("m0: {file: 3}", "claim.yaml:6: 'file' of 'm0' must be a text, not 3"),
        ("m0: {file: basis.npz}", "claim.yaml:6: the basis 'basis.npz' is no .npy or .safetensors file"),
        ("m0: {file: basics.npy}", "claim.yaml:6: the basis 'basics.npy' does not exist here"),
        ("m0: {file: basis.csv}", "claim.yaml:6: the basis 'basis.csv' is no .npy or .safetensors file"),
        ("m0: {file: basis.npy, tensor: x}", "'tensor' names one of a .safetensors file; leave it out"),
        ("m0: {file: two.safetensors}", "holds 2 tensors; name one as 'tensor'; valid: 'left', 'right'"),
        ("m0: {file: two.safetensors, tensor: lef}", "holds no tensor 'lef'; did you mean 'left'?"),
        ("m0: {file: broken.safetensors}", "the basis 'broken.safetensors' cannot be read as a .safetensors file"),
        (
            "m0: {file: pickled.npy}",
            "the basis 'pickled.npy' cannot be read as a .npy file: 'pickled.npy' holds object",
        ),
        ("m0: {file: words.npy}", "the basis 'words.npy' holds <U1, and a basis is made of real numbers"),
        (
            "m0: {file: flat.npy}",
            "claim.yaml:6: the basis 'flat.npy' has 2 rows and 64 columns, and a basis [width, k]",
        ),
        ("m0: {file: nan.npy}", "claim.yaml:6: the basis 'nan.npy' holds numbers that are not finite"),
        ("m0: {file: twice.npy}", "claim.yaml:6: the basis 'twice.npy' has 3 columns of rank 2; give independent"),
        ("m0: {pca: 2}\n    m0@2: {pca: 1}", "claim.yaml:7: 'm0@2' lies in 'm0', which is named too; leave one out"),
        ("m1: {pca: 2}", "claim.yaml:6: 'm1' is not in zoo:novel-1l: it has 1 layers, 0 to 0"),
        ("r2: {pca: 2}", "claim.yaml:6: 'r2' is not in zoo:novel-1l: it has the streams r0 to r1"),
        ("x0: {pca: 2}", "claim.yaml:6: 'x0' is not a component's name; names look like"),
        ("layer1.mlp: {pca: 2}", "its components are named like 'a1.h3', 'm2' or 'm2.n137'; did you mean 'm1'?"),
        ("input: {pca: 2}", "claim.yaml:6: 'input' is always left as it is, so no claim can be about it"),
        ("a0.h0.q: {pca: 2}", "claim.yaml:6: 'a0.h0.q' is a place inside the model, not a component"),
        ("[m0]", "'components' must be a mapping such as {m1: {pca: 4}}, not a list"),
        ("m0: {pca: 2}\n  variable: ''", "claim.yaml:7: the field 'variable' has no value"),
        (
            "m0: {pca: 2}\n  varable: x",
            "claim.yaml:7: unknown field 'varable' in 'explanation'; did you mean 'variable'?",
        ),
    ],
)
def test_bad_input_is_one_sentence_with_file_and_line(claim, components, sentence):
    with pytest.raises(ClaimError) as caught:
        claim(components)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_names_the_nearest_one(claim):
    with pytest.raises(ClaimError, match=r"'basics\.npy' does not exist here \(.*\); did you mean 'basis\.npy'"):
        claim("m0: {file: basics.npy}")


@pytest.mark.parametrize(
    ("components", "sentence"),
    [
        ("m0: {pca: 64}", "'m0' of zoo:novel-1l has a width of 64, and a subspace of 64 dimensions leaves nothing"),
        ("a0.h0: {random: 16}", "'a0.h0' of zoo:novel-1l has a width of 16, and a subspace of 16 dimensions leaves"),
        ("a0.h0: {file: basis.npy}", "the basis of 'a0.h0' in 'basis.npy' has 64 rows, and that part of zoo:novel-1l "),
        ("a0.h0: {file: basis.npy}", "has a width of 16; a basis is [width, k]"),
        ("m0.n3: {pca: 1}", "'m0.n3' is one number, so it has no subspaces; neurons are claimed by 'keep'"),
        ("a0.h0: {unembed: [1, 2]}", "gives directions of the stream, and a head's z has 16 numbers of its own"),
        ("m0: {unembed: [1, 99999]}", "'unembed' of 'm0': zoo:novel-1l has no token 99999; its ids are 0 to"),
        ("m0: {unembed: [' the', ' the the the']}", "' the the the' is 3 tokens of zoo:novel-1l; give texts of one"),
    ],
)
def test_what_only_a_loaded_model_can_tell_has_file_and_line_too(claim, components, sentence):
    read = claim(components)
    with pytest.raises(ClaimError) as caught:
        read.check(load("zoo:novel-1l"))
    assert str(caught.value).startswith("claim.yaml:6: ")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_in_python_too():
    model = tiny("llama")
    for basis, said in (
        (np.ones((4, 4, 2)), r"the basis of 'm1' has the shape \[4, 4, 2\], and a basis is \[width, k\]"),
        (np.zeros((0, 1)), r"the basis of 'm1' has the shape \[0, 1\]"),
        (np.eye(3), "has 3 rows and 3 columns, .*; nothing of the site would be left to ablate"),
        (np.ones((2, 5)), "has 2 rows and 5 columns, .*; transpose it"),
        (np.zeros((3, 1)), "has 1 columns of rank 0"),
        (torch.full((3, 1), float("inf")), "holds numbers that are not finite"),
    ):
        with pytest.raises(ClaimError, match=said):
            Subspace({"m1": basis})
    with pytest.raises(ClaimError, match=r"the basis of 'm1' has 7 rows, and that part of .* has a width of 32"):
        Subspace({"m1": np.ones(7)}).scope(model)
    with pytest.raises(ComponentError, match="layer 9 does not exist"):
        Subspace({"r9": {"pca": 1}}).scope(model)
    with pytest.raises(ComponentError, match="named twice"):
        Subspace({"a0": {"pca": 1}, "a0.h1": {"pca": 1}}).scope(model)
    with pytest.raises(ClaimError, match="Subspace takes a mapping such as"):
        Subspace({})
    with pytest.raises(ClaimError, match="'variable' says in words what the subspace carries, not ' '"):
        Subspace({"m1": {"pca": 1}}, " ")


def test_a_position_that_is_not_there_is_said_by_name():
    at = workbench()
    for name, said in (("m1@99", "the shortest example has columns 0 to 24"), ("m1@S2", "the task has no column 'S2'")):
        with pytest.raises(TaskError, match=said):
            at.runner.logits(Subspace({name: {"pca": 2}}).plan(at, "mean"), np.arange(2))


def test_tokens_that_are_unembedded_alike_span_nothing():
    network = build("llama", tie=False)
    with torch.no_grad():
        network.lm_head.weight[7] = network.lm_head.weight[6]
    model = load(network)
    task = Task.repeat(model, n=2, length=4)
    with pytest.raises(ClaimError, match=r"'unembed' of 'm1': the unembeddings of 6, 7 in .* are not independent"):
        Subspace({"m1": {"unembed": [6, 7]}}).plan(PlanContext(Runner(model, task)), "mean")


def test_checking_a_claim_imports_no_torch(claim):
    claim("m0: {file: basis.npy}\n    r0: {file: one.safetensors}")
    code = "import sys; from assay.explanations.claims.file import load_claim; load_claim('claim.yaml')"
    code += "; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
    assert assay.Subspace is Subspace
