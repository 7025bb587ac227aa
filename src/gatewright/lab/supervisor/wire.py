"""What goes over a lab's control socket: one request and one answer a connection, each a JSON text with its length."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Any

import msgspec

from gatewright.lab.errors import LabError

LIMIT = 16 << 20
"""Bytes of one message."""
_LENGTH = struct.Struct("!I")

Message = dict[str, Any]


def pack(message: Message) -> bytes:
    """A message as bytes. Raises LabError when it is too large."""
    data = msgspec.json.encode(message)
    if len(data) > LIMIT:
        raise LabError(f"{len(data)} bytes are too much for one request to the lab (at most {LIMIT})")
    return _LENGTH.pack(len(data)) + data


def unpack(data: bytes | bytearray) -> Message | None:
    """The message that stands in the bytes; None while some are missing. Raises LabError for what is no message."""
    if len(data) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack_from(data)
    if length > LIMIT:
        raise LabError("the request is too large")
    if len(data) < _LENGTH.size + length:
        return None
    try:
        return msgspec.json.decode(bytes(data[_LENGTH.size : _LENGTH.size + length]), type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise LabError(f"the request is not JSON: {error}") from error


def ask(connection: socket.socket, message: Message) -> Message:
    """Send a request and wait for its answer. Raises LabError when the other side goes away first."""
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(pack(message))
    data = bytearray()
    while (answer := unpack(data)) is None:
        part = connection.recv(1 << 20)
        if not part:
            raise LabError("the lab ended before it answered; see: gatewright lab list")
        data += part
    return answer
