"""Ends of pipes and terminals in an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import struct
import termios
from collections.abc import Callable

PIECE = 32 * 1024
"""Bytes read at once: what a pipe that is half full gives."""


class Pipe:
    """One end of a pipe or a terminal that belongs to this process."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor

    async def read(self) -> bytes:
        """Some bytes; empty at the end. A terminal says EIO when the last program on it has ended."""
        loop = asyncio.get_running_loop()
        while self._descriptor >= 0:
            try:
                return os.read(self._descriptor, PIECE)
            except BlockingIOError:
                await ready(self._descriptor, loop.add_reader, loop.remove_reader)
            except OSError as error:
                if error.errno == errno.EIO:
                    return b""
                raise
        return b""

    async def write(self, data: bytes) -> None:
        """Write all; what nobody reads any more is dropped."""
        loop, rest = asyncio.get_running_loop(), memoryview(data)
        while rest and self._descriptor >= 0:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                await ready(self._descriptor, loop.add_writer, loop.remove_writer)
            except OSError:
                return

    def type(self, keys: bytes) -> None:
        """Press keys, unless too much waits already."""
        with contextlib.suppress(OSError):
            os.write(self._descriptor, keys)

    def resize(self, columns: int, rows: int) -> None:
        """Set the size of a terminal."""
        with contextlib.suppress(OSError):
            fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def close(self) -> None:
        """Give the descriptor back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


async def ready(descriptor: int, watch: Callable[..., object], forget: Callable[[int], object]) -> None:
    """Wait until a descriptor is ready; `watch` and `forget` are the loop's for readers or for writers."""
    it_is = asyncio.get_running_loop().create_future()

    def tell() -> None:
        if not it_is.done():
            it_is.set_result(None)

    watch(descriptor, tell)
    try:
        await it_is
    finally:
        forget(descriptor)
