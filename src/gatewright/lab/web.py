"""A server of this machine's: a socket, TLS, and uvicorn for as long as a block runs."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from asyncio import sslproto
from collections.abc import AsyncIterator, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from gatewright.lab.errors import LabError

LARGEST_MESSAGE = 1 << 20
"""Bytes of one message of a WebSocket."""
_GRACE = 2
"""Seconds that open requests have when a server stops."""


@dataclass(frozen=True, slots=True)
class Keys:
    """A server's certificate and key; where `clients` names an authority, only those whom it signed may connect."""

    certificate: Path
    key: Path
    clients: Path | None = None


sslproto.SSLProtocol.max_size = 32 * 1024
"""Bytes that asyncio sets aside for each TLS connection; its own 256 KiB are many times what a watcher ever sends."""


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs the loop, and looks at the clock once a second, not ten times as uvicorn does."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Stop serving."""
        self.should_exit = True
        self._ending.set()

    async def main_loop(self) -> None:
        """Keep the date of answers until the end."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._ending.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Nothing to capture."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes one that is free. Raises LabError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where the protocol is named: without it every answer waits 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise LabError(
            f"cannot listen on {host}:{port}: {error.strerror}; name another --port, or 0 for a free one"
        ) from error
    listening.listen(512)
    return listening


@contextlib.asynccontextmanager
async def serving(app: Any, listening: socket.socket | Sequence[socket.socket], keys: Keys) -> AsyncIterator[None]:
    """Answer on one socket or several by an ASGI application until the block ends. Raises LabError.

    No pings of the server's own: a client whose terminal is stopped answers none, and is there all the same.
    """
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="wsproto",
        ws_max_size=LARGEST_MESSAGE,
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ssl_certfile=str(keys.certificate),
        ssl_keyfile=str(keys.key),
        ssl_cert_reqs=ssl.CERT_REQUIRED if keys.clients else ssl.CERT_NONE,
        ssl_ca_certs=str(keys.clients) if keys.clients else None,
        timeout_graceful_shutdown=_GRACE,
        timeout_keep_alive=75,
    )
    server = _Server(config)
    sockets = [listening] if isinstance(listening, socket.socket) else list(listening)
    task = asyncio.get_running_loop().create_task(server.serve(sockets))
    try:
        while not server.started and not task.done():
            await asyncio.sleep(0.005)
        if task.done():
            await task
            raise LabError("the server did not start")
        yield
    finally:
        server.end()
        await task
