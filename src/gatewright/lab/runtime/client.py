"""The kubelet's side: what to run, what runs, and the streams of containers, over the runtime's socket.

with `await Runtime.connect(path)` the kubelet has everything that runs, whoever started it. When the runtime dies, its
pods are lost with it: each is told as an event, and the connection comes back by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from gatewright.lab.errors import LabError
from gatewright.lab.kubelet.containers import Missing
from gatewright.lab.runtime.containers import HeldContainers
from gatewright.lab.runtime.model import (
    LOST,
    ContainerEvent,
    ContainerSetup,
    ContainerState,
    PodEvent,
    PodSetup,
    PodState,
    Volume,
)
from gatewright.lab.runtime.places import log_file, pod_folder
from gatewright.lab.runtime.wire import (
    Answer,
    Changed,
    Connect,
    CreatePod,
    Done,
    Ended,
    Failed,
    ListPods,
    Pods,
    Release,
    Removed,
    RemovePod,
    Request,
    RuntimeFailure,
    StartContainer,
    StopContainer,
    Unpacker,
    UpdateVolumes,
    pack,
)

__all__ = ["Runtime", "RuntimeFailure"]
_PIECE = 1 << 18
_MOST_DESCRIPTORS = 16
_SOONEST, _LATEST = 0.05, 1.0
"""Seconds between two attempts to connect again."""
T = TypeVar("T", bound=Answer)


class Runtime:
    """A connection to a node's runtime; `containers` is for the kubelet's server."""

    def __init__(self, path: Path) -> None:
        """Not connected yet: see `connect`."""
        self._path = path
        self._folder = Path()
        self._pods: dict[str, PodState] = {}
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[tuple[Answer, list[int]]]] = {}
        self._endings: dict[int, asyncio.Future[int]] = {}
        self._link: _Link | None = None
        self._coming_back: asyncio.Task[None] | None = None
        self.events: asyncio.Queue[ContainerEvent | PodEvent] = asyncio.Queue()
        """What has ended since, in order; what happened before is in `pods`."""
        self.containers = HeldContainers(self)

    @classmethod
    async def connect(cls, path: Path) -> Runtime:
        """Connect, and know what runs. Raises RuntimeFailure."""
        runtime = cls(path)
        try:
            await runtime._connect()
        except OSError as error:
            raise RuntimeFailure(f"the runtime does not answer at {path}: {error.strerror}") from error
        return runtime

    async def close(self) -> None:
        """Leave; pods go on, what runs beside containers ends."""
        if self._coming_back is not None:
            self._coming_back.cancel()
            await asyncio.gather(self._coming_back, return_exceptions=True)
        if self._link is not None:
            self._link.close()
            self._link = None
        self._fail_all()

    @property
    def connected(self) -> bool:
        """Whether the runtime is there."""
        return self._link is not None

    # Pods and containers

    async def create_pod(self, setup: PodSetup) -> None:
        """Make a pod's sandbox, with its link and its volumes, and no container yet. Raises RuntimeFailure."""
        await self._ask(CreatePod(next(self._numbers), setup))

    async def start_container(self, uid: str, container: ContainerSetup) -> ContainerState:
        """Start a container; what runs in it. Raises RuntimeFailure; the state then is `exited`."""
        done, _ = await self._ask(StartContainer(next(self._numbers), uid, container))
        assert isinstance(done, Done)
        assert done.container is not None
        return done.container

    async def stop_container(self, uid: str, name: str, grace: float) -> None:
        """Ask a container to end, make it after `grace` seconds; returns when it is gone. Raises RuntimeFailure."""
        await self._ask(StopContainer(next(self._numbers), uid, name, grace))

    async def remove_pod(self, uid: str) -> None:
        """End a pod at once; returns when nothing of it is left, its logs neither. Raises RuntimeFailure."""
        await self._ask(RemovePod(next(self._numbers), uid))

    async def update_volumes(self, uid: str, volumes: Mapping[str, Volume]) -> None:
        """Give volumes other files, each all at once. Raises RuntimeFailure."""
        await self._ask(UpdateVolumes(next(self._numbers), uid, dict(volumes)))

    async def pods(self) -> list[PodState]:
        """All pods and what became of their containers. Raises RuntimeFailure."""
        answer, _ = await self._ask(ListPods(next(self._numbers)))
        assert isinstance(answer, Pods)
        return list(answer.pods)

    # What containers and conversations ask

    def pod(self, namespace: str, name: str) -> PodState:
        """The newest pod of a name. Raises Missing."""
        found = [one for one in self._pods.values() if (one.namespace, one.name) == (namespace, name)]
        if not found:
            raise Missing(f'pod "{name}" does not run on this node')
        return found[-1]

    async def socket_in(self, uid: str, family: int) -> socket.socket:
        """A TCP socket of a pod's network; `family` is 4 or 6. Raises RuntimeFailure."""
        _, descriptors = await self._ask(Connect(next(self._numbers), uid, family))
        return socket.socket(fileno=descriptors[0])

    def state(self, uid: str, name: str) -> ContainerState | None:
        """The newest run of a container of a pod that is there."""
        pod = self._pods.get(uid)
        return None if pod is None else next((one for one in pod.containers if one.name == name), None)

    def log(self, uid: str, name: str, run: int) -> Path:
        """The log of a run. Raises Missing."""
        pod = self._pods.get(uid)
        if pod is None:
            raise Missing("the pod does not run on this node")
        return log_file(pod_folder(self._folder, pod.namespace, pod.name, uid), name, run)

    async def begin(self, request: Callable[[int], Request]) -> tuple[int, list[int], asyncio.Future[int]]:
        """Start something that ends: its number, its descriptors and what will be its exit code.

        Raises RuntimeFailure, as does the future when the client is cut off.
        """
        number = next(self._numbers)
        ending: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._endings[number] = ending
        try:
            _, descriptors = await self._ask(request(number))
        except BaseException:
            self.release(number)
            raise
        return number, descriptors, ending

    def release(self, number: int) -> None:
        """End what a request has started."""
        ending = self._endings.pop(number, None)
        if ending is not None and not ending.done():
            ending.cancel()
            if self._link is not None:
                self._link.send(pack(Release(number)))

    # The connection

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            await loop.sock_connect(connection, str(self._path))
        except BaseException:
            connection.close()
            raise
        self._link = _Link(connection, self._take, self._lost)
        answer, _ = await self._ask(ListPods(next(self._numbers)))
        assert isinstance(answer, Pods)
        self._folder = Path(answer.folder)
        self._pods = {pod.uid: pod for pod in answer.pods}

    async def _ask(self, request: Request) -> tuple[Answer, list[int]]:
        if self._link is None:
            raise RuntimeFailure("the node's runtime is not there; it is being started again")
        answered: asyncio.Future[tuple[Answer, list[int]]] = asyncio.get_running_loop().create_future()
        self._asked[request.id] = answered
        self._link.send(pack(request))
        answer, descriptors = await answered
        if isinstance(answer, Failed):
            raise RuntimeFailure(answer.why)
        return answer, descriptors

    def _take(self, answer: Answer, descriptors: list[int]) -> None:
        match answer:
            case Done(number) | Failed(number) | Pods(number):
                future = self._asked.pop(number, None)
                if future is None or future.done():  # who asked has gone
                    for descriptor in descriptors:
                        os.close(descriptor)
                    return
                future.set_result((answer, descriptors))
            case Ended(number, code, why):
                ending = self._endings.pop(number, None)
                if ending is not None and not ending.done():
                    _end(ending, code, why)
            case Changed(pod):
                self._pods[pod.uid] = pod
            case Removed(uid):
                self._pods.pop(uid, None)
            case ContainerEvent(uid, state):
                self._note(uid, state)
                self.events.put_nowait(answer)
            case PodEvent():
                self.events.put_nowait(answer)

    def _note(self, uid: str, state: ContainerState) -> None:
        if (pod := self._pods.get(uid)) is not None:
            containers = tuple(state if one.name == state.name else one for one in pod.containers)
            self._pods[uid] = msgspec.structs.replace(pod, containers=containers)

    def _lost(self) -> None:
        """The runtime is gone, and with it everything that ran."""
        self._link = None
        self._fail_all()
        pods, self._pods = self._pods, {}
        for uid in pods:
            self.events.put_nowait(PodEvent(uid, LOST))
        if self._coming_back is None or self._coming_back.done():
            self._coming_back = asyncio.ensure_future(self._come_back())

    def _fail_all(self) -> None:
        asked, self._asked = self._asked, {}
        endings, self._endings = self._endings, {}
        for one in asked.values():
            if not one.done():
                one.set_exception(RuntimeFailure("the node's runtime has ended"))
        for ending in endings.values():
            if not ending.done():
                _end(ending, 0, "the node's runtime has ended")

    async def _come_back(self) -> None:
        pause = _SOONEST
        while True:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LATEST)
            with contextlib.suppress(OSError, LabError):
                await self._connect()
                return


