"""Where a scrubbed run's data come from: rows that agree, a pool of them, and what a user's generator gives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from assay.errors import ClaimError, TaskError
from assay.explanations import Hypothesis
from assay.explanations.claims.file import load_claim
from assay.explanations.hypothesis.block import hypothesis_block
from assay.explanations.hypothesis.example import Example
from assay.explanations.hypothesis.matches import Matches
from assay.explanations.hypothesis.scrub import LEFT, Scrub
from assay.explanations.hypothesis.values import Codes
from assay.intervene.components import complement, expand
from assay.intervene.plan import EditRun
from assay.measure.workbench import Workbench
from assay.model.meter import metered
from assay.planted.worlds import world
from assay.record.pieces import Sentence
from assay.report import swaps
from assay.score.score import score
from assay.stats.keyed import generator
from assay.task.examples import take
from tests.explanations.hypothesis.test_claim_block import written
from tests.explanations.hypothesis.test_scrub import PLACES, VARIABLES, network, workbench
from tests.naive.batched_scrubbing import Scrubber

STRENGTHS = (LEFT, "mean", "resample_joint", "resample_independent")


# -- pools


def test_a_pool_has_its_share_of_every_group_and_two_at_least():
    codes = Codes(np.repeat([0, 1, 2, 3], [60, 36, 3, 1]))
    some = codes.pool(20, generator(0, "test"))
    drawn = np.unique([some.other(np.arange(100), generator(0, "test", i)) for i in range(300)])
    assert np.bincount(codes.of[drawn]).tolist() == [12, 7, 2, 1]
    assert some.size == 22
    assert codes.pool(100, generator(0, "test")).size == 100


def test_over_pools_every_other_row_is_drawn_as_often():
    codes = Codes(np.array([0, 0, 0, 0, 0, 1, 1]))
    draws = [codes.pool(3, generator(0, "pool", i)).other(np.arange(7), generator(0, "draw", i)) for i in range(4000)]
    share = np.stack([np.bincount(column, minlength=7) / 4000 for column in np.array(draws).T])
    expected = np.zeros((7, 7))
    expected[:5, :5], expected[5, 6], expected[6, 5] = (1 - np.eye(5)) / 4, 1, 1
    assert np.abs(share - expected).max() < 0.03


@pytest.mark.parametrize("treeify", [True, False])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_a_run_without_its_equal_rows_is_the_run(strength: str, treeify: bool):
    bench = workbench()
    claim = Hypothesis(VARIABLES, PLACES, treeify=treeify, pool=16)
    plan, rows = claim.plan(bench, strength), np.arange(len(bench.task))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("assay.explanations.hypothesis.scrub.once", lambda run, count: (run, np.arange(count)))
        whole = claim.plan(bench, strength)
    every = [run.at for run in whole.runs if isinstance(run, EditRun) and run.at is not None]
    assert all(len(at) == len(bench.task) for at in every)
    some = [run.at for run in plan.runs if isinstance(run, EditRun) and run.shared and run.at is not None]
    assert [len(at) < len(bench.task) for at in some] == [treeify]
    one, other = bench.runner.logits(plan, rows), bench.runner.logits(whole, rows)
    torch.testing.assert_close(one, other, atol=3e-4, rtol=1e-4)


@pytest.mark.parametrize("strength", ["resample_joint", "resample_independent"])
def test_with_a_pool_it_is_the_plain_scrubber(strength: str):
    bench = workbench()
    claim = Hypothesis(VARIABLES, PLACES, pool=12)
    graph = claim.graph(bench)
    draws = Scrub(bench, graph, strength)
    named = expand([place for some in PLACES.values() for place in some], bench.model)
    plain = Scrubber(
        network(),
        bench.task.tokens[:, :-1],
        PLACES,
        graph.reads,
        graph.loose,
        [str(site) for site in complement(named, bench.model)],
        lambda names, data, path: draws.agreeing(tuple(names), True, data, path),
        joint=strength == "resample_joint",
        batch=16,
    )
    with torch.no_grad():
        wanted = plain.log_probs(graph.answer)
        got = bench.runner.logits(claim.plan(bench, strength), np.arange(len(bench.task)))[:, -2].log_softmax(-1)
    torch.testing.assert_close(got, wanted, atol=3e-4, rtol=1e-4)


def passes(claim: Hypothesis, strength: str) -> float:
    """Forward passes a row of the scrubbed run, in small micro-batches, where nothing was made before."""
    planted = world("planted:sums_0")
    bench = Workbench(planted.model, planted.task(400, seed=1))
    bench.runner.batch, plan = 16, claim.plan(bench, strength)
    before = bench.runner.forwards
    for rows in bench.runner.batches(np.arange(len(bench.task))):
        bench.runner.output(plan, rows)
    return (bench.runner.forwards - before) / len(bench.task)


@pytest.mark.parametrize("strength", ["mean", "resample_joint", "resample_independent"])
def test_passes_fall_with_the_pool(strength: str):
    every = [passes(Hypothesis(VARIABLES, PLACES, pool=pool), strength) for pool in (None, 200, 60)]
    assert every[0] > every[1] > every[2]


def test_over_pools_the_score_is_the_same():
    """A claim that is coarser than the network: its score depends on which data are drawn."""
    planted = world("planted:sums_0")
    variables = {**VARIABLES, "u": "number(1) // 2"}
    means = []
    for pool in (None, 30):
        found = []
        for seed in range(12):
            bench = Workbench(planted.model, planted.task(120, seed=1), seed=seed)
            scored = score(bench, {0: Hypothesis(variables, PLACES, pool=pool).plan(bench, "mean")})
            found.append(float(scored[0].kl.sum() / scored.count.sum()))
        means.append((np.mean(found), np.std(found) / np.sqrt(len(found))))
    (one, its), (other, other_its) = means
    assert abs(one - other) < 3 * np.hypot(its, other_its)
    assert one > 0.3


@pytest.mark.parametrize("pool", [1, 0, True])
def test_what_is_no_pool_is_refused(pool: Any):
    with pytest.raises(ClaimError, match=r"a pool takes at least 2 data, and is given"):
        Hypothesis(VARIABLES, PLACES, pool=pool)


def test_a_pool_is_written_and_read(tmp_path: Path):
    claim = Hypothesis(VARIABLES, PLACES, pool=16)
    path = tmp_path / "claim.yaml"
    path.write_text(claim.to_yaml("planted:sums_0", {"kind": "planted"}))
    found = load_claim(path).explanation.build()
    assert isinstance(found, Hypothesis)
    assert (found.pool, found.fields()) == (16, claim.fields())
    with pytest.raises(ClaimError, match=r"claim.yaml:\d+: .*pool"):
        load_claim(written(tmp_path, pool=1))


# -- generated matches

MADE: list[tuple[tuple[str, ...], list[int]]] = []  # for which condition, and what


def rare(more: list[list[int]] | None = None) -> Workbench:
    """Forty sums in which one row alone has a u of 4, and rows beside them."""
    planted = world("planted:sums_0")
    task = planted.task(200, seed=1)
    u, v = (task.tokens[:, column].numpy() - 2 for column in (1, 3))
    kept = [*np.flatnonzero((u != 4) & (u + v != 7))[:39], np.flatnonzero((u == 4) & (v == 1))[0]]
    tokens = task.tokens[kept]
    if more:
        tokens = torch.cat([tokens, torch.tensor([[*row, 5] for row in more])])
        kept += kept[-1:] * len(more)
    found = take(task, np.array(kept), np.arange(len(task.documents)))
    return Workbench(planted.model, replace(task, **{**found, "tokens": tokens}))


def sums(example: Example, names: tuple[str, ...]) -> Iterator[list[int]]:
    """Other sums with the same u; none for other conditions."""
    for v in range(5):
        if names == ("u",):
            MADE.append((names, [0, example.ids[1], 14, v + 2, 15, 1]))
            yield MADE[-1][1]


def test_what_is_generated_is_drawn_only_where_no_other_row_agrees():
    bench, places = rare(), {"u": ["a0.h1"], "total": ["m1"]}
    MADE.clear()
    scrub = Scrub(bench, Hypothesis(VARIABLES, places, matches=sums).graph(bench), "resample_joint")
    scrub.plan()
    drawn = scrub.paths["scrubbed", "total", "u"]
    made = scrub.graph.values.beside
    assert made is not None
    assert {names: len(some) for names, some in made.wanted.items()} == {("u",): len(MADE)}
    assert made.of.tolist() == [39] * len(MADE)
    reader = scrub.paths["scrubbed", "total"]
    assert ((drawn >= 40) == (np.array([row["u"] for row in scrub.graph.values.rows])[reader] == 4)).all()
    MADE.clear()
    plain = Scrub(bench, Hypothesis(VARIABLES, places).graph(bench), "resample_joint")
    plain.plan()
    own = plain.paths["scrubbed", "total", "u"]
    assert (own[reader == 39] == 39).all()
    assert not MADE
    assert np.array_equal(np.where(reader == 39, 0, own), np.where(reader == 39, 0, drawn))


@pytest.mark.parametrize("where", ["a0.h1", "a0.h1@-1", "m0@-1"])
def test_a_run_takes_what_a_generated_input_has_there(where: str, monkeypatch: pytest.MonkeyPatch):
    """As where the generated inputs are rows of the task, and the same ones are drawn."""

    def last(codes: Codes, rows: np.ndarray, random: object) -> np.ndarray:
        drawable = np.flatnonzero(codes._place >= 0)
        return np.array([drawable[codes.of[drawable] == codes.of[row]][-1] for row in rows])

    monkeypatch.setattr(Codes, "other", last)
    bench, variables = rare(), {"u": "number(1)", "v": "number(3)", "answer": "u + v"}
    MADE.clear()
    claim = Hypothesis(variables, {"u": [where]}, matches=Matches(sums, 3))
    got = bench.runner.logits(claim.plan(bench, LEFT), np.arange(40))
    there = rare([ids for _, ids in MADE])
    wanted = there.runner.logits(Hypothesis(variables, {"u": [where]}).plan(there, LEFT), np.arange(40))
    assert len(MADE) == 3
    torch.testing.assert_close(got[:, :6], wanted[:, :6], atol=1e-4, rtol=1e-4)


def test_a_right_claim_is_right_and_a_wrong_one_is_not_with_what_is_generated():
    """Of the row whose u no other has: the places exchanged take another v along."""
    bench = rare()
    for places, low, high in ((PLACES, 0.0, 0.01), ({"u": ["a0.h2"], "v": ["a0.h1"], "total": ["m1"]}, 1.0, 99.0)):
        plan = Hypothesis(VARIABLES, places, matches=Matches(sums, 4)).plan(bench, "resample_independent")
        found = score(bench, {0: plan})
        assert low <= found[0].kl[bench.task.document[39]] <= high


def test_the_report_says_what_was_generated():
    bench = rare()
    claim = Hypothesis(VARIABLES, PLACES, matches=sums, pool=8)
    with metered(share=1.0):
        pieces = hypothesis_block(bench, claim.graph(bench), True, np.arange(8), "resample_independent").pieces
    text = " ".join(piece.text for piece in pieces if isinstance(piece, Sentence))
    assert "Inputs were generated, as 1 group of rows had too few others that agree: 1 for u." in text
    found = re.search(r"Data come from pools of at most 8, but two of each value: u (\d+) of 41, v (\d+) of 40,", text)
    assert found is not None
    assert all(8 <= int(size) <= 12 for size in found.groups())


def test_the_verdict_says_what_was_generated_whatever_the_budget():
    found = rare().measure(Hypothesis(VARIABLES, PLACES, matches=Matches(sums, 3)), budget="headline").record
    assert found.interchange is not None
    assert found.interchange.generated == {"u": 3}
    assert "For rows that no other agrees with a generator gave 3 inputs (3 on u)." in swaps.verdict(found.interchange)


def longer(example: Example, names: tuple[str, ...]) -> Iterator[list[int]]:
    yield [*example.ids, 1]


def fails(example: Example, names: tuple[str, ...]) -> list[list[int]]:
    raise ValueError("no such\nsum")


ROW = r"for row 39 of the task '.*'"


@pytest.mark.parametrize(
    ("generator", "sentence"),
    [
        (lambda e, names: [[0, 2, 14, 3, 15, 1]], rf"'<lambda>' gives \[0, 2, 14, 3, 15, 1\] {ROW}, with which it does "
         r"not agree: its 'u' is 0, and not 4"),
        (longer, rf"'longer' gives \[.*\] {ROW}, which is of 7 tokens, and the row of 6"),
        (lambda e, names: [7], rf"gives 7 {ROW}, which is neither a text nor a list of token ids under 19"),
        (lambda e, names: [[0, 99, 14, 3, 15, 1]], r"neither a text nor a list of token ids under 19"),
        (lambda e, names: [[0, 11, 14, 3, 15, 1]], r"gives \[0, 11, .*: the variable 'total' has no value"),
        (fails, rf"'fails' fails {ROW}: ValueError: no such sum"),
        (lambda e, names: 5, r"fails for row 39 .*: TypeError: 'int' object is not iterable"),
    ],
)  # fmt: skip
def test_what_does_not_agree_is_refused_in_one_sentence(generator: Any, sentence: str):
    bench = rare()
    with pytest.raises(TaskError, match=sentence) as raised:
        Hypothesis(VARIABLES, PLACES, matches=generator).plan(bench, "mean")
    assert "\n" not in str(raised.value)


def test_a_generator_that_is_asked_for_nothing_is_refused():
    with pytest.raises(ClaimError, match=r"is asked for at least 1 other input, not for 0"):
        Matches(sums, 0)


def test_a_generator_is_in_no_claim_file():
    with pytest.raises(ClaimError, match=r"the generator of matches 'sums' of this hypothesis is a Python function"):
        Hypothesis(VARIABLES, PLACES, matches=sums).to_yaml()


def test_one_that_goes_on_for_ever_with_nothing_new_ends():
    def same(example: Example, names: tuple[str, ...]) -> Iterator[list[int]]:
        while True:
            yield list(example.ids)

    bench = rare()
    made = Hypothesis(VARIABLES, PLACES, matches=same).graph(bench).values.beside
    assert made is not None
    assert (made.asked, made.short, len(made.of)) == (1, 1, 0)
