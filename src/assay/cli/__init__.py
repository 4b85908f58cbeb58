"""The entry point: runs a command, and turns what ends it into an exit code. It imports nothing heavy itself, so that
Ctrl-C is answered from the first moment."""

from __future__ import annotations

import os
import sys


def main(arguments: list[str] | None = None) -> None:
    """Runs a command. An error in the input is one sentence on stderr and exit code 2; Ctrl-C is exit code 130."""
    try:
        code = _run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        code = 130
    if arguments is None:
        _end_quietly()
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    _keep_freed_memory()
    import typer

    from assay.cli.app import app
    from assay.cli.output import say
    from assay.errors import UserError

    try:
        code = app(args=arguments or ["--help"], prog_name="assay", standalone_mode=False)
    except UserError as problem:
        say(f"assay: {problem}")
        return 2
    except typer.Abort:
        return 130
    except BrokenPipeError:  # `assay ls gpt2 | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to flush to
        return 141
    except Exception as problem:
        if not hasattr(problem, "format_message"):  # a wrong flag or command, of typer's own kind
            raise
        if type(problem).__name__ == "NoArgsIsHelpError":  # `assay find`
            return _run([*arguments, "--help"])
        say("assay: " + (_field(problem) or " ".join(problem.format_message().split())))  # type: ignore[attr-defined]
        return 2
    return code if isinstance(code, int) else 0


def _field(problem: Exception) -> str:
    """Of a flag that `measure` does not have: where it is a field of claim files, that it is."""
    flag, context = getattr(problem, "option_name", ""), getattr(problem, "ctx", None)
    if context is None or context.info_name != "measure":
        return ""
    from assay.explanations.claims.file import ClaimFile

    name = flag.lstrip("-").replace("-", "_")
    known = name in ClaimFile.model_fields
    return f"{flag} is no flag of 'measure' but a field of the claim file: give '{name}: ...' in it" if known else ""


def _end_quietly() -> None:
    """Has Ctrl-C end the process, which has done its work, without a word from what is being torn down."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _keep_freed_memory() -> None:
    """Has glibc keep freed blocks for the next batch's equal ones; other systems' allocators are left alone.

    Given back and taken anew, their pages cost a command a third of its time. Peak memory is the same.
    """
    if sys.platform != "linux":
        return
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        largest = 2**31 - 1
        for option in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
            mallopt(option, largest)
