"""The input of the engine: an immutable set of objects, and the endpoints, namespaces and nodes that they make.

A snapshot knows what every pod, namespace and node looks like to a policy. `step` gives the next snapshot and what
became different on the way; nothing is ever changed in place, so a verdict always belongs to one well-defined state of
the cluster.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar, cast

from gatewright.engine.addresses import ALL_ADDRESSES, NO_ADDRESSES, AddressSet, IPAddress, parse_address
from gatewright.engine.layers import Layers
from gatewright.engine.model import Endpoint
from gatewright.engine.roster import Move, NodeAddresses, Roster
from gatewright.objects.cluster_policy import ClusterPolicy
from gatewright.objects.core import Node, Pod, Service
from gatewright.objects.meta import Key, Object
from gatewright.objects.policy import NetworkPolicy

T = TypeVar("T", bound=Object)
Policy = NetworkPolicy | ClusterPolicy
Labels = dict[str, str]

NAMESPACE, NODE = "Namespace", "Node"
NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name"
"""Set by the API server on every namespace, so every namespace has it, declared or not."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened to a set of objects: those that are new or different, and the keys of those that are gone."""

    put: tuple[Object, ...] = ()
    gone: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """From one snapshot to the next: what a policy may see differently.

    `moves` are those of endpoints, `policies` those written, rewritten or gone (None), `namespaces` those whose labels
    are new, different or gone, `nodes` says whether a node's labels or addresses differ.
    """

    snapshot: Snapshot
    moves: tuple[Move, ...] = ()
    policies: tuple[tuple[Key, Policy | None], ...] = ()
    namespaces: tuple[str, ...] = ()
    nodes: bool = False


