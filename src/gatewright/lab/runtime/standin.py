"""One process a node that answers for every container whose program is not on this machine.

Every declared TCP and UDP port (SCTP, too, where the kernel has it) answers with one line,
`NAMESPACE/POD CONTAINER PORT PROTOCOL`. A client of a connection that speaks HTTP gets it as an HTTP/1.1 answer, any
other gets it plain once it has said something or been silent for a moment. SCTP is answered by sctp.py elsewhere.

The sockets are the runtime's, made in the pods' networks and sent here; this process belongs to no pod and waits for
nothing but what they hear. It ends with the runtime.
"""

from __future__ import annotations

import contextlib
import functools
import heapq
import itertools
import os
import secrets
import selectors
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from msgspec import Struct

from gatewright.lab import linux, sctp

SILENCE = 0.2
"""Seconds after which a client that says nothing is greeted."""
_REQUEST_WITHIN, _LEAVES_WITHIN = 10.0, 1.0
_LARGEST_REQUEST = 65536
_METHODS = (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ")
_MOST_CLIENTS = 4096
MOST_SOCKETS = 100
"""Sockets in one message; the kernel takes 253."""
_HEADER = 20
_FOREVER = 1e9


class Open(Struct, frozen=True, tag=True):
    """Answer on the sockets that come with this: for each its protocol and the line to say. Added to those of `key`."""

    key: str
    sockets: tuple[tuple[str, bytes], ...]


class Declare(Struct, frozen=True, tag=True):
    """What the SCTP ports of a network say; the raw sockets that come with this are that network's."""

    key: str
    lines: dict[int, bytes]


class Close(Struct, frozen=True, tag=True):
    """Close everything of `key`; answered with the message itself."""

    key: str


Message = Open | Declare | Close
decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
encode = msgspec.msgpack.Encoder().encode


def answer(line: bytes, heard: bytes) -> bytes | None:
    """What to send to a client that has said `heard`; None while its HTTP request is not complete."""
    if not heard.startswith(_METHODS):
        return line
    if b"\r\n\r\n" not in heard and b"\n\n" not in heard and len(heard) < _LARGEST_REQUEST:
        return None
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(line)}\r\nConnection: close\r\n\r\n"
    return head.encode() if heard.startswith(b"HEAD ") else head.encode() + line


@dataclass(slots=True, eq=False)
class _Client:
    connection: socket.socket
    key: str
    line: bytes
    due: float
    heard: bytes = b""
    answered: bool = False


