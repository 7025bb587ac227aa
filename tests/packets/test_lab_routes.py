"""A node's routes follow the Node objects of an API that it reaches through a relay."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from gatewright.lab.apiclient.writing import Writer
from gatewright.lab.network.namespaces import within
from gatewright.lab.network.plan import node_addresses
from gatewright.lab.network.relay import Way, listen, run_relay
from gatewright.lab.network.routes import NODES, REPAIR_AFTER
from gatewright.lab.network.routetable import PROTOCOL
from gatewright.sources.kubeconfig import Where
from tests.cluster.endpoint import Endpoint, endpoint
from tests.packets.fabrics import FAMILIES, Made, fabric_of, need_loopback, pod_range

pytestmark = [pytest.mark.packets, pytest.mark.cluster, pytest.mark.timeout(90)]
WITHIN = 15.0
_KEEP = """
import sys, threading
from gatewright.lab.network.routes import keep_routes
from gatewright.sources.kubeconfig import Where
kubeconfig, own, link = sys.argv[1:]
keep_routes(Where(kubeconfig), own, link, (4, 6), threading.Event(), lambda: print("ready", flush=True))
"""


@pytest.fixture
def made(namespaces: None) -> Iterator[Made]:
    need_loopback()
    with fabric_of(nodes=1, pods=0) as found:
        yield found


@pytest.fixture
def api(made: Made, tmp_path: Path) -> Iterator[Endpoint]:
    """An API in this process' network namespace, at the same address in the node's and in the router's."""
    stop = threading.Event()
    with endpoint(tmp_path) as found:
        port = urlsplit(found.url).port or 0
        ways = [Way(listen("127.0.0.1", port, made.spaces[name]), "127.0.0.1", port) for name in ("1", "router")]
        relay = threading.Thread(target=run_relay, args=(ways, stop))
        relay.start()
        yield found
        stop.set()
        relay.join(WITHIN)
        assert not relay.is_alive()


@contextmanager
def keeping(made: Made, api: Endpoint, name: str, own: str, link: str) -> Iterator[subprocess.Popen[str]]:
    """The component in a process of its own, in the network namespace of a host; killed when the block ends."""
    words = [sys.executable, "-c", _KEEP, str(api.kubeconfig), own, link]
    process = within(made.spaces[name], lambda: subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
    try:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate(timeout=WITHIN)


def node(number: int) -> dict[str, Any]:
    addresses = [str(address) for address in node_addresses(number, FAMILIES)]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"node-{number}"},
        "spec": {"podCIDR": ranges(number)[0], "podCIDRs": ranges(number)},
        "status": {"addresses": [{"type": "InternalIP", "address": address} for address in addresses]},
    }


def ranges(number: int) -> list[str]:
    return [str(pod_range(number, family)) for family in FAMILIES]


def routes(made: Made, name: str) -> dict[str, str]:
    """Range to gateway, `unreachable` for one that refuses."""
    with made.netlink(name) as netlink:
        found = netlink.routes(PROTOCOL)
    return {str(network): str(gateway or "unreachable") for network, gateway in found.items()}


def to(number: int) -> dict[str, str]:
    return dict(zip(ranges(number), map(str, node_addresses(number, FAMILIES)), strict=True))


def refused(number: int) -> dict[str, str]:
    return dict.fromkeys(ranges(number), "unreachable")


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_routes_follow_nodes(made: Made, api: Endpoint) -> None:
    writer = Writer(Where(str(api.kubeconfig)))
    for number in (1, 2):
        writer.create(NODES, "", node(number))
    with keeping(made, api, "1", "node-1", "eth0"), keeping(made, api, "router", "", "fabric"):
        assert routes(made, "1") == refused(1) | to(2)
        assert routes(made, "router") == to(1) | to(2)
        begun = time.monotonic()
        writer.create(NODES, "", node(3))
        until(lambda: routes(made, "1") == refused(1) | to(2) | to(3))
        assert time.monotonic() - begun < REPAIR_AFTER / 2, "at once, not at the next look"
        until(lambda: routes(made, "router") == to(1) | to(2) | to(3))
        moved = {"addresses": [{"type": "InternalIP", "address": "172.31.255.99"}]}
        writer.patch(NODES, "", "node-2", {"status": moved}, "status")
        until(lambda: routes(made, "1") == refused(1) | {ranges(2)[0]: "172.31.255.99"} | to(3))
        for number in (2, 3):
            writer.delete(NODES, "", f"node-{number}")
        until(lambda: routes(made, "1") == refused(1))
        until(lambda: routes(made, "router") == to(1))


def test_routes_outlive_their_component_and_are_put_right_by_the_next(made: Made, api: Endpoint) -> None:
    writer = Writer(Where(str(api.kubeconfig)))
    for number in (1, 2, 3):
        writer.create(NODES, "", node(number))
    with keeping(made, api, "1", "node-1", "eth0"):
        pass
    assert routes(made, "1") == refused(1) | to(2) | to(3)
    made.ip("1", "route", "add", "10.9.0.0/24", "via", "172.31.255.12")
    made.ip("1", "route", "delete", ranges(3)[0])
    for number in (1, 2, 3):
        writer.delete(NODES, "", f"node-{number}")
    with keeping(made, api, "1", "node-1", "eth0"):
        assert routes(made, "1") == {}, "even where no node is left to be told of"
    writer.create(NODES, "", node(3))
    with keeping(made, api, "1", "node-1", "eth0"):
        assert routes(made, "1") == to(3)
    assert "10.9.0.0/24" in made.ip("1", "route"), "what others made stays"
