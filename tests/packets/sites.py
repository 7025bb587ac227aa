"""Two nodes with pods, a fabric between them and a host outside, for tests of the service proxy.

The addresses are those of the lab's plan. Every pod answers TCP and UDP on two ports with its name and the address that
it was asked from. Proxies run in this process, one a node, each in a thread of its own: what a watch would deliver is
delivered by the test.
"""

from __future__ import annotations

import contextlib
import ipaddress
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from gatewright.engine.addresses import IPAddress
from gatewright.engine.snapshot import Changes
from gatewright.kernel.netlink import NETLINK_NETFILTER, Netlink
from gatewright.kernel.nft import Nft
from gatewright.lab.proxy.run import Proxy
from gatewright.lab.proxy.table import TABLE
from gatewright.objects.meta import Object
from gatewright.sources.watch import Delivery
from tests.packets.netns import Namespace
from tests.unit.lab import serving

T = TypeVar("T")
Json = dict[str, Any]
PORTS = (8080, 8081)
OUTSIDE = {4: "203.0.113.10", 6: "2001:db8:113::10"}
REFUSED, SILENT = "refused", "silent"
PATIENCE = 1.5
"""Seconds after which no answer counts as silence."""
WITHIN = 15.0
_CONNTRACK_DELETE = 1 << 8 | 2


@dataclass(eq=False)
class Place:
    """A namespace with a name and one address a family."""

    name: str
    namespace: Namespace
    addresses: dict[int, str]

    def ask(self, address: str, port: int, protocol: str = "tcp", client: socket.socket | None = None) -> str:
        """What a server there says, asked from here: `NAME ADDRESS`, or refused, or silent."""
        return self.namespace.run(partial(_ask, address, port, protocol, client))

    def asks(self, times: int, address: str, port: int) -> set[str]:
        """The names that answer when asked so often."""
        answers = self.namespace.run(lambda: [_ask(address, port, "tcp", None) for _ in range(times)])
        return {answer.partition(" ")[0] for answer in answers}


@dataclass(eq=False)
class Node(Place):
    """A node with its proxy, if it has one."""

    pods: list[Place] = field(default_factory=list)
    proxy: Proxy | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start_proxy(self, *families: int) -> Proxy:
        """Start the proxy; nothing is delivered to it yet."""
        self._stop = threading.Event()
        there = threading.Event()
        addresses = [ipaddress.ip_address(self.addresses[family]) for family in families or (4, 6)]

        def work() -> None:
            with contextlib.closing(Proxy(self.name, addresses, heartbeat=0.05)) as self.proxy:
                there.set()
                self.proxy.run(self._stop)

        self._thread = threading.Thread(target=lambda: self.namespace.run(work), daemon=True)
        self._thread.start()
        assert there.wait(10)
        assert self.proxy is not None
        return self.proxy

    def stop_proxy(self) -> None:
        """End it; its table stays."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self.proxy = None

    def begin_anew(self) -> None:
        """Leave no proxy's table and no connection."""

        def work() -> None:
            Nft().run(f"add table inet {TABLE}\ndelete table inet {TABLE}\n")
            with Netlink(NETLINK_NETFILTER) as netlink:
                netlink.order(_CONNTRACK_DELETE, bytes(4))

        self.namespace.run(work)


@dataclass(frozen=True)
class Site:
    """All of it."""

    nodes: tuple[Node, Node]
    outside: Place
    fabric: Namespace

    @property
    def pods(self) -> list[Place]:
        return [pod for node in self.nodes for pod in node.pods]

    def deliver(self, *objects: Object, gone: Sequence[Object] = ()) -> None:
        """Deliver objects to every proxy, as a watch does that has listed everything."""
        for node in self.nodes:
            if node.proxy is not None:
                deliver(node.proxy, *objects, gone=gone)


def deliver(proxy: Proxy, *objects: Object, gone: Sequence[Object] = ()) -> None:
    """Deliver objects to one proxy."""
    for kind in ("Service", "EndpointSlice"):
        put = tuple(one for one in objects if one.kind == kind)
        keys = tuple(one.key for one in gone if one.kind == kind)
        proxy.deliver(Delivery(kind, Changes(put, keys), True, time.monotonic()))


def endpoint(pod: Place, family: int, *, node: str = "", **conditions: bool) -> Json:
    """An endpoint that is a pod; `node` is its node, by default the one that its name begins with."""
    return serving.endpoint(pod.addresses[family], node or pod.name.partition("/")[0], "", **conditions)


def becomes(expected: T, look: Callable[..., T], *asked: Any) -> None:
    """Within bounds it is so when asked, and stays so."""
    deadline = time.monotonic() + WITHIN
    while (found := look(*asked)) != expected:
        assert time.monotonic() < deadline, f"not within {WITHIN:g} s: {expected!r}; at last {found!r}"
        time.sleep(0.02)
    assert look(*asked) == expected


# --- building it ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def site() -> Iterator[Site]:
    """Two nodes of two pods each."""
    with ExitStack() as stack:
        fabric, outside = _namespace(stack), _namespace(stack)
        forward(fabric)
        fabric.ip(
            [
                "link set lo up",
                "link add br0 type bridge",
                "addr add 172.31.255.1/24 dev br0",
                "addr add fd00:10:31::1/64 dev br0 nodad",
                "link set br0 up",
                f"link add out type veth peer name eth0 netns {outside.path}",
                "addr add 203.0.113.1/24 dev out",
                "addr add 2001:db8:113::1/64 dev out nodad",
                "link set out up",
            ]
        )
        outside.ip(
            [
                "link set lo up",
                f"addr add {OUTSIDE[4]}/24 dev eth0",
                f"addr add {OUTSIDE[6]}/64 dev eth0 nodad",
                "link set eth0 up",
                "route add default via 203.0.113.1",
                "route add default via 2001:db8:113::1",
            ]
        )
        servers: list[tuple[str, list[socket.socket]]] = []
        nodes = tuple(_node(number, fabric, servers, stack) for number in (1, 2))
        _serve(servers, stack)
        for node in nodes:
            stack.callback(node.stop_proxy)
        yield Site((nodes[0], nodes[1]), Place("outside", outside, OUTSIDE), fabric)


