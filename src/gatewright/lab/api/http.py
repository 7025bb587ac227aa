"""The ASGI application: headers, token, body and stream on the one side, `App` on the other.

Written on the bare protocol: paths, names and negotiation are the API's own, so a web framework would only stand
between.
Whatever goes wrong inside is logged and answered with a Status of 500; the process goes on.
"""

from __future__ import annotations

import hmac
import logging

from gatewright.kubeapi.decoding import LARGEST_BODY
from gatewright.kubeapi.failure import Failure, fail, no_such_resource
from gatewright.lab.api.app import App
from gatewright.lab.api.exchange import Request, Response, refusal
from gatewright.lab.api.options import pairs, parameters
from gatewright.lab.api.routes import route, segments
from gatewright.lab.api.streams import MOST_PARAMETERS
from gatewright.lab.asgi import Gone, Receive, Scope, Send, WebSocket, send_response

_log = logging.getLogger(__name__)


class HTTP:
    """One callable for the server that speaks HTTP."""

    def __init__(self, app: App, token: str) -> None:
        self._app = app
        self._authorization = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "websocket":
            await self._websocket(WebSocket(scope, receive, send), scope, receive)
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
        await send_response(response, scope["method"], receive, send)

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

    async def _websocket(self, websocket: WebSocket, scope: Scope, receive: Receive) -> None:
        await receive()
        try:
            self._admitted(scope)
            found = route(segments(scope.get("raw_path") or b""))
            if found is None or found.target is None or found.target.resource.kind != "Pod":
                raise no_such_resource()
            query = pairs(scope["query_string"], MOST_PARAMETERS)
            await self._app.streams.websocket(found.target, query, websocket)
        except Failure as refused:
            await websocket.refuse(refusal(refused.status))
        except Gone:
            return


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
