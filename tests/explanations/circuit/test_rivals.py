"""Rival circuits: as large as the claim, with little of it, and counted where they do as well."""

from __future__ import annotations

import math

import numpy as np
import pytest

from assay.explanations.circuit.block import circuit_block
from assay.explanations.circuit.files import Resolved
from assay.explanations.circuit.rivals import OVERLAP, by_score, circuit_rivals
from assay.model.edge_sets import EdgeSet
from assay.model.meter import metered
from assay.record.pieces import Sentence, TablePiece
from assay.score.circuits import score_circuits
from assay.stats.keyed import generator
from tests.explanations.circuit.test_circuit import DOUBLE, everything, rows_of, some_edges, workbench


def test_a_rival_by_score_is_as_large_and_has_a_fifth_in_common():
    at = workbench("gpt2", "mean", DOUBLE)
    edges, claim = at.model.edges, some_edges(at, 0.15, 1)
    live, scores = edges.pruned(claim), np.random.default_rng(0).random(len(edges))
    found = [by_score(edges, claim, scores, generator(0, "rival", draw)) for draw in range(10)]
    assert len({mask.tobytes() for mask in found}) == 10
    for mask in found:
        assert np.array_equal(mask, edges.pruned(mask))
        assert mask.sum() >= live.sum()
        assert (mask & live).sum() < OVERLAP * live.sum()


def test_edges_of_large_scores_come_more_often():
    at = workbench("gpt2", "mean", DOUBLE)
    edges, claim = at.model.edges, some_edges(at, 0.1, 1)
    scores = np.where(np.arange(len(edges)) % 2, 100.0, 0.01)
    scores[edges.pruned(claim)] = 0.0
    found = np.stack([by_score(edges, claim, scores, generator(0, "rival", draw)) for draw in range(20)])
    fresh = found & ~edges.pruned(claim)
    assert fresh[:, 1::2].sum() > 2 * fresh[:, ::2].sum()


def test_rivals_are_held_to_the_claims_interval():
    at = workbench("gpt2", "mean", DOUBLE)
    rows, claim = rows_of(at), some_edges(at, 0.1, 3)
    scores = np.ones(len(claim), dtype=np.float32)
    found = circuit_rivals(at, Resolved(EdgeSet.whole(claim), scores), "mean", rows, most=12)
    assert len(found.values) == 12
    assert found.overlap < OVERLAP
    assert list(found.values) == sorted(found.values, reverse=True)
    scored = score_circuits(at, [EdgeSet.whole(~everything(at)), EdgeSet.whole(claim)], "mean", rows=rows)
    assert found.own.value == pytest.approx(1 - scored.mean_kl(1) / scored.mean_kl(0), abs=1e-9)
    low = found.own.value if found.own.low is None else found.own.low
    assert found.within == sum(value >= low for value in found.values)  # type: ignore[operator]
    assert found.share.value == found.within / len(found.values)


def test_the_block_counts_rivals_where_nothing_limits_it():
    at = workbench("gpt2", "mean", DOUBLE)
    claim = Resolved(EdgeSet.whole(some_edges(at, 0.1, 3)), np.ones(len(at.model.edges), dtype=np.float32))

    def last(share: float, claim: Resolved = claim) -> TablePiece | Sentence:
        with metered(share=share):
            piece = circuit_block(at, claim, "mean", rows_of(at), lambda: None).pieces[-1]
        assert isinstance(piece, TablePiece | Sentence)
        return piece

    table = last(math.inf)
    assert isinstance(table, TablePiece)
    assert table.title == "Rivals counted"
    assert [row[0] for row in table.rows] == ["the claim", "rival 1", "rival 2", "rival 3"]
    assert "--thorough" in str(last(1e9).text)
    unscored = last(math.inf, Resolved(claim.edges))  # of which every union of paths has over a quarter
    assert unscored.text == "Rivals: none, because no other circuit of this size was found with so little in common."
