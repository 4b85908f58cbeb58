"""All broken promises are said at once, each with what was found."""

from __future__ import annotations

import pytest

from assay.errors import UserError
from assay.testing.promises import Promises, require


def test_broken_promises_are_said_together():
    promises = Promises("the kind 'x'")
    with promises.keep("one"):
        require(2 < 1, "2 is not below 1")
    with promises.keep("two"):
        raise UserError("a sentence")
    with promises.keep("three"):
        require(1 < 2, "never")
    with promises.keep("four"):
        {}["key"]
    with pytest.raises(AssertionError) as said:
        promises.check()
    assert str(said.value).splitlines() == [
        "the kind 'x' breaks 3 promises:",
        "- one: 2 is not below 1",
        "- two: a sentence",
        "- four: KeyError: 'key'",
    ]


def test_what_is_kept_raises_nothing():
    promises = Promises("the kind 'x'")
    with promises.keep("one"):
        require(1 < 2, "never")
    promises.check()
