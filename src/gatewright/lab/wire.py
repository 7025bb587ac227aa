"""What goes over a lab's control socket: one request and one answer a connection, each a JSON text with its length.

Objects travel as their JSON with file and line beside them (positioned trees stay behind: an explanation from a running
lab names the object's place, not the field's). Sizes are bounded on both sides.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterable
from typing import Any

import msgspec

from gatewright.lab.errors import LabError
from gatewright.objects.kinds import KINDS, group_version
from gatewright.objects.meta import Object
from gatewright.objects.origin import Origin
from gatewright.objects.validation import faults_of

LIMIT = 128 << 20
"""Bytes of one message."""
_LENGTH = struct.Struct("!I")

Message = dict[str, Any]


def pack(message: Message) -> bytes:
    """A message as bytes. Raises LabError when it is too large."""
    data = msgspec.json.encode(message)
    if len(data) > LIMIT:
        raise LabError(f"{len(data)} bytes are too much for one request to the lab (at most {LIMIT}); apply in parts")
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


def placed(item: Object) -> Object:
    """The object with the place it was written at, without the text that stood there."""
    if item.origin is None or item.origin.tree is None:
        return item
    return msgspec.structs.replace(item, origin=msgspec.structs.replace(item.origin, tree=None))


def objects_to_json(objects: Iterable[Object]) -> list[Message]:
    """Objects for a message."""
    return [
        {
            "object": msgspec.to_builtins(msgspec.structs.replace(item, origin=None)),
            "file": item.origin.file if item.origin else "",
            "line": item.origin.line if item.origin else 0,
            "document": item.origin.document if item.origin else 0,
        }
        for item in objects
    ]


def objects_from_json(entries: Iterable[Message]) -> list[Object]:
    """Objects of a message. Raises LabError for what is none."""
    found = []
    for entry in entries:
        try:
            tree = entry["object"]
            kind = KINDS[group_version(tree["apiVersion"])[0], tree["kind"]]
            item = msgspec.convert(tree, kind.struct)
            faults = faults_of(item)
            place = Origin(str(entry["file"]), int(entry["line"]), int(entry["document"]))
        except (KeyError, TypeError, ValueError) as error:
            raise LabError(f"the request holds an object that cannot be read: {error}") from error
        if faults:
            raise LabError(f"the request holds an object that is not valid: {item}: {faults[0].what}")
        found.append(msgspec.structs.replace(item, origin=place if place.file else None))
    return found
