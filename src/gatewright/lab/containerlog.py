"""What a container printed, in a file that never grows past a bound: when it is full, its older half goes."""

from __future__ import annotations

import os
from pathlib import Path

LIMIT = 1 << 20
"""Bytes kept of one container at most."""


class ContainerLog:
    """A log file, written by the pod's first process through a descriptor that was opened outside the pod."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size

    def write(self, data: bytes) -> None:
        """Append, and cut when full."""
        data = data[-LIMIT // 2 :]
        if self._size + len(data) > LIMIT:
            kept = os.pread(self._descriptor, LIMIT // 2, max(0, self._size - LIMIT // 2))
            kept = kept[kept.find(b"\n") + 1 :]
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, kept, 0)
            self._size = len(kept)
        os.pwrite(self._descriptor, data, self._size)
        self._size += len(data)


def tail(path: Path, lines: int) -> str:
    """The last lines of a log; empty when there is none."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
