"""Circuit files: both forms there and back, the published IOI circuit, grouped models, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from assay.errors import ClaimError
from assay.explanations import Circuit
from assay.explanations.circuit.files import NUMBERS, parse, read_circuit
from assay.explanations.circuit.writing import write_circuit
from assay.model.edge_sets import EdgeSet
from tests.model.tiny import tiny
from tests.published import ioi

POSITIONS = (None, -1, "S2", 3)


def masks(model, seed: int = 0, positions: int = 1, share: float = 0.3) -> np.ndarray:
    kept = np.random.default_rng(seed).random((len(model.edges), positions)) < share
    kept[model.edges.number("input->logits")[0]] = True
    return kept


def scores(model, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=len(model.edges)).astype(np.float32)


def test_the_published_circuit_is_read_and_written_back_the_same(tmp_path):
    """GPT-2 small's shape: 158 nodes and 32,491 edges; no path of its 756 edges dangles."""
    model = tiny("gpt2", layers=12, heads=12, d=768, d_mlp=8)
    published = tmp_path / "ioi.json"
    published.write_bytes(ioi())
    file = parse(published)
    assert (file.form, file.kept, file.total) == ("eap-ig", 756, 32_491)
    assert len(json.loads(ioi())["nodes"]) == len(model.edges.writers) + 1 == 158
    found = file.resolve(model)
    assert len(model.edges) == 32_491
    assert found.edges.count == model.edges.pruned(found.edges.anywhere).sum() == 756
    assert found.notes == ()
    write_circuit(tmp_path / "back.json", model, found.edges, form="eap-ig", scores=found.scores)
    theirs, mine = (json.loads(path.read_text()) for path in (published, tmp_path / "back.json"))
    assert mine["cfg"] == theirs["cfg"]
    assert mine["nodes"] == theirs["nodes"]
    assert {n: e["in_graph"] for n, e in mine["edges"].items()} == {
        n: e["in_graph"] for n, e in theirs["edges"].items()
    }
    assert all(
        abs(mine["edges"][n]["score"] - e["score"]) <= 1e-6 * abs(e["score"]) for n, e in theirs["edges"].items()
    )
    write_circuit(tmp_path / "small.json", model, found.edges)
    assert (tmp_path / "small.json").stat().st_size < published.stat().st_size / 50
    again = read_circuit(tmp_path / "small.json", model)
    assert np.array_equal(again.edges.anywhere, found.edges.anywhere)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox"])
@pytest.mark.parametrize("form", ["assay", "eap-ig"])
def test_a_circuit_comes_back_as_it_was_written(tmp_path, family, form):
    model = tiny(family)
    kept, values = masks(model)[:, 0], scores(model)
    write_circuit(tmp_path / "circuit.json", model, kept, form=form, scores=values)
    found = read_circuit(tmp_path / "circuit.json", model)
    assert np.array_equal(found.edges.anywhere, kept)
    assert found.scores is not None
    np.testing.assert_array_equal(found.scores, values)
    assert np.array_equal(Circuit.read(tmp_path / "circuit.json").mask(model), kept)


@pytest.mark.parametrize("large", [False, True])
def test_positions_come_back_as_numbers_and_as_bits(tmp_path, large):
    model = tiny("gpt2", layers=4 if large else 2)
    kept = masks(model, positions=len(POSITIONS), share=0.9 if large else 0.3)
    assert (int(kept.sum()) > NUMBERS) is large
    write_circuit(
        tmp_path / "circuit.json", model, EdgeSet(kept, POSITIONS), method="attribution", more={"why": "a test"}
    )
    data = json.loads((tmp_path / "circuit.json").read_text())
    assert set(data["edges"]) == {"bits" if large else "numbers"}
    assert data["why"] == "a test"
    found = read_circuit(tmp_path / "circuit.json", model)
    assert found.edges.positions == POSITIONS
    assert np.array_equal(found.edges.kept, kept)
    assert parse(tmp_path / "circuit.json").method == "attribution"
    with pytest.raises(ClaimError, match="the form of EAP-IG has no positions"):
        write_circuit(tmp_path / "circuit.json", model, EdgeSet(kept, POSITIONS), form="eap-ig")


