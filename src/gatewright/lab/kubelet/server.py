"""The kubelet's server: /exec, /attach, /portForward and /containerLogs for the API endpoint, and for nobody else.

Paths and parameters are those of the real one (k8s.io/kubernetes, pkg/kubelet/server). Whoever comes without the
endpoint's client certificate does not get past TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gatewright.kubeapi import channels
from gatewright.kubeapi.failure import Failure, bad_request, fail
from gatewright.kubeapi.spdy import PROTOCOL as SPDY
from gatewright.lab.api.exchange import TEXT, Response
from gatewright.lab.api.options import flag, number, pairs
from gatewright.lab.api.routes import segments
from gatewright.lab.asgi import Gone, Receive, Scope, Send, WebSocket, send_response
from gatewright.lab.kubelet.containers import CannotStart, Container, Containers, Missing
from gatewright.lab.kubelet.forwarding import Forwarding
from gatewright.lab.kubelet.keys import server_keys
from gatewright.lab.kubelet.logs import LogOptions, read_log
from gatewright.lab.kubelet.sessions import converse
from gatewright.lab.web import listen, serving

MOST_PARAMETERS = 1_100
MOST_STREAMS = 500
UPGRADE_REQUIRED = "Upgrade request required"
_log = logging.getLogger(__name__)


class Kubelet:
    """The ASGI application. Errors are plain text, as the API server expects them."""

    def __init__(self, containers: Containers) -> None:
        self._containers = containers
        self._streams = 0
        self._over = False

    def end(self) -> None:
        """End the logs that are followed; WebSockets end with their server."""
        self._over = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        websocket = WebSocket(scope, receive, send) if scope["type"] == "websocket" else None
        if websocket is not None:
            await receive()
        try:
            if self._streams >= MOST_STREAMS:
                raise fail(429, f"there are {MOST_STREAMS} streams already: end some", "TooManyRequests")
            self._streams += 1
            try:
                await self._answer(scope, websocket, receive, send)
            finally:
                self._streams -= 1
        except Gone:
            return
        except Failure as error:
            refusal = Response(error.status.code, str(error).encode(), TEXT)
            if websocket is not None:
                await websocket.refuse(refusal)
            else:
                await send_response(refusal, scope["method"], receive, send)

    async def _answer(self, scope: Scope, websocket: WebSocket | None, receive: Receive, send: Send) -> None:
        what, *names = segments(scope.get("raw_path") or b"")
        query = pairs(scope["query_string"], MOST_PARAMETERS)
        values = dict(reversed(query))
        if websocket is None:
            if what == "healthz":
                response = Response(200, b"ok", TEXT)
            elif what == "containerLogs" and len(names) == 3 and scope["method"] == "GET":
                response = self._logs(self._find(names), values)
            elif what in ("exec", "attach") and len(names) == 3:
                self._running(names)
                raise bad_request(UPGRADE_REQUIRED)
            elif what == "portForward" and len(names) == 2:
                raise bad_request(UPGRADE_REQUIRED)
            else:
                raise fail(404, "404 page not found")
            await send_response(response, scope["method"], receive, send)
        elif what in ("exec", "attach") and len(names) == 3:
            command = tuple(value for name, value in query if name == "command")
            await self._converse(websocket, what, names, values, command)
        elif what == "portForward" and len(names) == 2:
            await self._forward(websocket, *names)
        else:
            raise fail(404, "404 page not found")

    def _find(self, names: list[str]) -> Container:
        try:
            return self._containers.find(*names)
        except Missing as error:
            raise fail(404, str(error)) from error

    def _running(self, names: list[str]) -> Container:
        container = self._find(names)
        if not container.running:
            raise fail(500, f'container not found ("{names[2]}")')
        return container

    async def _converse(
        self, websocket: WebSocket, what: str, names: list[str], values: Mapping[str, str], command: tuple[str, ...]
    ) -> None:
        wanted = {part: flag(values, part) for part in ("input", "output", "error", "tty")}
        if not (wanted["input"] or wanted["output"] or wanted["error"]):
            raise bad_request("you must specify at least 1 of stdin, stdout, stderr")
        if what == "exec" and not command:
            raise bad_request("you must specify at least 1 command for the container")
        protocol = channels.chosen(websocket.offered)
        if protocol is None:
            raise _no_protocol(websocket, f"{channels.V5} {channels.V4}")
        container = self._running(names)
        await websocket.accept(protocol)
        try:
            if what == "exec":
                started = container.start(command, stdin=wanted["input"], terminal=wanted["tty"])
            else:
                started = container.attach(stdin=wanted["input"])
        except CannotStart as error:
            await websocket.send(channels.failed(f"error executing command in container: {error}"))
            await websocket.close()
            return
        printed = {channels.STDOUT: wanted["output"], channels.STDERR: wanted["error"]}
        await converse(websocket, protocol, started, frozenset(one for one, asked in printed.items() if asked))

    async def _forward(self, websocket: WebSocket, namespace: str, pod: str) -> None:
        if SPDY not in websocket.offered:
            raise _no_protocol(websocket, SPDY)

        async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            return await asyncio.open_connection(sock=await self._containers.connect(namespace, pod, port))

        await websocket.accept(SPDY)
        await Forwarding(websocket, f"pod {pod}", connect).run()

    def _logs(self, container: Container, values: Mapping[str, str]) -> Response:
        previous = flag(values, "previous")
        options = LogOptions(
            flag(values, "follow") and not previous,
            flag(values, "timestamps"),
            number(values, "tailLines"),
            values.get("sinceTime", ""),
            number(values, "limitBytes"),
            {"Stdout": "stdout", "Stderr": "stderr"}.get(values.get("stream", ""), ""),
        )
        try:
            pieces = read_log(container.log(previous=previous), options, lambda: container.running and not self._over)
        except Missing as error:
            raise bad_request(str(error)) from error
        return Response(200, content_type="text/plain", stream=pieces)


def _no_protocol(websocket: WebSocket, spoken: str) -> Failure:
    offered = " ".join(websocket.offered)[:200]
    return fail(403, f"unable to negotiate protocol: client supports [{offered}], server accepts [{spoken}]")


@dataclass(frozen=True, slots=True)
class Running:
    """A kubelet that serves."""

    address: str
    port: int

    @property
    def node_status(self) -> dict[str, object]:
        """What its Node object says about where it is (core/v1 NodeStatus)."""
        return {
            "addresses": [{"type": "InternalIP", "address": self.address}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self.port}},
        }


@contextlib.asynccontextmanager
async def running(
    containers: Containers,
    folder: Path,
    addresses: Sequence[str] = ("127.0.0.1",),
    port: int = 0,
    keys: Path | None = None,
) -> AsyncIterator[Running]:
    """A kubelet at these addresses until the block ends, for the endpoint whose state is in a folder.

    Port 0 takes one that is free. Its keys are kept in the folder `keys`, or beside the endpoint's. Raises LabError.
    """
    made = await asyncio.to_thread(server_keys, folder, addresses, keys)
    listening: list[socket.socket] = []
    try:
        for address in addresses:
            listening.append(listen(address, port))
            port = listening[0].getsockname()[1]
        app = Kubelet(containers)
        async with serving(app, listening, made):
            yield Running(addresses[0], port)
            app.end()
    finally:
        for one in listening:
            one.close()
