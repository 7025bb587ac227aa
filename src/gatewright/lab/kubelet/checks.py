"""Asking a container: the handlers of probes and hooks, from the node, as a kubelet asks (core/v1 ProbeHandler)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from gatewright.lab.api.resources import Tree
from gatewright.lab.errors import LabError
from gatewright.lab.kubelet.client import Answer
from gatewright.lab.kubelet.containers import Containers, Conversation
from gatewright.lab.kubelet.podspec import port_number

_MOST_OUTPUT = 10 * 1024
_LINGER = 0.2
"""Seconds that output may still come from others when the program itself has ended."""
_AGENT = "kube-probe/1.34"


class Failed(LabError):
    """The answer is no; the text says why, as a kubelet says it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Who is asked: a container of a pod, and where."""

    namespace: str
    pod: str
    container: Tree
    addresses: Sequence[str]

    @property
    def address(self) -> str:
        """The pod's first address."""
        return next(iter(self.addresses), "127.0.0.1")

    def port(self, port: int | str) -> int:
        """A port by number or name. Raises Failed."""
        number = port_number(self.container, port)
        if number is None:
            raise Failed(f"couldn't find port: \"{port}\" in the container's ports")
        return number


async def ask(containers: Containers, asked: Asked, action: Tree, timeout: float) -> None:
    """Run a handler. Raises Failed."""
    try:
        async with asyncio.timeout(timeout):
            if request := action.get("httpGet"):
                await _http(asked, request)
            elif tcp := action.get("tcpSocket"):
                await connects(tcp.get("host") or asked.address, asked.port(tcp["port"]))
            elif program := action.get("exec"):
                await _program(containers, asked, program.get("command") or ())
            elif pause := action.get("sleep"):
                await asyncio.sleep(float(pause.get("seconds") or 0))
    except TimeoutError as error:
        raise Failed(f"no answer within {timeout:g} s: context deadline exceeded") from error


async def connects(address: str, port: int) -> None:
    """Connect, and hang up. Raises Failed."""
    place = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    try:
        _, writer = await asyncio.open_connection(address, port)
    except OSError as error:
        raise Failed(f"dial tcp {place}: connect: {(error.strerror or str(error)).lower()}") from error
    writer.transport.abort()


async def _http(asked: Asked, request: Tree) -> None:
    host, port = request.get("host") or asked.address, asked.port(request["port"])
    secure = str(request.get("scheme") or "HTTP").upper() == "HTTPS"
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    headers = {"Host": place, "User-Agent": _AGENT, "Accept": "*/*", "Connection": "close"}
    headers |= {str(one["name"]).title(): str(one.get("value") or "") for one in request.get("httpHeaders") or ()}
    path = str(request.get("path") or "/")
    head = f"GET {path if path.startswith('/') else '/' + path} HTTP/1.1\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    url = f"{'https' if secure else 'http'}://{place}{path}"
    try:
        reader, writer = await asyncio.open_connection(host, port, ssl=_careless() if secure else None)
        answer = Answer(reader, writer)
        try:
            writer.write(head.encode())
            code = await answer.status()
        finally:
            answer.close()
    except OSError as error:
        raise Failed(f'Get "{url}": {error.strerror or error}') from error
    if not 200 <= code < 400:
        raise Failed(f"HTTP probe failed with statuscode: {code}")


def _careless() -> ssl.SSLContext:
    """TLS as probes speak it: whatever certificate the container shows is good."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _program(containers: Containers, asked: Asked, command: Sequence[str]) -> None:
    if not command:
        raise Failed("exec without a command")
    try:
        container = containers.find(asked.namespace, asked.pod, str(asked.container["name"]))
        conversation = container.start(command, stdin=False, terminal=False)
    except LabError as error:
        raise Failed(str(error)) from error
    heard = asyncio.ensure_future(_output(conversation))
    try:
        code = await conversation.wait()
        await asyncio.wait((heard,), timeout=_LINGER)
        if code:
            said = heard.result() if heard.done() else ""
            raise Failed(said.strip() or f"command ended with exit code {code}")
    finally:
        heard.cancel()
        await asyncio.gather(heard, return_exceptions=True)
        conversation.release()


async def _output(conversation: Conversation) -> str:
    pieces: list[bytes] = []

    async def copy(channel: int) -> None:
        while data := await conversation.outputs[channel].read():
            if sum(map(len, pieces)) < _MOST_OUTPUT:
                pieces.append(data)

    await asyncio.gather(*(copy(channel) for channel in conversation.outputs))
    return b"".join(pieces)[:_MOST_OUTPUT].decode(errors="replace")
