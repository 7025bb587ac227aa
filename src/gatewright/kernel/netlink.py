"""Netlink without a library: requests out, messages in; for what nftables text cannot say.

Only framing: sequence numbers, multi-part answers, errors, attributes. Layouts are in native byte order, as
linux/netlink.h has them; attribute payloads of netfilter are in network byte order.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from types import TracebackType

from gatewright.kernel.errors import NetlinkFailed, NotPermitted

NETLINK_NETFILTER, NETLINK_ROUTE = 12, 0
REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
_ERROR, _DONE = 2, 3
_DUMP_INTERRUPTED = 0x10
_HEADER = struct.Struct("=LHHLL")
_ATTRIBUTE = struct.Struct("=HH")
_RECEIVE_BUFFER = 8 << 20
_ANSWER_SIZE = 1 << 18
_TIMEOUT = 10.0


class Netlink:
    """One socket to one netlink family, in the network namespace of the thread that opens it. A context manager."""

    def __init__(self, family: int) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, family)
        except OSError as error:
            raise NetlinkFailed(f"the kernel has no netlink family {family} here: {error.strerror}") from error
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        self._socket.settimeout(_TIMEOUT)
        self._sequence = 0

    def __enter__(self) -> Netlink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()

    def request(self, kind: int, flags: int, payload: bytes) -> Iterator[bytes]:
        """Sends one request and yields the payload of every answer. Raises OSError with the kernel's error number."""
        self._sequence += 1
        header = _HEADER.pack(_HEADER.size + len(payload), kind, REQUEST | flags, self._sequence, 0)
        self._socket.send(header + payload)
        interrupted = False
        while True:
            data = self._socket.recv(_ANSWER_SIZE)
            offset = 0
            while offset < len(data):
                length, answer, answer_flags, sequence, _ = _HEADER.unpack_from(data, offset)
                body = data[offset + _HEADER.size : offset + length]
                offset += length + 3 & ~3
                if sequence != self._sequence:
                    continue
                interrupted = interrupted or bool(answer_flags & _DUMP_INTERRUPTED)
                if answer in (_ERROR, _DONE):
                    _check(body, interrupted)
                    return
                yield body
                if not flags & (DUMP | ACK):
                    return


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
