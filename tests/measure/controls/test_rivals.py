"""Rivals: n-grams on the reference, smaller members of the family, sets of parts; and their rows of the record."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from assay.explanations import Keep, Program, programs
from assay.measure.controls import rivals as module
from assay.measure.controls.rivals import (
    distribution,
    fitted,
    model_distribution,
    ngram_halves,
    ngrams,
    rivals,
    smaller_members,
)
from assay.measure.settings import Settings
from assay.score.ids import rival
from assay.score.score import score
from assay.stats.bootstrap import Resamples
from assay.task.ngrams.ngrams import NGram
from tests.measure.ids import FLOOR
from tests.measure.planted import planted, text_task
from tests.measure.planted import workbench as new_workbench
from tests.model.tiny import tiny

SETTINGS = Settings(controls=5)


def _sets(workbench, claim):
    return module.sets(workbench, SETTINGS, claim, "mean", np.arange(len(workbench.task.tokens)))


def test_ngrams_are_fitted_on_the_reference_and_marked_weak():
    field = ngrams(new_workbench())
    names = [rival.name for rival in field]
    assert names == ["unigram", "bigram", "ngram", "ngram+cache"]
    assert all(rival.weak and "weak" in rival.what for rival in field)
    assert [str(one.id) for one in field] == names


def test_the_unigram_is_that_of_the_references_words_alone():
    ngram, _, what = fitted(text_task(), 50, 0)
    reference = text_task().reference
    words = reference.tokens[reference.real & (reference.tokens != 0)]
    assert ngram.tokens == len(words)
    assert f"{len(words):,} tokens" in what
    counted = torch.bincount(words, minlength=50)
    assert np.array_equal(ngram.tables.counts[0][1:], counted[1:].numpy())  # BOS is a context alone


def test_windows_that_follow_on_are_one_text():
    task = text_task()
    one = replace(
        task.reference,
        document=np.repeat(np.arange(12), 2),
        offset=np.tile([0, 24], 12),
        documents=task.reference.documents[:12],
    )
    joined = module._texts(one, np.arange(12), 0)
    apart = module._texts(task.reference, np.arange(24), 0)
    assert [len(text) for text in joined] == [48] * 12
    assert [len(text) for text in apart] == [24] * 24
    assert np.array_equal(np.concatenate(joined), np.concatenate(apart))


@pytest.mark.parametrize("order", [1, 2, 5])
def test_an_ngram_as_a_system_has_the_loss_of_the_ngram(order):
    ngram, _, _ = fitted(text_task(), 50, 0)
    plain = replace(ngram, cache=None)
    scored = score(new_workbench(), {"ngram": distribution(plain, order)})
    task = text_task()
    expected = -plain.log_prob(task.tokens, order)[task.scored.numpy()].sum()
    assert scored["ngram"].loss.sum() == pytest.approx(expected, rel=1e-5)


def test_a_model_as_its_own_rival_has_no_kl_but_that_of_the_uniform_share_mixed_in():
    scored = score(new_workbench(), {"itself": model_distribution(planted(), planted())})
    assert scored["itself"].kl.sum() <= 1e-6 * scored.count.sum()


def test_a_lower_order_is_shorter_and_the_whole_is_its_own_length():
    bits = {rival.name: rival.bits for rival in ngrams(new_workbench())}
    assert bits["unigram"] < bits["bigram"] <= bits["ngram"] < bits["ngram+cache"]
    words = text_task().reference.tokens[:, 1:].numpy()
    assert bits["bigram"] == pytest.approx(NGram.fit([*words], 50, 2, 0).bits, rel=0.02)


def test_component_claims_also_meet_sets_of_as_many_parts():
    field = _sets(new_workbench(), Keep(["a0.h1", "a0.h4", "m1"]))
    sets = {rival.name: rival for rival in field}
    assert list(sets) == ["top norm", "top attribution", "random parts"]
    assert len(sets["random parts"].system) == 4
    assert "m1" in sets["top norm"].what
    assert _sets(new_workbench(), Program({"a0.h1": programs.copy()})) == []


def test_rows_hold_what_the_record_says():
    workbench = new_workbench()
    claim = Keep(["a0", "a1.h4", "m0", "m1"])
    field = [*ngrams(workbench), *_sets(workbench, claim)]
    floor = {FLOOR: claim.floor(workbench, "mean")}
    scored = score(workbench, {**{one.id: one.system for one in field}, **floor})
    rows = rivals(field, scored, Resamples(len(text_task().documents), seed=0), floor=FLOOR)
    assert [row.name for row in rows] == [rival.name for rival in field]
    for row in rows:
        total = scored[rival(row.name)].kl.sum() / scored[FLOOR].kl.sum()
        assert row.recovered.value == pytest.approx(1 - total)


def test_only_novel_models_have_smaller_members_and_all_of_them_are_smaller(monkeypatch):
    assert smaller_members(tiny("llama")) == ()

    class Entry:
        def __init__(self, name, parameters):
            self.name, self.parameters = name, parameters

    there = [Entry("novel-1l", 100), Entry("novel-3l", 900), Entry("novel-2l", 400), Entry("novel-attn2", 300)]
    monkeypatch.setattr(module.index, "entries", lambda: there)
    large = replace(tiny("llama", seed=1), name="zoo:novel-4l")
    assert smaller_members(large) == ("zoo:novel-1l", "zoo:novel-2l", "zoo:novel-3l")
    assert smaller_members(replace(large, name="zoo:novel-2l")) == ("zoo:novel-1l", "zoo:novel-3l")


def test_halves_of_the_reference_are_fitted_apart_and_are_the_whole_together():
    one, other = ngram_halves(new_workbench())
    whole = fitted(text_task(), 50, 0)[0]
    assert one.tokens + other.tokens == whole.tokens
    assert min(one.tokens, other.tokens) > 0.3 * whole.tokens
    first, second = (ngram.tables.counts[0] for ngram in (one, other))
    assert np.array_equal(first + second, whole.tables.counts[0])
