"""exec, attach, logs and port-forward: checked as an API server does it, then carried to the kubelet of the node.

Messages pass one by one, each side waiting for the other, so that nothing piles up here.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import quote, urlencode

from gatewright.kubeapi import failure
from gatewright.kubeapi.failure import Failure, bad_request, fail
from gatewright.lab.api.exchange import Request, Response
from gatewright.lab.api.kubelets import Kubelets, plain_failure
from gatewright.lab.api.options import flag
from gatewright.lab.api.resources import Tree
from gatewright.lab.api.verbs import Target, Verbs
from gatewright.lab.asgi import Gone, WebSocket
from gatewright.lab.kubelet.client import Answer, Connection, Kubelet, Refused
from gatewright.lab.kubelet.logs import timestamp
from gatewright.objects.decode import Fault

STREAMS = frozenset(("exec", "attach", "portforward"))
"""Subresources that are opened by a WebSocket."""
MOST_PARAMETERS = 1_000
MOST_STREAMS = 500
UPGRADE_REQUIRED = "Upgrade request required"
_LARGEST = 2**63 - 1


class Streams:
    """Opens the streams of pods."""

    def __init__(self, verbs: Verbs, kubelets: Kubelets) -> None:
        self._verbs, self._kubelets = verbs, kubelets
        self._open = 0
        self._logs: set[Answer] = set()

    async def websocket(self, target: Target, query: Sequence[tuple[str, str]], websocket: WebSocket) -> None:
        """Serve a WebSocket to its end. Raises Failure before it is accepted, Gone."""
        if target.subresource not in STREAMS:
            raise failure.no_such_resource()
        if self._open >= MOST_STREAMS:
            raise fail(429, f"there are {MOST_STREAMS} streams already: end some", "TooManyRequests")
        self._open += 1
        try:
            kubelet, path = await self._location(target, query)
            connection = await _opened(kubelet, path, websocket.offered)
            try:
                await _relay(websocket, connection)
            finally:
                connection.close()
        finally:
            self._open -= 1

    async def refuse(self, target: Target, request: Request) -> Failure:
        """Why what asks for a stream by plain HTTP, or by SPDY, gets none. Raises Failure.

        kubectl asks by SPDY what was refused by WebSocket, and shows the second answer: it has to be the first one's.
        """
        kubelet, path = await self._location(target, list(request.query.items()))
        try:
            (await _got(kubelet, path)).close()
        except Refused as refused:
            if refused.words != UPGRADE_REQUIRED:
                return _refusal(refused)
        if "upgrade" in request.headers:
            return failure.not_implemented(f"{target.subresource} by SPDY, which kubectl speaks before 1.31,")
        return bad_request(UPGRADE_REQUIRED)

    async def logs(self, target: Target, query: Mapping[str, str]) -> Response:
        """What a container printed. Raises Failure."""
        pod = self._verbs.get(target).tree()
        wanted = _log_parameters(target.name, query)
        container = container_of(pod, query.get("container", ""))
        node = pod["spec"].get("nodeName")
        if not node:
            return Response(204, content_type="")
        kubelet = await self._kubelets.of(node)
        path = _path("containerLogs", target.namespace, target.name, container, parameters=wanted)
        try:
            answer = await _got(kubelet, path, f"https://{kubelet.address}")
        except Refused as refused:
            if refused.code == 404:
                raise fail(
                    404, f"the server could not find the requested resource ( pods/log {target.name})"
                ) from refused
            raise _refusal(refused) from refused
        return Response(200, content_type="text/plain", stream=self._pieces(answer))

    async def _pieces(self, answer: Answer) -> AsyncIterator[bytes]:
        self._logs.add(answer)
        try:
            async for piece in answer.body():
                yield piece
        finally:
            self._logs.discard(answer)
            answer.close()

    def end(self) -> None:
        """End the logs that are followed; WebSockets end with their server."""
        for answer in self._logs:
            answer.close()

    async def _location(self, target: Target, query: Sequence[tuple[str, str]]) -> tuple[Kubelet, str]:
        """The kubelet to ask, and how."""
        pod = self._verbs.get(target).tree()
        values = dict(reversed(query))
        names = [target.namespace, target.name]
        wanted: list[tuple[str, str]] = []
        if target.subresource != "portforward":
            names.append(container_of(pod, values.get("container", "")))
            theirs = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
            wanted = [(theirs[name], "1") for name in theirs if flag(values, name)]
        if target.subresource == "exec":
            wanted += [("command", value) for name, value in query if name == "command"]
        node = pod["spec"].get("nodeName")
        if not node:
            raise bad_request(f"pod {target.name} does not have a host assigned")
        what = {"portforward": "portForward"}.get(target.subresource, target.subresource)
        return await self._kubelets.of(node), _path(what, *names, parameters=wanted)


def container_of(pod: Tree, wanted: str) -> str:
    """The container that is meant. Raises Failure (400)."""
    spec, name = pod["spec"], pod["metadata"]["name"]
    fields = ("containers", "initContainers", "ephemeralContainers")
    named = {part: [str(one["name"]) for one in spec.get(part) or ()] for part in fields}
    if wanted:
        if not any(wanted in names for names in named.values()):
            raise bad_request(f"container {wanted} is not valid for pod {name}")
        return wanted
    if len(named["containers"]) == 1:
        return named["containers"][0]
    said = f"a container name must be specified for pod {name}, choose one of: [{' '.join(named['containers'])}]"
    if named["initContainers"]:
        said += f" or one of the init containers: [{' '.join(named['initContainers'])}]"
    raise bad_request(said)


def _path(*names: str, parameters: Sequence[tuple[str, str]]) -> str:
    return "/" + "/".join(quote(name, safe="") for name in names) + "?" + urlencode(parameters)


def _log_parameters(name: str, query: Mapping[str, str]) -> list[tuple[str, str]]:
    """The kubelet's parameters for core/v1 PodLogOptions. Raises Failure."""
    faults: list[Fault] = []
    tail = _at_least(query, "tailLines", 0, "must be greater than or equal to 0", faults)
    limit = _at_least(query, "limitBytes", 1, "must be greater than 0", faults)
    seconds = _at_least(query, "sinceSeconds", 1, "must be greater than 0", faults)
    since = _time(query.get("sinceTime", ""))
    stream = query.get("stream", "")
    if seconds is not None and since:
        faults.append(Fault((), "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"))
    if stream not in ("", "All", "Stdout", "Stderr"):
        faults.append(Fault(("stream",), f'Unsupported value: "{stream}": supported values: "All", "Stderr", "Stdout"'))
    if faults:
        raise failure.invalid("PodLogOptions", "", name, faults)
    if seconds is not None:
        since = timestamp(max(0, time.time_ns() - seconds * 1_000_000_000))
    given = {"tailLines": tail, "limitBytes": limit, "sinceTime": since, "stream": stream}
    flags = [(part, "true") for part in ("follow", "previous", "timestamps") if flag(query, part)]
    return flags + [(part, str(value)) for part, value in given.items() if value not in (None, "")]


