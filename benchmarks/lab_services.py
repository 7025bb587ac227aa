"""Measures the lab's Services: a change in the proxy's table, and a query to the name server.

    sudo .venv/bin/python -m benchmarks.lab_services [--services 200] [--pods 1000]

In network namespaces of its own (root, or under `unshare -Urn`). A change is a pod that becomes ready, or stops being
so: from the delivery of its EndpointSlice to the kernel's answer, with everything else in place, both families.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import statistics
import time
from collections.abc import Sequence
from typing import Any

import dns.message
import msgspec

from gatewright.engine.snapshot import Changes
from gatewright.lab.backing import Backing
from gatewright.lab.dns.wire import answer
from gatewright.lab.dns.zone import Zone, share
from gatewright.lab.proxy.fronts import fronts
from gatewright.lab.proxy.kernel import Kernel
from gatewright.lab.proxy.pieces import piece
from gatewright.lab.proxy.table import Table
from gatewright.objects.meta import Object
from gatewright.objects.watched import Reader
from tests.packets.netns import Namespace

NODE = "node-1"
ADDRESSES = (ipaddress.ip_address("172.31.255.11"), ipaddress.ip_address("fd00:10:31::b"))


def made(group: str, kind: str, tree: dict[str, Any]) -> Object:
    """An object as a watch brings it."""
    found = Reader(group, kind).item(msgspec.Raw(json.dumps(tree).encode())).object
    assert found is not None
    return found


def service(number: int) -> Object:
    """A Service with a node port in each family."""
    addresses = [f"10.96.{1 + number // 200}.{number % 200 + 1}", f"fd00:10:96::{number + 16:x}"]
    port = {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP", "nodePort": 30000 + number}
    spec = {"type": "NodePort", "clusterIP": addresses[0], "clusterIPs": addresses, "ports": [port]}
    return made("", "Service", {"metadata": {"name": f"s{number}", "namespace": "default"}, "spec": spec})


def slices(number: int, pods: Sequence[int], *, without: int = -1) -> list[Object]:
    """Its slices, in which one pod may be missing."""
    found = []
    for family in (4, 6):
        endpoints = [
            {
                "addresses": [f"10.244.{pod // 250}.{pod % 250 + 1}" if family == 4 else f"fd00:10:244::{pod + 1:x}"],
                "conditions": {"ready": True},
                "nodeName": f"node-{pod % 5 + 1}",
            }
            for pod in pods
            if pod != without
        ]
        metadata = {
            "name": f"s{number}-v{family}",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": f"s{number}"},
        }
        tree: dict[str, Any] = {
            "metadata": metadata,
            "addressType": f"IPv{family}",
            "endpoints": endpoints,
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        }
        found.append(made("discovery.k8s.io", "EndpointSlice", tree))
    return found


def told(name: str, seconds: Sequence[float]) -> None:
    """One line: median and worst of one in twenty, in milliseconds."""
    ordered = sorted(seconds)
    worst = ordered[int(len(ordered) * 0.95) - 1] if len(ordered) > 1 else ordered[0]
    print(f"{name:44} {statistics.median(ordered) * 1000:9.3f} ms   p95 {worst * 1000:9.3f} ms")


def proxy(services: int, pods: int) -> None:
    """The whole table, and changes of it."""
    kernel, table, backing = Kernel(), Table(ADDRESSES), Backing()
    shares = [[pod for pod in range(pods) if pod % services == number] for number in range(services)]
    began = time.perf_counter()
    objects = [service(number) for number in range(services)]
    objects += [one for number, share in enumerate(shares) for one in slices(number, share)]
    touched = backing.take(Changes(tuple(objects)))
    pieces = {}
    for owner in touched:
        found = backing.service(owner)
        assert found is not None
        pieces[owner] = piece(fronts(found, backing.slices(owner), NODE, (4, 6)))
    table.change(pieces)
    told("everything worked out", [time.perf_counter() - began])
    text = table.whole()
    began = time.perf_counter()
    kernel.replace(table)
    told(f"whole table ({len(text) // 1024} KiB of text)", [time.perf_counter() - began])
    worked, sent = [], []
    for turn in range(200):
        number = turn // 2 % services
        changes = Changes(tuple(slices(number, shares[number], without=-1 if turn % 2 else shares[number][0])))
        began = time.perf_counter()
        (owner,) = backing.take(changes)
        found = backing.service(owner)
        assert found is not None
        delta = table.change({owner: piece(fronts(found, backing.slices(owner), NODE, (4, 6)))})
        worked.append(time.perf_counter() - began)
        kernel.change(delta)
        sent.append(time.perf_counter() - began)
    told("a change, worked out", worked)
    told("a change, in the kernel", sent)
    kernel.close()


def names(services: int, pods: int) -> None:
    """Queries, answered in this process."""
    zone, backing = Zone(), Backing()
    objects = [service(number) for number in range(services)]
    for number in range(services):
        objects += slices(number, [pod for pod in range(pods) if pod % services == number])
    for owner in backing.take(Changes(tuple(objects))):
        zone.put(owner, share(backing.service(owner), backing.slices(owner)))
    zone.put_namespace("default", there=True)
    zone.complete = True
    for name, kind in (
        ("s7.default.svc.cluster.local", "A"),
        ("_http._tcp.s7.default.svc.cluster.local", "SRV"),
        ("s7.default.svc.cluster.local.default.svc.cluster.local", "A"),
        ("7.1.96.10.in-addr.arpa", "PTR"),
    ):
        query = dns.message.make_query(name, kind, use_edns=0).to_wire()
        seconds = []
        for _ in range(500):
            began = time.perf_counter()
            answer(query, zone)
            seconds.append(time.perf_counter() - began)
        told(f"{kind} {name[:38]}", seconds)


def main() -> None:
    """All of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", type=int, default=200)
    parser.add_argument("--pods", type=int, default=1000)
    given = parser.parse_args()
    print(f"{given.services} Services, {given.pods} pods, IPv4 and IPv6")
    Namespace().run(lambda: proxy(given.services, given.pods))
    names(given.services, given.pods)


if __name__ == "__main__":
    main()
