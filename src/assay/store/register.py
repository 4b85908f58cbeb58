"""The register: every claim and set of ablations that was tried on a split, so that a report can say "1 of m".

One JSON line each; it lies beside the run folders. Lines are only ever appended; the same try twice counts once, and a
line that repeats a try with a p-value says how it came out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from assay.errors import RunError

REGISTER = "register.jsonl"


@dataclass(frozen=True)
class Entry:
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


def register_path(folder: str | Path, register: str | Path | None = None) -> Path:
    """Where the register of a run folder lies: the file that was asked for, else beside the folder."""
    return (
        Path(register) if register is not None else Path(os.path.abspath(Path(folder).expanduser())).parent / REGISTER
    )


def log(path: str | Path, entry: Entry) -> Tried:
    """Append the try unless it is there already (or now has another p); give its place among the tries on its split.

    Raises:
        RunError: the register cannot be read or written.
    """
    return _log_all(Path(path), [entry])[entry.key]


def tried(path: str | Path, entry: Entry) -> Tried | None:
    """The place of a try that was logged, None for one that was not; nothing is written."""
    return _places(entries(path)).get(entry.key)


def adjusted(path: str | Path, entry: Entry) -> Adjusted | None:
    """The p of a logged try, adjusted for all tries on its split; None for one that was not logged.

    Raises:
        RunError: as `entries`.
    """
    from assay.stats.fits import holm

    on_split = {known.key: known.p for known in entries(path) if known.split == entry.split}
    if entry.key not in on_split:
        return None
    without = sum(p is None for p in on_split.values())
    own = on_split[entry.key]
    if own is None:
        return Adjusted(None, None, without)
    every = holm([1.0 if p is None else p for p in on_split.values()])
    return Adjusted(own, every[list(on_split).index(entry.key)], without)


def entries(path: str | Path) -> list[Entry]:
    """All tries in the order in which they were first logged, each with its latest p; none where there is no register.

    Raises:
        RunError: a line that is not an entry, with its number. An unfinished last line (of a run that was killed) is
            left out.
    """
    path = Path(path)
    try:
        return _parse(path.read_bytes(), path) if path.exists() else []
    except OSError as error:
        raise RunError(f"the register '{path}' cannot be read: {error.strerror}") from error


def merge(into: str | Path, *others: str | Path) -> list[Entry]:
    """Append what other registers hold and this one lacks; merging twice, or with itself, changes nothing."""
    _log_all(Path(into), [entry for other in others for entry in entries(other)], replaced=False)
    return entries(into)


def _log_all(path: Path, new: Iterable[Entry], replaced: bool = True) -> dict[tuple[str, str, tuple[str, ...]], Tried]:
    """Append what is not there; a p takes the place of another one only where `replaced`."""
    new = list(new)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a+b") as file, _locked(file.fileno()):
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
                whole = content[: content.rfind(b"\n") + 1]
                if whole != content:  # an unfinished line of a run that was killed
                    file.truncate(len(whole))
                # One write of whole lines: another reader sees all of them or none.
                os.write(file.fileno(), ("\n".join(lines) + "\n").encode())
    except OSError as error:
        raise RunError(f"the register '{path}' cannot be written: {error.strerror}") from error
    return _places(known)


def _places(known: Iterable[Entry]) -> dict[tuple[str, str, tuple[str, ...]], Tried]:
    order: dict[tuple[str, str, tuple[str, ...]], int] = {}
    count: dict[str, int] = {}
    for entry in known:
        if entry.key not in order:
            count[entry.split] = count.get(entry.split, 0) + 1
            order[entry.key] = count[entry.split]
    return {key: Tried(this, count[key[0]]) for key, this in order.items()}


def _parse(content: bytes, path: Path) -> list[Entry]:
    found: dict[tuple[str, str, tuple[str, ...]], Entry] = {}
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), 1):
        if not line.strip():
            continue
        try:
            raw = json.loads(line)
            texts = [raw["split"], raw["claim"], *raw["ablations"]]
            p = raw.get("p")
            known = p is None or (isinstance(p, int | float) and not isinstance(p, bool) and 0 <= p <= 1)
            if not known or not all(isinstance(text, str) for text in texts):
                raise TypeError
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"line {number} of the register '{path}' is not an entry; mend or move the file") from error
        more = raw.get("sentence"), raw.get("when"), p
        entry = Entry(raw["split"], raw["claim"], tuple(raw["ablations"]), *more)
        first = found.setdefault(entry.key, entry)
        if p is not None:
            found[entry.key] = replace(first, p=p)
    return list(found.values())


@contextmanager
def _locked(descriptor: int) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # no advisory locks on this system: the single append has to do
        yield
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
