"""Services as the lab has them: endpoint, controller, a proxy on each node and the name server, as processes.

The API listens on the fabric, as in a lab; all others are ordinary clients of it, and may be killed at any moment.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import dns.rdatatype
import pytest

from gatewright.kernel.nft import Nft
from gatewright.lab.api.resources import BY_PLURAL
from gatewright.lab.apiclient.working import run_controllers
from gatewright.lab.apiclient.writing import Writer
from gatewright.lab.controllers.endpointslices import EndpointSlices
from gatewright.lab.dns import objects
from gatewright.lab.proxy.table import TABLE
from gatewright.sources.kubeconfig import Where
from tests.cluster.endpoint import endpoint
from tests.packets.sites import REFUSED, Node, Place, Site, site

pytestmark = [pytest.mark.cluster, pytest.mark.packets]
Tree = dict[str, Any]
NODES, PODS, SERVICES = (BY_PLURAL["", plural] for plural in ("nodes", "pods", "services"))
WITHIN = 20.0
DNS = "10.96.0.10"
_PROXY = """
import ipaddress, sys, threading
from gatewright.lab.proxy.run import run_proxy
from gatewright.sources.kubeconfig import Where
run_proxy(Where(sys.argv[1]), sys.argv[2], map(ipaddress.ip_address, sys.argv[3:]), threading.Event())
"""
_NAMES = """
import sys
from gatewright.lab.dns.server import serve
serve(open(sys.argv[1]).read())
"""


@dataclass
class Lab:
    """The site with its API and its processes."""

    site: Site
    kubeconfig: Path
    api: contextlib.ExitStack
    logs: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def write(self, action: Callable[[Writer], object]) -> None:
        """Write to the API, from the fabric."""

        def work() -> None:
            with contextlib.closing(Writer(Where(str(self.kubeconfig)))) as writer:
                action(writer)

        self.site.fabric.run(work)

    def start(self, name: str, where: Place, code: str, *words: str) -> None:
        """Start a component there."""
        command = [sys.executable, "-X", "faulthandler", "-c", code, str(self.kubeconfig), *words]
        with (self.logs / name).open("ab") as log:
            self.processes[name] = where.namespace.run(
                lambda: subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
            )

    def ended(self) -> list[str]:
        """The components that ended by themselves, each with its exit code and what it said."""
        return [
            f"{name}: {process.returncode}\n{(self.logs / name).read_text()}"
            for name, process in self.processes.items()
            if process.poll() is not None
        ]

    def start_proxy(self, node: Node) -> None:
        """Start a node's proxy."""
        self.start(node.name, node, _PROXY, node.name, *node.addresses.values())

    def end(self) -> None:
        """End every component."""
        for name in list(self.processes):
            self.kill(name)

    def kill(self, name: str) -> None:
        """End a component as a crash would."""
        process = self.processes.pop(name)
        process.kill()
        process.wait(10)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, namespaces: None) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(site())
        api = contextlib.ExitStack()
        stack.callback(api.close)
        inside = folder / "inside"
        settings: Tree = {
            "inside": (("172.31.255.1", 6443),),
            "inside_kubeconfig": inside,
            "names": ("IP:172.31.255.1",),
        }
        made.fabric.run(lambda: api.enter_context(endpoint(folder / "api", **settings)))
        stop = threading.Event()
        controllers = partial(run_controllers, Where(str(inside)), [EndpointSlices()], stop)
        thread = threading.Thread(target=made.fabric.run, args=(controllers,), daemon=True)
        thread.start()
        found = Lab(made, inside, api, folder)
        stack.callback(thread.join, WITHIN)
        stack.callback(stop.set)
        stack.callback(found.end)
        found.write(partial(_objects, made))
        for node in made.nodes:
            found.start_proxy(node)
        found.start("names", made.pods[3], _NAMES)
        yield found


@pytest.fixture(autouse=True)
def nothing_ends(lab: Lab) -> Iterator[None]:
    """No component ends by itself in any test."""
    yield
    assert not lab.ended()


def _objects(made: Site, writer: Writer) -> None:
    """The nodes, the pods as endpoints, the name server."""
    for number, node in enumerate(made.nodes, 1):
        cidrs = [f"10.244.{number}.0/24", f"fd00:10:244:{number}::/64"]
        metadata = {"name": node.name}
        spec = {"podCIDR": cidrs[0], "podCIDRs": cidrs}
        writer.create(NODES, "", {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec})
        addresses = [{"type": "InternalIP", "address": one} for one in node.addresses.values()]
        writer.patch(NODES, "", node.name, {"status": {"addresses": addresses}}, "status")
    for pod in made.pods[:3]:
        _run(writer, "default", pod, {"app": "web"})
    writer.create(SERVICES, "kube-system", objects.service([_address(DNS), _address("fd00:10:96::a")]))
    _run(writer, "kube-system", made.pods[3], objects.LABELS)


def _address(text: str) -> Any:
    return ipaddress.ip_address(text)


