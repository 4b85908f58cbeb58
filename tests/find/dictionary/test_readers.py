"""Readers of a planted concept: who has the right direction finds it, with as few labels as that takes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from assay.errors import UserError
from assay.find.dictionary.readers import Labelled, erase, erasing_direction, labels_needed, readings

D, WIDTH = 24, 200
RANDOM = np.random.default_rng(0)
CONCEPT, LOUD = RANDOM.standard_normal((2, D)) / math.sqrt(D)


def planted(n: int, seed: int, *, shifted: bool = False) -> Labelled:
    """A concept along one direction under loud noise along another; feature 7 is the concept, feature 8 a near miss,
    which is wrong where data are shifted."""
    random = np.random.default_rng(seed)
    label = random.random(n) < 0.5
    near = label ^ (random.random(n) < (0.5 if shifted else 0.1))
    values = 2.0 * np.outer(label, CONCEPT) + 6 * np.outer(random.standard_normal(n), LOUD)
    values += 0.3 * random.standard_normal((n, D))
    features = random.exponential(1, (n, WIDTH)) * (random.random((n, WIDTH)) < 0.1)
    features[:, 7] = label * (1 + random.random(n))
    features[:, 8] = near * (1 + random.random(n))
    return Labelled(values, features, label, np.arange(n) * 40 // n)


TRAIN, TEST = planted(4_000, 1), planted(2_000, 2)


def test_who_has_the_direction_finds_it():
    found = {(one.reader, one.labels): one for one in readings(TRAIN, TEST, (16, 1024))}
    assert found["one feature", 16].accuracy.value == 1.0
    assert found["one feature", 16].selection == pytest.approx(math.log2(WIDTH) + 1)
    assert found["probe", 1024].area > 0.95
    assert found["erasure direction", 1024].area > 0.95
    assert found["mean difference", 1024].area < found["erasure direction", 1024].area  # it looks along the noise too
    assert found["random direction", 1024].area < 0.8
    assert found["probe", 16].accuracy.value < found["one feature", 16].accuracy.value
    low, high = found["probe", 1024].accuracy.low, found["probe", 1024].accuracy.high
    assert low < found["probe", 1024].accuracy.value < high
    needed = labels_needed(list(found.values()), 0.99)
    assert needed["one feature"] == 16
    assert needed["random direction"] is None


def test_shifted_data_tell_who_read_something_else():
    only_near = Labelled(TRAIN.values, np.delete(TRAIN.features, 7, 1), TRAIN.label, TRAIN.document)
    shifted = planted(2_000, 3, shifted=True)
    other = Labelled(shifted.values, np.delete(shifted.features, 7, 1), shifted.label, shifted.document)
    same = {one.reader: one for one in readings(only_near, Labelled(TEST.values, np.delete(TEST.features, 7, 1),
                                                                    TEST.label, TEST.document), (512,))}  # fmt: skip
    moved = {one.reader: one for one in readings(only_near, other, (512,))}
    assert same["one feature"].accuracy.value == pytest.approx(0.9, abs=0.03)
    assert moved["one feature"].accuracy.value == pytest.approx(0.5, abs=0.05)
    assert moved["probe"].accuracy.value == pytest.approx(same["probe"].accuracy.value, abs=0.05)


def test_too_few_values_are_one_sentence():
    with pytest.raises(UserError, match="5000 labels, half of each class, are asked for"):
        readings(TRAIN, TEST, (5000,))
    one = TEST.at(TEST.label)
    with pytest.raises(UserError, match="has one class only"):
        readings(TRAIN, one, (16,))


def test_a_concept_is_erased_whatever_the_scale_of_its_labels():
    pytest.importorskip("concept_erasure")
    found, eraser = erase(TRAIN, TEST)
    assert found.before > 0.95
    assert found.erased
    assert 0.4 < found.after < 0.6
    assert found.moved < 0.5
    assert eraser is not None


def test_the_erasing_direction_is_that_of_least_squares():
    centred = TRAIN.values - TRAIN.values.mean(0)
    wanted = np.linalg.lstsq(centred, TRAIN.label - TRAIN.label.mean(), rcond=None)[0]
    found = erasing_direction(TRAIN.values, TRAIN.label)
    assert wanted @ found / np.linalg.norm(wanted) / np.linalg.norm(found) > 0.98
