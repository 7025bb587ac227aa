"""The network of a lab without a lab: a fabric, nodes and pods as namespaces, and connections between them.

    with fabric_of(nodes=2, pods=2) as made:
        made.connection("1.1", "2.1", 4)      # from pod 1 of node 1 to pod 1 of node 2: the source address seen

Hosts are called `outside`, `router`, `1` (a node) and `1.2` (a pod of it). Everything goes with the block.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import os
import socket
import subprocess
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from gatewright.engine.addresses import IPAddress, IPNetwork
from gatewright.lab import linux
from gatewright.lab.network.fabric import BRIDGE, Fabric
from gatewright.lab.network.links import HOST_LINK
from gatewright.lab.network.namespaces import new_namespace, within
from gatewright.lab.network.node import NodeNetwork
from gatewright.lab.network.outside import make_outside
from gatewright.lab.network.plan import FABRIC_ADDRESSES, OUTSIDE_ADDRESSES, node_addresses
from gatewright.lab.network.routetable import RouteTable
from gatewright.lab.network.rtnetlink import Netlink

FAMILIES = (4, 6)
NOBODY = 65534
PATIENCE = 1.2
"""Seconds after which a packet counts as lost; one that arrives takes less than a millisecond."""
_PR_SET_DUMPABLE = 4


def pod_range(node: int, family: int) -> IPNetwork:
    """The pods of a node."""
    return ipaddress.ip_network(f"10.244.{node}.0/24" if family == 4 else f"fd00:10:244:{node:x}::/64")


class Made:
    """A fabric with its router, an outside host, nodes and pods."""

    def __init__(self, stack: ExitStack, families: Sequence[int]) -> None:
        self.families = tuple(families)
        self.spaces: dict[str, int] = {}
        self.addresses: dict[str, tuple[IPAddress, ...]] = {}
        self._stack = stack
        self._nodes: dict[int, NodeNetwork] = {}
        router = new_namespace()
        self.fabric = Fabric(router, families)
        stack.callback(self.fabric.close)
        self.fabric.set_up()
        self._add("router", router, FABRIC_ADDRESSES)
        self._add("outside", make_outside(router, families), OUTSIDE_ADDRESSES)

    def add_node(self, number: int) -> None:
        """Another node, which every other one learns to route to."""
        namespace = new_namespace()
        self._add(str(number), namespace, node_addresses(number, self.families))
        self.fabric.connect(number, namespace)
        self._nodes[number] = within(namespace, partial(NodeNetwork, self.families))
        self._stack.callback(self._nodes[number].close)
        self.route()

    def remove_node(self, number: int) -> None:
        """The reverse."""
        self.fabric.disconnect(number)
        del self._nodes[number]
        self.route()

    def add_pod(self, node: int, number: int) -> None:
        """A pod, which is a process that sleeps."""
        namespace = new_namespace()
        process = within(namespace, lambda: subprocess.Popen(["sleep", "600"]))
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        name = f"{node}.{number}"
        self._add(name, namespace, [pod_range(node, family)[number] for family in self.families])
        attach = partial(self._nodes[node].attach, f"pod{number}", process.pid, self.addresses[name])
        within(self.spaces[str(node)], attach)

    def detach(self, node: int, *numbers: int) -> None:
        """Take pods' links away."""
        self._nodes[node].detach(*(f"pod{number}" for number in numbers))

    def route(self) -> None:
        """Every namespace routes the pods of every node."""
        gateways: dict[IPNetwork, IPAddress | None] = {
            pod_range(node, address.version): address
            for node in self._nodes
            for address in node_addresses(node, self.families)
        }
        own: dict[str, dict[IPNetwork, IPAddress | None]] = {"router": {}}
        for node in self._nodes:
            own[str(node)] = {pod_range(node, family): None for family in self.families}
        for name, refused in own.items():
            with self.netlink(name) as netlink:
                RouteTable(netlink, BRIDGE if name == "router" else HOST_LINK).keep(gateways | refused)

    def netlink(self, name: str) -> Netlink:
        """A socket of a host's namespace."""
        return within(self.spaces[name], Netlink)

    def address(self, name: str, family: int) -> str:
        """A host's address."""
        return next(str(one) for one in self.addresses[name] if one.version == family)

    def open(self, source: str, address: str, timeout: float = PATIENCE, port: int = 80) -> socket.socket:
        """A TCP connection from a host. Raises what the socket raises."""
        client = within(self.spaces[source], lambda: socket.socket(_family(address)))
        client.settimeout(timeout)
        try:
            client.connect((address, port))
        except BaseException:
            client.close()
            raise
        return client

    @contextlib.contextmanager
    def listening(self, name: str, family: int) -> Iterator[socket.socket]:
        """A TCP server at port 80 of a host."""
        address = self.address(name, family)
        make = partial(socket.create_server, (address, 80), family=_family(address))
        with within(self.spaces[name], make) as server:
            server.settimeout(PATIENCE)
            yield server

    def connection(self, source: str, destination: str, family: int) -> str:
        """Connect two hosts by TCP; which address the destination sees."""
        with (
            self.listening(destination, family) as server,
            self.open(source, self.address(destination, family)),
        ):
            accepted, peer = server.accept()
            accepted.close()
            return str(peer[0])

    def passes(self, source: str, destination: str, family: int) -> bool:
        """Whether a connection comes about; False: nothing comes back."""
        try:
            self.connection(source, destination, family)
        except TimeoutError:
            return False
        return True

    def datagram(self, source: str, destination: str, family: int, size: int) -> bool:
        """Whether a UDP datagram of that many bytes arrives in one packet."""
        address = self.address(destination, family)
        level, option = (socket.IPPROTO_IP, 10) if family == 4 else (socket.IPPROTO_IPV6, 23)  # (IPV6_)MTU_DISCOVER
        with (
            within(self.spaces[destination], lambda: socket.socket(_family(address), socket.SOCK_DGRAM)) as server,
            within(self.spaces[source], lambda: socket.socket(_family(address), socket.SOCK_DGRAM)) as client,
        ):
            server.bind((address, 80))
            server.settimeout(PATIENCE)
            client.setsockopt(level, option, 2)
            client.sendto(bytes(size), (address, 80))
            return len(server.recv(65536)) == size

    def ip(self, name: str, *words: str) -> str:
        """What `ip` says in a host's namespace."""
        run = partial(subprocess.run, ["ip", *words], capture_output=True, text=True, check=True, timeout=20)
        return str(within(self.spaces[name], run).stdout)

    def _add(self, name: str, namespace: int, addresses: Sequence[IPAddress]) -> None:
        self.spaces[name] = namespace
        self.addresses[name] = tuple(address for address in addresses if address.version in self.families)
        self._stack.callback(os.close, namespace)


