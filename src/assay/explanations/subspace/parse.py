"""What a claim file or a Python call gives a site, read as a subspace before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assay.errors import ClaimError, nearest, shown
from assay.explanations.subspace.spec import Pca, Random, Spec, Unembed
from assay.task import bounds

WAYS: dict[str, tuple[str, ...]] = {"pca": (), "unembed": (), "random": ("seed",), "file": ("tensor",)}  # its options
LIKE = "{pca: 4}, {unembed: [' he', ' she']}, {random: 4} or {file: basis.npy}"


def parse(name: str, value: Any) -> Spec:
    """What a claim gives a site.

    Args:
        name: the site's; value: a mapping as claim files have it, or an array or tensor [width, k] or [width].

    Raises:
        ClaimError: for what is no subspace, and a file or array that holds no basis.
    """
    if isinstance(value, Spec):
        return value
    if hasattr(value, "shape"):
        from assay.explanations.subspace.given import given

        return given(value, f"the basis of {name!r}")
    if not isinstance(value, Mapping):
        raise ClaimError(
            f"{name!r} is given {shown(value)}, and a subspace is {LIKE}; in Python also an array [width, k]"
        )
    options = {option: way for way, several in WAYS.items() for option in several}
    for key in value:
        if key not in WAYS and key not in options:
            raise ClaimError(f"{name!r} is given the unknown field {key!r}{nearest(key, (*WAYS, *options))}")
    ways = [way for way in WAYS if way in value]
    if not ways:
        raise ClaimError(f"{name!r} needs a subspace: {LIKE}")
    if len(ways) > 1:
        raise ClaimError(f"{name!r} is given both {ways[0]!r} and {ways[1]!r}; give one")
    way = ways[0]
    for option in options:
        if option in value and options[option] != way:
            raise ClaimError(f"{option!r} of {name!r} goes with {options[option]!r}, not with {way!r}; leave it out")
    return _parsed(name, way, value[way], value)


def _parsed(name: str, way: str, value: Any, options: Mapping[str, Any]) -> Spec:
    if way == "unembed":
        return Unembed(_tokens(name, value))
    if way == "file":
        from assay.explanations.subspace.given import read

        tensor = options.get("tensor")
        for what, text in (("file", value), ("tensor", "..." if tensor is None else tensor)):
            if not isinstance(text, str) or not text:
                raise ClaimError(f"{what!r} of {name!r} must be a text, not {shown(text)}")
        return read(value, tensor)
    k = _whole(f"{way!r} of {name!r}", value, 1)
    if way == "pca":
        return Pca(k)
    return Random(k, _whole(f"'seed' of {name!r}", options.get("seed", 0), bounds.SEED[0]))


def _whole(what: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ClaimError(f"{what} must be a whole number from {least}, not {shown(value)}")
    return value


def _tokens(name: str, value: Any) -> tuple[str | int, ...]:
    what = f"'unembed' of {name!r}"
    if not isinstance(value, list | tuple) or len(value) < 2:
        raise ClaimError(f"{what} must be a list of at least two tokens such as [' he', ' she'], not {shown(value)}")
    for token in value:
        if isinstance(token, bool) or not isinstance(token, str | int):
            raise ClaimError(f"{what} takes texts of one token each, or ids, not {shown(token)}")
        if value.count(token) > 1:
            raise ClaimError(f"{what} names {token!r} twice")
    return tuple(value)
