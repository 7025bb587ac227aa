"""The runtime's process: the only one of a node that forks, with one event loop and no thread.

It serves kubelets on a socket, and goes on when they leave. When it ends, however it ends, the kernel ends its pods.
"""

from __future__ import annotations

import contextlib
import gc
import re
import resource
import shutil
import signal
import socket
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from gatewright.lab import linux
from gatewright.lab.errors import LabError
from gatewright.lab.runtime.held import PodNetwork, close
from gatewright.lab.runtime.loop import READ, WRITE, Loop
from gatewright.lab.runtime.model import ContainerState
from gatewright.lab.runtime.node import Node
from gatewright.lab.runtime.standins import StandIns
from gatewright.lab.runtime.wire import (
    Answer,
    Attach,
    Connect,
    CreatePod,
    Done,
    Ended,
    Execute,
    Failed,
    ListPods,
    Pods,
    Release,
    RemovePod,
    Request,
    StartContainer,
    StopContainer,
    Unpacker,
    UpdateVolumes,
    pack,
)

MOST_UNREAD = 64 << 20
"""Bytes of answers that wait for a client that does not read, before it is left."""
_PIECE = 1 << 18
_OPEN_FILES = 1 << 16
_LINK = re.compile(r"pod[0-9]+")


@dataclass(frozen=True)
class RuntimeSettings:
    """A node's runtime: where it listens and keeps logs, what connects its pods, and what the name server's pod runs.

    `network` is called in the node's network namespace. The runtime owns the folder `pods` and the links called `pod`
    and a number: what it finds of them when it begins is left from one that has died, and is removed.
    """

    node: str
    socket: Path
    pods: Path
    network: Callable[[], PodNetwork]
    serve_names: Callable[[], None] | None = None


def serve(settings: RuntimeSettings) -> None:
    """Run until SIGTERM; call in a forked process of its own, in the node's network namespace. Raises OSError."""
    linux.set_process_name("lab-runtime")
    _raise_limit()
    loop = Loop()
    stand_ins = StandIns(loop)
    network = settings.network()
    _clean(settings, network)
    server = _Server(loop, settings, network, stand_ins)
    signal.signal(signal.SIGTERM, lambda *_: loop.stop())
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    gc.freeze()  # children share these pages until one of them writes
    try:
        loop.run()
    finally:
        server.end()


