"""Opens files that strangers wrote: regular files only, none larger than its reader allows, every failure one sentence.

A pipe or a device is never opened, since reading it may wait for ever or never end.
"""

from __future__ import annotations

import bz2
import json
import lzma
import os
import stat
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

from assay.errors import UserError, nearest

PACKED = (".gz", ".bz2", ".xz")  # how files end that are unpacked when they are read
SHOWN = 120  # characters of a name that a sentence shows
WEIGHT = 1_600_000_000  # bytes of memory that the data of a JSON file may take


def place(path: str | Path) -> Path:
    """The path with `~` resolved; one of a user that there is not stays as it is, and is not found."""
    try:
        return Path(os.path.expanduser(path))
    except ValueError:  # a NUL byte in a user's name
        return Path(path)


def is_file(path: str | Path) -> bool:
    """Whether a regular file is there; no for what no file can be called."""
    return os.path.isfile(place(path))


def is_folder(path: str | Path) -> bool:
    """Whether a folder is there, likewise."""
    return os.path.isdir(place(path))


def is_absent(path: str | Path) -> bool:
    """Whether nothing has that name; False where that cannot be seen."""
    try:
        os.lstat(place(path))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return True
    except OSError:
        return False
    return False


def shown(path: str | Path) -> str:
    """A name for a sentence, shortened where it is absurdly long."""
    text = str(path)
    return repr(text if len(text) <= SHOWN else f"{text[: SHOWN - 40]}...{text[-30:]}")


def inside(folder: str | Path, like: Iterable[str] | None = None) -> list[str]:
    """Paths of the first files in a folder, for suggestions; none where there is no looking.

    Args:
        like: only files that end so; None: all.
    """
    ends = None if like is None else tuple(like)
    try:
        found = [entry.name for entry in os.scandir(place(folder)) if ends is None or entry.name.lower().endswith(ends)]
    except (OSError, ValueError):
        return []
    return [str(Path(folder) / name) for name in sorted(found)[:200]]


def similar_files(path: str | Path, like: Iterable[str] | None = None) -> str:
    """A tail for a message about a file that is not there: others of its folder with a near name, if any."""
    tail = nearest(path, inside(Path(path).parent, like))
    return tail if "did you mean" in tail else ""


def open_input(
    path: str | Path,
    what: str,
    error: type[UserError] = UserError,
    *,
    most: int | None = None,
    like: Iterable[str] | None = None,
) -> BinaryIO:
    """A regular file, open for reading.

    Args:
        what: what the file should be, for messages: "the circuit file".
        error: what is raised.
        most: bytes that it may have; None: any number, for those who read its beginning only.
        like: as in `inside`, of files that are suggested in place of one that is not there.

    Raises:
        UserError: of the class `error`.
    """
    name = f"{what} {shown(path)}"
    try:
        # Looked at before it is opened, which on some devices does something already, and again when it is open.
        _check(os.stat(place(path)), name, error, most)
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        file = os.fdopen(os.open(place(path), flags), "rb")
        try:
            _check(os.fstat(file.fileno()), name, error, most)
        except BaseException:
            file.close()
            raise
        return file
    except FileNotFoundError:
        raise error(f"{name} does not exist here ({_here()}){similar_files(path, like)}") from None
    except NotADirectoryError:
        raise error(f"{name} does not exist, for {shown(Path(path).parent)} is not a folder") from None
    except (OSError, ValueError) as problem:  # ValueError: a NUL byte, a lone surrogate
        raise error(f"{name} cannot be read: {_reason(problem)}") from None


def read_bytes(
    path: str | Path, what: str, error: type[UserError] = UserError, *, most: int, like: Iterable[str] | None = None
) -> bytes:
    """What a regular file holds. See `open_input`."""
    content = _read(path, what, error, most, like, most + 1)
    if len(content) > most:  # some files say that they have 0 bytes, and go on
        raise error(_too_large(f"{what} {shown(path)}", f"over {most:,}", most))
    return content


def read_head(path: str | Path, what: str, error: type[UserError] = UserError, *, count: int = 4_096) -> bytes:
    """The first bytes of a regular file of any size. See `open_input`."""
    return _read(path, what, error, None, None, count)


