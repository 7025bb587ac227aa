"""Streams of pods over WebSocket as today's clients speak them: `v5.channel.k8s.io` for exec, SPDY for port-forward.

Of a channelled stream, the first byte of each message names the channel: 0 standard input, 1 output, 2 errors, 3 the
Status at the end, 4 the terminal's size; 255 says that the named channel is closed (KEP-4006).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from gatewright.kubeapi import failure
from gatewright.kubeapi.failure import Failure
from gatewright.kubeapi.spdy import PROTOCOL as SPDY
from gatewright.kubeapi.status import Status, StatusCause, StatusDetails, encode
from gatewright.lab.api.forward import Forwarding
from gatewright.lab.api.node import Execution, LogOptions, Node, NodeError
from gatewright.lab.api.options import flag, number
from gatewright.lab.api.verbs import Target, Verbs

CHANNELS = "v5.channel.k8s.io"
STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
MOST_ARGUMENTS = 1000
PIECE = 64 * 1024
"""Bytes of output in one message."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Opened:
    """A stream that a client may open: the protocol to accept, and what then speaks it."""

    protocol: str
    serve: Callable[[Receive, Send], Awaitable[None]]


class Streams:
    """Opens the streams of pods on a node."""

    def __init__(self, verbs: Verbs, node: Node | None) -> None:
        self._verbs = verbs
        self.node = node

    def open(self, target: Target, query: list[tuple[str, str]], offered: list[str]) -> Opened:
        """The stream that a WebSocket asks for. Raises Failure."""
        pod, node = self.pod(target)
        values = dict(reversed(query))
        if target.subresource == "exec":
            command = tuple(value for name, value in query if name == "command")
            if not command or len(command) > MOST_ARGUMENTS:
                raise failure.bad_request("you must specify at least 1 command for the container")
            name = container_of(pod, values.get("container", ""))
            protocol = _chosen(offered, CHANNELS)
            wanted = {part: flag(values, part) for part in ("stdin", "tty")}
            return Opened(protocol, lambda r, s: _Session(r, s).run(node, pod, name, command, **wanted))
        if target.subresource == "portforward":
            return Opened(_chosen(offered, SPDY), lambda r, s: Forwarding(node, pod, r, s).run())
        raise failure.not_implemented(f"the subresource {target.subresource} of pods")

    def pod(self, target: Target) -> tuple[Tree, Node]:
        """A pod on a node, and the node. Raises Failure."""
        pod = self._verbs.get(target).tree()
        if not pod["spec"].get("nodeName"):
            raise failure.bad_request(f"pod {target.name} does not have a host assigned")
        if self.node is None:
            raise failure.not_implemented(f"the subresource {target.subresource} of pods")
        return pod, self.node

    def logs(self, target: Target, query: dict[str, str]) -> AsyncIterator[bytes] | None:
        """What a container printed; None of a pod that is on no node. Raises Failure."""
        if not self._verbs.get(target).tree()["spec"].get("nodeName"):
            return None
        pod, node = self.pod(target)
        name = container_of(pod, query.get("container", ""))
        wanted = LogOptions(
            *(flag(query, part) for part in ("follow", "previous", "timestamps")),
            *(number(query, part) for part in ("tailLines", "sinceSeconds", "limitBytes")),
        )
        return node.logs(pod, name, wanted)

    def refuse(self, target: Target) -> Failure:
        """Why a stream cannot be opened by a plain request, or by the protocol before WebSocket. Raises Failure."""
        self.pod(target)
        return failure.not_implemented(f"{target.subresource} by anything but WebSocket")


def container_of(pod: Tree, wanted: str) -> str:
    """The container that is meant. Raises Failure (400)."""
    spec, name = pod["spec"], pod["metadata"]["name"]
    fields = ("containers", "initContainers", "ephemeralContainers")
    every = [one["name"] for part in fields for one in spec.get(part) or ()]
    if wanted:
        if wanted not in every:
            raise failure.bad_request(f"container {wanted} is not valid for pod {name}")
        return wanted
    if len(spec["containers"]) > 1:
        listed = " ".join(one["name"] for one in spec["containers"])
        raise failure.bad_request(f"a container name must be specified for pod {name}, choose one of: [{listed}]")
    first: str = spec["containers"][0]["name"]
    return first


def _chosen(offered: list[str], protocol: str) -> str:
    if protocol not in offered:
        raise failure.bad_request(f"none of the protocols {offered} is spoken here: ask for {protocol}")
    return protocol


class _Session:
    """One channelled stream."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._input: asyncio.Queue[bytes | None] = asyncio.Queue(16)
        self._sizes: asyncio.Queue[tuple[int, int]] = asyncio.Queue(8)

    async def run(
        self, node: Node, pod: Tree, container: str, command: tuple[str, ...], *, stdin: bool, tty: bool
    ) -> None:
        """Run a program; the last message is the Status that says how it ended."""
        given = self._pieces() if stdin else None
        execution = Execution(pod, container, command, tty, given, self._out(STDOUT), self._out(STDERR), self._sizes)
        running = asyncio.ensure_future(node.execute(execution))
        hearing = asyncio.ensure_future(self._hear())
        try:
            await asyncio.wait((running, hearing), return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                await self._message(ERROR, _ending(running))
                await self._send({"type": "websocket.close", "code": 1000})
        finally:
            for task in (running, hearing):
                task.cancel()
            await asyncio.gather(running, hearing, return_exceptions=True)

    async def _hear(self) -> None:
        """Pass on what the client sends until it leaves."""
        while (message := await self._receive())["type"] != "websocket.disconnect":
            data = message.get("bytes") or (message.get("text") or "").encode()
            if data[:1] == bytes([STDIN]):
                await self._input.put(data[1:])
            elif data == bytes([CLOSE, STDIN]):
                await self._input.put(None)
            elif data[:1] == bytes([RESIZE]):
                with contextlib.suppress(ValueError, KeyError, TypeError, asyncio.QueueFull):
                    size = json.loads(data[1:])
                    self._sizes.put_nowait((int(size["Width"]), int(size["Height"])))

    async def _pieces(self) -> AsyncIterator[bytes]:
        while (piece := await self._input.get()) is not None:
            if piece:
                yield piece

    def _out(self, channel: int) -> Callable[[bytes], Awaitable[None]]:
        async def write(data: bytes) -> None:
            for begin in range(0, len(data), PIECE):
                await self._message(channel, data[begin : begin + PIECE])

        return write

    async def _message(self, channel: int, data: bytes) -> None:
        await self._send({"type": "websocket.send", "bytes": bytes([channel]) + data})


def _ending(running: asyncio.Future[int]) -> bytes:
    """The Status of a program that has ended."""
    error = running.exception()
    if isinstance(error, NodeError):
        return encode(failure.fail(500, str(error)).status)
    if error is not None:
        raise error
    code = running.result()
    if code == 0:
        return encode(Status(status="Success"))
    cause = StatusCause(reason="ExitCode", message=str(code))
    message = f"command terminated with non-zero exit code: exit status {code}"
    details = StatusDetails(causes=(cause,))
    return encode(Status(status="Failure", message=message, reason="NonZeroExitCode", details=details))
