"""Which address everything in a lab has. Pure; an address once given stays with its owner until that owner is gone.

Pod addresses are handed out in a ring, so that a new pod does not get the address of one that has just gone: what the
kernel still remembers of an old pod's connections must never apply to a new pod.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from gatewright.engine.addresses import IPAddress, IPNetwork
from gatewright.lab.errors import LabError

DEFAULT_POD_CIDRS = ("10.244.0.0/24", "fd00:10:244::/64")
SERVICE_CIDRS: tuple[IPNetwork, ...] = (
    ipaddress.ip_network("10.96.0.0/16"),
    ipaddress.ip_network("fd00:10:96::/112"),
)
NODE_ADDRESSES: tuple[IPAddress, ...] = (ipaddress.ip_address("172.31.255.1"), ipaddress.ip_address("fd00:10:31::1"))
OUTSIDE_ADDRESSES: tuple[IPAddress, ...] = (
    ipaddress.ip_address("203.0.113.10"),
    ipaddress.ip_address("2001:db8:113::10"),
)
"""The outside host has addresses from the documentation ranges (RFC 5737, RFC 3849): they mean no real network."""
GATEWAYS: dict[int, IPAddress] = {4: ipaddress.ip_address("169.254.1.1"), 6: ipaddress.ip_address("fe80::1")}
"""Every pod's next hop: link-local, the same for all, answered by the node's side of the pod's link."""
DNS_ADDRESS = ipaddress.ip_address("10.96.0.10")

_LARGEST_RING = 65536
_RESERVED_SERVICE_ADDRESSES = 32
"""Service addresses below this offset are never handed out, only given on request, as the API server does it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The ranges of one lab."""

    pod_networks: tuple[IPNetwork, ...]

    @classmethod
    def of(cls, cidrs: Iterable[str]) -> Plan:
        """The plan with these pod ranges, at most one a family. Raises LabError."""
        networks: list[IPNetwork] = []
        for text in cidrs:
            try:
                networks.append(ipaddress.ip_network(text))
            except ValueError as error:
                raise LabError(f"--pod-cidr {text}: {error}") from error
        taken = [*SERVICE_CIDRS, *map(ipaddress.ip_network, (*NODE_ADDRESSES, *OUTSIDE_ADDRESSES))]
        for network in networks:
            clash = next(
                (other for other in taken if other.version == network.version and other.overlaps(network)), None
            )
            if clash:
                raise LabError(
                    f"--pod-cidr {network}: overlaps {clash}, which the lab uses itself; choose another range"
                )
        if len({network.version for network in networks}) != len(networks):
            raise LabError("--pod-cidr: give at most one IPv4 and one IPv6 range")
        if not any(network.version == 4 for network in networks):
            raise LabError("--pod-cidr: an IPv4 range is needed; the lab's name server has an IPv4 address")
        return cls(tuple(sorted(networks, key=lambda network: network.version)))

    @property
    def families(self) -> tuple[int, ...]:
        """The families that pods have, 4 and maybe 6."""
        return tuple(network.version for network in self.pod_networks)

    def only(self, families: Iterable[int]) -> Plan:
        """The same plan without the other families."""
        kept = set(families)
        return Plan(tuple(network for network in self.pod_networks if network.version in kept))

    @property
    def capacity(self) -> int:
        """How many pods the ranges hold (the first and last address of a range are left out)."""
        return min(min(network.num_addresses, _LARGEST_RING) - 2 for network in self.pod_networks)

    def pod_addresses(self, position: int) -> tuple[IPAddress, ...]:
        """The addresses at a position of the ring."""
        return tuple(network[position + 1] for network in self.pod_networks)


@dataclass(frozen=True, slots=True)
class Ring:
    """Positions of pods in the pod ranges: who has which, and where the search for the next free one starts."""

    held: dict[str, int]
    following: int = 0

    def take(self, keys: Iterable[str], capacity: int) -> Ring:
        """The ring in which exactly `keys` hold positions; those that had one keep it. Raises LabError when full."""
        wanted = list(keys)
        if len(wanted) > capacity:
            raise LabError(
                f"{len(wanted)} pods do not fit the pod range, which holds {capacity}; use a larger --pod-cidr"
            )
        held = {key: self.held[key] for key in wanted if key in self.held}
        used = set(self.held.values())
        following = self.following
        for key in wanted:
            if key not in held:
                if len(used) >= capacity:
                    used = set(held.values())
                while following % capacity in used:
                    following += 1
                held[key] = following % capacity
                used.add(held[key])
                following += 1
        return Ring(held, following % capacity)


NO_POSITIONS = Ring({})


def service_address(taken: set[IPAddress], network: IPNetwork) -> IPAddress:
    """The next free Service address of a range. Raises LabError when there is none."""
    last = network.num_addresses - 1
    for offset in range(_RESERVED_SERVICE_ADDRESSES, last):
        if network[offset] not in taken:
            return network[offset]
    raise LabError(f"no free Service address is left in {network}")
