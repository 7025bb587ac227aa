"""A runtime for tests that runs nothing: pods are entries in a table, their ports are real listeners on loopback.

What a container does is said by its command:

    (none)               a stand-in: listens on the declared ports
    serve                the same, as a program
    exit CODE [AFTER]    ends by itself
    stubborn             takes no notice of SIGTERM
    anything else        runs

`answers` are the exit codes of programs run beside a container, by their first word.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from gatewright.lab.errors import LabError
from gatewright.lab.kubelet.containers import CannotStart, Missing, Reader
from gatewright.lab.runtime.model import (
    COMMAND,
    DEAD,
    SKIPPED,
    STAND_IN,
    ContainerEvent,
    ContainerSetup,
    ContainerState,
    PodEvent,
    PodSetup,
    PodState,
    Volume,
)


@dataclass
class FakeContainer:
    """One run."""

    runner: FakeRunner
    setup: ContainerSetup
    state: ContainerState
    servers: list[asyncio.Server] = field(default_factory=list)
    listening: list[socket.socket] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def running(self) -> bool:
        return self.state.state == "running"

    def start(self, command: Sequence[str], *, stdin: bool, terminal: bool) -> FakeConversation:
        if command[0] not in self.runner.answers:
            raise CannotStart(f'exec: "{command[0]}": executable file not found in $PATH')
        self.runner.executed.append((self.setup.name, tuple(command)))
        return FakeConversation(self.runner.answers[command[0]])

    def attach(self, *, stdin: bool) -> FakeConversation:
        raise CannotStart("not here")

    def log(self, *, previous: bool) -> Path:
        raise Missing("no log")


@dataclass
class FakeConversation:
    """A program that has ended already."""

    code: int
    outputs: Mapping[int, Reader] = field(default_factory=dict)

    async def write(self, data: bytes) -> None:
        """Nothing reads."""

    def close_input(self) -> None:
        """Nothing reads."""

    def resize(self, columns: int, rows: int) -> None:
        """No terminal."""

    async def wait(self) -> int:
        return self.code

    def release(self) -> None:
        """Nothing runs."""


@dataclass
class FakePod:
    """A sandbox."""

    setup: PodSetup
    containers: dict[str, FakeContainer] = field(default_factory=dict)
    dead: bool = False


class FakeRunner:
    """The table. For the thread of one loop."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[ContainerEvent | PodEvent] = asyncio.Queue()
        self.answers: dict[str, int] = {"true": 0, "false": 1}
        self.executed: list[tuple[str, tuple[str, ...]]] = []
        self.told: list[str] = []
        self.table: dict[str, FakePod] = {}
        self.stopped: list[tuple[str, float]] = []
        self.broken = ""
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def containers(self) -> FakeRunner:
        return self

    async def create_pod(self, setup: PodSetup) -> None:
        if self.broken:
            raise LabError(self.broken)
        assert setup.uid not in self.table, "made twice"
        names = {(pod.setup.namespace, pod.setup.name) for pod in self.table.values()}
        assert (setup.namespace, setup.name) not in names, "two pods of one name"
        self.told.append(f"create {setup.name}")
        self.table[setup.uid] = FakePod(setup)

    async def start_container(self, uid: str, container: ContainerSetup) -> ContainerState:
        pod = self.table[uid]
        before = pod.containers.get(container.name)
        assert before is None or not before.running, "started twice"
        self.told.append(f"start {pod.setup.name}/{container.name}#{container.run}")
        word = next(iter(container.command), "")
        runs, now = COMMAND if word else STAND_IN, time.time()
        if not word and container.initial:
            runs = SKIPPED
        state = ContainerState(container.name, container.run, "running", runs, now)
        made = pod.containers[container.name] = FakeContainer(self, container, state)
        if runs == SKIPPED:
            self._end(uid, made, 0)
        elif word == "exit":
            after = float(container.command[2]) if len(container.command) > 2 else 0.0
            self._later(self._exit(uid, made, int(container.command[1]), after))
        elif word in ("", "serve"):
            await self._listen(pod, made)
        return made.state

    async def stop_container(self, uid: str, name: str, grace: float) -> None:
        container = self.table[uid].containers[name]
        self.stopped.append((name, grace))
        if container.running:
            if container.setup.command[:1] == ("stubborn",):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(container.ended.wait(), grace)
                self._end(uid, container, 137)
            else:
                self._end(uid, container, 143)

    async def update_volumes(self, uid: str, volumes: dict[str, Volume]) -> None:
        pod = self.table[uid]
        pod.setup = msgspec.structs.replace(pod.setup, volumes={**pod.setup.volumes, **volumes})

    async def remove_pod(self, uid: str) -> None:
        pod = self.table.pop(uid, None)
        if pod is not None:
            self.told.append(f"remove {pod.setup.name}")
            for container in pod.containers.values():
                self._close(container)

    async def pods(self) -> list[PodState]:
        return [self._state(pod) for pod in self.table.values()]

    def die(self, uid: str) -> None:
        """The sandbox dies."""
        pod = self.table[uid]
        pod.dead = True
        for container in pod.containers.values():
            self._close(container)
        self.events.put_nowait(PodEvent(uid, DEAD))

    def end(self, name: str, container: str, code: int) -> None:
        """A container ends by itself."""
        uid, pod = next((uid, pod) for uid, pod in self.table.items() if pod.setup.name == name)
        self._end(uid, pod.containers[container], code)

    def find(self, namespace: str, pod: str, container: str) -> FakeContainer:
        for one in self.table.values():
            if (one.setup.namespace, one.setup.name) == (namespace, pod) and container in one.containers:
                return one.containers[container]
        raise Missing(f'container "{container}" of pod "{pod}" does not run on this node')

    async def connect(self, namespace: str, pod: str, port: int) -> socket.socket:
        raise Missing("not here")

    def hang_up(self) -> None:
        """The kubelet has gone: what it has not heard it never will."""
        self.events = asyncio.Queue()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for pod in self.table.values():
            for container in pod.containers.values():
                self._close(container)

    def _state(self, pod: FakePod) -> PodState:
        setup = pod.setup
        containers = tuple(container.state for container in pod.containers.values())
        pid = 0 if pod.dead else 1
        named = (setup.uid, setup.namespace, setup.name, pid, setup.host_network, setup.link)
        return PodState(*named, setup.addresses, setup.labels, containers)

    async def _listen(self, pod: FakePod, container: FakeContainer) -> None:
        for port in container.setup.ports:
            if port.protocol == "TCP":
                address = next(iter(pod.setup.addresses), "127.0.0.1")
                listening = socket.create_server((address, port.number))
                container.listening.append(listening)
                container.servers.append(await asyncio.start_server(self._answer, sock=listening))

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            if await reader.read(1024):
                code = 200 if not self.answers.get("http") else self.answers["http"]
                writer.write(f"HTTP/1.1 {code} X\r\nContent-Length: 0\r\n\r\n".encode())
                await writer.drain()
        writer.close()

    async def _exit(self, uid: str, container: FakeContainer, code: int, after: float) -> None:
        await asyncio.sleep(after)
        self._end(uid, container, code)

    def _end(self, uid: str, container: FakeContainer, code: int) -> None:
        if container.running:
            self._close(container)
            container.state = msgspec.structs.replace(
                container.state, state="exited", code=code, finished=time.time(), pid=0
            )
            container.ended.set()
            self.events.put_nowait(ContainerEvent(uid, container.state))

    def _close(self, container: FakeContainer) -> None:
        for server in container.servers:
            with contextlib.suppress(ValueError):  # closed while it was being made
                server.close()
        for listening in container.listening:
            listening.close()

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
