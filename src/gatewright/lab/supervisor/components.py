"""What each component of a lab does in its own process: the ordinary programs, with a lab's addresses and files.

Imported by the supervisor before it forks, so that no component reads a module of its own.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import os
import signal
import socket
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from gatewright.agent.run import run_agent
from gatewright.agent.settings import Settings as AgentSettings
from gatewright.lab.api.resources import BY_PLURAL, NAMESPACES
from gatewright.lab.api.serve import Running, serve
from gatewright.lab.api.serve import Settings as ApiSettings
from gatewright.lab.apiclient.working import run_controllers
from gatewright.lab.apiclient.writing import Refused, Writer
from gatewright.lab.controllers.catalogue import ControllerSettings, controllers
from gatewright.lab.controllers.endpointslices import EndpointSlices
from gatewright.lab.directory import LabDirectory
from gatewright.lab.dns import objects as dns
from gatewright.lab.dns.server import serve as serve_names
from gatewright.lab.kubelet.kubelet import KubeletSettings
from gatewright.lab.kubelet.run import run_kubelet
from gatewright.lab.network.fabric import BRIDGE
from gatewright.lab.network.node import NodeNetwork
from gatewright.lab.network.plan import API_PORT, FABRIC_ADDRESSES, FABRIC_NETWORKS, OUTSIDE
from gatewright.lab.network.routes import keep_routes
from gatewright.lab.proxy.run import run_proxy
from gatewright.lab.runtime.client import Runtime
from gatewright.lab.runtime.model import ContainerSetup, PodSetup, Port
from gatewright.lab.runtime.server import RuntimeSettings
from gatewright.lab.runtime.server import serve as serve_runtime
from gatewright.lab.supervisor.settings import LabSettings, NodeSettings
from gatewright.sources.kubeconfig import Where, configuration

SERVICES, DEPLOYMENTS = BY_PLURAL["", "services"], BY_PLURAL["apps", "deployments"]
DNS_ADDRESSES = (ipaddress.ip_address("10.96.0.10"), ipaddress.ip_address("fd00:10:96::a"))
WINDOW = 1000
"""Changes that the API remembers: who was away for longer lists again."""
OUTSIDE_PORTS = (80, 81, 443)
"""On which the outside host listens, so that connections that leave the cluster end somewhere."""
_THERE_WITHIN = 10.0
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
    def authority(self) -> str:
        """The certificate (PEM) by which the API is known."""
        cluster = configuration(self.where).single.cluster
        if cluster.certificate_auth_data:
            return base64.b64decode(cluster.certificate_auth_data).decode()
        return Path(cluster.certificate_auth).read_text() if cluster.certificate_auth else ""

    @property
    def context(self) -> str:
        """What kubeconfigs call the lab."""
        return f"gatewright-{self.directory.name}"


def serve_api(site: Site, listening: socket.socket, told: int | None) -> None:
    """The API endpoint. Writes a byte to `told`, where somebody waits for it, once requests are answered."""
    directory = site.directory
    addresses = [address for address in FABRIC_ADDRESSES if address.version in site.families]
    settings = ApiSettings(
        directory.api,
        kubeconfig=directory.kubeconfig,
        listening=listening,
        inside=tuple((str(address), API_PORT) for address in addresses),
        inside_kubeconfig=directory.internal_kubeconfig,
        names=(*(f"IP:{address}" for address in (*addresses, "10.96.0.1")), *(f"DNS:{name}" for name in API_NAMES)),
        window=WINDOW,
        outlives_machine=False,
        name=site.context,
        kubelets=tuple(str(network) for network in FABRIC_NETWORKS),
    )

    def ready(_: Running) -> None:
        if told is not None:
            os.write(told, b"1")
            os.close(told)

    async def main() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await serve(settings, ready, stop)

    asyncio.run(main())


def warm_up(site: Site) -> None:
    """Ask the API something: so every module that a client needs is there before anybody is forked.

    In a pod the packages are out of sight, and each component would read them again.
    """
    with contextlib.closing(Writer(site.where)) as writer:
        writer.list(NAMESPACES)


def run_controllers_of(site: Site) -> None:
    """The scheduler and the controllers, the lab's own objects, and the routes of the fabric."""
    stop = stopping()
    routes = threading.Thread(
        target=keep_routes, args=(site.where, "", BRIDGE, site.families, stop), name="routes", daemon=True
    )
    routes.start()
    found_names(site)
    plan = site.settings.plan.only(site.families)
    chosen = ControllerSettings(
        authority=site.authority,
        api_addresses=tuple(str(one) for one in FABRIC_ADDRESSES if one.version in site.families),
        api_port=API_PORT,
        pod_ranges=plan.pod_networks,
    )
    run_controllers(site.where, [*controllers(chosen), EndpointSlices()], stop, component="controllers")


