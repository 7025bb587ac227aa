"""How long the network of a lab takes to stand: 5 nodes with 40 pods each, and what a cut, a node and a pod take.

Run: `.venv/bin/python -m benchmarks.lab_network [--runs N]`. Prints medians and extremes in milliseconds. Pods are
processes that sleep, started before the clock; what is measured is namespaces, links, addresses, routes, neighbours.
Works as root; everything is in network namespaces of its own and goes with them.
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from functools import partial

from gatewright.engine.addresses import IPAddress, IPNetwork
from gatewright.lab.network.fabric import Fabric
from gatewright.lab.network.links import HOST_LINK
from gatewright.lab.network.namespaces import new_namespace, within
from gatewright.lab.network.node import NodeNetwork
from gatewright.lab.network.outside import make_outside
from gatewright.lab.network.plan import node_addresses
from gatewright.lab.network.routetable import RouteTable
from gatewright.lab.network.rtnetlink import Netlink
from gatewright.lab.network.switches import kernel_families

NODES, PODS = 5, 40
LIMIT = 2000.0
"""Milliseconds that all of it may take: a third of what `lab up` has for everything."""


class Times:
    """Milliseconds by what took them."""

    def __init__(self) -> None:
        self.taken: defaultdict[str, list[float]] = defaultdict(list)

    @contextlib.contextmanager
    def of(self, what: str) -> Iterator[None]:
        """Measure a block."""
        begun = time.perf_counter()
        yield
        self.taken[what].append((time.perf_counter() - begun) * 1000)


def _ranges(node: int, families: tuple[int, ...]) -> list[IPNetwork]:
    texts = {4: f"10.244.{node}.0/24", 6: f"fd00:10:244:{node:x}::/64"}
    return [ipaddress.ip_network(texts[family]) for family in families]


def measure(times: Times, stack: contextlib.ExitStack) -> None:
    """Build everything once; the stack takes it away."""
    families = kernel_families()
    numbers = range(1, NODES + 1)
    pods = []
    for _ in range(NODES * PODS):
        namespace = new_namespace()
        process = within(namespace, lambda: subprocess.Popen(["sleep", "600"]))
        os.close(namespace)
        stack.callback(process.wait)
        stack.callback(process.kill)
        pods.append(process.pid)
    with times.of("everything"):
        with times.of("fabric and outside host"):
            router = new_namespace()
            stack.callback(os.close, router)
            fabric = Fabric(router, families)
            stack.callback(fabric.close)
            fabric.set_up()
            stack.callback(os.close, make_outside(router, families))
        spaces = []
        for number in numbers:
            with times.of("a node"):
                spaces.append(new_namespace())
                stack.callback(os.close, spaces[-1])
                fabric.connect(number, spaces[-1])
        gateways: dict[IPNetwork, IPAddress | None] = {
            network: address
            for number in numbers
            for network, address in zip(_ranges(number, families), node_addresses(number, families), strict=True)
        }
        for number, space in zip(numbers, spaces, strict=True):
            with times.of("a node's routes"), within(space, Netlink) as netlink:
                own = dict.fromkeys(_ranges(number, families))
                RouteTable(netlink, HOST_LINK).keep(gateways | own)
        waiting = iter(pods)
        networks = []
        for number, space in zip(numbers, spaces, strict=True):
            network = within(space, partial(NodeNetwork, families))
            stack.callback(network.close)
            networks.append(network)
            within(space, partial(_attach, times, network, waiting, _ranges(number, families)))
    with times.of("cutting a node off"):
        fabric.cut(1)
    with times.of("healing it"):
        fabric.heal(1)
    with times.of("detaching a pod"):
        networks[0].detach("pod1")
    with times.of(f"detaching {PODS - 1} pods"):
        networks[0].detach(*(f"pod{number}" for number in range(2, PODS + 1)))
    with times.of("removing a node"):
        fabric.disconnect(NODES)


def _attach(times: Times, network: NodeNetwork, waiting: Iterator[int], ranges: list[IPNetwork]) -> None:
    for number in range(1, PODS + 1):
        with times.of("a pod's link"):
            network.attach(f"pod{number}", next(waiting), [one[number] for one in ranges])


def main() -> int:
    """Measure; exit code 1 when the median of everything is above its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    times = Times()
    for _ in range(parser.parse_args().runs):
        with contextlib.ExitStack() as stack:
            measure(times, stack)
    print(f"{NODES} nodes with {PODS} pods each")
    for what, taken in times.taken.items():
        print(f"{what}: median {statistics.median(taken):.2f} ms, {min(taken):.2f} to {max(taken):.2f} ms")
    return int(statistics.median(times.taken["everything"]) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
