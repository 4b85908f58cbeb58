"""Statistics of the reference are those of the whole of it, in whatever order it comes."""

import numpy as np
import pytest
import torch

import assay
from assay.explanations import Remove
from assay.intervene.fill.reference import ROWS, ReferenceStatistics, affordable, spread
from assay.intervene.plan import EditRun, Plan
from assay.intervene.runner import Runner
from assay.names import parse_site
from assay.record.about import ReferenceShare
from assay.task.task import Task
from tests.measure.planted import workbench
from tests.model.tiny import tiny


def test_a_reference_ordered_by_source_is_averaged_over_all_its_sources():
    """The built-in references hold all English windows first: a mean over the first rows is the English mean."""
    model = tiny("gpt2", tokenizer=True)
    few, many = "w21 w22 w23 w24 w25 w26 w27 w28 w29", "w31 w32 w33 w34 w35 w36 w37 w38 w39"
    texts = [" ".join(np.random.default_rng([i, 0]).permutation(few.split() * 2)) for i in range(ROWS)]
    texts += [" ".join(np.random.default_rng([i, 1]).permutation(many.split() * 2)) for i in range(ROWS)]
    scored = [" ".join(np.random.default_rng([i, 2]).permutation(few.split() * 2)) for i in range(3)]
    task = Task.text(model, texts=scored, reference=texts)
    assert task.reference is not None
    runner = Runner(model, task)
    site, run = parse_site("m0"), EditRun("reference", "reference")
    with torch.no_grad():
        value = runner.values(Plan((run,)), run, [site], np.arange(2 * ROWS))[site].double()
    halves = [value[part, 1:].flatten(0, 1).mean(0) for part in (slice(0, ROWS), slice(ROWS, None))]
    found = ReferenceStatistics(runner, ROWS).mean(site)[1].double()
    apart = (halves[0] - halves[1]).norm()
    assert (found - (halves[0] + halves[1]) / 2).norm() < 0.1 * apart
    assert (found - halves[0]).norm() > 0.3 * apart


def test_spread_rows_are_few_sorted_and_reach_both_ends():
    assert spread(5, 192).tolist() == [0, 1, 2, 3, 4]
    rows = spread(512, 192)
    assert len(rows) == 192
    assert (rows[0], rows[-1]) == (0, 511)
    assert (np.diff(rows) > 0).all()


def test_small_models_and_short_rows_take_means_over_more_rows_and_long_rows_over_fewer():
    def rows(parameters: int, *shape: int) -> int:
        return affordable(parameters, torch.zeros(shape))

    assert rows(4_200_000, 512, 256) == ROWS  # of the size of novel-4l
    assert rows(200_000, 512, 256) == 65_536 // 256
    assert rows(200_000, 512, 32) == 65_536 // 32
    assert rows(124_000_000, 512, 256) == ROWS
    assert rows(124_000_000, 512, 1024) == 64
    assert rows(124_000_000, 512, 100_000) == 1
    assert rows(1_000, 50, 3) == 4_096


def test_the_record_says_how_many_rows_and_tokens_and_what_fits_reached():
    model = tiny("gpt2", tokenizer=True)
    texts = [" ".join(f"w{i}" for i in np.random.default_rng([n, 5]).integers(20, 50, 18)) for n in range(30)]
    task = Task.text(model, texts=texts[:8], reference=texts[8:])
    record = assay.measure(Remove(["m0"]), model, task, ablation=["mean", "optimal"], controls=0).record
    assert task.reference is not None
    assert record.reference.statistics == ReferenceShare(rows=22, tokens=int(task.reference.real.sum()))
    (fit, *_) = record.reference.fits
    assert fit.what == "optimal constants of 1 part"
    assert fit.rows + fit.held == 22
    assert fit.reached < fit.start


def test_one_pass_gives_the_means_of_every_component_that_it_goes_through():
    model = tiny("gpt2", tokenizer=True)
    texts = [" ".join(f"w{i}" for i in np.random.default_rng([n, 6]).integers(20, 50, 18)) for n in range(12)]
    runner = Runner(model, Task.text(model, texts=texts[:4], reference=texts[4:]))
    layers = model.config.layers
    found = ReferenceStatistics(runner)
    found.need([parse_site("a0.h1")])
    assert runner.forwards == len(found.rows) / layers
    other = {name: found.mean(parse_site(name)) for name in ("a0.h0", "a0.h3")}
    other |= {"m0": found.mean(parse_site("m0"))}
    assert runner.forwards == len(found.rows) / layers
    deep = f"m{layers - 1}"
    other |= {deep: found.mean(parse_site(deep))}  # goes on where the first pass stopped
    found.need([parse_site(name) for name in model.components if name != "input"])
    assert runner.forwards == len(found.rows)
    found.need([parse_site("m0.n1")])  # what nobody looked at is run for again, as far as it lies
    assert runner.forwards == pytest.approx(len(found.rows) * (1 + 1 / layers))
    for name, mean in other.items():
        alone = ReferenceStatistics(runner)
        assert torch.equal(alone.mean(parse_site(name)), mean)


def test_covariances_of_several_parts_take_one_pass_and_are_those_of_their_values():
    at = workbench()
    sites = [parse_site(name) for name in ("a0.h1", "a1.h3", "m1")]
    at.statistics.need(sites)
    before = at.runner.forwards
    at.foresee(sites, "noise")
    deepest = at.runner.model.depth({("mlp", 1): lambda value: None}) / at.runner.model.config.layers
    assert at.runner.forwards - before == pytest.approx(len(at.statistics.rows) * deepest)
    run = EditRun("reference", "reference")
    assert at.task.reference is not None
    real = at.task.reference.real[at.statistics.rows][:, 1:]
    for site, value in at.runner.values(Plan((run,)), run, sites, at.statistics.rows).items():
        first, rest = (root.double() @ root.double().T for root in at.statistics.root_covariance(site))
        torch.testing.assert_close(first, value[:, 0].double().T.cov(), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(rest, value[:, 1:][real].double().T.cov(), rtol=1e-4, atol=1e-6)