def test_edges_to_a_heads_keys_go_to_its_group_with_the_largest_score_and_the_loader_says_so(tmp_path):
    model = tiny("llama")  # 4 heads in 2 groups
    kept = np.zeros(len(model.edges), dtype=bool)
    kept[model.edges.number("input->logits")[0]] = True
    write_circuit(tmp_path / "circuit.json", model, kept, form="eap-ig", scores=np.zeros(len(kept)))
    data = json.loads((tmp_path / "circuit.json").read_text())
    assert "input->a0.h3<v>" in data["edges"]
    assert "input->a0.kv1<v>" not in data["edges"]
    data["edges"]["input->a0.h2<v>"] = {"score": 0.25, "in_graph": False}
    data["edges"]["input->a0.h3<v>"] = {"score": -0.5, "in_graph": True}
    data["edges"]["a0.h3->logits"]["in_graph"] = True
    for node in ("input", "a0.h3", "logits"):
        data["nodes"][node]["in_graph"] = True
    (tmp_path / "circuit.json").write_text(json.dumps(data))
    found = read_circuit(tmp_path / "circuit.json", model)
    group = model.edges.number("input->a0.kv1<v>")[0]
    assert found.scores is not None
    assert found.scores[group] == -0.5
    assert set(model.edges.names(found.edges.anywhere)) == {"input->logits", "input->a0.kv1<v>", "a0.h3->logits"}
    (note,) = found.notes
    assert "edges to one head's keys or values went to the group" in note


def refused(path: Path, model=None) -> str:
    with pytest.raises(ClaimError) as caught:
        read_circuit(path, tiny("gpt2") if model is None else model)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def written(tmp_path):
    """A small circuit of a tiny GPT-2 in both forms, to be spoilt: (path, model, contents)."""

    def make(form: str):
        model = tiny("gpt2")
        kept = model.edges.node_edges(["m0", "a1.h2"])
        path = write_circuit(tmp_path / f"{form}.json", model, kept, form=form, scores=scores(model))
        return path, model, json.loads(path.read_text())

    return make


@pytest.mark.parametrize(
    ("form", "change", "sentence"),
    [
        ("eap-ig", lambda d: d["cfg"].update(n_layers=3), "is of another model: n_layers is 3 there and 2 in"),
        ("eap-ig", lambda d: d["cfg"].update(parallel_attn_mlp=True), "parallel_attn_mlp is True there and False in"),
        ("eap-ig", lambda d: d["edges"].pop("m0->m1"), "it lists 109 of the 110 edges"),
        ("eap-ig", lambda d: d["edges"].update({"m1->a1.h0<q>": {"in_graph": False}}), "'m1->a1.h0<q>' cannot exist"),
        ("eap-ig", lambda d: d["edges"].update({"m0->a7.h0<q>": {"in_graph": False}}), "'a7.h0<q>' reads nothing here"),
        (
            "eap-ig",
            lambda d: d["edges"].update({"m0 -> m1": {"in_graph": False}}),
            "names 'm0 -> m1' twice, in two ways",
        ),
        ("eap-ig", lambda d: d["nodes"]["m0"].update(in_graph=False), "contradicts itself: the edge 'input->m0' is in"),
        ("eap-ig", lambda d: d["edges"]["m0->m1"].update(in_graph="yes"), "does not say whether 'm0->m1' is in the"),
        ("eap-ig", lambda d: d["edges"]["m0->m1"].update(score=float("nan")), "the score nan, not a number"),
        ("eap-ig", lambda d: d["nodes"]["m0"].update(neurons=[1]), "selects neurons of 'm0'"),
        (
            "eap-ig",
            lambda d: [e.update(in_graph=False) for e in d["edges"].values()],
            "is empty: none of its 110 edges",
        ),
        ("eap-ig", lambda d: d.pop("nodes"), "is of no form that is known"),
        ("assay", lambda d: d["model"].update(heads=8), "is of another model: heads is 8 there and 4 in"),
        ("assay", lambda d: d["model"].update(mlps=[True, False]), "is of another model: mlps is"),
        ("assay", lambda d: d.update(version=9), "is of version 9; this assay reads 1"),
        ("assay", lambda d: d.update(kept=3), "says that it keeps 3 edges and keeps"),
        ("assay", lambda d: d["edges"]["numbers"][0].append(110), "keeps edge 110; its model's are 0 to 109"),
        ("assay", lambda d: d["edges"]["numbers"][0].append(d["edges"]["numbers"][0][0]), "twice"),
        ("assay", lambda d: d.update(edges={"numbers": [[]]}, kept=0), "is empty: none of its 110 edges is kept"),
        ("assay", lambda d: d.update(edges={"bits": "!"}), "holds bits that cannot be unpacked"),
        ("assay", lambda d: d.update(edges={"bits": "eJwDAAAAAAE="}), "holds fewer bits than edges"),
        ("assay", lambda d: d.update(positions=[1, 1]), "which are not different columns"),
        ("assay", lambda d: d.update(total=10**12), "which is no circuit"),
        ("assay", lambda d: d.update(positions=[True]), "which are not different columns"),
        ("assay", lambda d: d.update(positions=[10**20]), "which are not different columns"),
        ("assay", lambda d: d.pop("model"), "has no field 'model' that could be one"),
    ],
)
def test_a_file_that_cannot_be_right_is_refused_in_a_sentence(written, form, change, sentence):
    path, model, data = written(form)
    change(data)
    path.write_text(json.dumps(data))
    assert sentence in refused(path, model)


