"""The endpoint as a process: state, keys, a socket on loopback, and the order in which they come and go."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn

from gatewright.kubeapi.types import type_table
from gatewright.lab.api.allocation import Ranges
from gatewright.lab.api.app import App
from gatewright.lab.api.caretaker import Caretaker, found_cluster
from gatewright.lab.api.credentials import Credentials, credentials, write_kubeconfig
from gatewright.lab.api.http import HTTP
from gatewright.lab.api.journal import Journal
from gatewright.lab.api.node import Node
from gatewright.lab.api.store import WINDOW, Store
from gatewright.lab.api.verbs import Verbs
from gatewright.lab.errors import LabError

HOST = "127.0.0.1"
"""The endpoint is for this machine alone."""
_LARGEST_MESSAGE = 1 << 20
"""Bytes of one message of a stream."""
_GRACE = 2
"""Seconds that open requests have when the endpoint stops; watches end with it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the state is, on which port (0: a free one), where the kubeconfig goes, how many changes are remembered.

    `node` runs the pods, as far as anybody does.
    """

    data: Path
    port: int = 0
    kubeconfig: Path | None = None
    window: int = WINDOW
    ranges: Ranges = field(default_factory=Ranges)
    node: Node | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """A running endpoint."""

    url: str
    kubeconfig: Path
    verbs: Verbs
    credentials: Credentials


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs the loop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Nothing to capture."""
        yield


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Running]:
    """The endpoint until the block ends. Raises LabError when it cannot start."""
    journal = await asyncio.to_thread(Journal, settings.data)
    try:
        keys = await asyncio.to_thread(credentials, settings.data)
        listening = _listen(settings.port)
    except LabError:
        journal.close()
        raise
    store = Store(journal, settings.window)
    verbs = Verbs(store, type_table(), settings.ranges)
    caretaker = Caretaker(verbs)
    url = f"https://{HOST}:{listening.getsockname()[1]}"
    path = settings.kubeconfig or settings.data / "kubeconfig"
    try:
        await found_cluster(verbs)
        app = App(verbs, settings.node)
        async with _serving(HTTP(app, keys.token), listening, keys):
            write_kubeconfig(path, url, keys)
            yield Running(url, path, verbs, keys)
            app.end_watches()
    finally:
        await caretaker.close()
        await store.close()
        listening.close()


def _listen(port: int) -> socket.socket:
    # asyncio turns Nagle's algorithm off only where the protocol is named: without it every answer waits 40 ms.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
    except OSError as error:
        listening.close()
        raise LabError(
            f"cannot listen on {HOST}:{port}: {error.strerror}; name another --port, or 0 for a free one"
        ) from error
    listening.listen(512)
    return listening


@contextlib.asynccontextmanager
async def _serving(app: HTTP, listening: socket.socket, keys: Credentials) -> AsyncIterator[None]:
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="wsproto",
        ws_max_size=_LARGEST_MESSAGE,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ssl_certfile=str(keys.certificate),
        ssl_keyfile=str(keys.key),
        timeout_graceful_shutdown=_GRACE,
        timeout_keep_alive=75,
    )
    server = _Server(config)
    task = asyncio.get_running_loop().create_task(server.serve([listening]))
    try:
        while not server.started and not task.done():
            await asyncio.sleep(0.005)
        if task.done():
            await task
            raise LabError("the endpoint's server did not start")
        yield
    finally:
        server.should_exit = True
        await task


async def serve(settings: Settings, ready: Callable[[Running], None], stop: asyncio.Event) -> None:
    """Serve until `stop` is set; `ready` is called once requests are answered."""
    async with running(settings) as endpoint:
        ready(endpoint)
        await stop.wait()
