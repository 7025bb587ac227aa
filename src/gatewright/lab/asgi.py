"""ASGI as the lab's servers use it: an answer sent, a stream that stops when nobody reads, a WebSocket of messages.

The endpoint and the kubelet share it; neither knows of the server's own types.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from gatewright.lab.api.exchange import Response

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PATIENCE = 60.0
"""Seconds that a client of a stream may read nothing before its connection is closed."""


class Gone(Exception):
    """The client closed the connection."""


class WebSocket:
    """One WebSocket that a client asks for: refused, or accepted and then full of messages."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.offered: list[str] = list(scope.get("subprotocols") or ())
        """The subprotocols that the client speaks, the best first."""
        self._receive, self._send = receive, send
        self._turn = asyncio.Lock()

    async def refuse(self, response: Response) -> None:
        """Answer the opening as any other request that is refused."""
        await self._put(
            {"type": "websocket.http.response.start", "status": response.status, "headers": _head(response)}
        )
        await self._put({"type": "websocket.http.response.body", "body": response.body})

    async def accept(self, protocol: str) -> None:
        """Agree on a subprotocol. Raises Gone."""
        await self._put({"type": "websocket.accept", "subprotocol": protocol or None})

    async def receive(self) -> bytes:
        """The next message. Raises Gone."""
        try:
            message = await self._receive()
        except AttributeError as error:  # uvicorn goes on reading a connection that Python 3.11's TLS has let go of
            raise Gone from error
        if message["type"] == "websocket.disconnect":
            raise Gone
        data: bytes | None = message.get("bytes")
        return (message.get("text") or "").encode() if data is None else data

    async def send(self, data: bytes) -> None:
        """Send a message, and wait while the client reads slowly. Raises Gone."""
        await self._put({"type": "websocket.send", "bytes": data})

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye; nothing is wrong where the client was faster. A reason has room for 123 bytes."""
        try:
            await self._put({"type": "websocket.close", "code": code, "reason": reason[:100]})
        except Gone:
            return

    async def _put(self, message: MutableMapping[str, Any]) -> None:
        async with self._turn:
            try:
                await self._send(message)
            except OSError as error:
                raise Gone from error


async def send_response(response: Response, method: str, receive: Receive, send: Send) -> None:
    """Answer a request."""
    await send({"type": "http.response.start", "status": response.status, "headers": _head(response)})
    if response.stream is None:
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else response.body})
        return
    await _stream(response, receive, send)


def _head(response: Response) -> list[tuple[bytes, bytes]]:
    headers = {"Cache-Control": "no-cache, private", **response.headers}
    if response.content_type:
        headers["Content-Type"] = response.content_type
    if response.stream is None and response.status not in (204, 304):
        headers["Content-Length"] = str(len(response.body))
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


async def _stream(response: Response, receive: Receive, send: Send) -> None:
    """Send pieces until the stream ends, the client leaves, or it reads nothing for too long."""
    assert response.stream is not None
    sending = asyncio.ensure_future(_pieces(response, send))
    leaving = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (sending, leaving):
            task.cancel()
        await asyncio.gather(sending, leaving, return_exceptions=True)
        await response.stream.aclose()  # type: ignore[attr-defined]


async def _pieces(response: Response, send: Send) -> None:
    assert response.stream is not None
    async for piece in response.stream:
        async with asyncio.timeout(PATIENCE):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
