"""The name server: follows the API, keeps the zone in memory and answers on port 53. Runs as a pod like any other.

One thread answers and takes in what the watch delivers, so a query waits for no lock. While the API is away answers go
on from what is known; before everything has been listed once, every question is answered by SERVFAIL, and the port for
readiness is closed: nothing may be said not to exist because it was not read yet.

It is forked into a pod, where no package of Python need be in sight. So what a connection to the API would import at
its first use is imported here.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import queue
import selectors
import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from gatewright.lab.backing import ENDPOINT_SLICE, SERVICE, Backing
from gatewright.lab.dns.wire import answer
from gatewright.lab.dns.zone import Zone, share
from gatewright.objects.core import Namespace
from gatewright.sources.kubeconfig import Where
from gatewright.sources.watch import ClusterWatch, Delivery

PORT, READY_PORT = 53, 8181
KINDS = (SERVICE, ENDPOINT_SLICE, ("", "Namespace"))
HEARTBEAT = 1.0
"""Seconds after which the loop looks whether to stop."""
_MOST_CLIENTS, _MOST_AT_ONCE = 256, 64
_CLIENT_PATIENCE = 0.2
"""Seconds that a client may keep all others waiting by not reading its answer."""
_AT_FIRST_USE = (
    "httpcore2",
    "httpx2",
    "lightkube.config.client_adapter",
    "lightkube.config.kubeconfig",
    "lightkube.core.exceptions",
)
for _name in _AT_FIRST_USE:
    importlib.import_module(_name)


class Names:
    """The zone as deliveries make it. Changed in place."""

    def __init__(self) -> None:
        self.zone = Zone()
        self._backing = Backing()
        self._awaited = {kind for _, kind in KINDS}

    def take(self, delivery: Delivery) -> None:
        """Take in what was delivered."""
        for owner in self._backing.take(delivery.changes):
            self.zone.put(owner, share(self._backing.service(owner), self._backing.slices(owner)))
        for item in delivery.changes.put:
            if isinstance(item, Namespace):
                self.zone.put_namespace(item.name, there=True)
        for kind, _, name in delivery.changes.gone:
            if kind == "Namespace":
                self.zone.put_namespace(name, there=False)
        if delivery.complete:
            self._awaited.discard(delivery.kind)
        self.zone.complete = not self._awaited


@dataclass
class Server:
    """The sockets and what is asked on them. `deliver` may be called from any thread, all else happens in `run`."""

    port: int = PORT
    ready_port: int = READY_PORT
    names: Names = field(default_factory=Names)

    def __post_init__(self) -> None:
        """Raises OSError where the ports are taken."""
        self._selector = selectors.DefaultSelector()
        self._open = contextlib.ExitStack()
        self._deliveries: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._open.callback(os.close, self._wake)
        self._clients: dict[socket.socket, bytearray] = {}
        self._ready = self._bound(socket.SOCK_STREAM, self.ready_port)
        datagrams, listener = self._bound(socket.SOCK_DGRAM, self.port), self._bound(socket.SOCK_STREAM, self.port)
        listener.listen(128)
        self._hear(datagrams, lambda: self._datagrams(datagrams))
        self._hear(listener, lambda: self._accept(listener))
        self._selector.register(self._wake, selectors.EVENT_READ, self._take_in)

    def deliver(self, delivery: Delivery) -> None:
        """Something a watch has heard."""
        self._deliveries.put(delivery)
        os.eventfd_write(self._wake, 1)

    def run(self, stop: threading.Event) -> None:
        """Answer until `stop`, and a heartbeat longer."""
        while not stop.is_set():
            for key, _ in self._selector.select(HEARTBEAT):
                with contextlib.suppress(OSError):  # whoever asked is gone
                    key.data()

    def close(self) -> None:
        """Answer no more."""
        for client in list(self._clients):
            self._drop(client)
        self._selector.close()
        self._open.close()

    def _hear(self, one: socket.socket, heard: Callable[[], None]) -> None:
        one.setblocking(False)
        self._selector.register(one, selectors.EVENT_READ, heard)

    def _bound(self, kind: socket.SocketKind, port: int) -> socket.socket:
        try:
            bound = self._open.enter_context(socket.socket(socket.AF_INET6, kind))
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            everywhere = "::"
        except OSError:
            bound = self._open.enter_context(socket.socket(socket.AF_INET, kind))
            everywhere = "0.0.0.0"
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((everywhere, port))
        return bound

    def _take_in(self) -> None:
        os.eventfd_read(self._wake)
        was = self.names.zone.complete
        while not self._deliveries.empty():
            self.names.take(self._deliveries.get())
        if self.names.zone.complete and not was:
            self._ready.listen()
            self._hear(self._ready, self._look_ready)

    def _look_ready(self) -> None:
        self._ready.accept()[0].close()

    def _datagrams(self, datagrams: socket.socket) -> None:
        for _ in range(_MOST_AT_ONCE):
            try:
                data, sender = datagrams.recvfrom(65535)
            except BlockingIOError:
                return
            if found := answer(data, self.names.zone):
                datagrams.sendto(found, sender)

    def _accept(self, listener: socket.socket) -> None:
        client, _ = listener.accept()
        if len(self._clients) >= _MOST_CLIENTS:
            self._drop(next(iter(self._clients)))
        self._clients[client] = bytearray()
        self._selector.register(client, selectors.EVENT_READ, lambda: self._converse(client))
        client.settimeout(_CLIENT_PATIENCE)

    def _converse(self, client: socket.socket) -> None:
        """Read what a TCP client says and answer what is complete (RFC 1035, 4.2.2)."""
        if client not in self._clients:  # it made room for another one just now
            return
        goes_on = False
        try:
            data = client.recv(65537)
            heard = self._clients[client]
            heard += data
            goes_on = bool(data) and all(self._say(client, query) for query in _complete(heard))
        finally:
            if not goes_on:
                self._drop(client)

    def _say(self, client: socket.socket, query: bytes) -> bool:
        found = answer(query, self.names.zone, udp=False)
        if found is not None:
            client.sendall(struct.pack("!H", len(found)) + found)
        return found is not None

    def _drop(self, client: socket.socket) -> None:
        self._selector.unregister(client)
        del self._clients[client]
        client.close()


def _complete(heard: bytearray) -> Iterator[bytes]:
    """The queries that have arrived whole; they are taken out of what was heard."""
    while len(heard) >= 2 and len(heard) >= 2 + (length := struct.unpack_from("!H", heard)[0]):
        query = bytes(heard[2 : 2 + length])
        del heard[: 2 + length]
        yield query


def serve(kubeconfig: str, port: int = PORT, ready_port: int = READY_PORT, stop: threading.Event | None = None) -> None:
    """Answer until `stop`, or for ever. `kubeconfig` is the text of one. Raises ClusterUnavailable, OSError."""
    stop = stop or threading.Event()
    with _as_file(kubeconfig) as path, contextlib.closing(Server(port, ready_port)) as server:
        watch = ClusterWatch(Where(path), KINDS, server.deliver, fields={})
        watch.start()
        try:
            server.run(stop)
        finally:
            watch.stop()


@contextlib.contextmanager
def _as_file(text: str) -> Iterator[str]:
    """A kubeconfig as a file of no folder; where a pod has no /proc, as one that nobody else may read."""
    descriptor = os.memfd_create("kubeconfig")
    with open(descriptor, "w") as file:
        file.write(text)
        file.flush()
        path = f"/proc/self/fd/{descriptor}"
        if os.path.exists(path):
            yield path
            return
    with tempfile.NamedTemporaryFile("w", prefix="kubeconfig-") as named:
        named.write(text)
        named.flush()
        yield named.name
