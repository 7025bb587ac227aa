"""The runtime's side of the stand-ins: it makes and keeps their sockets, so that the process may die and come back.

While there is no process, connections wait in the sockets' queues; the next one gets the same sockets.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from gatewright.lab.runtime import standin
from gatewright.lab.runtime.loop import READ, WRITE, Loop
from gatewright.lab.runtime.model import Port
from gatewright.lab.runtime.standin import MOST_SOCKETS, Close, Declare, Message, Open

_AGAIN = 0.5
"""Seconds before the process is started again when it has lived shorter than that."""
_SCTP = " all SCTP"


@dataclass(frozen=True, slots=True)
class Answering:
    """A container that a stand-in answers for. `network` names its pod's network, which pods may share (the node's)."""

    network: str
    pod: str
    name: str
    identity: str
    ports: tuple[Port, ...]

    @property
    def key(self) -> str:
        """What its sockets are called."""
        return f"{self.pod} {self.name}"


@contextlib.contextmanager
def _closing_unless_done(made: list[tuple[str, bytes, socket.socket]]) -> Iterator[None]:
    try:
        yield
    except OSError:
        for _, _, one in made:
            one.close()
        raise


@dataclass(slots=True)
class _Network:
    """The SCTP ports of one network: which containers declared them, and the sockets that hear all of it."""

    sockets: list[socket.socket]
    lines: dict[str, dict[int, bytes]] = field(default_factory=dict)

    @property
    def declared(self) -> dict[int, bytes]:
        return {number: line for lines in self.lines.values() for number, line in lines.items()}


class StandIns:
    """All stand-ins of the node."""

    def __init__(self, loop: Loop) -> None:
        """Start the process: the sooner it is forked, the less of the runtime's memory it keeps for itself."""
        self._loop = loop
        self._sockets: dict[str, list[tuple[str, bytes, socket.socket]]] = {}
        self._networks: dict[str, _Network] = {}
        self._closing: dict[str, list[Callable[[], None]]] = {}
        self._outbox: deque[tuple[bytes, list[int]]] = deque()
        self._control: socket.socket | None = None
        self._since = 0.0
        self.pid = 0
        """The process, 0 while there is none."""
        self._start()

    def open(self, container: Answering, inside: AbstractContextManager[None]) -> None:
        """Answer on a container's ports; `inside` is the network of its pod. Raises OSError when one is taken."""
        network, key = container.network, container.key
        made: list[tuple[str, bytes, socket.socket]] = []
        lines: dict[int, bytes] = {}
        with inside, _closing_unless_done(made):
            for port in container.ports:
                line = f"{container.identity} {port.number} {port.protocol}\n".encode()
                if port.protocol == "SCTP" and not standin.kernel_has_sctp():
                    lines[port.number] = line
                else:
                    made.append((port.protocol, line, standin.listener(port.protocol, port.number)))
            if lines and network not in self._networks:
                self._networks[network] = _Network(standin.raw_sockets())
        if made:
            self._sockets[key] = made
        if lines:
            self._networks[network].lines[key] = lines
        if self._control is None:
            self._start()
            return
        self._send_sockets(key)
        if lines:
            self._send_network(network, new=len(self._networks[network].lines) == 1)

    def close(self, container: Answering, closed: Callable[[], None]) -> None:
        """Close a container's ports, and say when they are free."""
        network, key = container.network, container.key
        waiting = [key] if key in self._sockets else []
        for protocol, _, one in self._sockets.pop(key, ()):
            if protocol != "UDP":
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)  # nobody gets in any more, though the process holds it, too
            one.close()
        found = self._networks.get(network)
        if found is not None and found.lines.pop(key, None) is not None:
            if found.lines:
                self._send_network(network, new=False)
            else:
                del self._networks[network]
                waiting.append(network + _SCTP)
                for raw in found.sockets:
                    raw.close()
        if not waiting or self._control is None:
            closed()
            return
        left = set(waiting)

        def one_closed(which: str) -> None:
            left.discard(which)
            if not left:
                closed()

        for which in waiting:
            self._closing.setdefault(which, []).append(lambda which=which: one_closed(which))  # type: ignore[misc]
            self._send(Close(which), [])

    # The process

    def _start(self) -> None:
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            self.pid = os.fork()
        except OSError:
            near.close()
            far.close()
            self._loop.after(_AGAIN, self._start_again)
            return
        if self.pid == 0:
            standin.become(far)
        far.close()
        near.setblocking(False)
        self._control, self._since = near, time.monotonic()
        self._loop.expect(self.pid, lambda _: self._ended(), group=False)
        self._loop.watch(near.fileno(), self._hear)
        for key in self._sockets:
            self._send_sockets(key)
        for network in self._networks:
            self._send_network(network, new=True)

    def _ended(self) -> None:
        assert self._control is not None
        self._loop.forget(self._control.fileno())
        self._control.close()
        self._control, self.pid = None, 0
        for _, descriptors in self._outbox:
            for descriptor in descriptors:
                os.close(descriptor)
        self._outbox.clear()
        closing, self._closing = self._closing, {}
        for waiting in closing.values():
            for closed in waiting:
                closed()
        if time.monotonic() - self._since > _AGAIN:
            self._start_again()
        else:
            self._loop.after(_AGAIN, self._start_again)

    def _start_again(self) -> None:
        if self._control is None and (self._sockets or self._networks):
            self._start()

    def _send_sockets(self, key: str) -> None:
        found = self._sockets.get(key, [])
        for begin in range(0, len(found), MOST_SOCKETS):
            part = found[begin : begin + MOST_SOCKETS]
            message = Open(key, tuple((protocol, line) for protocol, line, _ in part))
            self._send(message, [one.fileno() for _, _, one in part])

    def _send_network(self, network: str, *, new: bool) -> None:
        found = self._networks[network]
        self._send(Declare(network + _SCTP, found.declared), [one.fileno() for one in found.sockets] if new else [])

    def _send(self, message: Message, descriptors: list[int]) -> None:
        own = [os.dup(descriptor) for descriptor in descriptors]  # they may be closed before it is their turn
        self._outbox.append((standin.encode(message), own))
        self._flush()

    def _flush(self) -> None:
        if self._control is None:
            return
        while self._outbox:
            data, descriptors = self._outbox[0]
            try:
                socket.send_fds(self._control, [data], descriptors)
            except BlockingIOError:
                self._loop.watch(self._control.fileno(), self._ready, READ | WRITE)
                return
            except OSError:  # it has ended, and is told of soon
                return
            self._outbox.popleft()
            for descriptor in descriptors:
                os.close(descriptor)
        self._loop.watch(self._control.fileno(), self._hear)

    def _ready(self) -> None:
        self._hear()
        self._flush()

    def _hear(self) -> None:
        while self._control is not None:
            try:
                data = self._control.recv(65536)
            except OSError:
                return
            if not data:
                self._loop.forget(self._control.fileno())
                return
            message = standin.decoder.decode(data)
            for closed in self._closing.pop(message.key, ()):
                closed()
