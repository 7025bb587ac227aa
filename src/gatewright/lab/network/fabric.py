"""The fabric: the network between the nodes, their router, and the place of the API.

A bridge in a network namespace of its own. Each node hangs on it by a veth pair, and everybody knows everybody's MAC
address for good, so nodes come, go, are cut off and healed without a packet that waits for ARP. The router is the way
between nodes and the outside host; between nodes pods' packets go straight, by each node's routes (`routes.py`).

Everything happens through sockets of the namespaces: whoever makes a fabric stays where it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from gatewright.lab.errors import LabError
from gatewright.lab.network.links import HOST_LINK
from gatewright.lab.network.namespaces import within
from gatewright.lab.network.node import NodeNetwork, met
from gatewright.lab.network.plan import (
    FABRIC_ADDRESSES,
    FABRIC_NETWORKS,
    mac_of,
    node_addresses,
    node_link,
    of_families,
)
from gatewright.lab.network.rtnetlink import (
    End,
    Netlink,
    address,
    bridge,
    link_delete,
    link_up,
    neighbour_delete,
    of_descriptor,
    port_forwards,
    veth,
)
from gatewright.lab.network.switches import route_packets

BRIDGE = "fabric"


class Fabric:
    """The fabric in a network namespace (a descriptor, still empty). For one thread. Methods raise LabError."""

    def __init__(self, namespace: int, families: Iterable[int]) -> None:
        self._families = tuple(families)
        self._namespace = namespace
        self._netlink = within(namespace, Netlink)
        self._bridge = 0
        self._nodes: dict[int, NodeNetwork] = {}

    def set_up(self) -> None:
        """Make the bridge and the router."""
        with _explained("make the fabric"):
            within(self._namespace, route_packets)
            self._netlink.run([link_up("lo"), bridge(BRIDGE, mac_of(FABRIC_ADDRESSES[0]))])
            self._bridge = self._netlink.index(BRIDGE)
            lengths = {network.version: network.prefixlen for network in FABRIC_NETWORKS}
            own = of_families(FABRIC_ADDRESSES, self._families)
            self._netlink.run(address(self._bridge, one, lengths[one.version]) for one in own)

    def connect(self, number: int, namespace: int) -> None:
        """Make an empty network namespace (a descriptor) the node of this number; nothing of it stays on an error."""
        addresses = node_addresses(number, self._families)
        if number in self._nodes:
            raise LabError(f"node {number} is connected to the fabric already")
        with _explained(f"connect node {number} to the fabric"):
            node = within(namespace, self._router)
            near = End(node_link(number), _port_mac(number))
            far = End(HOST_LINK, mac_of(addresses[0]))
            try:
                self._netlink.run([veth(near, far, of_descriptor(namespace), self._bridge)])
                self._netlink.run(met(self._bridge, number, self._families))
                node.join(number)
                self._settle(number)
                for other, known in self._nodes.items():
                    node.meet(other)
                    known.meet(number)
            except BaseException:
                self._forget(number, node)
                raise
        self._nodes[number] = node

    def disconnect(self, number: int) -> None:
        """Take a node away; one that is not there is no error."""
        if node := self._nodes.pop(number, None):
            self._forget(number, node)

    def cut(self, number: int) -> None:
        """Stop all traffic of a node with the fabric, both ways; its links stay up."""
        self._forward(number, False)

    def heal(self, number: int) -> None:
        """Let the traffic of a node that was cut off pass again."""
        self._forward(number, True)
        with _explained(f"heal node {number}"):
            self._settle(number)

    def close(self) -> None:
        """Let go of every namespace."""
        for node in self._nodes.values():
            node.close()
        self._netlink.close()

    def _router(self) -> NodeNetwork:
        node = NodeNetwork(self._families)
        try:
            node.set_up()
        except BaseException:
            node.close()
            raise
        return node

    def _settle(self, number: int) -> None:
        """The bridge itself is down while none of its ports forwards."""
        self._netlink.settle(node_link(number))
        self._netlink.settle(BRIDGE, of_families(FABRIC_ADDRESSES, self._families))

    def _forward(self, number: int, forwards: bool) -> None:
        if number not in self._nodes:
            raise LabError(f"there is no node {number} on the fabric")
        with _explained(f"{'heal' if forwards else 'cut'} node {number}"):
            self._netlink.run([port_forwards(self._netlink.index(node_link(number)), forwards)])

    def _forget(self, number: int, node: NodeNetwork) -> None:
        for other in self._nodes.values():
            other.forget(number)
        for request in (
            link_delete(node_link(number)),
            *(neighbour_delete(self._bridge, one) for one in node_addresses(number, self._families)),
        ):
            with suppress(OSError):  # it may be gone with the node's namespace
                self._netlink.run([request])
        node.close()


def _port_mac(number: int) -> str:
    """Of the bridge's port: nobody sends to it, but every link needs one of its own."""
    return f"02:47:ff:ff:00:{number:02x}"


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LabError(f"cannot {what}: {error.filename or 'network namespace'}: {error.strerror}") from error
