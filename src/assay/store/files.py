"""Paths that a user gave, and single files written whole or not at all, never through a link."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from assay.errors import RunError

NAME, PATH = 255, 4_095  # bytes that a name and a path may have
MARKS: set[str] = set()  # of this process: another of its threads may be at work on what bears one
MARK = 26  # bytes that a scratch name adds: a dot, one before the mark, the mark, ".partial"


def given_path(text: str | Path, what: str, spare: int = 0) -> Path:
    """A user's path, absolute, with `~` resolved.

    Args:
        what: what the path is of, for messages; spare: how many bytes under the longest its last name must stay.

    Raises:
        RunError: for a user that there is not, a NUL byte, or a name that no file can have.
    """
    if "\0" in str(text):
        raise RunError(f"{what} {str(text)!r} holds a NUL byte, which no name can have")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise RunError(f"{what} {str(text)!r} holds half a character, which no name can have") from None
    try:
        path = Path(os.path.abspath(Path(text).expanduser()))
    except RuntimeError:
        raise RunError(f"{what} {str(text)!r} cannot be found: there is no user {Path(text).parts[0]!r}") from None
    for name in path.parts:
        most = NAME - (spare if name == path.name else 0)
        if len(os.fsencode(name)) > most:
            shown = f"{name[:20]}...{name[-10:]}"
            raise RunError(
                f"{what} has a name of {len(os.fsencode(name))} bytes, {shown!r}; at most {most} can be used"
            )
    if len(os.fsencode(path)) > PATH - spare - 64:
        raise RunError(f"{what} is a path of {len(os.fsencode(path)):,} bytes, which is too long")
    return path


def check_writable(path: Path, what: str) -> None:
    """Whether a file or folder can be made at a path, or above it where its folder is yet to be made: by making one.

    Raises:
        RunError: when it cannot.
    """
    parent = next(above for above in path.parents if os.path.lexists(above))
    probe = parent / f".{path.name}.{scratch_mark()}.partial"
    try:
        if not parent.is_dir():
            raise RunError(f"{what} cannot be made, because '{parent}' is a file")
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        raise RunError(f"{what} cannot be made, because '{parent}' is not writable ({reason(error)})") from error


def reason(error: OSError) -> str:
    """The system's words for what went wrong."""
    return error.strerror or type(error).__name__


def scratch_mark() -> str:
    """What makes a scratch name this process's own."""
    mark = f"{os.getpid()}-{secrets.token_hex(4)}"
    MARKS.add(mark)
    return mark


def write_file(path: Path, content: bytes) -> None:
    """Put a file in place whole, by a rename: a link there is replaced and never followed.

    Raises:
        OSError: when it cannot be; the file that was there is as it was.
    """
    scratch = path.parent / f".{scratch_mark()}.partial"
    try:
        write_new(scratch, content)
        if path.is_file() and not path.is_symlink():
            shutil.copymode(path, scratch)
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def write_new(path: Path, content: bytes) -> None:
    """A file that was not there, on the disk when this returns."""
    with open(path, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def locked(descriptor: int) -> Iterator[None]:
    """While this lasts, no other process of assay has the file or folder locked; one that is gone holds nothing."""
    try:
        import fcntl
    except ImportError:  # no advisory locks on this system
        yield
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """As `locked`; where a folder cannot be opened or locked, without."""
    with ExitStack() as stack:
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            stack.enter_context(locked(descriptor))
        yield
