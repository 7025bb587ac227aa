"""The input of the engine: an immutable set of objects, and the endpoints that they make.

A snapshot knows what every pod, namespace and node looks like to a policy. `apply` gives the next snapshot; nothing is
ever changed in place, so a verdict always belongs to one well-defined state of the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import TypeVar

from gatewright.engine.addresses import NO_ADDRESSES, AddressSet, IPAddress, parse_address
from gatewright.engine.model import Endpoint
from gatewright.engine.ports import Protocol, Range, Ranges, normalize
from gatewright.objects.cluster_policy import ClusterPolicy
from gatewright.objects.core import Container, Namespace, Node, Pod, PodSpec, Service
from gatewright.objects.meta import Object
from gatewright.objects.policy import NetworkPolicy
from gatewright.objects.workloads import CronJob, DaemonSet, Workload

Key = tuple[str, str, str]
T = TypeVar("T", bound=Object)

NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name"
"""Set by the API server on every namespace, so every namespace has it, declared or not."""
FINISHED = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened to a set of objects: those that are new or different, and the keys of those that are gone."""

    put: tuple[Object, ...] = ()
    gone: tuple[Key, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """An immutable set of objects by key (kind, namespace, name).

    `pod_range` holds the addresses that pods can have, where it is known: it narrows what an ipBlock may match while
    the addresses of pods are not known yet. Empty means unknown.
    """

    objects: Mapping[Key, Object] = field(default_factory=lambda: MappingProxyType({}))
    pod_range: AddressSet = NO_ADDRESSES

    @classmethod
    def of(cls, objects: Iterable[Object], *, pod_cidrs: Iterable[str] = ()) -> Snapshot:
        """The snapshot of these objects. Raises ValueError for a pod_cidr that is not a CIDR."""
        pod_range = NO_ADDRESSES
        for cidr in pod_cidrs:
            pod_range |= AddressSet.of_block(cidr)
        return cls(MappingProxyType({item.key: item for item in objects}), pod_range)

    def apply(self, changes: Changes) -> Snapshot:
        """The next snapshot."""
        objects = dict(self.objects)
        for key in changes.gone:
            objects.pop(key, None)
        for item in changes.put:
            objects[item.key] = item
        return Snapshot(MappingProxyType(objects), self.pod_range)

    def all(self, kind: type[T]) -> list[T]:
        """Every object of a kind, by namespace and name: the order of the input never shows."""
        found = (item for item in self.objects.values() if isinstance(item, kind))
        return sorted(found, key=lambda item: (item.namespace, item.name))

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
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Everything that can open or receive a connection, in order of namespace, name and kind."""
        nodes = {node.name: node_addresses(node) for node in self.all(Node)}
        found = [item for item in self.objects.values() if isinstance(item, Pod | Workload | CronJob)]
        found.sort(key=lambda item: (item.metadata.namespace, item.metadata.name, item.kind))
        made: list[Endpoint] = []
        for item in found:
            if not isinstance(item, Pod):
                made.append(_workload_endpoint(item, len(made)))
            elif item.status.phase not in FINISHED:
                made.append(_pod_endpoint(item, len(made), nodes))
        return tuple(made)

    @cached_property
    def namespaces(self) -> dict[str, dict[str, str]]:
        """Labels by namespace: those declared, and those that something else names."""
        names = {item.namespace for item in self.objects.values() if item.namespace}
        labels: dict[str, dict[str, str]] = {name: {} for name in sorted(names)}
        for namespace in self.all(Namespace):
            labels[namespace.name] = namespace.labels
        return {name: {**own, NAMESPACE_NAME_LABEL: name} for name, own in labels.items()}

    @cached_property
    def nodes_by_address(self) -> dict[IPAddress, str]:
        """The node that has an address: from Node objects, host-network pods, and the hostIP of pods."""
        found: dict[IPAddress, str] = {}
        for node in self.all(Node):
            found.update(dict.fromkeys(node_addresses(node), node.name))
        for pod in self.all(Pod):
            addresses = (*(pod.ips if pod.spec.host_network else ()), *pod.host_ips)
            for text in addresses if pod.spec.node_name else ():
                found.setdefault(parse_address(text), pod.spec.node_name)
        return found


def node_addresses(node: Node) -> tuple[IPAddress, ...]:
    """The addresses of a node; names among them (type Hostname) are left out."""
    found = []
    for entry in node.status.addresses:
        try:
            found.append(parse_address(entry.address))
        except ValueError:
            continue
    return tuple(found)


def _pod_endpoint(pod: Pod, index: int, nodes: dict[str, tuple[IPAddress, ...]]) -> Endpoint:
    addresses = tuple(parse_address(text) for text in pod.ips)
    if pod.spec.host_network and not addresses:
        addresses = tuple(parse_address(text) for text in pod.host_ips) or nodes.get(pod.spec.node_name, ())
    ports = _ports(pod.spec)
    return Endpoint(
        index=index,
        namespace=pod.namespace,
        name=pod.name,
        kind="Pod",
        labels=pod.labels,
        addresses=addresses,
        named_ports=ports.named,
        ports=ports.declared,
        node=pod.spec.node_name,
        host_network=pod.spec.host_network,
        origin=pod.origin,
    )


def _workload_endpoint(workload: Workload | CronJob, index: int) -> Endpoint:
    template = workload.template
    ports = _ports(template.spec)
    return Endpoint(
        index=index,
        namespace=workload.namespace,
        name=workload.name,
        kind=workload.kind,
        labels=template.metadata.labels,
        named_ports=ports.named,
        ports=ports.declared,
        host_network=template.spec.host_network,
        many=workload.replicas > 1 or isinstance(workload, DaemonSet),
        origin=workload.origin,
    )


def _serving(spec: PodSpec) -> list[Container]:
    """The containers whose ports count: all that run beside each other (sidecars are restartable init containers)."""
    sidecars = [container for container in spec.init_containers if container.restart_policy == "Always"]
    return [*spec.containers, *sidecars]


@dataclass(frozen=True, slots=True)
class _Ports:
    """The ports that a pod declares: by name, and all of them. Pods that declare the same share one."""

    named: dict[tuple[str, Protocol], Ranges]
    declared: tuple[tuple[Protocol, int], ...]


def _ports(spec: PodSpec) -> _Ports:
    return _ports_of(tuple((p.name, p.protocol, p.container_port) for c in _serving(spec) for p in c.ports))


@lru_cache(maxsize=65536)
def _ports_of(written: tuple[tuple[str, str, int], ...]) -> _Ports:
    named: dict[tuple[str, Protocol], list[Range]] = {}
    for name, protocol, number in written:
        if name:
            named.setdefault((name, Protocol(protocol)), []).append((number, number))
    declared = {(Protocol(protocol), number) for _, protocol, number in written}
    return _Ports({key: normalize(numbers) for key, numbers in named.items()}, tuple(sorted(declared)))
