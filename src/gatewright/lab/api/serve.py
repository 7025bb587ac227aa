"""The endpoint as a process: state, keys, a socket on loopback, and the order in which they come and go."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from gatewright.kubeapi.types import type_table
from gatewright.lab.api.allocation import Ranges
from gatewright.lab.api.app import App
from gatewright.lab.api.caretaker import Caretaker, found_cluster
from gatewright.lab.api.credentials import Credentials, credentials, write_kubeconfig
from gatewright.lab.api.http import HTTP
from gatewright.lab.api.journal import Journal
from gatewright.lab.api.kubelets import Kubelets
from gatewright.lab.api.store import WINDOW, Store
from gatewright.lab.api.verbs import Verbs
from gatewright.lab.errors import LabError
from gatewright.lab.web import Keys, listen, serving

HOST = "127.0.0.1"
"""The endpoint is for this machine alone."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the state is, on which port (0: a free one), where the kubeconfig goes, how many changes are remembered.

    `listening` is a socket that is there already, in the place of the port. `inside` are addresses (host, port) on
    which to listen besides, with a kubeconfig for whoever comes that way; `names` are further ones of the certificate.
    `name` is what the kubeconfigs call cluster, user and context. `kubelets` are the networks (`10.0.0.0/24`) in which
    nodes are called besides this machine's own addresses. `outlives_machine`: what was acknowledged survives a reboot.
    """

    data: Path
    port: int = 0
    kubeconfig: Path | None = None
    window: int = WINDOW
    ranges: Ranges = field(default_factory=Ranges)
    listening: socket.socket | None = None
    inside: tuple[tuple[str, int], ...] = ()
    inside_kubeconfig: Path | None = None
    names: tuple[str, ...] = ()
    name: str = "gatewright-lab"
    outlives_machine: bool = True
    kubelets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Running:
    """A running endpoint."""

    url: str
    kubeconfig: Path
    verbs: Verbs
    credentials: Credentials


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Running]:
    """The endpoint until the block ends. Raises LabError when it cannot start."""
    journal = await asyncio.to_thread(Journal, settings.data, outlives_machine=settings.outlives_machine)
    try:
        keys = await asyncio.to_thread(credentials, settings.data, settings.names)
        listening = settings.listening or listen(HOST, settings.port)
        inside = [listen(host, port) for host, port in settings.inside]
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
        app = App(verbs, Kubelets(verbs, settings.data, settings.kubelets))
        async with serving(HTTP(app, keys.token), [listening, *inside], Keys(keys.certificate, keys.key)):
            write_kubeconfig(path, url, keys, settings.name)
            if settings.inside_kubeconfig:
                host, port = settings.inside[0]
                write_kubeconfig(settings.inside_kubeconfig, f"https://{host}:{port}", keys, settings.name)
            yield Running(url, path, verbs, keys)
            app.end_watches()
            app.streams.end()
    finally:
        await caretaker.close()
        await store.close()
        for one in (listening, *inside):
            one.close()


async def serve(settings: Settings, ready: Callable[[Running], None], stop: asyncio.Event) -> None:
    """Serve until `stop` is set; `ready` is called once requests are answered."""
    async with running(settings) as endpoint:
        ready(endpoint)
        await stop.wait()
