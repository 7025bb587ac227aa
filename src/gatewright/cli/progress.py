"""Progress on a terminal: what takes longer than a second says what it is at, and leaves no trace when it is done.

rich draws it, since it knows terminals that cannot go back in a line, and is imported only once the second has passed:
quick commands never pay for it. Where standard error is not a terminal nothing is ever written.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from gatewright.sources.progress import Progress, unheard

if TYPE_CHECKING:
    from rich.status import Status

PATIENCE = 1.0
"""Seconds before anything is shown."""


@contextlib.contextmanager
def progress(text: str) -> Iterator[Progress]:
    """Show `text` while the block runs, or what the block says instead. Nothing else may be written meanwhile."""
    if not sys.stderr.isatty():
        yield unheard
        return
    shown = _Shown(text)
    timer = threading.Timer(PATIENCE, shown.begin)
    timer.daemon = True
    timer.start()
    try:
        yield shown.say
    finally:
        timer.cancel()
        shown.end()


@contextlib.contextmanager
def bar(text: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how much of `total` is done while the block runs; it is told of each number that has been done."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True, highlight=False), transient=True) as shown:
        task = shown.add_task(text, total=total)
        yield lambda count: shown.advance(task, count)


class _Shown:
    """The line of one block. `begin` runs in the timer's thread, so each step is under the lock."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lock = threading.Lock()
        self._status: Status | None = None
        self._ended = False

    def begin(self) -> None:
        from rich.console import Console
        from rich.markup import escape

        with self._lock:
            if not self._ended:
                self._status = Console(stderr=True, highlight=False).status(f"{escape(self._text)} ...")
                self._status.start()

    def say(self, text: str) -> None:
        self._text = text
        if self._status is not None:
            from rich.markup import escape

            self._status.update(f"{escape(text)} ...")

    def end(self) -> None:
        with self._lock:
            self._ended = True
            if self._status is not None:
                self._status.stop()
