"""What a claim gives a site: a dictionary in a folder, which of its features are there, and whether its error stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from assay.errors import ClaimError, nearest, shown
from assay.explanations.levels import Level

LEVEL: Level = "what"
FIELDS = ("folder", "reads", "keep", "without", "error")
LIKE = "{folder: dictionaries/r9}"


@dataclass(frozen=True)
class Coded:
    """A dictionary at a site.

    Attributes:
        folder: where it lies, in any form that `assay.Dictionary.load` knows; None: `code` was given in Python.
        code: a `SparseCode`, where it was given; reads: the site that it reads (None: what its folder says, or else the
            site itself).
        keep: the features that are there, None: all; without: those that are not.
        error: what the dictionary leaves of the value stays, so that only the features that are left out are missing.
    """

    folder: str | None
    code: Any = field(default=None, compare=False, repr=False)
    reads: str | None = None
    keep: tuple[int, ...] | None = None
    without: tuple[int, ...] = ()
    error: bool = False

    @property
    def block(self) -> dict[str, Any]:
        """As a claim file has it."""
        out: dict[str, Any] = {"folder": self.folder}
        out |= {} if self.reads is None else {"reads": self.reads}
        out |= {} if self.keep is None else {"keep": list(self.keep)}
        out |= {"without": list(self.without)} if self.without else {}
        return out | ({"error": True} if self.error else {})

    @property
    def words(self) -> str:
        """Which of its features, in words."""
        count = None if self.keep is None else len(self.keep)
        some = "the features" if count is None else f"{count} feature{'s' * (count != 1)}"
        less = f" without {len(self.without)} of them" if self.without else ""
        return f"{some} of {'a dictionary' if self.folder is None else repr(self.folder)}{less}"


def parse(name: str, value: Any) -> Coded:
    """What a claim gives a site.

    Args:
        name: the site's; value: a `SparseCode`, the path of a folder, or a mapping as claim files have it, which in
            Python may hold the code in place of the folder.

    Raises:
        ClaimError: for what is none of these.
    """
    if isinstance(value, Coded):
        return value
    if isinstance(value, str):
        value = {"folder": value}
    if hasattr(value, "encoder"):
        return Coded(None, value)
    if not isinstance(value, Mapping):
        raise ClaimError(f"{name!r} is given {shown(value)}, and a dictionary is {LIKE}; in Python also a SparseCode")
    for key in value:
        if key not in (*FIELDS, "code"):
            raise ClaimError(f"{name!r} is given the unknown field {key!r}{nearest(key, FIELDS)}")
    folder, code = value.get("folder"), value.get("code")
    if (folder is None) == (code is None):
        raise ClaimError(f"{name!r} needs a dictionary: {LIKE}")
    if folder is not None and (not isinstance(folder, str) or not folder):
        raise ClaimError(f"'folder' of {name!r} must be a text, not {shown(folder)}")
    reads, error = value.get("reads"), value.get("error", False)
    if reads is not None and not isinstance(reads, str):
        raise ClaimError(f"'reads' of {name!r} must be the name of a site, not {shown(reads)}")
    if not isinstance(error, bool):
        raise ClaimError(f"'error' of {name!r} must be true or false, not {shown(error)}")
    keep = value.get("keep")
    kept = None if keep is None else _features(f"'keep' of {name!r}", keep)
    without = _features(f"'without' of {name!r}", value.get("without", []))
    if kept is not None and (both := set(kept) & set(without)):
        raise ClaimError(f"feature {min(both)} of {name!r} is both kept and left out")
    return Coded(folder, code, reads, kept, without, error)


def _features(what: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ClaimError(f"{what} must be a list of features' numbers, not {shown(value)}")
    for number in value:
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise ClaimError(f"{what} takes features' numbers from 0, not {shown(number)}")
    if twice := next((number for number in value if list(value).count(number) > 1), None):
        raise ClaimError(f"{what} names feature {twice} twice")
    return tuple(sorted(value))