def _raise_limit() -> None:
    """Let this process, and the pods after it, have as many open files as sockets of all stand-ins may take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _clean(settings: RuntimeSettings, network: PodNetwork) -> None:
    network.detach(*(link for _, link in socket.if_nameindex() if _LINK.fullmatch(link)))
    shutil.rmtree(settings.pods, ignore_errors=True)
    settings.pods.mkdir(mode=0o700, parents=True)
    settings.socket.unlink(missing_ok=True)


class _Server:
    """The socket and who has connected to it."""

    def __init__(self, loop: Loop, settings: RuntimeSettings, network: PodNetwork, stand_ins: StandIns) -> None:
        self._loop, self._settings = loop, settings
        self._clients: set[_Client] = set()
        self.node = Node(loop, settings.pods, network, stand_ins, settings.serve_names, self._tell)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        bound = settings.socket.with_name(f"{settings.socket.name}.new")  # nobody finds it before it listens
        bound.unlink(missing_ok=True)
        self._listener.bind(str(bound))
        bound.chmod(0o600)
        self._listener.listen(16)
        bound.rename(settings.socket)
        loop.watch(self._listener.fileno(), self._accept)

    def end(self) -> None:
        """End the pods, and listen no more."""
        self.node.end()
        self._settings.socket.unlink(missing_ok=True)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            self._clients.add(_Client(self._loop, connection, self))

    def _tell(self, answer: Answer) -> None:
        for client in list(self._clients):
            client.send(answer)

    def left(self, client: _Client) -> None:
        """Forget a client."""
        self._clients.discard(client)

    def carry_out(self, request: Request, reply: _Reply) -> None:
        """Do what a client asks. Raises LabError, OSError where it cannot even be begun."""
        node = self.node
        match request:
            case CreatePod(_, setup):
                node.create(setup, reply)
            case StartContainer(_, uid, container):
                node.start(uid, container, reply)
            case StopContainer(_, uid, name, grace):
                node.stop(uid, name, grace, reply)
            case RemovePod(_, uid):
                node.remove(uid, reply)
            case UpdateVolumes(_, uid, volumes):
                node.update(uid, volumes, reply)
            case ListPods(number):
                reply.client.send(Pods(number, node.pods, str(self._settings.pods)))
            case Execute(_, uid, name, command, _, True):
                node.execute_on_terminal(uid, name, command, reply)
            case Execute(_, uid, name, command, stdin, _):
                node.execute(uid, name, command, stdin, reply)
            case Attach(_, uid, name, stdin):
                node.attach(uid, name, stdin, reply)
            case Connect(_, uid, family):
                node.connect(uid, family, reply)
            case Release(number):
                reply.client.release(number)


class _Client:
    """One connection. What it has started ends with it, but for pods and containers."""

    def __init__(self, loop: Loop, connection: socket.socket, server: _Server) -> None:
        self._loop, self._connection, self._server = loop, connection, server
        self._unpacker = Unpacker()
        self._outbox: deque[tuple[memoryview, list[int]]] = deque()
        self._unread = 0
        self._held: dict[int, Callable[[], None]] = {}
        self._gone = False
        connection.setblocking(False)
        loop.watch(connection.fileno(), self._hear)

    def hold(self, number: int, release: Callable[[], None]) -> None:
        """Something runs for this client."""
        if self._gone:
            release()
        else:
            self._held[number] = release

    def let_go(self, number: int) -> None:
        """What ran for this client has ended."""
        self._held.pop(number, None)

    def release(self, number: int) -> None:
        """End what runs for this client."""
        if (release := self._held.pop(number, None)) is not None:
            release()

    def send(self, answer: Answer, descriptors: Iterable[int] = ()) -> None:
        """Send an answer and descriptors, which are closed here."""
        own = list(descriptors)
        if self._gone:
            close(own)
            return
        data = memoryview(pack(answer))
        self._unread += len(data)
        self._outbox.append((data, own))
        if self._unread > MOST_UNREAD:
            self._leave()
        elif len(self._outbox) == 1:
            self._flush()

    def _flush(self) -> None:
        while self._outbox:
            data, descriptors = self._outbox[0]
            try:
                sent = socket.send_fds(self._connection, [data], descriptors)
            except BlockingIOError:
                self._loop.watch(self._connection.fileno(), self._ready, READ | WRITE)
                return
            except OSError:
                self._leave()
                return
            close(descriptors)
            self._unread -= sent
            if sent < len(data):
                self._outbox[0] = (data[sent:], [])
            else:
                self._outbox.popleft()
        self._loop.watch(self._connection.fileno(), self._hear)

    def _ready(self) -> None:
        self._flush()
        self._hear()

    def _hear(self) -> None:
        if self._gone:
            return
        try:
            data = self._connection.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._leave()
            return
        try:
            for request in self._unpacker.requests(data):
                reply = _Reply(self, request.id)
                try:
                    self._server.carry_out(request, reply)
                except OSError as error:
                    reply.failed(f"{error.filename or type(request).__name__}: {error.strerror}")
                except LabError as error:
                    reply.failed(str(error))
                except Exception as error:  # noqa: BLE001  (one request's mistake is not every pod's)
                    traceback.print_exc()
                    reply.failed(f"{type(error).__name__}: {error}; this is a bug")
        except LabError:  # it speaks another language
            self._leave()

    def _leave(self) -> None:
        if self._gone:
            return
        self._gone = True
        self._loop.forget(self._connection.fileno())
        self._connection.close()
        self._server.left(self)
        for _, descriptors in self._outbox:
            close(descriptors)
        self._outbox.clear()
        held, self._held = self._held, {}
        for release in held.values():
            release()


@dataclass(frozen=True, slots=True)
class _Reply:
    """Where the answers to one request go."""

    client: _Client
    number: int

    def done(self, container: ContainerState | None = None, descriptors: Iterable[int] = ()) -> None:
        own = list(descriptors)
        self.client.send(Done(self.number, len(own), container), own)

    def failed(self, why: str) -> None:
        self.client.let_go(self.number)
        self.client.send(Failed(self.number, why))

    def ended(self, code: int, why: str = "") -> None:
        self.client.let_go(self.number)
        self.client.send(Ended(self.number, code, why))

    def hold(self, release: Callable[[], None]) -> None:
        self.client.hold(self.number, release)

    def let_go(self) -> None:
        self.client.let_go(self.number)