@contextlib.contextmanager
def fabric_of(nodes: int, pods: int, families: Sequence[int] = FAMILIES) -> Iterator[Made]:
    """So many nodes, each with so many pods."""
    with ExitStack() as stack:
        made = Made(stack, families)
        for node in range(1, nodes + 1):
            made.add_node(node)
            for pod in range(1, pods + 1):
                made.add_pod(node, pod)
        yield made


def as_ordinary_user(function: Callable[[], None]) -> str:
    """Run a function in a child without root's rights but in a user namespace of its own; empty, or what went wrong.

    The child stays in this process' network namespace, in which it may change nothing.
    """
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(told)
            _lose_rights()
            function()
        except BaseException:  # noqa: BLE001 - told to the test
            os.write(tell, traceback.format_exc().encode()[-60000:])
        finally:
            os._exit(0)
    os.close(tell)
    with os.fdopen(told) as answer:
        text = answer.read()
    _, status = os.waitpid(child, 0)
    return text or ("" if status == 0 else f"the child ended with status {status}")


def _lose_rights() -> None:
    if Path("/proc/self/uid_map").read_text().split() == ["0", "0", str(2**32 - 1)] and os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # /proc/self stays root's otherwise
    user, group = os.geteuid(), os.getegid()
    linux.unshare(linux.NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def need_loopback() -> None:
    """Skip where this process' own network namespace has none, as inside of `unshare -n`."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), 1).close()
    except OSError:
        pytest.skip("the loopback link is down here")


def machine() -> dict[str, str]:
    """What could have been changed in the machine's own network namespace."""
    commands = ("-o link", "-o address", "route show table all", "-6 route show table all", "neighbour", "rule")
    found = {
        text: subprocess.run(["ip", *text.split()], capture_output=True, text=True, check=False).stdout
        for text in commands
    }
    switches = (path for path in Path("/proc/sys/net").glob("ipv[46]/conf/*/*") if path.is_file())
    for path in (*switches, Path("/proc/sys/net/ipv4/ip_forward"), Path("/proc/sys/net/ipv4/icmp_ratelimit")):
        with contextlib.suppress(OSError):
            found[str(path)] = path.read_text()
    return found


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
