"""Which address everything in a lab has, and which pod ranges fit beside it. Pure.

The fabric's network, the Service ranges and the outside host are the same in every lab: labs have network namespaces of
their own and never meet. Only the pods' range can be chosen, so that it can be the one of the cluster that a lab stands
for. Each node has a piece of it (`Node.spec.podCIDRs`), of the size that kube-controller-manager gives.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from gatewright.engine.addresses import IPAddress, IPNetwork
from gatewright.lab.errors import LabError

DEFAULT_POD_CIDRS = ("10.244.0.0/16", "fd00:10:244::/56")
NODE_PREFIXES = {4: 24, 6: 64}
"""How long the prefix of one node's piece of the pod range is."""
FABRIC_NETWORKS: tuple[IPNetwork, ...] = (
    ipaddress.ip_network("172.31.255.0/24"),
    ipaddress.ip_network("fd00:10:31::/64"),
)
FABRIC_ADDRESSES: tuple[IPAddress, ...] = tuple(network[1] for network in FABRIC_NETWORKS)
"""The nodes' router, where the API is too."""
API_PORT = 6443
SERVICE_CIDRS: tuple[IPNetwork, ...] = (
    ipaddress.ip_network("10.96.0.0/16"),
    ipaddress.ip_network("fd00:10:96::/112"),
)
OUTSIDE = "outside"
"""The name of the outside host: its link, and what people call it."""
OUTSIDE_ADDRESSES: tuple[IPAddress, ...] = (
    ipaddress.ip_address("203.0.113.10"),
    ipaddress.ip_address("2001:db8:113::10"),
)
"""From the documentation ranges (RFC 5737, RFC 3849): they mean no real network."""
GATEWAYS: dict[int, IPAddress] = {4: ipaddress.ip_address("169.254.1.1"), 6: ipaddress.ip_address("fe80::1")}
"""The next hop of every pod and of the outside host: link-local, answered by the other side of its link."""
MOST_NODES = 244

_Item = TypeVar("_Item", IPAddress, IPNetwork)
_BEFORE_NODES = 10
"""Addresses of the fabric's network below the first node's."""
_MOST_BITS = 16
"""kube-controller-manager cuts a range into at most 2 to the power of this many pieces."""
_TAKEN: tuple[tuple[IPNetwork, str], ...] = (
    *((network, "the lab's Services have it") for network in SERVICE_CIDRS),
    *((network, "the lab's nodes have it") for network in FABRIC_NETWORKS),
    *((ipaddress.ip_network(address), "the lab's outside host has it") for address in OUTSIDE_ADDRESSES),
    *(
        (ipaddress.ip_network(text), "hosts cannot have such addresses")
        for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/8", "fe80::/10", "ff00::/8")
    ),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What can be chosen: the pod ranges, at most one a family, and how many nodes there are at the start."""

    pod_networks: tuple[IPNetwork, ...]
    nodes: int

    @classmethod
    def of(cls, cidrs: Iterable[str] = DEFAULT_POD_CIDRS, nodes: int = 1) -> Plan:
        """The plan with these pod ranges. Raises LabError that names the option."""
        if not 1 <= nodes <= MOST_NODES:
            raise LabError(f"--nodes {nodes}: a lab has 1 to {MOST_NODES} nodes")
        networks = sorted((_network(text) for text in cidrs), key=lambda network: network.version)
        versions = [network.version for network in networks]
        if len(set(versions)) != len(versions):
            raise LabError("--pod-cidr: give at most one IPv4 and one IPv6 range")
        if 4 not in versions:
            raise LabError("--pod-cidr: an IPv4 range is needed; the lab's name server has an IPv4 address")
        for network in networks:
            pieces = 1 << NODE_PREFIXES[network.version] - network.prefixlen
            if pieces < nodes:
                raise LabError(
                    f"--pod-cidr {network}: holds the /{NODE_PREFIXES[network.version]} of {pieces} nodes, fewer than "
                    f"--nodes {nodes}; choose a larger range"
                )
        return cls(tuple(networks), nodes)

    @property
    def families(self) -> tuple[int, ...]:
        """The families that pods have, 4 and maybe 6."""
        return tuple(network.version for network in self.pod_networks)

    def require_room(self, nodes: int) -> None:
        """Raises LabError where so many nodes do not fit."""
        for network in self.pod_networks:
            pieces = 1 << NODE_PREFIXES[network.version] - network.prefixlen
            if nodes > pieces:
                raise LabError(f"the pod range {network} holds the pods of {pieces} nodes; remove a node first")

    def only(self, families: Iterable[int]) -> Plan:
        """The same plan without the other families."""
        kept = set(families)
        return Plan(tuple(network for network in self.pod_networks if network.version in kept), self.nodes)


def node_addresses(number: int, families: Iterable[int]) -> tuple[IPAddress, ...]:
    """The addresses of a node on the fabric; nodes count from 1. Raises LabError beyond the last."""
    if not 1 <= number <= MOST_NODES:
        raise LabError(f"there is no node {number}: a lab has room for {MOST_NODES}")
    return tuple(network[_BEFORE_NODES + number] for network in of_families(FABRIC_NETWORKS, families))


def node_link(number: int) -> str:
    """The name of a node's link on the fabric's side."""
    return f"node{number}"


def mac_of(address: IPAddress) -> str:
    """The MAC address of the host with this IPv4 address: locally administered, the rest is the address."""
    return ":".join(f"{byte:02x}" for byte in (0x02, 0x47, *address.packed[-4:]))


def everything(version: int) -> IPNetwork:
    """All addresses of a family: what a default route is for."""
    return ipaddress.ip_network("0.0.0.0/0" if version == 4 else "::/0")


def of_families(items: Iterable[_Item], families: Iterable[int]) -> list[_Item]:
    """The addresses or networks of these families."""
    kept = set(families)
    return [item for item in items if item.version in kept]


def routable(network: IPNetwork) -> bool:
    """Whether a node's pods may have this range: it is nobody else's."""
    return _clash(network) is None


def _clash(network: IPNetwork) -> str | None:
    found = (f"{taken}: {why}" for taken, why in _TAKEN if taken.version == network.version and taken.overlaps(network))
    return next(found, None)


def _network(text: str) -> IPNetwork:
    try:
        network: IPNetwork = ipaddress.ip_network(text)
    except ValueError as error:
        raise LabError(f"--pod-cidr {text}: {error}") from error
    if clash := _clash(network):
        raise LabError(f"--pod-cidr {network}: overlaps {clash}; choose another range")
    bits = NODE_PREFIXES[network.version] - network.prefixlen
    if not 0 <= bits <= _MOST_BITS:
        longest = NODE_PREFIXES[network.version]
        raise LabError(
            f"--pod-cidr {network}: each node has a /{longest} of it, so it must be a "
            f"/{longest - _MOST_BITS} to a /{longest}"
        )
    return network
