"""A process inside of the lab that measures for the suite: it goes in once, and is asked through a socket.

Only there a pod's network can be joined. Measured is what `connect.measure` says; a connection that is to be kept is
opened there and handed out: a socket stays in the network it was made in, whoever holds it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import struct
import sys
import termios
import time
from collections.abc import Callable, Sequence
from typing import Any

from gatewright.errors import GatewrightError
from gatewright.probe import connect

REQUEST = b"GET / HTTP/1.1\r\nHost: held\r\n"
"""The beginning of a request: servers wait for its end, so that the connection stays open."""
_MORE = b"Still: there\r\n"
_LENGTH = struct.Struct("!I")
_OPEN_WITHIN = 2.0

Inside = Callable[[Callable[[bytes], bytes], bytes], bytes]
"""Runs a function inside of the lab, and gives what it gave."""


class WorkerFailed(GatewrightError):
    """The process inside of the lab does not answer."""


class Worker:
    """The process. It ends when this is closed, or with whoever holds it. For one thread."""

    def __init__(self, inside: Inside) -> None:
        """Start it. The calling process should have one thread: it forks."""
        self._near, far = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        self._pid = os.fork()
        if self._pid == 0:
            _serve_inside(inside, self._near, far)
        far.close()

    def measure(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """What `connect.measure` says."""
        self._tell({"measure": request})
        answer: list[dict[str, Any]] = json.loads(self._heard())
        return answer

    def hold(self, source: int, address: str, port: int) -> socket.socket:
        """A TCP connection out of the network of a process (as the lab counts), with the beginning of a request."""
        self._tell({"hold": {"source": source, "address": address, "port": port}})
        data, handles, _, _ = socket.recv_fds(self._near, 1, 1)
        if data != b"1" or not handles:
            raise WorkerFailed(f"no connection to {address} port {port}, which is to be kept, could be opened")
        return socket.socket(fileno=handles[0])

    def close(self) -> None:
        """End it."""
        self._near.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)

    def _tell(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode()
        try:
            self._near.sendall(_LENGTH.pack(len(data)) + data)
        except OSError as error:
            raise WorkerFailed(f"the process that measures in the lab is gone: {error.strerror}") from error

    def _heard(self) -> bytes:
        return _read(self._near)


def alive(connections: Sequence[socket.socket], patience: float) -> list[bool]:
    """Of each connection whether what is sent is acknowledged: the kernel at the other end has it, and said so."""
    for one in connections:
        one.setblocking(False)
        with contextlib.suppress(OSError):
            one.send(_MORE)
    until = time.monotonic() + patience
    while True:
        found = [_unacknowledged(one) == 0 for one in connections]
        if all(found) or time.monotonic() > until:
            return found
        time.sleep(0.01)


def _unacknowledged(connection: socket.socket) -> int:
    """Bytes that were sent and are not acknowledged; some, too, where the connection has failed."""
    if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        return 1
    (left,) = struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))
    return int(left)


def _serve_inside(inside: Inside, near: socket.socket, far: socket.socket) -> None:
    """The child: goes into the lab and serves, never returns."""
    code = 1
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # it ends when nobody asks any more
        near.close()
        inside(lambda _: _serve(far), b"")
        code = 0
    except GatewrightError as error:
        os.write(2, f"gatewright: {error}\n".encode())
    finally:
        os._exit(code)


def _serve(far: socket.socket) -> bytes:
    while True:
        try:
            message = json.loads(_read(far))
        except WorkerFailed:
            return b""
        if "measure" in message:
            answer = connect.measure(json.dumps(message["measure"]).encode())
            far.sendall(_LENGTH.pack(len(answer)) + answer)
        else:
            _hand_out(far, message["hold"])


def _hand_out(far: socket.socket, wanted: dict[str, Any]) -> None:
    def open_it() -> socket.socket:
        family = socket.AF_INET6 if ":" in wanted["address"] else socket.AF_INET
        opened = socket.socket(family, socket.SOCK_STREAM)
        opened.settimeout(_OPEN_WITHIN)
        opened.connect((wanted["address"], wanted["port"]))
        opened.sendall(REQUEST)
        return opened

    try:
        opened = connect.within(wanted["source"], open_it)
    except OSError:
        far.sendall(b"0")
        return
    with opened:
        socket.send_fds(far, [b"1"], [opened.fileno()])


def _read(one: socket.socket) -> bytes:
    """One message. Raises WorkerFailed where the other end has closed."""
    (length,) = _LENGTH.unpack(_exactly(one, _LENGTH.size))
    return _exactly(one, length)


def _exactly(one: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        try:
            part = one.recv(min(1 << 20, size - len(data)))
        except OSError:
            part = b""
        if not part:
            raise WorkerFailed("the process that measures in the lab is gone; is the lab still up?")
        data += part
    return bytes(data)