def _at_least(query: Mapping[str, str], name: str, least: int, words: str, faults: list[Fault]) -> int | None:
    text = query.get(name, "")
    if not text:
        return None
    if not text.lstrip("-").isascii() or not text.removeprefix("-").isdigit() or len(text) > 19 or int(text) > _LARGEST:
        raise bad_request(f'strconv.ParseInt: parsing "{text[:40]}": invalid syntax')
    if int(text) < least:
        faults.append(Fault((name,), f"Invalid value: {int(text)}: {words}"))
    return int(text)


def _time(text: str) -> str:
    if not text:
        return ""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError("no time zone")
        whole = moment.replace(microsecond=0).astimezone(UTC)
        return timestamp(int(whole.timestamp()) * 1_000_000_000 + moment.microsecond * 1000)
    except (ValueError, OverflowError) as error:
        raise bad_request(f'parsing time "{text[:40]}" as "2006-01-02T15:04:05Z07:00": cannot parse') from error


async def _opened(kubelet: Kubelet, path: str, protocols: Sequence[str]) -> Connection:
    try:
        return await kubelet.open(path, protocols)
    except Refused as refused:
        raise _refusal(refused) from refused
    except (OSError, Gone) as error:
        raise plain_failure(f"error dialing backend: {_why(kubelet, error)}") from error


async def _got(kubelet: Kubelet, path: str, url: str = "") -> Answer:
    try:
        return await kubelet.get(path)
    except OSError as error:
        said = f'Get "{url}{path.partition("?")[0]}": ' if url else "error dialing backend: "
        raise plain_failure(said + _why(kubelet, error)) from error


def _why(kubelet: Kubelet, error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"tls: failed to verify certificate: {error.verify_message}"
    if isinstance(error, ConnectionRefusedError):
        return f"dial tcp {kubelet.address}: connect: connection refused"
    if isinstance(error, TimeoutError):
        return f"dial tcp {kubelet.address}: i/o timeout"
    return f"dial tcp {kubelet.address}: {getattr(error, 'strerror', None) or 'EOF'}"


def _refusal(refused: Refused) -> Failure:
    code = refused.code if 400 <= refused.code < 600 else 502
    words = refused.words or f"the kubelet answers {refused.code}"
    return fail(code, f"Internal error occurred: {words}" if code == 500 else words)


async def _relay(websocket: WebSocket, connection: Connection) -> None:
    """Carry messages until one side ends; the kubelet's last word is the client's."""
    await websocket.accept(connection.protocol)
    rising = asyncio.ensure_future(_up(websocket, connection))
    falling = asyncio.ensure_future(_down(websocket, connection))
    try:
        await asyncio.wait((rising, falling), return_when=asyncio.FIRST_COMPLETED)
        if falling.done():
            code = connection.code if connection.code in (1000, 1002) else 1011
            await websocket.close(code, connection.reason)
    finally:
        for task in (rising, falling):
            task.cancel()
        await asyncio.gather(rising, falling, return_exceptions=True)


async def _up(websocket: WebSocket, connection: Connection) -> None:
    """To the kubelet, until the client leaves. Of a kubelet that is gone, `_down` hears too, and says how it went."""
    while True:
        data = await websocket.receive()
        with contextlib.suppress(Gone):
            await connection.send(data)


async def _down(websocket: WebSocket, connection: Connection) -> None:
    while True:
        await websocket.send(await connection.receive())
