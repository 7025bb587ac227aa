"""An API server on loopback that can be watched: real sockets, real TLS, and every way in which a watch goes wrong."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.unit.kubeapi.store import EXPIRED, Store, bookmark, line
from tests.unit.sources.apiserver import listening

PODS = "/api/v1/pods"


@dataclass
class WatchServer:
    """Stores by path, and what goes wrong.

    `created` are the paths and objects of POST requests. `answers` are given instead to the next requests: (status,
    headers, body). `token` is the one that is accepted. `lingers` leaves a watch open that has told its last. `cut` are
    numbers of bytes after which the next watches break off, in the middle of whatever it is.
    """

    stores: dict[str, Store] = field(default_factory=dict)
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    cut: list[int] = field(default_factory=list)
    lingers: bool = False
    token: str = ""
    bookmarks: float = 60.0
    requests: list[str] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)
    url: str = ""
    closing: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)
    expired: int = 0
    created: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @contextlib.contextmanager
    def change(self, path: str = PODS) -> Iterator[Store]:
        """Change a store; those who watch it hear of it when the block ends."""
        with self.changed:
            yield self.stores[path]
            self.changed.notify_all()

    def drop(self) -> None:
        """Break off every watch."""
        with self.changed:
            self.expired += 1
            self.changed.notify_all()

    def watches(self, path: str = PODS) -> list[str]:
        """The watches that were asked for."""
        return [one for one in self.requests if urlsplit(one).path == path and "watch=1" in one]

    def lists(self, path: str = PODS) -> list[str]:
        """The pages that were asked for."""
        return [one for one in self.requests if urlsplit(one).path == path and "watch=1" not in one]


@contextlib.contextmanager
def watched(server: WatchServer, tls: ssl.SSLContext | None = None) -> Iterator[WatchServer]:
    """Serve on a free port of loopback until the block ends."""

    class Handler(_Handler):
        model = server

    with listening(Handler, tls) as url:
        server.url = url
        try:
            yield server
        finally:
            server.closing = True
            server.drop()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    model: WatchServer

    def do_GET(self) -> None:
        server = self.model
        with server.changed:
            server.requests.append(self.path)
            server.agents.add(self.headers.get("User-Agent", ""))
            given = server.answers.pop(0) if server.answers else None
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if given:
            self.whole(*given)
        elif server.token and self.headers.get("Authorization") != f"Bearer {server.token}":
            self.whole(401, {}, b'{"kind":"Status","message":"Unauthorized","reason":"Unauthorized","code":401}')
        elif any(path.startswith(f"{parts.path}/") for path in server.stores) and parts.path.startswith("/apis/"):
            versions = {path.split("/")[3] for path in server.stores if path.startswith(f"{parts.path}/")}
            self.whole(200, {}, json.dumps({"versions": [{"version": one} for one in sorted(versions)]}).encode())
        elif parts.path not in server.stores:
            self.whole(404, {}, b"404 page not found\n")
        elif "watch" in query:
            self.stream(server.stores[parts.path], query)
        else:
            with server.changed:
                code, body = server.stores[parts.path].page(query)
            self.whole(code, {}, json.dumps(body).encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.model.created.append((self.path, json.loads(body)))
        self.whole(201, {}, body)

    def whole(self, code: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(code)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def stream(self, store: Store, query: dict[str, str]) -> None:
        """A watch, in chunks, until its time is over or it is broken off."""
        server = self.model
        with server.changed:
            code, lines, version = store.watch(query)
            left = server.cut.pop(0) if server.cut else None
            generation = server.expired
        if code != 200:
            self.whole(code, {}, b"".join(lines))
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = True
        end = time.monotonic() + float(query.get("timeoutSeconds", 60))
        while True:
            data = b"".join(lines)
            if left is not None and len(data) >= left:
                self.chunk(data[:left])
                return
            left = None if left is None else left - len(data)
            self.chunk(data)
            if not version:
                self.linger(generation)
                break
            with server.changed:
                pause = min(end - time.monotonic(), server.bookmarks)
                server.changed.wait_for(partial(self.due, store, version, generation), pause)
                if server.expired != generation:
                    return
                if store.compacted > version:
                    lines, version = [line("ERROR", EXPIRED)], 0
                elif store.version > version:
                    lines = [line(kind, item) for at, kind, item in store.events if at > version]
                    version = store.version
                elif time.monotonic() >= end:
                    break
                else:
                    lines = [bookmark(version)]
        self.wfile.write(b"0\r\n\r\n")

    def linger(self, generation: int) -> None:
        """Stay silent until the watch is broken off, where that is wanted."""
        server = self.model
        with server.changed:
            server.changed.wait_for(lambda: not server.lingers or server.expired != generation)

    def due(self, store: Store, version: int, generation: int) -> bool:
        """Whether there is something to say."""
        return store.version > version or self.model.expired != generation

    def chunk(self, data: bytes) -> None:
        if data:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""
