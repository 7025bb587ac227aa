"""Container logs as files: `TIME STREAM TAG text` a line, the format that Kubernetes' container runtimes write.

The tag is F for a whole line and P for a part of a long one (kubernetes/design-proposals-archive,
node/kubelet-cri-logging.md). Times are UTC with nine digits behind the second, so that their texts compare as they do.
A file that is full is moved aside and begun anew; who follows it reads the old one to its end first.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from gatewright.lab.kubelet.containers import Missing

LARGEST_LOG = 10 << 20
"""Bytes of one file, the kubelet's containerLogMaxSize; of a container there are two at most."""
LONGEST_LINE = 16 * 1024
_BLOCK = 64 * 1024
_PAUSE = 0.1
"""Seconds between two looks at a file that is followed."""


@dataclass(frozen=True, slots=True)
class LogOptions:
    """core/v1 PodLogOptions: which lines, and whether to go on as long as the container prints.

    `since` is a time as `timestamp` writes it.
    """

    follow: bool = False
    timestamps: bool = False
    tail: int | None = None
    since: str = ""
    limit: int | None = None
    stream: str = ""


def timestamp(nanoseconds: int) -> str:
    """A time since 1970 as log files have it."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09d}Z"


class LogFile:
    """The log of one run of a container, while it is written."""

    def __init__(self, path: Path) -> None:
        """Begin a new file. Raises OSError."""
        self._path = path
        self._file = path.open("ab", buffering=0)
        self._size = 0
        self._begun = {"stdout": b"", "stderr": b""}

    def write(self, stream: str, data: bytes) -> None:
        """Write what a container printed; the part of a line waits for its rest, up to the longest line."""
        *lines, rest = (self._begun[stream] + data).split(b"\n")
        now = timestamp(time.time_ns()).encode()
        head = now + b" " + stream.encode()
        text = b"".join(self._whole(head, line) for line in lines)
        while len(rest) > LONGEST_LINE:
            text += b"%b P %b\n" % (head, rest[:LONGEST_LINE])
            rest = rest[LONGEST_LINE:]
        self._begun[stream] = rest
        self._append(text)

    def _whole(self, head: bytes, line: bytes) -> bytes:
        parts = [line[begin : begin + LONGEST_LINE] for begin in range(0, len(line), LONGEST_LINE)] or [b""]
        return b"".join(b"%b P %b\n" % (head, part) for part in parts[:-1]) + b"%b F %b\n" % (head, parts[-1])

    def _append(self, text: bytes) -> None:
        if self._size + len(text) > LARGEST_LOG and self._size:
            self._file.close()
            self._path.replace(self._path.with_name(f"{self._path.name}.1"))
            self._file = self._path.open("ab", buffering=0)
            self._size = 0
        self._file.write(text)
        self._size += len(text)

    def close(self) -> None:
        """Write what had no end of line, and end."""
        for stream, rest in self._begun.items():
            if rest:
                self._append(b"%b %b P %b\n" % (timestamp(time.time_ns()).encode(), stream.encode(), rest))
        self._file.close()


def read_log(path: Path, options: LogOptions, running: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The lines that are wanted, in pieces. Raises Missing at once where there is no such file."""
    try:
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise Missing(f"the log file {path.name} cannot be read: {error.strerror}") from error
    return _read(file, path, options, running)


async def _read(file: FileIO, path: Path, options: LogOptions, running: Callable[[], bool]) -> AsyncIterator[bytes]:
    try:
        if options.tail is not None:
            file.seek(_tail(file, options.tail))
        left, chosen = options.limit, _Lines(options)
        while True:
            more = options.follow and running()  # asked before reading: what is printed last is read
            for piece in _pieces(file, chosen):
                piece = piece if left is None else piece[:left]
                left = None if left is None else left - len(piece)
                if piece:
                    yield piece
                if left == 0:
                    return
            if newer := _replaced(file, path):
                for piece in _pieces(file, chosen):
                    yield piece if left is None else piece[:left]
                file.close()
                file = newer
            elif not more:
                return
            else:
                await asyncio.sleep(_PAUSE)
    finally:
        file.close()


def _pieces(file: FileIO, chosen: _Lines) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield chosen.of(block)


def _replaced(file: FileIO, path: Path) -> FileIO | None:
    """The file that has taken the place of one that is full."""
    try:
        newer = path.open("rb", buffering=0)
    except FileNotFoundError:
        return None
    if os.path.samestat(os.fstat(newer.fileno()), os.fstat(file.fileno())):
        newer.close()
        return None
    return newer


def _tail(file: FileIO, lines: int) -> int:
    """Where the last lines begin."""
    position, missing = file.seek(0, os.SEEK_END), lines
    end = position
    while position > 0:
        begin = max(0, position - _BLOCK)
        file.seek(begin)
        block = file.read(position - begin)
        if position == end and block.endswith(b"\n"):
            block = block[:-1]  # the end of the last line begins no other
        count = block.count(b"\n")
        if missing == 0 or count >= missing:
            return end if lines == 0 else begin + _nth_last(block, missing) + 1
        missing, position = missing - count, begin
    return end if lines == 0 else 0


def _nth_last(block: bytes, number: int) -> int:
    position = len(block)
    for _ in range(number):
        position = block.rfind(b"\n", 0, position)
    return position


class _Lines:
    """From blocks of a file to the lines that are wanted."""

    def __init__(self, options: LogOptions) -> None:
        self._options = options
        self._rest = b""
        self._fresh = True

    def of(self, block: bytes) -> bytes:
        *lines, self._rest = (self._rest + block).split(b"\n")
        return b"".join(map(self._text, lines))

    def _text(self, line: bytes) -> bytes:
        when, stream, tag, text = (*line.split(b" ", 3), b"", b"", b"")[:4]
        options = self._options
        if when < options.since.encode() or (options.stream and stream != options.stream.encode()):
            return b""
        stamp = when + b" " if options.timestamps and self._fresh else b""
        self._fresh = tag != b"P"
        return stamp + text + (b"" if tag == b"P" else b"\n")