def test_a_circuit_of_a_model_with_other_edges_is_refused(written):
    path, _, _ = written("assay")
    assert "is of another model: layers is 2 there and 3 in" in refused(path, tiny("gpt2", layers=3))
    path, _, data = written("assay")
    data["model"] = {}
    path.write_text(json.dumps(data))
    assert "is of another model: that has 110 edges and" in refused(path, tiny("gpt2", layers=3))


def test_a_circuit_of_other_weights_is_read_with_a_note(written):
    path, _, _ = written("assay")
    (note,) = read_circuit(path, tiny("gpt2", seed=1)).notes
    assert "whose weights are others" in note


def test_a_name_that_comes_twice_in_the_json_is_refused(tmp_path):
    text = '{"cfg": {}, "nodes": {}, "edges": {"m0->m1": {"in_graph": true}, "m0->m1": {"in_graph": %s}}}'
    for value, words in (("true", "twice"), ("false", "twice, with contradictory values")):
        (tmp_path / "circuit.json").write_text(text % value)
        assert refused(tmp_path / "circuit.json").endswith(f"names 'm0->m1' {words}")


@pytest.mark.parametrize("score", [5e8, -3e38, 10**9])
def test_a_score_may_be_as_large_as_a_float32(written, score):
    """A limit of the number of edges, of the same name, used to stand in the way of anything above 1e8."""
    path, model, data = written("eap-ig")
    data["edges"]["m0->m1"]["score"] = score
    path.write_text(json.dumps(data))
    found = read_circuit(path, model).scores
    assert found is not None
    assert found[model.edges.number("m0->m1")[0]] == np.float32(score)
    for beyond in (4e38, -(10**400)):
        data["edges"]["m0->m1"]["score"] = beyond
        path.write_text(json.dumps(data))
        assert "not a number" in refused(path, model)


@pytest.mark.parametrize(("total", "columns"), [(10**8, 200), (10**8, 10**4), (10**8, 3), (2**28 + 1, 1)])
@pytest.mark.parametrize("edges", [{"numbers": [[0]]}, {"bits": "eJwDAAAAAAE="}])
def test_a_shape_that_no_model_has_is_refused_before_memory_is_taken(tmp_path, monkeypatch, total, columns, edges):
    edges = {name: value * columns if name == "numbers" else value for name, value in edges.items()}
    data = {"format": "assay circuit", "version": 1, "model": {}, "total": total, "kept": 1, "edges": edges}
    (tmp_path / "circuit.json").write_text(json.dumps(data | {"positions": list(range(columns))}))
    for name in ("zeros", "unpackbits"):
        monkeypatch.setattr(np, name, lambda *_, **__: pytest.fail("memory was taken"))
    with pytest.raises(ClaimError, match=f"{columns:,} positions, which is no circuit"):
        parse(tmp_path / "circuit.json")


@pytest.mark.parametrize(
    ("text", "sentence"), [("", "is not JSON"), ("[1]", "holds no JSON object"), ("{}", "of no form")]
)
def test_what_is_no_circuit_file_is_refused(tmp_path, text, sentence):
    (tmp_path / "circuit.json").write_text(text)
    assert sentence in refused(tmp_path / "circuit.json")
    assert "does not exist here" in refused(tmp_path / "nowhere.json")


def test_what_a_form_cannot_hold_is_not_written(tmp_path):
    model = tiny("gpt2")
    with pytest.raises(ClaimError, match="mask of 3 edges cannot be written as a circuit of 110 edges"):
        write_circuit(tmp_path / "c.json", model, np.ones(3, dtype=bool))
    with pytest.raises(ClaimError, match="a circuit cannot be written as 'eap'; did you mean 'eap-ig'"):
        write_circuit(tmp_path / "c.json", model, masks(model)[:, 0], form="eap")  # type: ignore[arg-type]
    with pytest.raises(ClaimError, match="everything but other edges"):
        write_circuit(tmp_path / "c.json", model, EdgeSet(masks(model), (-1,)).complement())
    assert not (tmp_path / "c.json").exists()
