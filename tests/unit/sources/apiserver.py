"""A small API server on loopback for tests: lists in pages, and every refusal that a list can meet."""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]


@dataclass
class ApiServer:
    """What the server holds by path (`/api/v1/pods`), what it refuses (path to status), and what it was asked.

    A continue token names the offset, as a real one names a key; `expired` tokens are answered with 410. Everything is
    answered after `delay` seconds and with `headers`; half of it is missing where it is `cut`. `busy` is how many
    requests are put off with 429, `everywhere` the one answer to anything.
    """

    objects: dict[str, list[Json]] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    raw: dict[str, bytes] = field(default_factory=dict)
    expired: bool = False
    token: str = ""
    delay: float = 0.0
    cut: bool = False
    busy: int = 0
    everywhere: tuple[int, bytes] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, target: str, authorization: str | None) -> tuple[int, bytes]:
        """(status, body) of a GET."""
        self.requests.append(target)
        parts = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if self.everywhere:
            return self.everywhere
        if self.busy:
            self.busy -= 1
            return _status(429, "too many requests")
        if self.token and authorization != f"Bearer {self.token}":
            return _status(401, "Unauthorized")
        if parts.path in self.raw:
            return 200, self.raw[parts.path]
        if code := self.refused.get(parts.path):
            return _status(code, f'{parts.path.rpartition("/")[2]} is refused: User "u" cannot list it')
        if parts.path not in self.objects:
            return 404, b"404 page not found\n"
        return self._list(self.objects[parts.path], query)

    def _list(self, items: list[Json], query: dict[str, str]) -> tuple[int, bytes]:
        begin = int(base64.b64decode(query["continue"])) if "continue" in query else 0
        if begin and self.expired:
            return _status(410, "The provided continue parameter is too old")
        end = begin + int(query.get("limit", len(items)))
        following = base64.b64encode(str(end).encode()).decode() if end < len(items) else ""
        metadata = {"resourceVersion": "7", **({"continue": following} if following else {})}
        return 200, json.dumps({"kind": "List", "metadata": metadata, "items": items[begin:end]}).encode()


def _status(code: int, message: str) -> tuple[int, bytes]:
    return code, json.dumps({"kind": "Status", "status": "Failure", "message": message, "code": code}).encode()


@contextlib.contextmanager
def serving(server: ApiServer, tls: ssl.SSLContext | None = None) -> Iterator[ApiServer]:
    """Serve on a free port of loopback until the block ends, over TLS where a context is given."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(server.delay)
            status, body = server.answer(self.path, self.headers.get("Authorization"))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            for name, value in server.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if server.cut else body)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with listening(Handler, tls) as url:
        server.url = url
        yield server


@contextlib.contextmanager
def listening(handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None) -> Iterator[str]:
    """Answer on a free port of loopback until the block ends; the URL."""

    class Listening(ThreadingHTTPServer):
        daemon_threads = True

        def finish_request(self, request: Any, client_address: Any) -> None:
            """Shake hands in the connection's own thread; a client that refuses ends its connection alone."""
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                wrapped = tls.wrap_socket(request, server_side=True) if tls else request
                super().finish_request(wrapped, client_address)
                wrapped.close()

    with Listening(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join(5)


def kubeconfig(
    path: Path,
    url: str,
    token: str = "",
    namespace: str = "shop",
    context: str = "test",
    *,
    cluster: Json | None = None,
    user: Json | None = None,
) -> Path:
    """Write a kubeconfig of one context; `cluster` and `user` are fields besides the server and the token."""
    path.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": context,
        "clusters": [{"name": f"{context}-c", "cluster": {"server": url, **(cluster or {})}}],
        "users": [{"name": f"{context}-u", "user": {**({"token": token} if token else {}), **(user or {})}}],
        "contexts": [{
            "name": context,
            "context": {"cluster": f"{context}-c", "user": f"{context}-u", "namespace": namespace},
        }],
    }))  # fmt: skip
    return path
