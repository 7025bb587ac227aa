"""Port forwarding: the streams of one client's SPDY connection, each pair joined with a connection to a pod's port."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from gatewright.kubeapi.spdy import Data, Opened, Pinged, Server, SpdyError
from gatewright.lab.api.node import Node, NodeError

MOST_CONNECTIONS = 256
"""Connections that one client may have open through one forwarding."""
PIECE = 32 * 1024

Message = MutableMapping[str, Any]


class Forwarding:
    """One client's forwarding to one pod."""

    def __init__(
        self,
        node: Node,
        pod: dict[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        self._node, self._pod = node, pod
        self._receive, self._send = receive, send
        self._server = Server()
        self._errors: dict[str, int] = {}
        self._incoming: dict[int, asyncio.Queue[bytes | None]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Serve until the client leaves, or sends what is no SPDY."""
        try:
            while (message := await self._receive())["type"] != "websocket.disconnect":
                for event in self._server.feed(message.get("bytes") or b""):
                    if isinstance(event, Opened):
                        await self._opened(event)
                    elif isinstance(event, Data):
                        await self._data(event)
                    elif isinstance(event, Pinged):
                        await self._bytes(event.answer)
                    elif event.stream in self._tasks:
                        self._tasks[event.stream].cancel()
        except SpdyError as error:
            await self._send({"type": "websocket.close", "code": 1002, "reason": str(error)})
        finally:
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _opened(self, event: Opened) -> None:
        request = event.headers.get("requestid", "")
        await self._bytes(self._server.reply(event.stream))
        if event.headers.get("streamtype") == "error":
            self._errors[request] = event.stream
            return
        errors = self._errors.pop(request, 0)
        port = event.headers.get("port", "")
        if len(self._tasks) >= MOST_CONNECTIONS or not port.isdigit() or not 0 < int(port) < 65536:
            await self._fail(event.stream, errors, f"port {port} cannot be forwarded")
            return
        self._incoming[event.stream] = asyncio.Queue(16)
        task = asyncio.ensure_future(self._connection(event.stream, errors, int(port)))
        self._tasks[event.stream] = task
        task.add_done_callback(lambda _: self._forget(event.stream))

    def _forget(self, stream: int) -> None:
        self._tasks.pop(stream, None)
        self._incoming.pop(stream, None)

    async def _data(self, event: Data) -> None:
        queue = self._incoming.get(event.stream)
        if queue is None:
            return
        if event.data:
            await queue.put(event.data)
        if event.end:
            await queue.put(None)

    async def _connection(self, stream: int, errors: int, port: int) -> None:
        try:
            reader, writer = await self._node.connect(self._pod, port)
        except (NodeError, OSError) as error:
            name = self._pod["metadata"]["name"]
            await self._fail(stream, errors, f"error forwarding port {port} to pod {name}: {error}")
            return
        sending = asyncio.ensure_future(self._upstream(self._incoming[stream], writer))
        try:
            with contextlib.suppress(ConnectionError):
                while data := await reader.read(PIECE):
                    await self._bytes(self._server.data(stream, data))
            await self._bytes(self._server.data(stream, b"", end=True))
            await self._bytes(self._server.data(errors, b"", end=True))
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            writer.close()

    async def _upstream(self, queue: asyncio.Queue[bytes | None], writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while (data := await queue.get()) is not None:
                writer.write(data)
                await writer.drain()
            writer.write_eof()
        while True:  # what comes after the end or for a connection that is gone is taken and dropped
            await queue.get()

    async def _fail(self, stream: int, errors: int, why: str) -> None:
        if errors:
            await self._bytes(self._server.data(errors, why.encode(), end=True))
        await self._bytes(self._server.data(stream, b"", end=True))

    async def _bytes(self, data: bytes) -> None:
        await self._send({"type": "websocket.send", "bytes": data})
