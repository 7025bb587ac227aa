"""The lab's end of its control socket: takes requests apart and hands them on, never waiting for a client.

One request and one answer a connection. Requests are bounded in size and in time.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from gatewright.lab.errors import LabError
from gatewright.lab.supervisor.wire import Message, pack, unpack

Answer = Callable[[Message], None]
_REQUEST_WITHIN, _ANSWER_WITHIN = 30.0, 10.0
"""Seconds."""


@dataclass(slots=True)
class Client:
    """A connection whose request is not complete yet."""

    connection: socket.socket
    since: float
    heard: bytearray = field(default_factory=bytearray)


class Control:
    """The control socket in the lab's selector. `handle` gets each request, and a function that answers it."""

    def __init__(
        self, listener: socket.socket, selector: selectors.BaseSelector, handle: Callable[[Message, Answer], None]
    ) -> None:
        self._listener = listener
        self._selector = selector
        self._handle = handle
        self._waiting: list[Client] = []
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ)

    @property
    def busy(self) -> bool:
        """Whether a request is on its way."""
        return bool(self._waiting)

    def hear(self, key: selectors.SelectorKey) -> None:
        """Something is to be read: a new client, or more of a request."""
        if key.fileobj is self._listener:
            self._accept()
        elif isinstance(key.data, Client):
            self._read(key.data)

    def forget_slow(self) -> None:
        """Let go of clients that do not finish their request."""
        now = time.monotonic()
        for client in [one for one in self._waiting if now - one.since > _REQUEST_WITHIN]:
            self._release(client)
            client.connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            connection.setblocking(False)
            client = Client(connection, time.monotonic())
            self._waiting.append(client)
            self._selector.register(connection, selectors.EVENT_READ, client)

    def _release(self, client: Client) -> None:
        self._waiting.remove(client)
        self._selector.unregister(client.connection)

    def _read(self, client: Client) -> None:
        try:
            data = client.connection.recv(1 << 20)
            client.heard += data
            request = unpack(client.heard)
        except BlockingIOError:
            return
        except (OSError, LabError):
            data, request = b"", None
        if request is None and data:
            return
        self._release(client)
        if request is None:
            client.connection.close()
        else:
            self._handle(request, lambda message: _answer(client.connection, message))


def _answer(connection: socket.socket, message: Message) -> None:
    with contextlib.suppress(OSError), connection:
        connection.settimeout(_ANSWER_WITHIN)
        connection.sendall(pack(message))