class Server:
    """The process: `serve` runs until the runtime is gone."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._sockets: dict[str, list[socket.socket]] = {}
        self._lines: dict[str, dict[int, bytes]] = {}
        self._clients: dict[str, set[_Client]] = {}
        self._count = 0
        self._dues: list[tuple[float, int, _Client]] = []
        self._order = itertools.count()
        self._over = False
        self._selector.register(control, selectors.EVENT_READ, self._told)

    def serve(self) -> None:
        """Answer until the control socket closes."""
        while not self._over:
            timeout = max(0.0, self._dues[0][0] - time.monotonic()) if self._dues else None
            for key, _ in self._selector.select(timeout):
                if self._selector.get_map().get(key.fd) is key:
                    key.data()
            self._look_at_clocks()

    def _told(self) -> None:
        data, descriptors, _, _ = socket.recv_fds(self._control, 1 << 20, MOST_SOCKETS, socket.MSG_CMSG_CLOEXEC)
        if not data:
            self._over = True
            return
        message = decoder.decode(data)
        sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        if isinstance(message, Close):
            self._close(message.key)
            self._control.send(data)
            return
        self._sockets.setdefault(message.key, []).extend(sockets)
        if isinstance(message, Declare):
            self._lines[message.key] = message.lines
            for one in sockets:
                self._watch(one, lambda one=one: self._sctp(one, message.key))  # type: ignore[misc]
            return
        for one, (protocol, line) in zip(sockets, message.sockets, strict=True):
            if protocol == "UDP":
                self._watch(one, lambda one=one, line=line: _reply(one, line))  # type: ignore[misc]
            else:
                self._watch(one, lambda one=one, line=line: self._accept(one, message.key, line))  # type: ignore[misc]

    def _watch(self, one: socket.socket, action: Callable[[], None]) -> None:
        one.setblocking(False)
        self._selector.register(one, selectors.EVENT_READ, action)

    def _close(self, key: str) -> None:
        for one in self._sockets.pop(key, ()):
            self._selector.unregister(one)
            one.close()
        self._lines.pop(key, None)
        for client in list(self._clients.get(key, ())):
            self._leave(client)

    # Connections

    def _accept(self, listener: socket.socket, key: str, line: bytes) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        if self._count >= _MOST_CLIENTS:
            connection.close()
            return
        client = _Client(connection, key, line, 0.0)
        self._clients.setdefault(key, set()).add(client)
        self._count += 1
        self._watch(connection, lambda: self._hear(client))
        self._wait(client, SILENCE)

    def _hear(self, client: _Client) -> None:
        try:
            data = client.connection.recv(_LARGEST_REQUEST)
        except BlockingIOError:
            return
        except OSError:
            self._leave(client)
            return
        if client.answered:
            if not data:
                self._leave(client)
            return
        if data:
            client.heard += data
        text = answer(client.line, client.heard)
        if text is None and data:
            self._wait(client, _REQUEST_WITHIN)
        else:
            self._say(client, text or b"")

    def _say(self, client: _Client, text: bytes) -> None:
        """Answer, and wait until the client leaves: to close before it has been read would reset the connection."""
        client.answered = True
        try:
            client.connection.sendall(text)
            client.connection.shutdown(socket.SHUT_WR)
        except OSError:
            self._leave(client)
            return
        self._wait(client, _LEAVES_WITHIN)

    def _leave(self, client: _Client) -> None:
        own = self._clients[client.key]
        own.discard(client)
        if not own:
            del self._clients[client.key]
        self._count -= 1
        client.due = _FOREVER
        self._selector.unregister(client.connection)
        client.connection.close()

    def _wait(self, client: _Client, seconds: float) -> None:
        client.due = time.monotonic() + seconds
        heapq.heappush(self._dues, (client.due, next(self._order), client))

    def _look_at_clocks(self) -> None:
        now = time.monotonic()
        while self._dues and self._dues[0][0] <= now:
            due, _, client = heapq.heappop(self._dues)
            if due != client.due:
                continue
            if client.answered or client.heard:
                self._leave(client)
            else:
                self._say(client, client.line)

    # SCTP without the kernel's help

    def _sctp(self, one: socket.socket, key: str) -> None:
        with contextlib.suppress(OSError):
            data, ancillary, _, sender = one.recvmsg(65536, 256)
            packet = data[(data[0] & 15) * 4 :] if one.family == socket.AF_INET else data
            reply = sctp.answer(packet, self._lines.get(key, {}), secrets.randbits(32) | 1)
            if reply is not None:
                one.sendmsg([reply], _as_asked(ancillary), 0, (sender[0], 0, *sender[2:]))


_IP_PKTINFO = 8
"""linux/in.h; the module `socket` of Python 3.11 does not name it."""


def _as_asked(ancillary: list[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
    """Send from the address that was asked."""
    found = []
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            local = data[8:12]  # in_pktinfo: interface, local address, destination in the header
            found.append((level, kind, bytes(4) + local + bytes(4)))
        elif (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            found.append((level, kind, data[:16] + bytes(4)))
    return found


def _reply(listener: socket.socket, line: bytes) -> None:
    with contextlib.suppress(OSError):
        _, ancillary, _, sender = listener.recvmsg(65536, 256)
        listener.sendmsg([line], _as_asked(ancillary), 0, sender)


def listener(protocol: str, number: int) -> socket.socket:
    """A socket for a port of any address of both families, in the calling process' network. Raises OSError."""
    kind, number_of_protocol = {
        "TCP": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
        "UDP": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
        "SCTP": (socket.SOCK_STREAM, sctp.PROTOCOL),
    }[protocol]
    try:
        made = socket.socket(socket.AF_INET6, kind, number_of_protocol)
        everywhere = "::"
    except OSError:
        made = socket.socket(socket.AF_INET, kind, number_of_protocol)
        everywhere = "0.0.0.0"
    try:
        if made.family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if protocol == "UDP":
            _ask_for_addresses(made)
        if protocol != "UDP":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((everywhere, number))
        if protocol != "UDP":
            made.listen(1024)
    except OSError:
        made.close()
        raise
    return made


@functools.cache
def kernel_has_sctp() -> bool:
    """Whether the kernel answers SCTP itself once somebody listens."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, sctp.PROTOCOL).close()
    except OSError:
        return False
    return True


def raw_sockets() -> list[socket.socket]:
    """Sockets that hear every SCTP packet of the calling process' network. Raises OSError."""
    found = [socket.socket(socket.AF_INET, socket.SOCK_RAW, sctp.PROTOCOL)]
    with contextlib.suppress(OSError):  # no IPv6
        found.append(socket.socket(socket.AF_INET6, socket.SOCK_RAW, sctp.PROTOCOL))
    for one in found:
        _ask_for_addresses(one)
    return found


def _ask_for_addresses(one: socket.socket) -> None:
    """Have the kernel tell to which address each packet came."""
    if one.family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        one.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)


def become(control: socket.socket) -> None:
    """Be the process, forked from the runtime. Never returns."""
    try:
        linux.end_with_parent(signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        linux.set_process_name("lab-stand-ins")
        os.closerange(3, control.fileno())
        os.closerange(control.fileno() + 1, 1 << 20)
        control.setblocking(True)
        Server(control).serve()
    finally:
        os._exit(0)
