"""What is being done and how far it is: a bar in a terminal or a notebook, else lines of text."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from assay.log import log
from assay.report.plain import plain_text

WAIT = 2.0  # seconds until something is shown
EVERY = 30.0  # seconds between lines of text about one stage

Progress = Callable[[str, int, int | None], None]  # (stage, done, total); total None: not known


def silent(stage: str, done: int, total: int | None) -> None:
    """Progress that nobody watches."""


def noted(say: Progress) -> Progress:
    """The same progress, whose stages are logged too."""
    last = None

    def told(stage: str, done: int, total: int | None) -> None:
        nonlocal last
        if stage != last:
            last = stage
            log.info("stage: %s", stage)
        say(stage, done, total)

    return told


@contextmanager
def watched(progress: Progress | bool | None) -> Iterator[Progress]:
    """Progress as `assay.measure` takes it: a function; None: shown where somebody watches; True: everywhere; False."""
    if callable(progress):
        yield progress
    elif progress is False:
        yield silent
    else:
        with Bar(everywhere=progress is True) as say:
            yield say


class Bar:
    """A bar on stderr that appears after two seconds, in a terminal and in a notebook.

    In a notebook without widgets it is a line of text a stage, and another every thirty seconds.

    Args:
        everywhere: lines of text, too, where stderr is neither.
    """

    def __init__(self, everywhere: bool = False) -> None:
        self._everywhere, self._begun, self._tasks = everywhere, time.monotonic(), {}
        self._draw: Progress | None = None
        self._bar: Any = None
        self._line: tuple[str, float] = "", 0.0  # the last one: of which stage, and when

    def __enter__(self) -> Bar:
        return self

    def __call__(self, stage: str, done: int, total: int | None = None) -> None:
        self._show(stage, done, total)

    def tell(self, line: str) -> None:
        """Prints a line on stderr at once, above the bar where there is one; it is logged too."""
        line = plain_text(line)
        log.info("%s", line)
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _show(self, what: str, done: int, total: int | None = None) -> None:
        if time.monotonic() - self._begun < WAIT:
            return
        self._draw = self._draw or self._begin()
        self._draw(plain_text(what), done, total)

    def _begin(self) -> Progress:
        notebook = _in_notebook()
        if not notebook and not sys.stderr.isatty():
            return self._print if self._everywhere else silent
        if notebook and find_spec("ipywidgets") is None:
            return self._print
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._bar.start()
        return self._advance

    def _advance(self, what: str, done: int, total: int | None) -> None:
        if what not in self._tasks:
            for earlier in self._tasks.values():
                self._bar.update(earlier, visible=False)
            self._tasks[what] = self._bar.add_task(what, total=total)
        self._bar.update(self._tasks[what], completed=done, total=total)

    def _print(self, what: str, done: int, total: int | None) -> None:
        last, when = self._line
        now = time.monotonic()
        if what != last or now - when >= EVERY:
            self._line = what, now
            print(f"{what} ..." + (f" {done / total:.0%}" if total and done else ""), file=sys.stderr, flush=True)


def _in_notebook() -> bool:
    if "IPython" not in sys.modules:
        return False
    from rich.console import Console

    return Console().is_jupyter
