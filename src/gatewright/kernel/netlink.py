"""Netlink without a library: requests out, messages in; for what nftables text cannot say.

Only framing: sequence numbers, multi-part answers, errors, attributes, and what the kernel says by itself (`Listener`).
Layouts are in native byte order, as linux/netlink.h has them; attribute payloads of netfilter are in network byte
order.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self

from gatewright.kernel.errors import NetlinkFailed, NotPermitted

NETLINK_NETFILTER, NETLINK_ROUTE = 12, 0
REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
NESTED = 0x8000
"""Flag of an attribute that holds attributes."""
ERROR, _DONE = 2, 3
_DUMP_INTERRUPTED = 0x10
_HEADER = struct.Struct("=LHHLL")
_ATTRIBUTE = struct.Struct("=HH")
_RECEIVE_BUFFER = 8 << 20
_ANSWER_SIZE = 1 << 18
_TIMEOUT = 10.0
_BATCH_BEGIN, _BATCH_END = 16, 17
_BATCH_BODY = struct.pack(">BBH", 0, 0, 10)
"""Of any family, to nftables (NFNL_SUBSYS_NFTABLES)."""
_PLAIN_SEND_BUFFER = 64 << 10
"""Bytes that every socket may send at once, whatever the machine's defaults."""
_FORCED_SEND_BUFFER = 32
"""Of SOL_SOCKET: SO_SNDBUFFORCE, beyond net.core.wmem_max for those who may."""
_DUMP_ATTEMPTS = 5
_ADD_MEMBERSHIP = 1
"""Of SOL_NETLINK: NETLINK_ADD_MEMBERSHIP."""
_SOL_NETLINK = 270
_FORCED_RECEIVE_BUFFER = 33
"""Of SOL_SOCKET: SO_RCVBUFFORCE, beyond net.core.rmem_max for those who may."""


class Message(NamedTuple):
    """One netlink message. `port` is who is spoken to, or who caused a notification; 0 is the kernel."""

    kind: int
    flags: int
    sequence: int
    port: int
    body: bytes


class Request(NamedTuple):
    """One of the messages of a batch."""

    kind: int
    flags: int
    body: bytes


def pack(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """One message to the kernel, padded to four bytes."""
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, 0) + body + bytes(-len(body) % 4)


def messages(data: bytes) -> Iterator[Message]:
    """The messages of one read. What is cut off or impossible ends it: the kernel sends neither."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, sequence, port = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            return
        yield Message(kind, flags, sequence, port, data[offset + _HEADER.size : offset + length])
        offset += length + 3 & ~3


class Netlink:
    """One socket to one netlink family, in the network namespace of the thread that opens it. A context manager."""

    def __init__(self, family: int) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
        except OSError as error:
            raise NetlinkFailed(f"the kernel has no netlink family {family} here: {error.strerror}") from error
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        self._socket.settimeout(_TIMEOUT)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()

    def request(self, kind: int, flags: int, payload: bytes) -> Iterator[bytes]:
        """Sends one request and yields the payload of every answer. Raises OSError with the kernel's error number."""
        self._sequence += 1
        self._socket.send(pack(kind, REQUEST | flags, self._sequence, payload))
        interrupted = False
        while True:
            for answer in messages(self._socket.recv(_ANSWER_SIZE)):
                if answer.sequence != self._sequence:
                    continue
                interrupted = interrupted or bool(answer.flags & _DUMP_INTERRUPTED)
                if answer.kind in (ERROR, _DONE):
                    _check(answer.body, interrupted)
                    return
                yield answer.body
                if not flags & (DUMP | ACK):
                    return

    def batch(self, requests: Iterable[Request]) -> None:
        """Sends nfnetlink requests to nftables as one transaction: all of it happens, or nothing.

        Raises OSError with the kernel's error number, and EMSGSIZE for what does not fit into one message.
        """
        first = self._sequence + 1
        parts = [pack(_BATCH_BEGIN, REQUEST, first, _BATCH_BODY)]
        for number, one in enumerate(requests, first + 1):
            parts.append(pack(one.kind, REQUEST | ACK | one.flags, number, one.body))
        self._sequence = first + len(parts)
        data = b"".join((*parts, pack(_BATCH_END, REQUEST, self._sequence, _BATCH_BODY)))
        if len(data) > _PLAIN_SEND_BUFFER:
            for option in (socket.SO_SNDBUF, _FORCED_SEND_BUFFER):
                with suppress(PermissionError):
                    self._socket.setsockopt(socket.SOL_SOCKET, option, 2 * len(data))
        self._socket.send(data)
        waiting = len(parts) - 1
        while waiting:
            for answer in messages(self._socket.recv(_ANSWER_SIZE)):
                if answer.kind == ERROR and first <= answer.sequence <= self._sequence:
                    _check(answer.body, False)
                    waiting -= 1

    def order(self, kind: int, payload: bytes, flags: int = 0) -> None:
        """Sends one request that is answered by success or an error. Raises OSError with the kernel's error number."""
        for _ in self.request(kind, ACK | flags, payload):
            pass


def dump(family: int, kind: int, question: bytes, keep: Callable[[bytes], bool] | None = None) -> list[bytes]:
    """The whole answer to a question, or what is to be kept of it, asked again where it changed while it was read.

    Raises OSError with the kernel's error number, InterruptedError when it changes faster than it can be read.
    """
    for _ in range(_DUMP_ATTEMPTS):
        with suppress(InterruptedError), Netlink(family) as netlink:
            return list(filter(keep, netlink.request(kind, DUMP, question)))
    raise InterruptedError(errno.EINTR, "it changes faster than it can be read; try again")


class Listener(Netlink):
    """A socket on which the kernel speaks by itself: orders and `join` first, then `listen`.

    For a selector: when `fileno` is readable, `receive` until it is empty.
    """

    def __init__(self, family: int, buffer: int) -> None:
        super().__init__(family)
        for option in (socket.SO_RCVBUF, _FORCED_RECEIVE_BUFFER):
            with suppress(PermissionError):
                self._socket.setsockopt(socket.SOL_SOCKET, option, buffer)
        self._socket.bind((0, 0))

    def fileno(self) -> int:
        """The descriptor that becomes readable."""
        return self._socket.fileno()

    def join(self, group: int) -> None:
        """Asks for the notifications of a group. Raises OSError with the kernel's error number."""
        self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)

    def listen(self) -> None:
        """From now on nothing waits."""
        self._socket.setblocking(False)

    def receive(self) -> list[Message] | None:
        """What has come since, without waiting; empty: nothing. None: the kernel had to throw some away."""
        try:
            return list(messages(self._socket.recv(_ANSWER_SIZE)))
        except BlockingIOError:
            return []
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                return None
            raise NetlinkFailed(f"what the kernel says cannot be read: {error.strerror}") from error


def _check(body: bytes, interrupted: bool) -> None:
    code = -struct.unpack_from("=i", body)[0] if len(body) >= 4 else 0
    if code == errno.EPERM:
        raise NotPermitted("ask the packet filter")
    if code:
        raise OSError(code, os.strerror(code))
    if interrupted:
        raise OSError(errno.EINTR, os.strerror(errno.EINTR))


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(payload), kind) + payload + bytes(-len(payload) % 4)


def text_attribute(kind: int, text: str) -> bytes:
    """A text, ended as C does."""
    return attribute(kind, text.encode() + b"\0")


def attributes(data: bytes) -> dict[int, bytes]:
    """Attribute kinds to payloads."""
    result: dict[int, bytes] = {}
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size:
            break
        result[kind & 0x3FFF] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += length + 3 & ~3
    return result