def _run(writer: Writer, namespace: str, pod: Place, labels: dict[str, str]) -> None:
    node, _, short = pod.name.partition("/")
    name = f"{node}-{short}"
    spec = {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}
    metadata = {"name": name, "labels": labels}
    writer.create(PODS, namespace, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    status = {
        "phase": "Running",
        "podIP": pod.addresses[4],
        "podIPs": [{"ip": one} for one in pod.addresses.values()],
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    writer.patch(PODS, namespace, name, {"status": status}, "status")


def service(name: str, address: str, *, app: str = "web") -> Tree:
    spec = {
        "selector": {"app": app},
        "clusterIP": address,
        "clusterIPs": [address, address.replace("10.96.1.", "fd00:10:96::1:")],
        "ipFamilies": ["IPv4", "IPv6"],
        "ipFamilyPolicy": "PreferDualStack",
        "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
    }
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def becomes(expected: object, look: Callable[[], object]) -> None:
    deadline = time.monotonic() + WITHIN
    while (found := look()) != expected:
        assert time.monotonic() < deadline, f"{expected!r}; at last {found!r}"
        time.sleep(0.05)


def resolved(place: Place, name: str, kind: str = "A", *, tcp: bool = False) -> list[str]:
    """What the cluster's DNS says, asked from there by its Service; nothing while it does not answer."""

    def ask() -> list[str]:
        query = dns.message.make_query(name, kind)
        try:
            answer = (dns.query.tcp if tcp else dns.query.udp)(query, DNS, timeout=1)
        except (OSError, EOFError, dns.exception.Timeout):
            return []
        return sorted(one.to_text() for found in answer.answer for one in found)

    return place.namespace.run(ask)


def endpoints(lab: Lab, place: Place, address: str) -> set[str]:
    return place.asks(40, address, 80) & {pod.name for pod in lab.site.pods}


def test_a_service_is_found_by_its_name_and_reached(lab: Lab) -> None:
    lab.write(lambda writer: writer.create(SERVICES, "default", service("web", "10.96.1.1")))
    client = lab.site.pods[0]
    becomes(["10.96.1.1"], lambda: resolved(client, "web.default.svc.cluster.local"))
    becomes({pod.name for pod in lab.site.pods[:3]}, lambda: endpoints(lab, client, "10.96.1.1"))
    assert resolved(client, "web.default.svc.cluster.local", tcp=True) == ["10.96.1.1"]
    (v6,) = resolved(client, "web.default.svc.cluster.local", "AAAA")
    assert client.asks(1, v6, 80) & {pod.name for pod in lab.site.pods[:3]}
    assert resolved(client, "_http._tcp.web.default.svc.cluster.local", "SRV") == [
        "0 100 80 web.default.svc.cluster.local."
    ]


def test_a_killed_proxy_leaves_everything_working_and_catches_up(lab: Lab) -> None:
    lab.write(lambda writer: writer.create(SERVICES, "default", service("kept", "10.96.1.2")))
    node, client = lab.site.nodes[0], lab.site.pods[0]
    every = {pod.name for pod in lab.site.pods[:3]}
    becomes(every, lambda: endpoints(lab, client, "10.96.1.2"))
    lab.kill(node.name)
    assert endpoints(lab, client, "10.96.1.2") == every
    lab.write(lambda writer: writer.create(SERVICES, "default", service("none", "10.96.1.3", app="nobody")))
    stop = threading.Event()
    failed: list[str] = []

    def go_on() -> None:
        while not stop.is_set():
            answer = client.ask("10.96.1.2", 80)
            if answer.partition(" ")[0] not in every:
                failed.append(answer)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        lab.start_proxy(node)
        becomes(REFUSED, lambda: client.ask("10.96.1.3", 80))
    finally:
        stop.set()
        thread.join()
    assert not failed, "the table is replaced from one packet to the next"


def test_a_table_that_somebody_removed_is_put_back(lab: Lab) -> None:
    lab.write(lambda writer: writer.create(SERVICES, "default", service("flushed", "10.96.1.4")))
    node, client = lab.site.nodes[0], lab.site.pods[0]
    becomes(True, lambda: bool(endpoints(lab, client, "10.96.1.4")))
    for change in (f"delete table inet {TABLE}", f"flush table inet {TABLE}", "flush ruleset"):
        node.namespace.run(partial(Nft().run, f"{change}\n"))
        becomes(True, lambda: bool(endpoints(lab, client, "10.96.1.4")))


def test_names_and_services_go_on_while_the_api_is_away(lab: Lab) -> None:
    """The last of this module: the API does not come back."""
    lab.write(lambda writer: writer.create(SERVICES, "default", service("lasting", "10.96.1.5")))
    client = lab.site.pods[0]
    becomes(["10.96.1.5"], lambda: resolved(client, "lasting.default.svc.cluster.local"))
    becomes(True, lambda: bool(endpoints(lab, client, "10.96.1.5")))
    lab.api.close()
    with pytest.raises(ConnectionRefusedError):
        lab.site.fabric.run(partial(socket.create_connection, ("172.31.255.1", 6443), 5))
    for _ in range(20):
        assert resolved(client, "lasting.default.svc.cluster.local") == ["10.96.1.5"]
        assert endpoints(lab, client, "10.96.1.5")
    assert not lab.ended()