def forward(space: Namespace) -> None:
    """Have the namespace forward, without limits on what it says about errors."""
    space.sysctl(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1, ipv6__conf__default__accept_dad=0)
    space.sysctl(ipv4__icmp_ratemask=0, ipv6__icmp__ratelimit=0)


def _namespace(stack: ExitStack) -> Namespace:
    namespace = Namespace()
    stack.callback(namespace.close)
    namespace.sysctl(ipv6__conf__default__accept_dad=0)
    return namespace


def _node(number: int, fabric: Namespace, servers: list[tuple[str, list[socket.socket]]], stack: ExitStack) -> Node:
    space = _namespace(stack)
    forward(space)
    own = {4: f"172.31.255.{10 + number}", 6: f"fd00:10:31::{10 + number:x}"}
    fabric.ip(
        [
            f"link add node{number} type veth peer name eth0 netns {space.path}",
            f"link set node{number} master br0 up",
            f"route add 10.244.{number}.0/24 via {own[4]}",
            f"route add fd00:10:244:{number}::/64 via {own[6]}",
        ]
    )
    space.ip(
        [
            "link set lo up",
            f"addr add {own[4]}/24 dev eth0",
            f"addr add {own[6]}/64 dev eth0 nodad",
            "link set eth0 up",
            "route add default via 172.31.255.1",
            "route add default via fd00:10:31::1",
        ]
    )
    node = Node(f"node-{number}", space, own)
    servers.append((node.name, _listen(space)))
    for place in (1, 2):
        node.pods.append(_pod(node, number, place, servers, stack))
    return node


def _pod(
    node: Node, number: int, place: int, servers: list[tuple[str, list[socket.socket]]], stack: ExitStack
) -> Place:
    space = _namespace(stack)
    own = {4: f"10.244.{number}.{place}", 6: f"fd00:10:244:{number}::{place:x}"}
    node.namespace.ip(
        [
            f"link add pod{place} type veth peer name eth0 netns {space.path}",
            f"addr add 169.254.1.1/32 dev pod{place}",
            f"addr add fe80::1/64 dev pod{place} nodad",
            f"link set pod{place} up",
            f"route add {own[4]}/32 dev pod{place}",
            f"route add {own[6]}/128 dev pod{place}",
        ]
    )
    space.ip(
        [
            "link set lo up",
            f"addr add {own[4]}/32 dev eth0",
            f"addr add {own[6]}/128 dev eth0 nodad",
            "link set eth0 up",
            "route add 169.254.1.1 dev eth0",
            "route add default via 169.254.1.1",
            "route add default via fe80::1 dev eth0",
        ]
    )
    pod = Place(f"{node.name}/pod-{place}", space, own)
    servers.append((pod.name, _listen(space)))
    return pod


# --- servers and clients ----------------------------------------------------------------------------------------------


def _listen(space: Namespace) -> list[socket.socket]:
    def work() -> list[socket.socket]:
        found = []
        for port in PORTS:
            found.append(socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=256))
            for family, everywhere in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
                datagrams = socket.socket(family, socket.SOCK_DGRAM)
                if family == socket.AF_INET6:
                    datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                datagrams.bind((everywhere, port))
                found.append(datagrams)
        return found

    return space.run(work)


def _serve(servers: list[tuple[str, list[socket.socket]]], stack: ExitStack) -> None:
    """Answer everything until the stack closes."""
    stop_reading, stop_writing = socket.socketpair()
    names = {one.fileno(): (name, one) for name, sockets in servers for one in sockets}

    def work() -> None:
        poll = select.poll()
        for descriptor in (*names, stop_reading.fileno()):
            poll.register(descriptor, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == stop_reading.fileno():
                    return
                with contextlib.suppress(OSError):
                    _answer(*names[descriptor])

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def stop() -> None:
        stop_writing.close()
        thread.join()
        for _, one in names.values():
            one.close()
        stop_reading.close()

    stack.callback(stop)


def _answer(name: str, server: socket.socket) -> None:
    if server.type == socket.SOCK_DGRAM:
        _, peer = server.recvfrom(2048)
        server.sendto(f"{name} {_plain(peer[0])}".encode(), peer)
        return
    connection, peer = server.accept()
    with connection:
        connection.sendall(f"{name} {_plain(peer[0])}".encode())


def _plain(address: str) -> IPAddress:
    found = ipaddress.ip_address(address)
    return getattr(found, "ipv4_mapped", None) or found


def _ask(address: str, port: int, protocol: str, client: socket.socket | None) -> str:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = client or socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
    made.settimeout(PATIENCE)
    try:
        made.connect((address, port))
        if protocol == "udp":
            made.send(b"who")
        return made.recv(2048).decode()
    except ConnectionRefusedError:
        return REFUSED
    except TimeoutError:
        return SILENT
    except OSError as error:
        return str(error.strerror)
    finally:
        if client is None:
            made.close()
