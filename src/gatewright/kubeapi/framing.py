"""The lines of a watch stream, from chunks that are cut anywhere.

An API server ends each event with a newline. A line is given out only when its newline has come: what a broken
connection left half, and even what looks whole without it, is never an event.
"""

from __future__ import annotations

LONGEST_LINE = 16 * 1024 * 1024
"""Bytes. An object has at most a few megabytes in etcd, so no honest event is longer."""


class LineTooLong(ValueError):
    """A stream whose line does not end within bounds: it is no watch stream."""


class Lines:
    """Takes the chunks of one stream, gives its whole lines."""

    def __init__(self, longest: int = LONGEST_LINE) -> None:
        self._longest = longest
        self._begun: list[bytes] = []
        self._length = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that this chunk completes, without their ends; empty ones are left out. Raises LineTooLong."""
        whole, newline, rest = data.rpartition(b"\n")
        lines: list[bytes] = []
        if newline:
            lines = [line for line in b"".join([*self._begun, whole]).split(b"\n") if line.strip()]
            self._begun, self._length = [], 0
        if rest:
            self._begun.append(rest)
            self._length += len(rest)
        if self._length > self._longest:
            raise LineTooLong(f"a line of more than {self._longest} bytes")
        return lines
