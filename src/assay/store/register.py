"""The register: every claim and set of ablations that was tried on a split, so that a report can say "1 of m".

One JSON line each; it lies beside the run folders. Lines are only ever appended; the same try twice counts once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.errors import RunError

REGISTER = "register.jsonl"


@dataclass(frozen=True)
class Entry:
    """One try: a claim (its hash), the ablations it was measured under, and the split (its fingerprint).

    `when` (any text) and `sentence` are for readers; they are no part of what makes two tries the same.
    """

    split: str
    claim: str
    ablations: tuple[str, ...]
    sentence: str | None = None
    when: str | None = None

    @property
    def key(self) -> tuple[str, str, tuple[str, ...]]:
        """What makes two tries the same: the order of ablations does not count."""
        return self.split, self.claim, tuple(sorted(set(self.ablations)))

    def to_json(self) -> dict[str, Any]:
        """The line's content; what is not known is left out."""
        split, claim, ablations = self.key
        line: dict[str, Any] = {"split": split, "claim": claim, "ablations": list(ablations)}
        return line | {name: text for name, text in (("sentence", self.sentence), ("when", self.when)) if text}


@dataclass(frozen=True)
class Tried:
    """The place of a try among those on its split: `this` of `tried`, both counted from 1."""

    this: int
    tried: int

    def __str__(self) -> str:
        return f"{self.this} of {self.tried}"


def register_path(folder: str | Path, register: str | Path | None = None) -> Path:
    """Where the register of a run folder lies: the file that was asked for, else beside the folder."""
    return (
        Path(register) if register is not None else Path(os.path.abspath(Path(folder).expanduser())).parent / REGISTER
    )


def log(path: str | Path, entry: Entry) -> Tried:
    """Append the try unless it is there already; give its place among the tries on its split.

    Raises:
        RunError: the register cannot be read or written.
    """
    return _log_all(Path(path), [entry])[entry.key]


def tried(path: str | Path, entry: Entry) -> Tried | None:
    """The place of a try that was logged, None for one that was not; nothing is written."""
    return _places(entries(path)).get(entry.key)


def entries(path: str | Path) -> list[Entry]:
    """All tries in the order in which they were first logged; none where there is no register yet.

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
    _log_all(Path(into), [entry for other in others for entry in entries(other)])
    return entries(into)


def _log_all(path: Path, new: Iterable[Entry]) -> dict[tuple[str, str, tuple[str, ...]], Tried]:
    new = list(new)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a+b") as file, _locked(file.fileno()):
            file.seek(0)
            content = file.read()
            known = _parse(content, path)
            keys = {entry.key for entry in known}
            lines = []
            for entry in new:
                if entry.key not in keys:
                    keys.add(entry.key)
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
    found = []
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), 1):
        if not line.strip():
            continue
        try:
            raw = json.loads(line)
            texts = [raw["split"], raw["claim"], *raw["ablations"]]
            if not all(isinstance(text, str) for text in texts):
                raise TypeError
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"line {number} of the register '{path}' is not an entry; mend or move the file") from error
        found.append(Entry(raw["split"], raw["claim"], tuple(raw["ablations"]), raw.get("sentence"), raw.get("when")))
    return found


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
