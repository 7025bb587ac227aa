"""Ending in order: what has been made is removed, whatever signal ends the program and however often it comes."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

_ENDING = (signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def terminated() -> Iterator[None]:
    """SIGTERM and SIGHUP inside end the block as Ctrl-C does: KeyboardInterrupt, so that `finally` runs."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with _handling(_ENDING, interrupt):
        yield


@contextlib.contextmanager
def deaf() -> Iterator[None]:
    """No signal that asks for an end interrupts the block."""
    with _handling((signal.SIGINT, *_ENDING), signal.SIG_IGN):
        yield


@contextlib.contextmanager
def _handling(
    numbers: Sequence[signal.Signals], handler: Callable[[int, FrameType | None], None] | signal.Handlers
) -> Iterator[None]:
    """Another handler while the block runs; only the main thread has any."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [(number, signal.signal(number, handler)) for number in numbers]
    try:
        yield
    finally:
        for number, old in before:
            signal.signal(number, old)