def _read(
    path: str | Path, what: str, error: type[UserError], most: int | None, like: Iterable[str] | None, count: int
) -> bytes:
    content = bytearray()
    with open_input(path, what, error, most=most, like=like) as file:
        try:
            while len(content) < count and (chunk := file.read(min(1 << 20, count - len(content)))):
                content += chunk
        except OSError as problem:  # some that look like regular files are none, such as /proc/self/mem
            raise error(f"{what} {shown(path)} cannot be read: {_reason(problem)}") from None
    return bytes(content)


def suffix(path: str | Path) -> str:
    """How a file's name ends, in small letters, whether it is packed or not.

    Example:
        >>> suffix("texts/A.JSONL.gz"), suffix("notes.xz"), suffix("README")
        ('.jsonl', '', '')
    """
    name = Path(path)
    return (name.with_suffix("") if name.suffix.lower() in PACKED else name).suffix.lower()


def read_text(
    path: str | Path, what: str, error: type[UserError] = UserError, *, most: int, like: Iterable[str] | None = None
) -> str:
    """The UTF-8 text of a regular file, without a byte order mark; of one that ends in .gz, .bz2 or .xz what is packed
    in it, which may have `most` bytes too. See `open_input`."""
    content = read_bytes(path, what, error, most=most, like=like)
    if (packed := Path(path).suffix.lower()) in PACKED:
        content = _unpacked(content, packed, f"{what} {shown(path)}", error, most)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        byte = f"line {line} has the byte 0x{content[problem.start]:02x}"
        raise error(f"{what} {shown(path)} cannot be read as UTF-8 text: {byte}") from None


def _unpacked(content: bytes, packed: str, name: str, error: type[UserError], most: int) -> bytes:
    """What is packed in some bytes, as far as `most` and one more; the parts of several that stand in one file."""
    out = bytearray()
    try:
        while content and len(out) <= most:
            if packed == ".gz":
                part: Any = zlib.decompressobj(wbits=31)
            else:
                part = bz2.BZ2Decompressor() if packed == ".bz2" else lzma.LZMADecompressor(memlimit=WEIGHT)
            out += part.decompress(content, most + 1 - len(out))
            if not part.eof and len(out) <= most:
                raise EOFError("it ends in the middle")
            content = part.unused_data
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as problem:
        raise error(f"{name} cannot be unpacked: {problem}") from None
    if len(out) > most:
        raise error(_too_large(f"{name}, unpacked,", f"over {most:,}", most))
    return bytes(out)


def read_json(
    path: str | Path,
    what: str,
    error: type[UserError] = UserError,
    *,
    most: int,
    like: Iterable[str] | None = None,
    pairs: Callable[[list[tuple[str, Any]]], Any] | None = None,
) -> Any:
    """The data of a regular JSON file. See `open_input`.

    Args:
        pairs: makes an object from its keys and values; None: a dictionary.
    """
    content = read_bytes(path, what, error, most=most, like=like)
    return parse_json(content, f"{what} {shown(path)}", error, pairs)


def parse_json(
    content: bytes, name: str, error: type[UserError] = UserError, pairs: Callable[..., Any] | None = None
) -> Any:
    """JSON data of some bytes, which may not take much more memory than they do.

    Raises:
        UserError: of the class `error`.
    """
    if weight(content) > WEIGHT:
        raise error(f"{name} holds too many values to be read, in {len(content):,} bytes")
    try:
        return json.loads(content.decode("utf-8-sig"), object_pairs_hook=pairs)
    except (ValueError, RecursionError) as problem:
        reason = "it is nested too deeply" if isinstance(problem, RecursionError) else problem
        raise error(f"{name} is not JSON: {reason}") from None


def weight(content: bytes) -> int:
    """At most how many bytes the data of a JSON text take, parsed."""
    objects, lists, items = content.count(b"{"), content.count(b"["), content.count(b",")
    return 240 * objects + 64 * lists + 90 * items + len(content) * (2 if content.isascii() else 9)


def _check(status: os.stat_result, name: str, error: type[UserError], most: int | None) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise error(f"{name} is a folder, not a file")
    if not stat.S_ISREG(status.st_mode):
        raise error(f"{name} is not a regular file, so it is not read")
    if most is not None and status.st_size > most:
        raise error(_too_large(name, f"{status.st_size:,}", most))


def _too_large(name: str, size: str, most: int) -> str:
    return f"{name} has {size} bytes, and at most {most:,} are read; is it the right file?"


def _reason(problem: Exception) -> str:
    return str(getattr(problem, "strerror", None) or problem)


def _here() -> str:
    try:
        return os.getcwd()
    except OSError:
        return "the folder that this runs in is gone"
