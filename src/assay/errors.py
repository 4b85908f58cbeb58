"""Errors that a user can mend: one sentence with the offending value, where it came from, and the nearest valid one;
and notices, of what was done that nobody asked for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST = 2_000  # characters of a sentence


class UserError(Exception):
    """Something in the input is wrong; the commands print the message and end with exit code 2.

    A sentence that quotes something absurdly long is cut in its middle.
    """

    def __init__(self, sentence: str) -> None:
        cut = len(sentence) > LONGEST
        super().__init__(f"{sentence[: LONGEST // 2]} [...] {sentence[-LONGEST // 4 :]}" if cut else sentence)


class ComponentError(UserError):
    """A component, site or edge that does not exist or cannot be read."""


class ModelError(UserError):
    """A model that cannot be loaded, is not supported, or fails the proof on load."""


class TaskError(UserError):
    """Data that cannot be scored."""


class ClaimError(UserError):
    """A claim file or an explanation that is not valid."""


class RunError(UserError):
    """A run folder that cannot be read or must not be written."""


class PluginError(UserError):
    """Something from outside of assay that is not what it is taken for, or whose name something else has too."""


class FigureError(UserError, ValueError):
    """A figure that is undefined where a number is needed."""


def said(error: BaseException) -> str:
    """An error of another one's code in one short line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:240]}"


def shown(value: object, most: int = 80) -> str:
    """A value on one line, cut where it is long."""
    text = " ".join(repr(value).split())
    return f"{text[: most - 3]}..." if len(text) > most else text


def notice(sentence: str) -> None:
    """Says on stderr what was done that nobody asked for, through the logger "assay", which a program can silence."""
    import logging

    logging.getLogger("assay").warning("note: %s", sentence)


def nearest(value: object, valid: Iterable[object], count: int = 3) -> str:
    """A tail for a message: the nearest valid names, or the first few when nothing is near."""
    names = [str(v) for v in valid]
    close = difflib.get_close_matches(str(value), names, n=count, cutoff=0.5)
    if close:
        return "; did you mean " + " or ".join(repr(name) for name in close) + "?"
    shown = ", ".join(repr(name) for name in names[:8]) + (", ..." if len(names) > 8 else "")
    return f"; valid: {shown}" if names else ""
