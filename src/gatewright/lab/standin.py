"""What runs in place of a container whose program is not on this machine: listeners that say who they are.

Every declared TCP and UDP port answers with one line, `NAMESPACE/POD CONTAINER PORT PROTOCOL`. A TCP client that speaks
HTTP gets the line as an HTTP/1.1 answer, any other gets it plain as soon as it has said something or been silent for a
moment. One thread, one selector; imports nothing once it serves, since its file system is the pod's by then.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass

_SILENCE = 0.2
"""Seconds after which a client that says nothing is greeted."""
_METHODS = (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ")
_MOST_CLIENTS = 1024


@dataclass(slots=True)
class _Client:
    connection: socket.socket
    line: bytes
    since: float
    heard: bytes = b""


def answer(line: bytes, heard: bytes) -> bytes | None:
    """What to send to a client that has said `heard`; None while its HTTP request is not complete."""
    if not heard.startswith(_METHODS):
        return line
    if b"\r\n\r\n" not in heard and b"\n\n" not in heard and len(heard) < 65536:
        return None
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(line)}\r\nConnection: close\r\n\r\n"
    return head.encode() if heard.startswith(b"HEAD ") else head.encode() + line


def serve(identity: str, ports: Iterable[tuple[str, int]]) -> None:
    """Listen on the ports (protocol, number) and answer for ever. Raises OSError when one cannot be bound."""
    selector = selectors.DefaultSelector()
    for protocol, number in ports:
        if protocol in ("TCP", "UDP"):
            listener = _listener(protocol, number)
            line = f"{identity} {number} {protocol}\n".encode()
            selector.register(listener, selectors.EVENT_READ, (protocol, line))
    clients: dict[socket.socket, _Client] = {}
    while True:
        for key, _ in selector.select(_SILENCE if clients else None):
            handle = key.fileobj
            assert isinstance(handle, socket.socket)
            if handle in clients:
                _hear(clients[handle])
            elif key.data[0] == "UDP":
                _reply(handle, key.data[1])
            else:
                _accept(handle, key.data[1], clients, selector)
        for client in [client for client in clients.values() if _finish(client)]:
            selector.unregister(client.connection)
            del clients[client.connection]
            client.connection.close()


def _listener(protocol: str, number: int) -> socket.socket:
    kind = socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM
    try:
        listener = socket.socket(socket.AF_INET6, kind)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        everywhere = "::"
    except OSError:
        listener = socket.socket(socket.AF_INET, kind)
        everywhere = "0.0.0.0"
    if protocol == "TCP":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((everywhere, number))
    if protocol == "TCP":
        listener.listen(1024)
    listener.setblocking(False)
    return listener


def _reply(listener: socket.socket, line: bytes) -> None:
    with contextlib.suppress(OSError):
        _, sender = listener.recvfrom(65536)
        listener.sendto(line, sender)


def _accept(
    listener: socket.socket, line: bytes, clients: dict[socket.socket, _Client], selector: selectors.BaseSelector
) -> None:
    with contextlib.suppress(OSError):
        connection, _ = listener.accept()
        connection.setblocking(False)
        if len(clients) >= _MOST_CLIENTS:
            connection.close()
            return
        clients[connection] = _Client(connection, line, time.monotonic())
        selector.register(connection, selectors.EVENT_READ)


def _hear(client: _Client) -> None:
    try:
        data = client.connection.recv(65536)
    except BlockingIOError:
        return
    except OSError:
        data = b""
    if data:
        client.heard += data
    else:
        client.since = 0.0


def _finish(client: _Client) -> bool:
    """Answer a client if it is time to; whether it is done with."""
    waited = time.monotonic() - client.since
    if not client.heard and waited < _SILENCE:
        return False
    text = answer(client.line, client.heard)
    if text is None and waited < 10:
        return False
    with contextlib.suppress(OSError):
        client.connection.sendall(text or b"")
        client.connection.shutdown(socket.SHUT_WR)
    return True