@dataclass(frozen=True)
class Snapshot:
    """An immutable set of objects by key (kind, namespace, name). Made by `of`, and from another one by `step`.

    `pod_range` holds the addresses that pods can have, where it is known: it narrows what an ipBlock may match while
    the addresses of pods are not known yet. Empty means unknown. `namespaces` are labels by namespace: those declared,
    and those that something else names; `population` counts what stands in each. `node_addresses` are those that Node
    objects declare.
    """

    objects: Layers[Key, Object]
    pod_range: AddressSet
    roster: Roster
    namespaces: Layers[str, Labels]
    population: Layers[str, int]
    node_addresses: NodeAddresses

    @classmethod
    def of(cls, objects: Iterable[Object], *, pod_cidrs: Iterable[str] = ()) -> Snapshot:
        """The snapshot of these objects. Raises ValueError for a pod_cidr that is not a CIDR."""
        pod_range = NO_ADDRESSES
        for cidr in pod_cidrs:
            pod_range |= AddressSet.of_block(cidr)
        by_key = {item.key: item for item in objects}
        nodes = {item.metadata.name: _addresses(item) for item in by_key.values() if isinstance(item, Node)}
        population = Counter([key[1] for key in by_key if key[1]])
        declared = [name for kind, _, name in by_key if kind == NAMESPACE]
        namespaces = {name: _labels(name, by_key) for name in sorted({*population, *declared})}
        roster = Roster.of(by_key, nodes)
        return cls(Layers(by_key), pod_range, roster, Layers(namespaces), Layers(dict(population)), nodes)

    def step(self, changes: Changes) -> Step:
        """The next snapshot, and what became different."""
        touched: dict[Key, Object | None] = {key: None for key in changes.gone if key in self.objects}
        touched |= {item.key: item for item in changes.put}
        objects = self.objects.put(touched)
        population, namespaces, renamed = self._namespaces_after(touched, objects)
        nodes, relabelled = self._nodes_after(touched)
        made = {key: objects.get(key) for key in self._hosted_on(nodes)} | touched
        roster, moves = self.roster.change(made, nodes)
        following = Snapshot(objects, self.pod_range, roster, namespaces, population, nodes)
        readdressed = nodes is not self.node_addresses or self._claims_differ(touched)
        if not readdressed and "nodes_by_address" in vars(self):
            for known in vars(self).keys() & {"nodes_by_address", "own_addresses"}:
                vars(following)[known] = vars(self)[known]
        policies = tuple((key, item) for key, item in touched.items() if isinstance(item or self.objects[key], Policy))
        return Step(following, moves, cast(Any, policies), renamed, relabelled or readdressed)

    def apply(self, changes: Changes) -> Snapshot:
        """The next snapshot."""
        return self.step(changes).snapshot

    def all(self, kind: type[T]) -> list[T]:
        """Every object of a kind, by namespace and name: the order of the input never shows."""
        found = [item for own, items in self._by_type.items() if issubclass(own, kind) for item in items]
        return sorted(cast("list[T]", found), key=lambda item: (item.metadata.namespace, item.metadata.name))

    @cached_property
    def _by_type(self) -> dict[type[Object], list[Object]]:
        found: dict[type[Object], list[Object]] = defaultdict(list)
        for item in self.objects.values():
            found[type(item)].append(item)
        return found

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Everything that can open or receive a connection, in order of namespace, name and kind."""
        return self.roster.in_order

    @cached_property
    def policies(self) -> tuple[NetworkPolicy, ...]:
        """The NetworkPolicies."""
        return tuple(self.all(NetworkPolicy))

    @cached_property
    def cluster_policies(self) -> tuple[ClusterPolicy, ...]:
        """The cluster-wide policies of every kind."""
        return tuple(self.all(ClusterPolicy))

    @cached_property
    def services(self) -> tuple[Service, ...]:
        """The Services."""
        return tuple(self.all(Service))

    @cached_property
    def nodes_by_address(self) -> Mapping[IPAddress, str]:
        """The node that has an address: from Node objects, host-network pods, and the hostIP of pods."""
        found: dict[IPAddress, str] = {}
        for name, addresses in sorted(self.node_addresses.items()):
            found.update(dict.fromkeys(addresses, name))
        for pod in self.all(Pod):
            for address, node in _claims(pod):
                found.setdefault(address, node)
        return found

    @cached_property
    def own_addresses(self) -> AddressSet:
        """Where the address of a pod on its own network may lie: in the pod range, and never where a node's is."""
        nodes = AddressSet.union(AddressSet.of_address(one) for one in self.nodes_by_address)
        return (self.pod_range or ALL_ADDRESSES) - nodes

    def _namespaces_after(
        self, touched: Mapping[Key, Object | None], objects: Mapping[Key, Object]
    ) -> tuple[Layers[str, int], Layers[str, Labels], tuple[str, ...]]:
        """Population and labels of namespaces after a change, and the names of those whose labels differ."""
        counts: dict[str, int] = {}
        for key in touched:
            if key[1]:
                known = counts.get(key[1], self.population.get(key[1], 0))
                counts[key[1]] = known + (key in objects) - (key in self.objects)
        population = self.population.put(
            {name: count for name, count in counts.items() if count != self.population.get(name, 0)}
        )
        different: dict[str, Labels | None] = {}
        for name in sorted({key[2] if key[0] == NAMESPACE else key[1] for key in touched}):
            exists = (NAMESPACE, "", name) in objects or population.get(name, 0) > 0
            labels = _labels(name, objects) if name and exists else None
            if labels != self.namespaces.get(name):
                different[name] = labels
        return population, self.namespaces.put(different), tuple(different)

    def _nodes_after(self, touched: Mapping[Key, Object | None]) -> tuple[NodeAddresses, bool]:
        """The addresses of Node objects after a change, and whether the labels of one of them differ."""
        if all(key[0] != NODE for key in touched):
            return self.node_addresses, False
        addresses, relabelled = dict(self.node_addresses), False
        for key, item in touched.items():
            if key[0] == NODE:
                before = self.objects.get(key)
                relabelled |= (before and before.labels) != (item and item.labels)
                addresses.pop(key[2], None)
                if isinstance(item, Node):
                    addresses[key[2]] = _addresses(item)
        return (self.node_addresses if addresses == self.node_addresses else addresses), relabelled

    def _hosted_on(self, nodes: NodeAddresses) -> list[Key]:
        """The host-network pods of nodes whose addresses are not those of this snapshot."""
        if nodes is self.node_addresses:
            return []
        changed = {name for name, own in (nodes.items() ^ self.node_addresses.items())}
        return [one.key for one in self.roster if one.host_network and one.node in changed]

    def _claims_differ(self, touched: Mapping[Key, Object | None]) -> bool:
        """Whether pods that came, went or changed make `nodes_by_address` another one. False while nobody asked it."""
        if "nodes_by_address" not in vars(self):
            return False
        declared: set[IPAddress] | None = None
        for key, item in touched.items():
            before = self.objects.get(key)
            old = set(_claims(before)) if isinstance(before, Pod) else set()
            new = set(_claims(item)) if isinstance(item, Pod) else set()
            if old == new:
                continue
            declared = declared or {address for own in self.node_addresses.values() for address in own}
            if any(address not in declared for address, _ in old - new):
                return True
            came = [claim for claim in new - old if claim[0] not in declared]
            if any(self.nodes_by_address.get(address) != node for address, node in came):
                return True
        return False


def _labels(name: str, objects: Mapping[Key, Object]) -> Labels:
    declared = objects.get((NAMESPACE, "", name))
    return {**(declared.labels if declared else {}), NAMESPACE_NAME_LABEL: name}


def _addresses(node: Node) -> tuple[IPAddress, ...]:
    """The addresses of a node; names among them (type Hostname) are left out."""
    found = []
    for entry in node.status.addresses:
        try:
            found.append(parse_address(entry.address))
        except ValueError:
            continue
    return tuple(found)


def _claims(pod: Pod) -> list[tuple[IPAddress, str]]:
    """The addresses that a pod knows to be its node's."""
    node = pod.spec.node_name
    if not node:
        return []
    return [(parse_address(text), node) for text in (*(pod.ips if pod.spec.host_network else ()), *pod.host_ips)]
