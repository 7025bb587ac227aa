"""Containers that are processes of this machine: each in a directory, with an environment, perhaps in a network.

What stands behind a kubelet's server in tests. A container's log of this run and of the one before are kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from gatewright.kubeapi.channels import STDERR, STDOUT
from gatewright.lab.errors import LabError
from gatewright.lab.kubelet.containers import CannotStart, Missing, Reader
from gatewright.lab.kubelet.logs import LogFile
from gatewright.lab.network.namespaces import within
from gatewright.lab.runtime.containers import connected
from tests.cluster.local_processes import Process, Program

MOST_UNREAD = 1 << 20
"""Bytes that wait for somebody who has joined a container and reads slowly, before that one is cut off."""
_LINGER = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a container's programs run; `network` is a network namespace's file, this machine's own if None."""

    directory: Path
    environment: Mapping[str, str] = field(default_factory=lambda: {"PATH": os.defpath})
    network: Path | None = None

    def program(self, command: Sequence[str]) -> Program:
        """A program of this place."""
        prefix = () if self.network is None else ("nsenter", f"--net={self.network}", "--")
        return Program(command, self.directory, self.environment, prefix)


class LocalContainer:
    """One run of a container."""

    def __init__(self, place: Place, command: Sequence[str], logs: Path, number: int, **streams: bool) -> None:
        """Start it; `streams` are stdin and terminal. Raises CannotStart, OSError."""
        self.place, self.number = place, number
        self._logs, self._streams = logs, streams
        self._ended = asyncio.Event()
        self._joined: list[_Joined] = []
        self._process = Process(place.program(command), **streams)
        self._file = LogFile(logs / f"{number}.log")
        self._task = asyncio.ensure_future(self._run())

    @property
    def running(self) -> bool:
        """Whether its program runs, or its log is not whole yet."""
        return not self._ended.is_set()

    def start(self, command: Sequence[str], *, stdin: bool, terminal: bool) -> Process:
        """Run another program in its place."""
        return Process(self.place.program(command), stdin=stdin, terminal=terminal)

    def attach(self, *, stdin: bool) -> _Joined:
        """Join its own program."""
        if stdin and not (self._streams["stdin"] or self._streams["terminal"]):
            raise CannotStart("the container has no standard input: its stdin is not true")
        joined = _Joined(self._process, self._ended, self._joined, stdin)
        self._joined.append(joined)
        return joined

    def log(self, *, previous: bool) -> Path:
        """Its log, or the one of the run before."""
        path = self._logs / f"{self.number - previous}.log"
        if previous and not path.exists():
            raise Missing(f'previous terminated container "{self._logs.name}" not found')
        return path

    async def stop(self) -> None:
        """End it, and wait until it is gone."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def wait(self) -> None:
        """Wait until it has ended and its log is whole."""
        await self._ended.wait()

    async def _run(self) -> None:
        copying = asyncio.gather(*(self._copy(channel, reader) for channel, reader in self._process.outputs.items()))
        try:
            await self._process.wait()
            await asyncio.wait((copying,), timeout=_LINGER)
        finally:
            copying.cancel()
            await asyncio.gather(copying, return_exceptions=True)
            self._process.release()
            self._file.close()
            for joined in self._joined:
                joined.end()
            self._ended.set()

    async def _copy(self, channel: int, reader: Reader) -> None:
        stream = {STDOUT: "stdout", STDERR: "stderr"}[channel]
        while data := await reader.read():
            self._file.write(stream, data)
            for joined in self._joined:
                joined.outputs[channel].put(data)


class _Queue:
    """Output on its way to somebody who joined."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._more = asyncio.Event()
        self._end = False

    def put(self, data: bytes) -> None:
        if self._size <= MOST_UNREAD:
            self._pieces.append(data)
            self._size += len(data)
        self._more.set()

    def end(self) -> None:
        self._end = True
        self._more.set()

    async def read(self) -> bytes:
        while not self._pieces:
            if self._end:
                return b""
            self._more.clear()
            await self._more.wait()
        if self._size > MOST_UNREAD:
            raise LabError("the client reads more slowly than the container prints")
        piece = self._pieces.popleft()
        self._size -= len(piece)
        return piece


class _Joined:
    """Somebody who joined a container's own program."""

    def __init__(self, process: Process, ended: asyncio.Event, among: list[_Joined], stdin: bool) -> None:
        self.outputs: dict[int, _Queue] = {channel: _Queue() for channel in process.outputs}
        self._process, self._ended, self._among, self._stdin = process, ended, among, stdin

    async def write(self, data: bytes) -> None:
        if self._stdin:
            await self._process.write(data)

    def close_input(self) -> None:
        """The program's input stays open for who joins next (stdinOnce is false)."""

    def resize(self, columns: int, rows: int) -> None:
        self._process.resize(columns, rows)

    async def wait(self) -> int:
        await self._ended.wait()
        return 0

    def end(self) -> None:
        for queue in self.outputs.values():
            queue.end()

    def release(self) -> None:
        self._among.remove(self)


class LocalContainers:
    """The containers of a node that is this machine; `close` ends them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs: dict[tuple[str, str, str], LocalContainer] = {}

    async def run(
        self,
        key: tuple[str, str, str],
        place: Place,
        command: Sequence[str],
        *,
        stdin: bool = False,
        terminal: bool = False,
    ) -> LocalContainer:
        """Start the container (namespace, pod, name), anew if it runs. Raises CannotStart, OSError."""
        number = 0
        if (before := self._runs.get(key)) is not None:
            await before.stop()
            number = before.number + 1
        logs = self._folder.joinpath(*key)
        logs.mkdir(parents=True, exist_ok=True)
        for old in (f"{number - 2}.log", f"{number - 2}.log.1"):
            (logs / old).unlink(missing_ok=True)
        self._runs[key] = LocalContainer(place, command, logs, number, stdin=stdin, terminal=terminal)
        return self._runs[key]

    async def close(self) -> None:
        """End all."""
        await asyncio.gather(*(one.stop() for one in self._runs.values()))

    def find(self, namespace: str, pod: str, container: str) -> LocalContainer:
        """The newest run of a container."""
        found = self._runs.get((namespace, pod, container))
        if found is None:
            raise Missing(f'container "{container}" of pod "{pod}" does not run on this node')
        return found

    async def connect(self, namespace: str, pod: str, port: int) -> socket.socket:
        """A connection to a port on the pod's loopback, by IPv4 or else by IPv6."""
        runs = (run for key, run in self._runs.items() if key[:2] == (namespace, pod))
        if (run := next(runs, None)) is None:
            raise Missing(f'pod "{pod}" does not run on this node')
        try:
            return await _connected(run.place.network, socket.AF_INET, ("127.0.0.1", port))
        except OSError:
            with contextlib.suppress(OSError):
                return await _connected(run.place.network, socket.AF_INET6, ("::1", port))
            raise


async def _connected(network: Path | None, family: socket.AddressFamily, address: tuple[str, int]) -> socket.socket:
    made = _socket(family) if network is None else await asyncio.to_thread(_socket_in, network, family)
    return await connected(made, address)


def _socket(family: socket.AddressFamily) -> socket.socket:
    return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named, asyncio turns Nagle's algorithm off


def _socket_in(network: Path, family: socket.AddressFamily) -> socket.socket:
    """A socket of another network namespace."""
    with network.open("rb") as namespace:
        return within(namespace.fileno(), partial(_socket, family))
