"""What selectors, blocks and port names mean on one snapshot: the only place that knows.

Everything is answered as sets (`PodSet`, `AddressSet`), and answered once: the same selector in a thousand policies
costs one look-up each after the first.
"""

from __future__ import annotations

from collections.abc import Sequence

from gatewright.engine.addresses import AddressSet
from gatewright.engine.model import Endpoint
from gatewright.engine.podset import NO_PODS, PodSet
from gatewright.engine.ports import PortSet, Protocol, Ranges
from gatewright.engine.selectors import Selectors
from gatewright.engine.snapshot import Snapshot
from gatewright.objects.core import Node
from gatewright.objects.meta import LabelSelector

PortName = tuple[str, Protocol]


class Selection:
    """The endpoints of a snapshot, selectable. Host-network pods are never matched by pod selectors."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.endpoints = snapshot.endpoints
        self.selectable = PodSet.of(e.index for e in self.endpoints if not e.host_network)
        self._pods = Selectors([endpoint.labels for endpoint in self.endpoints])
        self._namespace_names = tuple(snapshot.namespaces)
        self._namespaces = Selectors([snapshot.namespaces[name] for name in self._namespace_names])
        members: dict[str, list[int]] = {name: [] for name in self._namespace_names}
        for endpoint in self.endpoints:
            members[endpoint.namespace].append(endpoint.index)
        self._members = {name: PodSet.of(indices) & self.selectable for name, indices in members.items()}
        self._nodes = snapshot.all(Node)
        self._node_selectors = Selectors([node.labels for node in self._nodes])
        self._blocks: dict[tuple[str, tuple[str, ...]], AddressSet] = {}
        self._declaring = _alike(self.endpoints, self.selectable)
        self._carriers: dict[PortName, dict[PortSet, PodSet]] = {}

    def in_namespace(self, namespace: str, pods: LabelSelector | None = None) -> PodSet:
        """The pods of one namespace, those a selector matches."""
        found = self._members[namespace]
        return found if pods is None else found & self._pods.select(pods)

    def in_namespaces(self, namespaces: LabelSelector, pods: LabelSelector | None = None) -> PodSet:
        """The pods of all namespaces that a selector matches, those a second selector matches."""
        if not namespaces.match_labels and not namespaces.match_expressions:
            found = self.selectable
        else:
            found = NO_PODS
            for position in self._namespaces.select(namespaces):
                found |= self._members[self._namespace_names[position]]
        return found if pods is None else found & self._pods.select(pods)

    def block(self, cidr: str, excepts: tuple[str, ...] = ()) -> AddressSet:
        """The addresses of an ipBlock."""
        key = (cidr, excepts)
        if key not in self._blocks:
            self._blocks[key] = AddressSet.of_block(cidr, excepts)
        return self._blocks[key]

    def nodes(self, selector: LabelSelector) -> tuple[PodSet, AddressSet]:
        """Nodes by label: the host-network pods that stand on them, and the nodes' addresses.

        The empty selector means every node, also one that is not among the objects.
        """
        chosen = [self._nodes[position] for position in self._node_selectors.select(selector)]
        names = {node.name for node in chosen}
        every = not selector.match_labels and not selector.match_expressions
        pods = PodSet.of(e.index for e in self.endpoints if e.host_network and (every or e.node in names))
        known = self._snapshot.nodes_by_address.items()
        return pods, AddressSet.union([AddressSet.of_address(one) for one, name in known if every or name in names])

    def carriers(self, name: PortName) -> dict[PortSet, PodSet]:
        """The pods that have a named port, by the numbers it has on them."""
        if name not in self._carriers:
            groups: dict[PortSet, PodSet] = {}
            for named_ports, pods in self._declaring:
                if ranges := named_ports.get(name):
                    ports = PortSet.of(name[1], *ranges)
                    groups[ports] = groups.get(ports, NO_PODS) | pods
            self._carriers[name] = groups
        return self._carriers[name]


def _alike(endpoints: Sequence[Endpoint], among: PodSet) -> list[tuple[dict[PortName, Ranges], PodSet]]:
    """The endpoints by what named ports they declare; those that declare the same share one dictionary."""
    groups: dict[int, list[int]] = {}
    for endpoint in endpoints:
        if endpoint.named_ports:
            groups.setdefault(id(endpoint.named_ports), []).append(endpoint.index)
    return [(endpoints[members[0]].named_ports, PodSet.of(members) & among) for members in groups.values()]
