"""The agent's log: one line an event on standard error, for people or as JSON, each trouble told once.

What goes wrong again and again with the same words is told when it begins, every ten minutes while it lasts, and when
it is over; it is counted every time. An agent that cannot reach its API server for an hour must not fill a disk.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

LOGGER = logging.getLogger("gatewright.agent")
AGAIN = 600.0
"""Seconds after which trouble that lasts is told again."""


def set_up(style: str, *, stream: TextIO | None = None) -> None:
    """Log to the stream (standard error), `style` text or json."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Json() if style == "json" else _Text())
    LOGGER.handlers[:] = [handler]
    LOGGER.propagate = False
    LOGGER.setLevel(logging.INFO)


def timestamp(at: float) -> str:
    """RFC 3339 in UTC, to the second, of seconds since the epoch."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"{timestamp(record.created)} {record.levelname.lower()}: {record.getMessage()}"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"time": timestamp(record.created), "level": record.levelname.lower(), "message": record.getMessage()}
        return json.dumps(line, ensure_ascii=False)


class Troubles:
    """What is wrong at the moment, by what it is about. Tells each once, and when it is over. For several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._now: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def begin(self, about: str, what: str) -> None:
        """Something is wrong, perhaps still."""
        now = self._clock()
        with self._lock:
            known, told = self._now.get(about, ("", 0.0))
            if what == known and now - told < AGAIN:
                return
            self._now[about] = (what, now)
        LOGGER.error("%s: %s", about, what)

    def end(self, about: str) -> None:
        """It is no longer wrong, if it was."""
        with self._lock:
            was = self._now.pop(about, None)
        if was:
            LOGGER.info("%s: well again", about)

    @property
    def lines(self) -> tuple[str, ...]:
        """Everything that is wrong, one line each."""
        with self._lock:
            return tuple(f"{about}: {what}" for about, (what, _) in sorted(self._now.items()))
