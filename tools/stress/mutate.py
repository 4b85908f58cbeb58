"""Changes to bytes, and to the data that JSON and YAML hold: small ones, as of a broken disk, and those of an enemy."""

from __future__ import annotations

import json
import marshal
from collections.abc import Callable
from functools import lru_cache
from random import Random
from typing import Any

import numpy as np
import yaml

TOKENS = (
    *(b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xe2\x80\xae", b"\x1b[31m", b"\r", b"\n", b"\n\n"),
    *(b"\t", b" ", b'"', b"'", b",", b":", b"#", b"-", b"{", b"}", b"[", b"]", b"<<", b"|", b">", b"%", b"@"),
    *(b"`", b"~", b"&a ", b"*a", b"!!python/object/apply:os.system [id]", b"\\u0000", b"\\ud800", b"null", b"NaN"),
    *(b"Infinity", b"-1", b"0", b"1e999", b"1e-999", b".inf", b"0x", b"0o9", b"1_0", b"1:30"),
    *(b"99999999999999999999", b"9" * 400, b"9" * 5000, b"[" * 60, b"[" * 100_000, b'{"a":' * 3_000, b"A" * 300),
    *(b"2001-01-01", b"1000000000", b"../", b"/dev/null"),
)  # fmt: skip

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 7, 12, 255, 1_000_000, 2**31, 2**32, 2**53 + 1, 2**63, 2**64, 10**9, 10**20),
    *(-(10**20), 10**400, 0.0, -0.0, 0.5, 1e-320, 1e308, -1e308, 1e20, float("inf"), float("-inf"), float("nan")),
    *("", " ", "\n", "0", "1", "-1", "nan", "None", "\0", "\ud800", "\u202e", "\x1b[31m", "é", "<script>", "a\0b"),
    *("a1.h3", "a1.h3@-1", "a99.h99", "m0", "r0", "logits", "a1.h2->a3.h5<q>", "@", "#", "w1 w2", "x" * 300),
    *("word " * 2_000, "~nosuchuser/x", "~", "../..", "/", "/dev/zero", "zoo:", "mean", "loss", "test"),
    *([], {}, [[]], [None], [0], [1, 2, 3], ["a", "a"], {"": None}, {"value": None}, {"kind": "text"}),
)


def raw(rng: Random, content: bytes) -> bytes:
    """Bytes with one to eight changes."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5, 8))):
        rng.choice(_RAW)(rng, data)
    return bytes(data)


def _flip(rng: Random, data: bytearray) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set(rng: Random, data: bytearray) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _truncate(rng: Random, data: bytearray) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _delete(rng: Random, data: bytearray) -> None:
    start = rng.randrange(len(data) + 1)
    del data[start : start + rng.choice((1, 2, 4, 16, 64))]


def _repeat(rng: Random, data: bytearray) -> None:
    start = rng.randrange(len(data) + 1)
    span = data[start : start + rng.choice((1, 4, 16, 64))]
    data[start:start] = span * rng.choice((1, 1, 2, 50))


def _token(rng: Random, data: bytearray) -> None:
    start = rng.randrange(len(data) + 1)
    data[start : start + rng.choice((0, 0, 1, 4))] = rng.choice(TOKENS)


def _number(rng: Random, data: bytearray) -> None:
    """Another digit where there is one: lengths and shapes that are a little off, or far."""
    bytes_ = np.frombuffer(bytes(data), dtype=np.uint8)
    places = np.flatnonzero((bytes_ >= 0x30) & (bytes_ <= 0x39)).tolist()
    if places:
        start = rng.choice(places)
        data[start : start + 1] = rng.choice((b"0", b"9", b"-1", b"99", b"9" * 9, b"9" * 18, b"1e9", b"."))


def _lines(rng: Random, data: bytearray) -> None:
    lines = data.split(b"\n")
    first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[first], lines[second] = lines[second], lines[first]
    if rng.random() < 0.5:
        del lines[first]
    data[:] = b"\n".join(lines)


_RAW: tuple[Callable[[Random, bytearray], None], ...] = (
    _flip, _set, _truncate, _delete, _repeat, _token, _token, _number, _lines
)  # fmt: skip


def plain(rng: Random, data: Any) -> Any:
    """Plain data with one to four changes at random places of its tree; `data` itself may change."""
    holder = [data]
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places = _places(holder)
        container, key = rng.choice(places)
        change = rng.random()
        if change < 0.55:
            container[key] = _copy(rng.choice(VALUES))
        elif change < 0.65 and container is not holder:
            del container[key]
        elif change < 0.75:
            other, place = rng.choice(places)
            container[key] = _copy(other[place])
        elif change < 0.8 and isinstance(container, dict):
            container[rng.choice((f"{key}s", key.upper(), key[:-1], "kind", "\0", "x" * 300))] = container.pop(key)
        elif change < 0.85 and isinstance(container, dict):
            container[rng.choice(("x", "kind", "value", "file", "files", "n"))] = _copy(rng.choice(VALUES))
        elif change < 0.9 and isinstance(container, list):
            container[key:key] = [_copy(container[key])] * rng.choice((1, 1, 3, 100))
        elif change < 0.95:
            for _ in range(rng.choice((1, 1, 2, 20, 200))):
                container[key] = [container[key]]
        else:
            container[key] = {"a": container[key]}
    return holder[0]


def _places(data: Any) -> list[tuple[Any, Any]]:
    """(container, key or index) of every value."""
    found, todo = [], [data]
    while todo:
        container = todo.pop()
        keys, values = (
            (container, container.values()) if isinstance(container, dict) else (range(len(container)), container)
        )
        found += [(container, key) for key in keys]
        todo += [value for value in values if isinstance(value, (dict, list))]
    return found


def _copy(data: Any) -> Any:
    """Of any depth; and no change of a copy is seen in what later cases are made from."""
    return marshal.loads(marshal.dumps(data))


def _parsed(content: bytes) -> Any:
    """JSON that is parsed once: a copy of it costs a third."""
    return marshal.loads(_marshalled(content))


@lru_cache(16)
def _marshalled(content: bytes) -> bytes:
    return marshal.dumps(json.loads(content))


def as_json(rng: Random, content: bytes) -> bytes:
    """JSON with other data or other bytes."""
    if rng.random() < 0.35:
        return raw(rng, content)
    text = json.dumps(plain(rng, _parsed(content)), ensure_ascii=rng.random() < 0.7).encode("utf-8", "surrogatepass")
    return raw(rng, text) if rng.random() < 0.1 else text


def as_json_lines(rng: Random, content: bytes) -> bytes:
    """JSON lines, of which some have other data or other bytes."""
    if rng.random() < 0.35:
        return raw(rng, content)
    lines = content.split(b"\n")
    for place in rng.sample(range(len(lines)), min(len(lines), rng.choice((1, 1, 2, 5)))):
        if lines[place]:
            lines[place] = as_json(rng, lines[place])
    return b"\n".join(lines)


def as_yaml(rng: Random, content: bytes) -> bytes:
    """YAML with other data or other bytes."""
    if rng.random() < 0.4:
        return raw(rng, content)
    data, plain_letters = plain(rng, yaml.safe_load(content)), rng.random() < 0.5
    try:
        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=plain_letters)
    except RecursionError:  # nested too deeply for that writer; YAML reads JSON
        text = json.dumps(data)
    written = text.encode("utf-8", "surrogatepass")
    return raw(rng, written) if rng.random() < 0.1 else written
