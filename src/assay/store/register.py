"""The register: every claim and set of ablations that was tried on a split, so that a report can say "1 of m".

One JSON line each; it lies beside the run folders. Lines are only ever appended; the same try twice counts once, and a
line that repeats a try with a p-value says how it came out. A last line without its end is kept where it is an entry
(an editor left the newline out), and left out where it is not (a process was killed while it wrote).
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from assay.errors import RunError
from assay.store.files import given_path, locked, reason

REGISTER = "register.jsonl"
LARGEST = 1 << 27  # bytes: hundreds of thousands of tries


@dataclass(frozen=True)
class Try:
    """One try: a claim (its hash), the ablations it was measured under, and the split (its fingerprint).

    `when` (any text) and `sentence` are for readers, `p` is how the try came out (its largest over the groups of
    controls; None before it was measured, or where nothing gives one); they do not make a try another one.
    """

    split: str
    claim: str
    ablations: tuple[str, ...]
    sentence: str | None = None
    when: str | None = None
    p: float | None = None

    @property
    def key(self) -> tuple[str, str, tuple[str, ...]]:
        """What makes two tries the same: the order of ablations does not count."""
        return self.split, self.claim, tuple(sorted(set(self.ablations)))

    def to_json(self) -> dict[str, Any]:
        """The line's content; what is not known is left out."""
        split, claim, ablations = self.key
        line: dict[str, Any] = {"split": split, "claim": claim, "ablations": list(ablations)}
        line |= {name: text for name, text in (("sentence", self.sentence), ("when", self.when)) if text}
        return line if self.p is None else line | {"p": self.p}


@dataclass(frozen=True)
class Tried:
    """The place of a try among those on its split: `this` of `tried`, both counted from 1."""

    this: int
    tried: int

    def __str__(self) -> str:
        return f"{self.this} of {self.tried}"


@dataclass(frozen=True)
class Adjusted:
    """A try's p-value over all tries on its split.

    Attributes:
        p: as it was logged; holm: adjusted by Holm's method for all tries; None where this try has no p.
        without: how many of the tries have no p; they count as 1, which gives the largest adjusted value.
    """

    p: float | None
    holm: float | None
    without: int


def register_path(folder: str | Path) -> Path:
    """Where the register of a run folder lies: beside the folder."""
    return given_path(folder, "the output folder").parent / REGISTER


def check(path: str | Path) -> None:
    """Whether tries can be read from a register and appended to it; ask this before anything expensive starts.

    Raises:
        RunError: when they cannot. A register that does not exist yet is fine where its folder is.
    """
    path = Path(path)
    entries(path)
    if not os.path.lexists(path):
        return
    try:
        with _open_file(path):
            pass
    except OSError as error:
        raise RunError(f"the register '{path}' cannot be written: {reason(error)}") from error


def log(path: str | Path, entry: Try) -> Tried:
    """Append the try unless it is there already (or now has another p); give its place among the tries on its split.

    Raises:
        RunError: the register cannot be read or written.
    """
    return _log_all(Path(path), [entry])[entry.key]


def tried(path: str | Path, entry: Try) -> Tried | None:
    """The place of a try that was logged, None for one that was not; nothing is written."""
    return _places(entries(path)).get(entry.key)


def adjusted(path: str | Path, entry: Try) -> Adjusted | None:
    """The p of a logged try, adjusted for all tries on its split; None for one that was not logged.

    Raises:
        RunError: as `entries`.
    """
    return _adjusted(entries(path), entry)


def foreseen(path: str | Path, entry: Try) -> tuple[Tried, Adjusted | None]:
    """What `log` and then `adjusted` would give; nothing is written.

    Raises:
        RunError: as `entries`.
    """
    known = {old.key: old for old in entries(path)}
    old = known.setdefault(entry.key, entry)
    if entry.p is not None:
        known[entry.key] = replace(old, p=entry.p)
    every = list(known.values())
    return _places(every)[entry.key], _adjusted(every, entry)


def _adjusted(known: Iterable[Try], entry: Try) -> Adjusted | None:
    from assay.stats.fits import holm

    on_split = {one.key: one.p for one in known if one.split == entry.split}
    if entry.key not in on_split:
        return None
    without = sum(p is None for p in on_split.values())
    own = on_split[entry.key]
    if own is None:
        return Adjusted(None, None, without)
    every = holm([1.0 if p is None else p for p in on_split.values()])
    return Adjusted(own, every[list(on_split).index(entry.key)], without)


def entries(path: str | Path) -> list[Try]:
    """All tries in the order in which they were first logged, each with its latest p; none where there is no register.

    Raises:
        RunError: a line that is not an entry, with its number; what is no regular file, or too large a one.
    """
    path = Path(path)
    try:
        if not os.path.lexists(path):
            return []
        with _open_file(path, writing=False) as file:
            return _parse(file.read(), path)
    except OSError as error:
        raise RunError(f"the register '{path}' cannot be read: {reason(error)}") from error