def found_names(site: Site) -> None:
    """Make the name server's objects, where they have never been: who deletes one is obeyed until the next start."""
    addresses = [address for address in DNS_ADDRESSES if address.version in site.families]
    writer = Writer(site.where, manager="controllers")
    with contextlib.closing(writer):
        for resource, tree in ((SERVICES, dns.service(addresses)), (DEPLOYMENTS, dns.deployment())):
            try:
                writer.create(resource, tree["metadata"]["namespace"], tree)
            except Refused as refused:
                if refused.reason != "AlreadyExists":
                    raise


def run_runtime(site: Site, machine: str) -> None:
    """The runtime of a node, or of the host outside."""
    directory = site.directory.machine(machine)
    names = partial(serve_names, site.directory.internal_kubeconfig.read_text())
    network = partial(NodeNetwork, site.families)
    serve_runtime(RuntimeSettings(machine, directory.runtime_socket, directory.pods, network, names))


def run_kubelet_of(site: Site, node: NodeSettings, addresses: list[str]) -> None:
    """The kubelet of a node."""
    directory = site.directory.machine(node.name)
    settings = KubeletSettings(
        node=node.name,
        addresses=tuple(addresses),
        where=site.where,
        socket=directory.runtime_socket,
        folder=directory.kubelet,
        authority=None if site.settings.api else site.directory.api,
        labels=node.labels,
        taints=tuple(msgspec.to_builtins(taint) for taint in node.taints),
    )
    _wait_for(directory.runtime_socket)
    run_kubelet(settings, stopping())


def run_proxy_of(site: Site, node: str, addresses: list[str]) -> None:
    """The service proxy of a node, which keeps its routes to the pods of the others, too."""
    run_proxy(site.where, node, [ipaddress.ip_address(one) for one in addresses], stopping())


def make_outside_host(site: Site, addresses: list[str]) -> None:
    """Give the runtime outside its one pod: something that listens, in the place of all that is beyond the cluster."""
    asyncio.run(_make_outside_host(site.directory.machine(OUTSIDE).runtime_socket, addresses))


async def _make_outside_host(path: Path, addresses: list[str]) -> None:
    _wait_for(path)
    runtime = await Runtime.connect(path)
    if not await runtime.pods():
        setup = PodSetup(OUTSIDE, OUTSIDE, OUTSIDE, hostname=OUTSIDE, host_network=True, files=pod_files(addresses))
        await runtime.create_pod(setup)
        ports = tuple(Port(number, protocol) for protocol in ("TCP", "UDP", "SCTP") for number in OUTSIDE_PORTS)
        await runtime.start_container(OUTSIDE, ContainerSetup(name=OUTSIDE, ports=ports))
    await runtime.close()


def pod_files(addresses: list[str]) -> dict[str, str]:
    """The outside host's own files: it does not know the cluster's names."""
    own = "".join(f"{address}\t{OUTSIDE}\n" for address in addresses)
    return {
        "etc/hosts": f"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{own}",
        "etc/hostname": f"{OUTSIDE}\n",
        "etc/resolv.conf": "# The cluster's names are not known outside.\n",
    }


def _wait_for(path: Path) -> None:
    """Wait until a socket is there, which another component makes; that one's fault is told where it stands."""
    deadline = time.monotonic() + _THERE_WITHIN
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.005)


def run_agent_of(site: Site, node: str) -> None:
    """The agent, as on any node."""
    chosen = site.settings
    settings = AgentSettings(
        node=node,
        start_closed=chosen.start_closed,
        keep_connections=chosen.keep_connections,
        socket=site.directory.machine(node).agent_socket,
    )
    run_agent(settings, site.where)


def stopping() -> threading.Event:
    """An event that SIGTERM sets."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    return stop
