"""The words between the kubelet and the runtime: MessagePack, each after its length, with descriptors beside some.

A message that brings descriptors says how many; they travel with its first byte, so that they are there when it is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TypeVar

import msgspec
from msgspec import Struct

from gatewright.lab.errors import LabError
from gatewright.lab.runtime.model import (
    ContainerEvent,
    ContainerSetup,
    ContainerState,
    PodEvent,
    PodSetup,
    PodState,
    Volume,
)

LIMIT = 64 << 20
"""Bytes of one message at most."""
_HEAD = struct.Struct("!I")
T = TypeVar("T")


class RuntimeFailure(LabError):
    """What the runtime could not do; one line."""


class CreatePod(Struct, frozen=True, tag=True):
    """Make a pod's sandbox."""

    id: int
    setup: PodSetup


class StartContainer(Struct, frozen=True, tag=True):
    """Start a container."""

    id: int
    uid: str
    container: ContainerSetup


class StopContainer(Struct, frozen=True, tag=True):
    """End a container; answered when it is gone."""

    id: int
    uid: str
    name: str
    grace: float


class RemovePod(Struct, frozen=True, tag=True):
    """End a pod; answered when nothing of it is left."""

    id: int
    uid: str


class UpdateVolumes(Struct, frozen=True, tag=True):
    """Give volumes other files."""

    id: int
    uid: str
    volumes: dict[str, Volume]


class ListPods(Struct, frozen=True, tag=True):
    """Say what there is."""

    id: int


class Execute(Struct, frozen=True, tag=True):
    """Run a program beside a container's own. The answer's descriptors: the terminal, or output, errors and input."""

    id: int
    uid: str
    name: str
    command: tuple[str, ...]
    stdin: bool
    terminal: bool


class Attach(Struct, frozen=True, tag=True):
    """Join a container's program. The answer's descriptors: output, errors unless on a terminal, and input."""

    id: int
    uid: str
    name: str
    stdin: bool


class Release(Struct, frozen=True, tag=True):
    """End what the request of this number started, unless it has ended."""

    id: int


class Connect(Struct, frozen=True, tag=True):
    """Make a TCP socket in the pod's network, not connected yet. `family` is 4 or 6."""

    id: int
    uid: str
    family: int


Request = (
    CreatePod | StartContainer | StopContainer | RemovePod | UpdateVolumes | ListPods
    | Execute | Attach | Release | Connect
)  # fmt: skip


class Done(Struct, frozen=True, tag=True):
    """A request was carried out; so many descriptors come with the answer."""

    id: int
    descriptors: int = 0
    container: ContainerState | None = None


class Failed(Struct, frozen=True, tag=True):
    """A request was not carried out."""

    id: int
    why: str


class Pods(Struct, frozen=True, tag=True):
    """The answer to ListPods: all there are, and the folder of their logs."""

    id: int
    pods: tuple[PodState, ...]
    folder: str


class Changed(Struct, frozen=True, tag=True):
    """A pod is new or another; sent to everybody."""

    pod: PodState


class Removed(Struct, frozen=True, tag=True):
    """A pod is no more; sent to everybody."""

    uid: str


class Ended(Struct, frozen=True, tag=True):
    """What a request started has ended: the program's exit code, or why the client was cut off."""

    id: int
    code: int = 0
    why: str = ""


Answer = Done | Failed | Pods | Changed | Removed | Ended | ContainerEvent | PodEvent

_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)
_encoder = msgspec.msgpack.Encoder()


def pack(message: Request | Answer) -> bytes:
    """A message with its length."""
    body = _encoder.encode(message)
    return _HEAD.pack(len(body)) + body


class Unpacker:
    """From bytes as they come to messages."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def requests(self, data: bytes) -> Iterator[Request]:
        """What a client asks. Raises RuntimeFailure on what is no message."""
        return self._messages(data, _requests)

    def answers(self, data: bytes) -> Iterator[Answer]:
        """What the runtime says. Raises RuntimeFailure on what is no message."""
        return self._messages(data, _answers)

    def _messages(self, data: bytes, decoder: msgspec.msgpack.Decoder[T]) -> Iterator[T]:
        self._waiting += data
        while len(self._waiting) >= _HEAD.size:
            (size,) = _HEAD.unpack_from(self._waiting)
            if size > LIMIT:
                raise RuntimeFailure(f"a message of {size} bytes is too large for the runtime: {LIMIT} at most")
            end = _HEAD.size + size
            if len(self._waiting) < end:
                return
            body = bytes(self._waiting[_HEAD.size : end])
            del self._waiting[:end]
            try:
                yield decoder.decode(body)
            except msgspec.DecodeError as error:
                raise RuntimeFailure(f"a message for the runtime cannot be read: {error}") from error