@contextmanager
def _open_file(path: Path, writing: bool = True) -> Iterator[BinaryIO]:
    """The open register; of a pipe or a device, which could be endless, nothing is read and nothing waited for."""
    access = os.O_RDWR | os.O_APPEND | os.O_CREAT if writing else os.O_RDONLY
    try:
        if not os.path.lexists(path) or stat.S_ISREG(os.stat(path).st_mode):
            descriptor = os.open(path, access | getattr(os, "O_NONBLOCK", 0), 0o666)
        else:
            raise OSError(errno.EINVAL, "it is not a regular file")
    except FileNotFoundError as error:
        if not path.is_symlink():
            raise
        raise OSError(errno.ENOENT, "it is a link that leads nowhere") from error
    with os.fdopen(descriptor, "a+b" if writing else "rb", buffering=0 if writing else -1) as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        if about.st_size > LARGEST:
            raise OSError(errno.EFBIG, f"it has over {LARGEST:,} bytes")
        yield file


def merge(into: str | Path, *others: str | Path) -> list[Try]:
    """Append what other registers hold and this one lacks; merging twice, or with itself, changes nothing."""
    _log_all(Path(into), [entry for other in others for entry in entries(other)], replaced=False)
    return entries(into)


def _log_all(path: Path, new: Iterable[Try], replaced: bool = True) -> dict[tuple[str, str, tuple[str, ...]], Tried]:
    """Append what is not there; a p takes the place of another one only where `replaced`."""
    new = list(new)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _open_file(path) as file, locked(file.fileno()):
            file.seek(0)
            content = file.read()
            known = _parse(content, path)
            there = {entry.key: entry.p for entry in known}
            lines = []
            for entry in new:
                old = there.get(entry.key)
                later = entry.p is not None and entry.p != old and (replaced or old is None)
                if entry.key not in there or later:
                    there[entry.key] = entry.p
                    known.append(entry)
                    lines.append(json.dumps(entry.to_json(), ensure_ascii=True))
            if lines:
                kept, tail = _last_line(content)
                if not kept:  # an unfinished line of a run that was killed
                    file.truncate(len(content) - len(tail))
                # One write of whole lines: another reader sees all of them or none.
                _append(file, ("\n" * bool(kept and tail) + "\n".join(lines) + "\n").encode())
    except OSError as error:
        raise RunError(f"the register '{path}' cannot be written: {reason(error)}") from error
    return _places(known)


def _places(known: Iterable[Try]) -> dict[tuple[str, str, tuple[str, ...]], Tried]:
    order: dict[tuple[str, str, tuple[str, ...]], int] = {}
    count: dict[str, int] = {}
    for entry in known:
        if entry.key not in order:
            count[entry.split] = count.get(entry.split, 0) + 1
            order[entry.key] = count[entry.split]
    return {key: Tried(this, count[key[0]]) for key, this in order.items()}


def _parse(content: bytes, path: Path) -> list[Try]:
    found: dict[tuple[str, str, tuple[str, ...]], Try] = {}
    kept, tail = _last_line(content)
    whole = content if kept else content[: len(content) - len(tail)]
    for number, line in enumerate(whole.split(b"\n"), 1):
        if not line.strip():
            continue
        entry = _entry(line)
        if entry is None:
            raise RunError(f"line {number} of the register '{path}' is not an entry; mend or move the file")
        first = found.setdefault(entry.key, entry)
        if entry.p is not None:
            found[entry.key] = replace(first, p=entry.p)
    return list(found.values())


def _entry(line: bytes) -> Try | None:
    """The entry of a line; None for one that is none."""
    try:
        raw = json.loads(line)
        split, claim, ablations, p = raw["split"], raw["claim"], raw["ablations"], raw.get("p")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    texts = isinstance(ablations, list) and all(isinstance(text, str) for text in (split, claim, *ablations))
    probable = p is None or (isinstance(p, int | float) and not isinstance(p, bool) and 0 <= p <= 1)
    if not texts or not probable:
        return None
    return Try(split, claim, tuple(ablations), raw.get("sentence"), raw.get("when"), p)


def _last_line(content: bytes) -> tuple[bool, bytes]:
    """Whether what stands after the last newline is an entry (or nothing but space), and that text."""
    tail = content[content.rfind(b"\n") + 1 :]
    return not tail.strip() or _entry(tail) is not None, tail


def _append(file: BinaryIO, lines: bytes) -> None:
    """Writes all of it, or none where the disk is full in the middle of it.

    Raises:
        OSError: when it cannot be written.
    """
    before = os.fstat(file.fileno()).st_size
    try:
        written = os.write(file.fileno(), lines)
        while written < len(lines):
            written += os.write(file.fileno(), lines[written:])
    except BaseException:
        file.truncate(before)
        raise
