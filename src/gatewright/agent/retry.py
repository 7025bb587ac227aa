"""When to try again what went wrong: soon at first, then less and less often. Knows no clock of its own."""

from __future__ import annotations

FIRST, LONGEST, FACTOR = 0.05, 30.0, 2.0
"""Seconds, and by how much the pause grows from one failure to the next."""


class Retry:
    """Failures in a row, and the moment from which to try again. Changed in place."""

    def __init__(self) -> None:
        self.at: float | None = None
        self._pause = FIRST

    def failed(self, now: float) -> None:
        """It went wrong (again)."""
        self.at = now + self._pause
        self._pause = min(self._pause * FACTOR, LONGEST)

    def succeeded(self) -> None:
        """It went well; the next failure is a first one."""
        self.at, self._pause = None, FIRST

    def may(self, now: float) -> bool:
        """Whether the moment has come, or there was no failure."""
        return self.at is None or now >= self.at
