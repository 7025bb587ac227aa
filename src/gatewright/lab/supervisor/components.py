"""What each component of a lab does in its own process: the ordinary programs, with a lab's addresses and files.

Imported by the supervisor before it forks, so that no component reads a module of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from dataclasses import dataclass
from pathlib import Path

from gatewright.agent.run import run_agent
from gatewright.agent.settings import Settings as AgentSettings
from gatewright.lab.api.serve import Running, serve
from gatewright.lab.api.serve import Settings as ApiSettings
from gatewright.lab.directory import LabDirectory
from gatewright.lab.network.plan import API_PORT, FABRIC_ADDRESSES
from gatewright.lab.supervisor.settings import LabSettings
from gatewright.sources.kubeconfig import Where

API_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")


@dataclass(frozen=True, slots=True)
class Site:
    """What the components of one lab share."""

    directory: LabDirectory
    settings: LabSettings
    families: tuple[int, ...]

    @property
    def where(self) -> Where:
        """The cluster, for who is inside the lab."""
        return Where(str(self.directory.internal_kubeconfig))

    @property
    def context(self) -> str:
        """What kubeconfigs call the lab."""
        return f"gatewright-{self.directory.name}"


def serve_api(site: Site, listening: socket.socket, told: int) -> None:
    """The API endpoint. Writes a byte to `told` once requests are answered."""
    directory = site.directory
    addresses = [address for address in FABRIC_ADDRESSES if address.version in site.families]
    settings = ApiSettings(
        directory.api,
        kubeconfig=directory.kubeconfig,
        listening=listening,
        inside=tuple((str(address), API_PORT) for address in addresses),
        inside_kubeconfig=directory.internal_kubeconfig,
        names=(*(f"IP:{address}" for address in (*addresses, "10.96.0.1")), *(f"DNS:{name}" for name in API_NAMES)),
        name=site.context,
    )

    def ready(_: Running) -> None:
        with contextlib.suppress(OSError):  # after a restart nobody waits any more
            os.write(told, b"1")
            os.close(told)

    async def main() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await serve(settings, ready, stop)

    asyncio.run(main())


def run_agent_of(site: Site, node: str, socket_path: Path) -> None:
    """The agent, as on any node."""
    chosen = site.settings
    settings = AgentSettings(
        node=node,
        start_closed=chosen.start_closed,
        keep_connections=chosen.keep_connections,
        socket=socket_path,
    )
    run_agent(settings, site.where)


def stopping() -> threading.Event:
    """An event that SIGTERM sets."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    return stop
