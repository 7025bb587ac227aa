"""What a container prints: from its pipes or its terminal into its log, and to whoever has joined it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from gatewright.lab.kubelet.logs import LogFile
from gatewright.lab.runtime.loop import Loop

STDOUT, STDERR = "stdout", "stderr"
_PIECE = 64 * 1024
_LARGEST_REST = 2 << 20
"""Bytes still read of a container that has ended: more than a pipe holds is somebody's who has outlived it."""
_UNREAD = 1 << 20
"""Bytes that wait for somebody who has joined a container and reads slowly, before that one is cut off."""
TOO_SLOW = "the client reads more slowly than the container prints"


class Joined:
    """Somebody who has joined: a pipe for each stream. `left` is called once, with why it was cut off or nothing."""

    def __init__(self, streams: tuple[str, ...], left: Callable[[str], None]) -> None:
        self._left = left
        self.readers: list[int] = []
        self._writers: dict[str, int] = {}
        for stream in streams:
            reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            with contextlib.suppress(OSError):  # the user's pipes may be as large as they may get already
                fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _UNREAD)
            self.readers.append(reader)
            self._writers[stream] = writer

    def write(self, stream: str, data: bytes) -> bool:
        """Pass on; whether it is still there."""
        try:
            if os.write(self._writers[stream], data) == len(data):
                return True
        except BlockingIOError:
            pass
        except OSError:
            self.end("")
            return False
        self.end(TOO_SLOW)
        return False

    def end(self, why: str = "") -> None:
        """Close the pipes."""
        writers, self._writers = self._writers, {}
        for descriptor in writers.values():
            os.close(descriptor)
        if writers:
            self._left(why)


class Output:
    """The streams of one run of a container, written down until they close."""

    def __init__(self, loop: Loop, log: Path) -> None:
        """Begin the log. Raises OSError."""
        self._loop, self._log = loop, LogFile(log)
        self._streams: dict[int, str] = {}
        self._joined: list[Joined] = []

    def add(self, stream: str, descriptor: int) -> None:
        """Write down what comes from a descriptor, which is this object's from now on."""
        os.set_blocking(descriptor, False)
        self._streams[descriptor] = stream
        self._loop.watch(descriptor, partial(self._read, descriptor))

    def say(self, line: str) -> None:
        """Write down a line of the runtime's own."""
        self._take(STDERR, f"{line}\n".encode())

    def join(self, joined: Joined) -> None:
        """Pass on to somebody, too, from now on."""
        self._joined.append(joined)

    def leave(self, joined: Joined) -> None:
        """Pass on to somebody no longer."""
        if joined in self._joined:
            self._joined.remove(joined)
            joined.end()

    def end(self) -> None:
        """Take what is still there, and close everything."""
        for descriptor in list(self._streams):
            left = _LARGEST_REST
            while left > 0 and descriptor in self._streams and (size := self._read(descriptor)):
                left -= size
            self._drop(descriptor)
        for joined in self._joined:
            joined.end()
        self._joined.clear()
        with contextlib.suppress(OSError):
            self._log.close()

    def _read(self, descriptor: int) -> int:
        try:
            data = os.read(descriptor, _PIECE)
        except BlockingIOError:
            return 0
        except OSError:  # EIO: the last program on the terminal has ended
            data = b""
        if data:
            self._take(self._streams[descriptor], data)
        else:
            self._drop(descriptor)
        return len(data)

    def _take(self, stream: str, data: bytes) -> None:
        with contextlib.suppress(OSError):  # a full disk loses lines, not containers
            self._log.write(stream, data)
        self._joined = [one for one in self._joined if one.write(stream, data)]

    def _drop(self, descriptor: int) -> None:
        if self._streams.pop(descriptor, None) is not None:
            self._loop.forget(descriptor)
            os.close(descriptor)
