"""A container of the runtime as the kubelet's server sees it, and the conversations it holds with programs there."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from gatewright.kubeapi.channels import STDERR, STDOUT
from gatewright.lab.errors import LabError
from gatewright.lab.kubelet.containers import CannotStart, Missing, Reader
from gatewright.lab.kubelet.pipes import Pipe
from gatewright.lab.runtime.model import COMMAND, NAME_SERVER, ContainerState, PodState
from gatewright.lab.runtime.wire import Attach, Execute, Request

_END_OF_INPUT = b"\x04"
_CONNECTED_WITHIN = 10.0


class Asked(Protocol):
    """What a container asks of the connection to the runtime."""

    def pod(self, namespace: str, name: str) -> PodState:
        """The newest pod of a name. Raises Missing."""

    async def socket_in(self, uid: str, family: int) -> socket.socket:
        """A TCP socket of a pod's network; `family` is 4 or 6. Raises LabError."""

    def state(self, uid: str, name: str) -> ContainerState | None:
        """The newest run of a container."""

    def log(self, uid: str, name: str, run: int) -> Path:
        """The log of a run. Raises Missing."""

    async def begin(self, request: Callable[[int], Request]) -> tuple[int, list[int], asyncio.Future[int]]:
        """Start something that ends: its number, its descriptors and what will be its exit code."""

    def release(self, number: int) -> None:
        """End what was started."""


class HeldContainers:
    """The containers of a node: what its kubelet's server asks for."""

    def __init__(self, runtime: Asked) -> None:
        self._runtime = runtime

    def find(self, namespace: str, pod: str, container: str) -> HeldContainer:
        """The newest run of a container. Raises Missing."""
        found = self._runtime.pod(namespace, pod)
        state = next((one for one in found.containers if one.name == container), None)
        if state is None:
            raise Missing(f'container "{container}" of pod "{pod}" does not run on this node')
        return HeldContainer(self._runtime, found.uid, state)

    async def connect(self, namespace: str, pod: str, port: int) -> socket.socket:
        """A connection to a TCP port on a pod's own loopback, by IPv4 or else by IPv6. Raises LabError, OSError."""
        uid = self._runtime.pod(namespace, pod).uid
        try:
            return await connected(await self._runtime.socket_in(uid, 4), ("127.0.0.1", port))
        except OSError:
            with contextlib.suppress(OSError, LabError):
                return await connected(await self._runtime.socket_in(uid, 6), ("::1", port))
            raise


class HeldContainer:
    """One run of a container that the runtime holds."""

    def __init__(self, runtime: Asked, uid: str, state: ContainerState) -> None:
        self._runtime, self._uid, self._state = runtime, uid, state

    @property
    def running(self) -> bool:
        """Whether this run of it goes on."""
        now = self._runtime.state(self._uid, self._state.name)
        return now is not None and now.run == self._state.run and now.state == "running"

    def start(self, command: Sequence[str], *, stdin: bool, terminal: bool) -> Talk:
        """Run a program beside its own."""
        uid, name = self._uid, self._state.name
        return Talk(
            self._runtime,
            lambda number: Execute(number, uid, name, tuple(command), stdin, terminal),
            terminal=terminal,
            stdin=stdin,
            stays=False,
        )

    def attach(self, *, stdin: bool) -> Talk:
        """Join its own program."""
        state, uid, name = self._state, self._uid, self._state.name
        if state.runs not in (COMMAND, NAME_SERVER):
            raise CannotStart(f"container {name} has no program of its own here: a stand-in answers for it")
        if stdin and not (state.stdin or state.terminal):
            raise CannotStart("the container has no standard input: its stdin is not true")
        return Talk(
            self._runtime,
            lambda number: Attach(number, uid, name, stdin),
            terminal=state.terminal,
            stdin=stdin,
            stays=True,
        )

    def log(self, *, previous: bool) -> Path:
        """Its log, or the one of the run before."""
        path = self._runtime.log(self._uid, self._state.name, self._state.run - previous)
        if previous and not path.exists():
            raise Missing(f'previous terminated container "{self._state.name}" not found')
        return path


class Talk:
    """A conversation with a program: begun at once, so that whatever is said waits until it stands.

    `stays`: the program was there before, and its input stays open for who joins next.
    """

    def __init__(
        self, runtime: Asked, request: Callable[[int], Request], *, terminal: bool, stdin: bool, stays: bool
    ) -> None:
        self._runtime, self._terminal, self._stdin, self._stays = runtime, terminal, stdin, stays
        self._pipes: list[Pipe] = []
        self._number: int | None = None
        self._begun = asyncio.ensure_future(self._begin(request))
        self._begun.add_done_callback(lambda task: task.cancelled() or task.exception())  # each reader raises it
        channels = (STDOUT,) if terminal else (STDOUT, STDERR)
        self.outputs: Mapping[int, Reader] = {one: _Output(self, place) for place, one in enumerate(channels)}

    async def _begin(self, request: Callable[[int], Request]) -> asyncio.Future[int]:
        try:
            self._number, descriptors, ending = await self._runtime.begin(request)
        except LabError as error:
            raise CannotStart(f"error executing command in container: {error}") from error
        self._pipes = [Pipe(descriptor) for descriptor in descriptors]
        return ending

    @property
    def _given(self) -> Pipe | None:
        """Where input goes: what comes behind the outputs, else the terminal that is both."""
        if not self._pipes or not (self._stdin or self._terminal):
            return None
        last = len(self.outputs)
        return self._pipes[last] if len(self._pipes) > last else self._pipes[0] if self._terminal else None

    async def output(self, place: int) -> bytes:
        """Some of one output."""
        await asyncio.shield(self._begun)
        return await self._pipes[place].read() if place < len(self._pipes) else b""

    async def write(self, data: bytes) -> None:
        """Give it input."""
        await asyncio.wait((self._begun,))
        if self._stdin and (given := self._given) is not None:
            await given.write(data)

    def close_input(self) -> None:
        """Say that no more comes, on a terminal by typing it."""
        if not self._stays and self._stdin:
            self._when_begun(self._close_input)

    def _close_input(self) -> None:
        if (given := self._given) is None:
            return
        if self._terminal:
            given.type(_END_OF_INPUT)
        else:
            given.close()

    def resize(self, columns: int, rows: int) -> None:
        """Set the size of its terminal."""
        if self._terminal:
            self._when_begun(lambda: self._resize(columns, rows))

    def _resize(self, columns: int, rows: int) -> None:
        if (given := self._given) is not None:
            given.resize(columns, rows)

    def _when_begun(self, action: Callable[[], None]) -> None:
        if self._begun.done():
            action()
        else:
            self._begun.add_done_callback(lambda _: action())

    async def wait(self) -> int:
        """Its exit code; of a program that was joined 0."""
        return await asyncio.shield(await asyncio.shield(self._begun))

    def release(self) -> None:
        """End what was started, and give back what was held."""
        if not self._begun.done():
            self._begun.cancel()
        if self._number is not None:
            self._runtime.release(self._number)
        for pipe in self._pipes:
            pipe.close()


class _Output:
    """One of its outputs."""

    def __init__(self, talk: Talk, place: int) -> None:
        self._talk, self._place = talk, place

    async def read(self) -> bytes:
        return await self._talk.output(self._place)


async def connected(made: socket.socket, address: tuple[str, int]) -> socket.socket:
    """The same socket, connected. Raises OSError."""
    made.setblocking(False)
    try:
        async with asyncio.timeout(_CONNECTED_WITHIN):
            await asyncio.get_running_loop().sock_connect(made, address)
    except BaseException:
        made.close()
        raise
    return made
