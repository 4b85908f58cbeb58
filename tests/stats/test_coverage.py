"""What 95 % intervals cover, on real per-document sums: the short form of tools/coverage.py."""

from __future__ import annotations

import pytest

from tools import document_sums
from tools.coverage import QUANTITIES, Population, coverage, coverage_before

SETS = 250


@pytest.fixture(scope="module")
def population() -> Population:
    return Population()


INDUCTION, KEEP, NECESSITY = QUANTITIES[0], QUANTITIES[1], QUANTITIES[4]


@pytest.mark.parametrize("design", [15, 30, 60])
@pytest.mark.parametrize("quantity", [INDUCTION, KEEP, NECESSITY], ids=lambda q: q.name)
def test_intervals_cover_at_uneven_strata_and_heavy_modules(population: Population, quantity, design: int):
    found = coverage(population, quantity, design, SETS)
    if quantity is INDUCTION and design == 15:  # three or four modules hold two thirds of the floor
        assert found.none > 0.8
        return
    assert 0.91 <= found.holds <= 0.995  # 95 % to within three standard errors of 250 sets
    assert found.none < 0.05


def test_a_percentile_bootstrap_over_documents_does_not(population: Population):
    assert coverage_before(population, QUANTITIES[0], 30, SETS) < 0.75


def test_certified_nines_are_not_above_the_truth(population: Population):
    nines = next(q for q in QUANTITIES if q.one_sided)
    assert coverage(population, nines, 30, SETS).above <= 0.055  # 2.5 % to within three standard errors


def test_eight_documents_have_an_interval_that_covers_or_none(population: Population):
    found = coverage(population, QUANTITIES[1], 8, SETS)
    assert found.holds >= 0.91


def test_the_sums_are_those_of_the_models_and_texts_that_ship(population: Population):
    """The first documents, whose donors do not depend on the others: what the script gives is what is stored."""
    task, found = document_sums.sums("keep", "test", documents=2)
    assert [d.name for d in task.documents] == population.data["documents"][:2].tolist()
    for name in ("keep/model/loss", "keep/explained:mean/kl", "keep/floor:mean/kl"):
        assert found[name] == pytest.approx(population.data[name][:2], rel=1e-4)
