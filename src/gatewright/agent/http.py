"""What the agent says over HTTP: to the kubelet and Prometheus on a port, to this node's operator on a socket.

The port answers `/metrics`, `/healthz` and `/readyz` only: who talks to whom is nobody's business on the network. The
socket, mode 0600, answers `/status` and `/flows` too; `/flows?follow=true` goes on as JSON lines until the client
leaves. A thread a connection, none of which ever touches what the loop owns.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from gatewright.agent.flows import Flow, Flows
from gatewright.agent.status import AgentStatus
from gatewright.errors import GatewrightError

IDLE = 10.0
"""Seconds a client may take with its request, and between two flows before one looks whether it is still there."""
MOST_CONNECTIONS = 32
PAUSE = 0.1
"""Seconds after a connection that could not be taken: out of descriptors, or gone before it was there."""


class CannotListen(GatewrightError):
    """The port or the socket cannot be had."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where answers come from. `alive`: whether the loop has turned lately."""

    status: Callable[[], AgentStatus]
    alive: Callable[[], bool]
    registry: CollectorRegistry
    flows: Flows


class _Handler(BaseHTTPRequestHandler):
    """Answers GET, one request a connection."""

    server: _Serving
    timeout = IDLE
    protocol_version = "HTTP/1.1"
    server_version = "gatewright"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer, or 404."""
        parts = urlsplit(self.path)
        answers = {"/metrics": self._metrics, "/healthz": self._healthy, "/readyz": self._ready}
        if self.server.trusted:
            answers |= {"/status": self._status, "/flows": self._flows}
        answers.get(parts.path, self._unknown)()

    def log_message(self, *_: object) -> None:
        """Probes every few seconds are no news."""

    def address_string(self) -> str:
        """Clients of a socket file have no address."""
        return "local"

    def _answer(self, status: int, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _unknown(self) -> None:
        self._answer(404, b"not found\n")

    def _metrics(self) -> None:
        self._answer(200, generate_latest(self.server.sources.registry), CONTENT_TYPE_LATEST)

    def _healthy(self) -> None:
        alive = self.server.sources.alive()
        self._answer(*((200, b"ok\n") if alive else (503, b"the loop does not turn\n")))

    def _ready(self) -> None:
        status = self.server.sources.status()
        said = f"{status.state.value}{''.join(f'; {one}' for one in status.problems)}\n"
        self._answer(200 if status.ready else 503, said.encode())

    def _status(self) -> None:
        self._answer(200, msgspec.json.encode(self.server.sources.status()), "application/json")

    def _flows(self) -> None:
        """Those that are kept and an empty line; with `follow=true` all that come, until somebody leaves."""
        query = parse_qs(urlsplit(self.path).query)
        flows = self.server.sources.flows
        self.send_response(200)
        self.send_header("Content-Type", "application/jsonl")
        self.send_header("Connection", "close")
        self.end_headers()
        with flows.listening() as (kept, coming):
            for one in kept:
                self._line(one)
            self.wfile.write(b"\n")
            if query.get("follow") == ["true"]:
                self._follow(coming)

    def _follow(self, coming: queue.Queue[Flow | None]) -> None:
        while True:
            try:
                one = coming.get(timeout=1.0)
            except queue.Empty:
                if self._has_left():
                    return
                continue
            if one is None:
                return
            self._line(one)

    def _line(self, one: Flow) -> None:
        self.wfile.write(msgspec.json.encode(one) + b"\n")
        self.wfile.flush()

    def _has_left(self) -> bool:
        try:
            return not self.connection.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True


class _Serving(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A listening socket with what its handlers need."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, listener: socket.socket, sources: Sources, *, trusted: bool) -> None:
        self.sources = sources
        self.trusted = trusted
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self._closed = False
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_address = listener.getsockname()

    def accept(self) -> None:
        """Take connections until `close`; beyond what is bounded they are closed, so that no flood takes the memory.

        Blocks without looking about: the library's own loop wakes several times a second for nothing.
        """
        while not self._closed:
            try:
                request, address = self.socket.accept()
            except OSError:
                time.sleep(PAUSE)
                continue
            if self._free.acquire(blocking=False):
                self.process_request(request, address)
            else:
                self.shutdown_request(request)

    def close(self) -> None:
        """Take no more connections."""
        self._closed = True
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def process_request_thread(self, request: socket.socket, client_address: tuple[str, int]) -> None:  # type: ignore[override]
        """One connection, in its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves in the middle is no error of ours."""


class HttpServer:
    """The listeners and their threads. `close` ends them."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._serving: list[_Serving] = []
        self._paths: list[Path] = []

    def listen_on_port(self, place: str) -> int:
        """Answer on `host:port` or `:port` what anyone may know. Gives the port. Raises CannotListen."""
        host, _, port = place.rpartition(":")
        host = host.strip("[]")
        try:
            family = socket.AF_INET6 if ":" in host or not host else socket.AF_INET
            listener = socket.create_server((host, int(port)), family=family, dualstack_ipv6=not host)
        except (OSError, ValueError, OverflowError) as error:
            raise CannotListen(f"metrics address {place}: {error}; give another one with --metrics-address") from error
        self._serve(listener, trusted=False)
        return int(listener.getsockname()[1])

    def listen_on_socket(self, path: Path) -> None:
        """Answer on a socket file everything there is to know. Raises CannotListen."""
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            if answers(path):
                raise CannotListen(f"{path}: another agent answers there; end it, or give another path with --socket")
            path.unlink(missing_ok=True)
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(path))
            path.chmod(0o600)
            listener.listen()
        except OSError as error:
            raise CannotListen(f"{path}: {error.strerror or error}; give another path with --socket") from error
        self._paths.append(path)
        self._serve(listener, trusted=True)

    def close(self) -> None:
        """Stop listening; followers are let go."""
        self._sources.flows.end()
        for one in self._serving:
            one.close()
        for path in self._paths:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def _serve(self, listener: socket.socket, *, trusted: bool) -> None:
        serving = _Serving(listener, self._sources, trusted=trusted)
        self._serving.append(serving)
        name = "socket" if trusted else "metrics"
        threading.Thread(target=serving.accept, name=name, daemon=True).start()


def answers(path: Path) -> bool:
    """Whether somebody listens on a socket file."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True
