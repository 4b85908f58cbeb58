"""What is kept from one question to the next stays within its bytes, and the oldest goes first."""

from __future__ import annotations

import torch
from torch import Tensor

from assay.intervene.kept import Kept


class Few(Kept[str, Tensor]):
    room = 100


def numbers(count: int) -> Tensor:
    return torch.zeros(count, dtype=torch.uint8)


def keys(kept: Few) -> list[str]:
    return [key for key in "abcd" if key in kept]


def test_the_oldest_go_first_and_only_as_many_as_must():
    kept = Few()
    for key in "abc":
        kept.keep(key, numbers(30))
    kept.keep("d", numbers(40))
    assert keys(kept) == ["b", "c", "d"]
    kept.keep("b", numbers(30))  # is the newest now
    kept.keep("a", numbers(50))
    assert keys(kept) == ["a", "b"]


def test_what_does_not_fit_alone_is_given_back_and_displaces_nothing():
    kept = Few()
    kept.keep("a", numbers(60))
    large = numbers(101)
    assert kept.keep("b", large) is large
    assert keys(kept) == ["a"]


def test_a_value_is_made_once_and_a_copy_goes_its_own_way():
    kept, made = Few(), []

    def make() -> Tensor:
        made.append(1)
        return numbers(10)

    assert kept.once("a", make) is kept.once("a", make)
    assert len(made) == 1
    other = kept.copied()
    other.keep("b", numbers(10))
    assert keys(kept) == ["a"]
