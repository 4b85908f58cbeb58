"""Edges of every family: their count, order and names, masks there and back, pruning, and names that are none."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest

from assay.errors import ComponentError
from assay.model.edges import Edges
from assay.model.weights import Shape
from tests.model.tiny import tiny, tiny_network
from tests.naive import edges as naive
from tests.published import ioi

GPT2 = Shape(12, 768, 12, 12, 64, (3072,) * 12, 50257, 1024, parallel=False, norm="layer")
MODELS = {
    "gpt2": {"family": "gpt2", "layers": 3},
    "attention only": {"family": "gpt2", "d_mlp": None},
    "grouped": {"family": "llama", "layers": 3},
    "one group": {"family": "qwen3", "kv_heads": 1},
    "ungrouped": {"family": "llama", "kv_heads": 4},
    "parallel": {"family": "gpt_neox"},
    "in sequence": {"family": "gpt_neox", "use_parallel_residual": False},
}
every_model = pytest.mark.parametrize("which", MODELS)


def edges_of(which: str) -> Edges:
    return tiny(**MODELS[which]).edges


def test_gpt2_small_has_the_known_counts():
    edges = Edges(GPT2)
    assert (len(edges.writers), len(edges.readers), len(edges)) == (157, 445, 32_491)


def test_edges_show_themselves_on_one_line():
    edges = Edges(Shape(2, 8, 2, 2, 4, (16, 16), 50, 32, parallel=False, norm="layer"))
    assert repr(edges) == "<Edges: 46, from input->a0.h0<q> to m1->logits>"


def test_every_edge_of_a_published_circuit_exists():
    edges, published = Edges(GPT2), json.loads(ioi())["edges"]
    numbers = [edges.number(name) for name in published]
    assert sorted(numbers) == [(i, None) for i in range(len(edges))]
    assert [edges[number] for number, _ in numbers] == list(published)
    kept = edges.mask(name for name, edge in published.items() if edge["in_graph"])
    assert int(kept.sum()) == sum(edge["in_graph"] for edge in published.values())


@every_model
def test_edges_are_those_that_the_definition_names(which):
    edges, wanted = edges_of(which), naive.edges(tiny_network(**MODELS[which]))
    assert sorted(edges) == sorted(wanted)
    assert list(edges.writers) == list(tiny(**MODELS[which]).components)
    layers = [reader.layer for reader in edges.readers]
    assert layers == sorted(layers)
    assert all(a.writers <= b.writers for a, b in pairwise(edges.readers))
    assert len(set(edges)) == len(edges)


@every_model
def test_numbers_names_masks_and_matrices_go_there_and_back(which):
    edges = edges_of(which)
    assert [edges.number(name) for name in edges] == [(i, None) for i in range(len(edges))]
    assert edges[-1] == edges[len(edges) - 1] == f"{edges.writers[-1]}->logits"
    assert edges[2:9:3] == [edges[2], edges[5], edges[8]]
    for wrong in (len(edges), -len(edges) - 1):
        with pytest.raises(IndexError):
            edges[wrong]
    rng = np.random.default_rng(0)
    masks = rng.random((2, 3, len(edges))) < 0.3
    assert (edges.flat(edges.matrix(masks)) == masks).all()
    assert edges.matrix(masks).dtype == bool
    assert (edges.mask(edges.names(masks[0, 0])) == masks[0, 0]).all()
    assert edges.names(masks[1, 1]) == [name for name, kept in zip(edges, masks[1, 1], strict=True) if kept]
    scores = rng.normal(size=len(edges))
    matrix = edges.matrix(scores)
    assert matrix.shape == (len(edges.readers), len(edges.writers))
    assert np.count_nonzero(matrix) == len(edges)
    names = [reader.name for reader in edges.readers]
    for number in rng.integers(0, len(edges), 20):
        writer, reader = edges[int(number)].split("->")
        assert matrix[names.index(reader), edges.writers.index(writer)] == scores[number]


def test_a_position_is_part_of_a_name_and_not_of_a_mask():
    edges = edges_of("gpt2")
    number, _ = edges.number("a0.h1->a1.h2<q>")
    assert edges.number("a0.h1 -> a1.h2<q>@-1") == (number, "-1")
    assert edges.number("a0.h1->a1.h2<q>@S2") == (number, "S2")
    with pytest.raises(ComponentError, match=r"'m0->logits@-1' has a position; a mask over whole edges has none"):
        edges.mask(["m0->logits@-1"])


@pytest.mark.parametrize(
    ("which", "name", "message"),
    [
        ("gpt2", "a1.h0->a0.h1<q>", r"'a1\.h0' does not come before 'a0\.h1<q>' \(an edge runs forwards\); .* 'input'"),
        ("gpt2", "m1->m1", r"\(an edge runs forwards\); the last writer that it can read is 'a1\.h3'"),
        ("gpt2", "a1.h0->a1.h1<v>", r"\(an edge runs forwards\); the last writer that it can read is 'm0'"),
        ("parallel", "a1.h0->m1", r"\(they work side by side on one stream\); the last .* is 'm0'"),
        ("parallel", "m1->m0", r"\(an edge runs forwards\)"),
        ("gpt2", "a9.h0->logits", r"'a9\.h0' writes nothing here; did you mean"),
        ("gpt2", "logits->m0", r"'logits' writes nothing here"),
        ("gpt2", "m0->a1.h2", r"'a1\.h2' reads nothing here; did you mean 'a1\.h2<[qkv]>' or"),
        ("gpt2", "m0->input", r"'input' reads nothing here"),
        ("attention only", "a0.h0->m1", r"'m1' reads nothing here"),
        ("grouped", "m0->a1.h3<k>", r"'a1\.h3<k>' reads nothing here"),
        ("gpt2", "m0", "'m0' is not an edge's name; edges look like 'a1.h2->a3.h5<q>' or 'm0->logits'"),
        ("gpt2", "m0->m1->logits", "reads nothing here"),
        ("gpt2", "m0->logits@", "is not an edge's name"),
    ],
)
def test_names_that_are_no_edges_are_refused_in_one_sentence(which, name, message):
    with pytest.raises(ComponentError, match=message):
        edges_of(which).number(name)
    with pytest.raises(ComponentError, match=message):
        edges_of(which).mask([name])


def test_an_edge_named_twice_is_refused():
    with pytest.raises(ComponentError, match="the edge 'm0 -> logits' is named twice"):
        edges_of("gpt2").mask(["m0->logits", "input->m1", "m0 -> logits"])


def test_per_head_edges_of_a_grouped_model_fold_into_the_group():
    edges = edges_of("grouped")  # four heads, two groups
    assert edges.shape.kv_heads == 2
    for head, group in enumerate((0, 0, 1, 1)):
        for part in "kv":
            folded = edges.number(f"m0->a1.h{head}<{part}>@3", fold=True)
            assert folded == (edges.number(f"m0->a1.kv{group}<{part}>")[0], "3")
        query = f"m0->a1.h{head}<q>"
        assert edges.number(query, fold=True) == edges.number(query)
    with pytest.raises(ComponentError, match=r"'a1\.kv2<k>' reads nothing here"):
        edges.number("m0->a1.h4<k>", fold=True)
    plain = edges_of("gpt2")
    assert plain.number("m0->a1.h3<k>", fold=True) == plain.number("m0->a1.h3<k>")


def on_paths(edges: Edges, network, mask: np.ndarray) -> set[str]:
    """Kept edges on some path of kept edges from `input` to `logits`, one path after another."""
    nodes = naive.nodes(network)
    kept = set(edges.names(mask))
    out: set[str] = set()

    def walk(at: str, path: tuple[str, ...]) -> None:
        if at == "logits":
            out.update(path)
            return
        for node, readers, writers in nodes:
            for reader in readers if at in writers else ():
                if f"{at}->{reader}" in kept:
                    walk(node, (*path, f"{at}->{reader}"))

    walk("input", ())
    return out


@every_model
def test_pruned_masks_keep_what_a_search_over_all_paths_finds(which):
    edges, network = edges_of(which), tiny_network(**MODELS[which])
    rng = np.random.default_rng(1)
    masks = np.stack([rng.random(len(edges)) < density for density in (0.05, 0.1, 0.1, 0.15, 0.2, 0.25)])
    pruned = edges.pruned(masks)
    for mask, found in zip(masks, pruned, strict=True):
        assert set(edges.names(found)) == on_paths(edges, network, mask)
        assert (edges.pruned(mask) == found).all()
    assert pruned.any()
    assert (pruned != masks).any()
    assert edges.pruned(np.ones(len(edges), dtype=bool)).all()
    assert not edges.pruned(np.zeros(len(edges), dtype=bool)).any()


@every_model
def test_edges_of_kept_nodes_are_those_between_them(which):
    edges, nodes = edges_of(which), naive.nodes(tiny_network(**MODELS[which]))
    rng = np.random.default_rng(2)
    for share in (0.0, 0.3, 0.6, 1.0):
        kept = [name for name in edges.writers[1:] if rng.random() < share]
        wanted = {
            f"{writer}->{reader}"
            for node, readers, writers in nodes
            if node in kept or node == "logits"
            for reader in readers
            for writer in writers
            if writer in kept or writer == "input"
        }
        assert set(edges.names(edges.node_edges(kept))) == wanted
