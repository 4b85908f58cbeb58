"""Text that strangers wrote, made safe to show: in a terminal, in a message, on a page."""

from __future__ import annotations

import unicodedata

_SHOWN = {"\n": "↵", "\r": "␍", "\t": "⇥"}
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def plain_text(value: object) -> str:
    """One line without control characters (terminal escapes, line breaks, text direction), which are shown as symbols.

    Example:
        >>> plain_text("a\\x1b[31mb\\nc")
        'a␛[31mb↵c'
    """
    return "".join(_shown(char) if _hidden(char) else char for char in str(value))


def plain_lines(value: object) -> str:
    """The same, with its line breaks as they are."""
    return "\n".join(plain_text(line) for line in str(value).split("\n"))


def plain_json(text: str) -> str:
    """JSON with every hidden character but line breaks written as an escape: the same values, safe in a terminal."""
    return "".join(_escaped(char) if char != "\n" and _hidden(char) else char for char in text)


def _hidden(char: str) -> bool:
    return not char.isprintable() and unicodedata.category(char) in _HIDDEN


def _shown(char: str) -> str:
    return _SHOWN.get(char) or ("�" if ord(char) >= 32 else chr(0x2400 + ord(char)))


def _escaped(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))
