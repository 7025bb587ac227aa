"""Port forwarding: the streams of one client's SPDY connection, each pair joined with a connection to a pod's port.

The clients' SPDY has no flow control of its streams, so what a pod does not take makes the whole tunnel wait: memory
stays bounded, as with a real kubelet.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from gatewright.kubeapi.spdy import PING, Data, Opened, Pinged, Reset, Server, SpdyError
from gatewright.lab.asgi import Gone, WebSocket
from gatewright.lab.errors import LabError
from gatewright.lab.kubelet.pipes import PIECE
from gatewright.lab.kubelet.sessions import while_there

MOST_CONNECTIONS = 256
"""Connections that one client may have open through one forwarding."""
_WAITING = 16
"""Pieces that wait for a pod that reads slowly, before the tunnel does."""

Connect = Callable[[int], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@dataclass(slots=True)
class _Connection:
    """What came for a connection and is not passed on yet; None is its end."""

    task: asyncio.Task[None] | None = None
    waiting: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue(_WAITING))


class Forwarding:
    """One client's forwarding to one pod. `what` names the pod in errors."""

    def __init__(self, websocket: WebSocket, what: str, connect: Connect) -> None:
        self._websocket, self._what, self._connect = websocket, what, connect
        self._server = Server()
        self._errors: dict[str, int] = {}
        self._connections: dict[int, _Connection] = {}

    async def run(self) -> None:
        """Serve until the client leaves, or sends what is no SPDY."""
        try:
            while True:
                for event in self._server.feed(await self._websocket.receive()):
                    await self._take(event)
        except Gone:
            return
        except SpdyError as error:
            await self._websocket.close(1002, str(error))
        finally:
            tasks = [one.task for one in self._connections.values() if one.task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, event: Opened | Data | Reset | Pinged) -> None:
        if isinstance(event, Opened):
            await self._opened(event)
        elif isinstance(event, Pinged):
            await self._websocket.send(event.answer)
        elif isinstance(event, Data):
            if (found := self._connections.get(event.stream)) is not None:
                await while_there(_put(found, event), self._websocket, PING)
        elif (found := self._connections.get(event.stream)) is not None and found.task is not None:
            found.task.cancel()

    async def _opened(self, event: Opened) -> None:
        request = event.headers.get("requestid", "")
        kind = event.headers.get("streamtype", "")
        if kind not in ("error", "data"):
            raise SpdyError(f"a stream that is neither for data nor for errors: {kind[:20]!r}")
        await self._websocket.send(self._server.reply(event.stream))
        if kind == "error":
            if len(self._errors) >= MOST_CONNECTIONS:
                raise SpdyError("too many streams for errors without their data")
            self._errors[request] = event.stream
            return
        errors = self._errors.pop(request, 0)
        port = event.headers.get("port", "")
        if len(self._connections) >= MOST_CONNECTIONS:
            await self._fail(event.stream, errors, f"more than {MOST_CONNECTIONS} connections at once")
        elif not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
            await self._fail(event.stream, errors, f"{port[:20]!r} is no port")
        else:
            connection = self._connections[event.stream] = _Connection()
            connection.task = asyncio.ensure_future(self._serve(event.stream, errors, int(port), connection))
            connection.task.add_done_callback(lambda _: self._connections.pop(event.stream, None))

    async def _serve(self, stream: int, errors: int, port: int, connection: _Connection) -> None:
        try:
            reader, writer = await self._connect(port)
        except (LabError, OSError) as error:
            why = f"dial tcp 127.0.0.1:{port}: {_reason(error)}"
            with contextlib.suppress(Gone):
                await self._fail(stream, errors, f"error forwarding port {port} to {self._what}: {why}")
            return
        sending = asyncio.ensure_future(_upstream(connection.waiting, writer))
        try:
            with contextlib.suppress(OSError):
                while data := await reader.read(PIECE):
                    await self._websocket.send(self._server.data(stream, data))
            await self._websocket.send(self._server.data(stream, b"", end=True))
            if errors:
                await self._websocket.send(self._server.data(errors, b"", end=True))
            await sending
        except (Gone, asyncio.CancelledError):
            writer.transport.abort()  # nobody is there for whom the rest would be delivered
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            writer.close()

    async def _fail(self, stream: int, errors: int, why: str) -> None:
        if errors:
            await self._websocket.send(self._server.data(errors, why.encode(), end=True))
        await self._websocket.send(self._server.data(stream, b"", end=True))


async def _put(connection: _Connection, event: Data) -> None:
    if event.data:
        await connection.waiting.put(event.data)
    if event.end:
        await connection.waiting.put(None)


async def _upstream(waiting: asyncio.Queue[bytes | None], writer: asyncio.StreamWriter) -> None:
    """Pass on until the client says that it is done; what comes for a connection that is gone is dropped."""
    with contextlib.suppress(OSError):
        while (data := await waiting.get()) is not None:
            writer.write(data)
            await writer.drain()
        writer.write_eof()
        return
    while await waiting.get() is not None:
        pass


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return f"connect: {os.strerror(error.errno).lower()}"
    return str(error)
