"""Directions of a stream in which two known ones determine the answer, and others vary far more."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from assay.errors import ClaimError
from assay.explanations.subspace.fits import share_inside
from assay.find.screening.bits import Rounded, held_bits
from assay.find.screening.determined import determined
from assay.find.screening.directions import DirectionSearch, principal_directions, random_directions
from assay.intervene.screened import cut_of
from tests.find.screening.gates import bench


def search(kind: str) -> DirectionSearch:
    return DirectionSearch(bench(kind), "r1", rows=64, held=32, chunk=32)


@pytest.mark.parametrize("kind", ["and", "xor"])
def test_learned_directions_determine_what_those_of_most_variance_do_not(kind: str):
    workbench, site = bench(kind), cut_of(bench(kind).model, "r1")
    fit = search(kind).learned(2)
    assert fit.reached <= fit.start
    principal = principal_directions(workbench, "r1", 2)
    sets = {"learned": fit.basis, "principal": principal, "random": random_directions(workbench, "r1", 2)}
    found = determined(workbench, {name: {"r1": basis} for name, basis in sets.items()}, "r1")
    assert found["learned"].share > 0.999
    assert found["principal"].share < 0.2
    assert found["random"].share < 0.5
    inside = share_inside(workbench, site, fit.basis), share_inside(workbench, site, principal)
    assert inside[0] is not None
    assert inside[1] is not None
    assert inside[0] < 0.5 * inside[1]


def test_one_direction_is_enough_for_an_xor_and_not_for_an_and():
    """left - right tells XOR; left + right, three values, tells AND but for the scale that a donor's rest brings."""
    for kind, low, high in (("xor", 0.999, 1.0), ("and", 0.85, 0.99)):
        fit = search(kind).learned(1)
        share = float(determined(bench(kind), {"one": {"r1": fit.basis}}, "r1")["one"].share)
        assert low < share <= high


def test_to_first_order_the_floor_is_shared_out_among_directions():
    values, vectors = search("and").account()
    floor = determined(bench("and"), {"none": {"r1": torch.zeros(30, 0)}}, "r1")["none"].floor
    assert float(values.sum()) == pytest.approx(floor, rel=0.2)  # of other rows, at four places of the way
    assert values[:2].sum() > 0.99 * values.sum()  # the answer is read in two dimensions
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(30, dtype=torch.float64))


def test_a_fit_gives_the_same_again():
    one, other = search("and").learned(2, steps=20), search("and").learned(2, steps=20)
    assert torch.equal(one.basis, other.basis)
    assert one.reached == other.reached


def test_the_whole_stream_is_a_full_blanket_without_a_map():
    workbench = bench("and")
    found = determined(workbench, {"stream": ["r1"], "basis": {"r1": torch.linalg.qr(torch.randn(30, 30))[0]}}, "r1")
    assert float(found["stream"].share) == pytest.approx(1, abs=1e-6)
    assert float(found["basis"].share) == pytest.approx(1, abs=1e-4)
    bits = held_bits(workbench, "r1", None)
    assert (bits.position, bits.map) == (30 * bits.each, 0)


def test_bits_are_the_fewest_that_keep_the_share():
    workbench, fit = bench("and"), search("and").learned(2)
    bits = held_bits(workbench, "r1", fit.basis)
    assert (bits.position, bits.map) == (2 * bits.each, 2 * 28 * bits.each)
    assert 1 < bits.each < 8  # left and right are 0 or 1, beside the map's own rounding


def test_coordinates_are_rounded_on_a_grid_over_the_references_range():
    basis = torch.eye(4)[:, :1]
    low, high = torch.tensor([[5.0], [0.0]]), torch.tensor([[5.0], [3.0]])
    inside = torch.tensor([[9.0, 1, 1, 1], [1.4, 2, 2, 2], [7.0, 3, 3, 3], [-1.0, 4, 4, 4]])[None]
    outside = -torch.ones(1, 4, 4)
    got = Rounded(basis, low, high, 2).mix(inside, outside)[0]
    # the first position has one value; others the grid 0, 1, 2, 3, and what lies beyond takes its end
    np.testing.assert_allclose(got[:, 0], [5, 1, 3, 0])
    assert torch.equal(got[:, 1:], outside[0, :, 1:])  # beside the direction all is the donor's


def test_too_small_a_reference_is_one_sentence():
    workbench = bench("and")
    reference = workbench.task.reference
    assert reference is not None
    from dataclasses import replace

    from assay import Workbench
    from assay.task.examples import fields_of

    few = Workbench(workbench.model, workbench.task)
    short = replace(reference, **{**fields_of(reference), "real": reference.real.clone()})
    short.real[3:, -2] = False
    few.task.__dict__["reference"] = short
    try:
        with pytest.raises(ClaimError, match="learned on 4 rows of the reference at least, and it has 3"):
            DirectionSearch(few, "r1")
    finally:
        few.task.__dict__["reference"] = reference
