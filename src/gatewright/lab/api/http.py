"""The ASGI application: headers, token, body and stream on the one side, `App` on the other.

Written on the bare protocol: paths, names and negotiation are the API's own, so a web framework would only stand
between.
Whatever goes wrong inside is logged and answered with a Status of 500; the process goes on.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from gatewright.kubeapi.decoding import LARGEST_BODY
from gatewright.kubeapi.failure import Failure, fail, no_such_resource
from gatewright.lab.api.app import App
from gatewright.lab.api.exchange import Request, Response, refusal
from gatewright.lab.api.options import pairs, parameters
from gatewright.lab.api.routes import route, segments
from gatewright.lab.api.streams import MOST_ARGUMENTS

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PATIENCE = 60.0
"""Seconds that a client of a stream may read nothing before its connection is closed."""
_log = logging.getLogger(__name__)


class Gone(Exception):
    """The client closed the connection."""


class HTTP:
    """One callable for the server that speaks HTTP."""

    def __init__(self, app: App, token: str) -> None:
        self._app = app
        self._authorization = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
            return
        try:
            response = await self._answer(scope, receive)
        except Failure as refused:
            response = refusal(refused.status)
        except Gone:
            return
        except Exception:  # noqa: BLE001 - the last line: a bug costs one request, and says so
            _log.exception("%s %s", scope["method"], scope["path"])
            status = fail(500, "an error on the server has prevented the request from succeeding").status
            response = refusal(status)
        await _send(response, scope["method"], receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        headers = self._admitted(scope)
        body = await _body(receive)
        parts = segments(scope.get("raw_path") or b"")
        query = parameters(scope["query_string"])
        return await self._app.answer(Request(scope["method"], parts, query, headers, body))

    def _admitted(self, scope: Scope) -> dict[str, str]:
        """The headers of a request that shows the token. Raises Failure (401)."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        given = headers.get("authorization", "").encode("latin-1")
        if not hmac.compare_digest(given, self._authorization):
            raise fail(401, "Unauthorized")
        return headers

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        try:
            self._admitted(scope)
            found = route(segments(scope.get("raw_path") or b""))
            if found is None or found.target is None or found.target.resource.kind != "Pod":
                raise no_such_resource()
            query = pairs(scope["query_string"], MOST_ARGUMENTS)
            opened = self._app.streams.open(found.target, query, list(scope.get("subprotocols") or ()))
        except Failure as refused:
            await _deny(refusal(refused.status), send)
            return
        await send({"type": "websocket.accept", "subprotocol": opened.protocol})
        await opened.serve(receive, send)


async def _deny(response: Response, send: Send) -> None:
    """Answer a WebSocket's opening as any other request that is refused."""
    headers = [(b"content-type", response.content_type.encode()), (b"content-length", str(len(response.body)).encode())]
    await send({"type": "websocket.http.response.start", "status": response.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": response.body})


async def _body(receive: Receive) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        piece = message.get("body", b"")
        size += len(piece)
        if size > LARGEST_BODY:
            raise fail(413, f"Request entity too large: limit is {LARGEST_BODY}")
        pieces.append(piece)
        if not message.get("more_body"):
            return b"".join(pieces)


async def _send(response: Response, method: str, receive: Receive, send: Send) -> None:
    headers = {"Cache-Control": "no-cache, private", **response.headers}
    if response.content_type:
        headers["Content-Type"] = response.content_type
    if response.stream is None and response.status not in (204, 304):
        headers["Content-Length"] = str(len(response.body))
    encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": response.status, "headers": encoded})
    if response.stream is None:
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else response.body})
        return
    await _stream(response, receive, send)


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
