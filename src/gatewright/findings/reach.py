"""Which addresses of the cluster lie in a block: those of pods, as far as they are known, and those of nodes.

Both are kept sorted, so that a block costs a search and not a walk over the cluster.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from gatewright.engine.addresses import FAMILIES, AddressSet
from gatewright.engine.ports import Range, Ranges, normalize
from gatewright.engine.snapshot import Snapshot
from gatewright.objects.core import Node


@dataclass(frozen=True, slots=True)
class Reach:
    """The addresses of pods by family, and those of nodes with the node's name."""

    pods: dict[int, Ranges]
    nodes: dict[int, tuple[tuple[int, str], ...]]

    def pods_in(self, addresses: AddressSet) -> AddressSet:
        """The addresses of pods among some."""
        v4, v6 = (tuple(_shared(addresses.ranges(family), self.pods[family])) for family in FAMILIES)
        return AddressSet(v4, v6)

    def nodes_in(self, addresses: AddressSet) -> list[str]:
        """The nodes of which an address is among some, by name."""
        found = set()
        for family in FAMILIES:
            known = self.nodes[family]
            for first, last in addresses.ranges(family):
                position = bisect_left(known, (first, ""))
                while position < len(known) and known[position][0] <= last:
                    found.add(known[position][1])
                    position += 1
        return sorted(found)


def reach_of(snapshot: Snapshot) -> Reach:
    """What is known of the cluster: pod ranges as given and as nodes say, addresses of pods and of nodes."""
    cidrs = [cidr for node in snapshot.all(Node) for cidr in _pod_cidrs(node)]
    given = AddressSet.union([snapshot.pod_range, *map(AddressSet.of_block, cidrs)])
    single: dict[int, list[Range]] = {family: list(given.ranges(family)) for family in FAMILIES}
    for one in snapshot.endpoints:
        for address in () if one.host_network else one.addresses:
            number = int(address)
            single[address.version].append((number, number))
    nodes: dict[int, list[tuple[int, str]]] = {family: [] for family in FAMILIES}
    for address, name in snapshot.nodes_by_address.items():
        nodes[address.version].append((int(address), name))
    return Reach(
        {family: normalize(ranges) for family, ranges in single.items()},
        {family: tuple(sorted(known)) for family, known in nodes.items()},
    )


def _shared(wanted: Ranges, known: Ranges) -> Iterator[Range]:
    for first, last in wanted:
        position = bisect_left(known, first, key=lambda one: one[1])
        while position < len(known) and known[position][0] <= last:
            yield max(first, known[position][0]), min(last, known[position][1])
            position += 1


def _pod_cidrs(node: Node) -> tuple[str, ...]:
    return node.spec.pod_cidrs or ((node.spec.pod_cidr,) if node.spec.pod_cidr else ())