def _end(ending: asyncio.Future[int], code: int, why: str) -> None:
    if why:
        ending.set_exception(RuntimeFailure(why))
        ending.exception()  # nobody need ask
    else:
        ending.set_result(code)


class _Link:
    """The socket in the event loop, with descriptors beside messages."""

    def __init__(
        self, connection: socket.socket, take: Callable[[Answer, list[int]], None], lost: Callable[[], None]
    ) -> None:
        self._connection, self._take, self._lost = connection, take, lost
        self._loop = asyncio.get_running_loop()
        self._unpacker = Unpacker()
        self._descriptors: deque[int] = deque()
        self._outbox: deque[memoryview] = deque()
        self._open = True
        self._loop.add_reader(connection, self._hear)

    def send(self, data: bytes) -> None:
        """Send when the runtime takes it."""
        self._outbox.append(memoryview(data))
        if len(self._outbox) == 1:
            self._flush()

    def close(self) -> None:
        """End the connection."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._connection)
        self._loop.remove_writer(self._connection)
        self._connection.close()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()

    def _flush(self) -> None:
        while self._open and self._outbox:
            try:
                sent = self._connection.send(self._outbox[0])
            except BlockingIOError:
                self._loop.add_writer(self._connection, self._flush)
                return
            except OSError:
                self._outbox.clear()  # reading tells that it is lost
                return
            if sent < len(self._outbox[0]):
                self._outbox[0] = self._outbox[0][sent:]
            else:
                self._outbox.popleft()
        if self._open:
            self._loop.remove_writer(self._connection)

    def _hear(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(
                self._connection, _PIECE, _MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        self._descriptors.extend(descriptors)
        try:
            for answer in self._unpacker.answers(data):
                count = answer.descriptors if isinstance(answer, Done) else 0
                self._take(answer, [self._descriptors.popleft() for _ in range(count)])
        except LabError:  # it speaks another language
            data = b""
        if not data:
            self.close()
            self._lost()
