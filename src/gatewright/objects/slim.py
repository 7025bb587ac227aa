"""What a node keeps of an object: the fields that decide something, and equal parts once.

A hundred thousand pods as an API server tells them are four hundred megabytes of JSON, most of it about volumes,
conditions and field managers. A policy sees labels, addresses, the node and the declared ports. Pods of one workload
have most of that in common, so what is equal is one object: labels and ports are looked up by what was written before
anything is built of them.
"""

from __future__ import annotations

import sys
from typing import Annotated, TypeVar

import msgspec

from gatewright.objects.core import Container, ContainerPort, Pod, PodIP, PodSpec, PodStatus
from gatewright.objects.meta import Lenient, Object, ObjectMeta
from gatewright.objects.names import is_address

PROTOCOLS = frozenset(("TCP", "UDP", "SCTP"))
MOST_SHARED = 8192
"""Values of one sort that are remembered for sharing: a bound, since a cluster's labels never stop changing."""

Name = Annotated[str, msgspec.Meta(min_length=1)]
"""The name of an object; what has none is no object."""

K = TypeVar("K")
V = TypeVar("V")

_NO_LABELS = msgspec.Raw(b"{}")


class _Meta(Lenient, frozen=True):
    name: Name
    namespace: str = ""
    resource_version: str = ""
    labels: msgspec.Raw = _NO_LABELS
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None


class _Container(Lenient, frozen=True):
    ports: tuple[ContainerPort, ...] = ()
    restart_policy: str | None = None


class _Spec(Lenient, frozen=True):
    containers: tuple[_Container, ...] = ()
    init_containers: tuple[_Container, ...] = ()
    node_name: str = ""
    host_network: bool = False


class WirePod(Lenient, frozen=True):
    """A pod as it is decoded: nothing is built of what is passed over, and labels only when they are new."""

    metadata: _Meta
    spec: _Spec = _Spec()
    status: PodStatus = PodStatus()


class Unusual(ValueError):
    """A pod that is not as pods usually are: it is to be read field by field."""


class Slimming:
    """Makes objects small. One for each stream of objects, since it remembers what can be shared."""

    def __init__(self) -> None:
        self._labels: dict[bytes, dict[str, str]] = {}
        self._containers: dict[tuple[_Container, ...], tuple[Container, ...]] = {}
        self._specs: dict[_Spec, PodSpec] = {}

    def pod(self, wire: WirePod, namespace: str) -> Pod:
        """The pod, as small as it gets. Raises Unusual."""
        metadata, status = wire.metadata, wire.status
        return Pod(
            api_version="v1",
            kind="Pod",
            metadata=ObjectMeta(
                name=metadata.name,
                namespace=namespace,
                resource_version=metadata.resource_version,
                labels=self._label_dict(metadata.labels),
                deletion_timestamp=metadata.deletion_timestamp,
            ),
            spec=self._spec(wire.spec),
            status=_status(status),
        )

    def of(self, item: Object) -> Object:
        """Any object without what a node does not need of it."""
        metadata = ObjectMeta(
            name=item.metadata.name,
            namespace=sys.intern(item.metadata.namespace),
            resource_version=item.metadata.resource_version,
            labels=item.metadata.labels,
            deletion_timestamp=item.metadata.deletion_timestamp,
        )
        if isinstance(item, Pod):
            spec = _Spec(
                containers=_bare(item.spec.containers),
                init_containers=_bare(item.spec.init_containers),
                node_name=item.spec.node_name,
                host_network=item.spec.host_network,
            )
            return msgspec.structs.replace(
                item, metadata=metadata, spec=self._spec(spec), status=_status(item.status), origin=None
            )
        return msgspec.structs.replace(item, metadata=metadata)

    def _label_dict(self, raw: msgspec.Raw) -> dict[str, str]:
        written = bytes(raw)
        found = self._labels.get(written)
        if found is None:
            try:
                found = msgspec.json.decode(written, type=dict[str, str])
            except msgspec.ValidationError as error:
                raise Unusual(str(error)) from error
            _remember(self._labels, written, found)
        return found

    def _spec(self, wire: _Spec) -> PodSpec:
        found = self._specs.get(wire)
        if found is None:
            sidecars = tuple([one for one in wire.init_containers if one.restart_policy == "Always"])
            found = PodSpec(
                containers=self._serving(wire.containers),
                init_containers=self._serving(sidecars),
                node_name=sys.intern(wire.node_name),
                host_network=wire.host_network,
            )
            _remember(self._specs, wire, found)
        return found

    def _serving(self, wire: tuple[_Container, ...]) -> tuple[Container, ...]:
        """The containers that declare ports, and nothing of them but those."""
        found = self._containers.get(wire)
        if found is None:
            for port in (port for one in wire for port in one.ports):
                if port.protocol not in PROTOCOLS or not 0 < port.container_port < 65536:
                    raise Unusual(f"a port {port.container_port} of protocol {port.protocol}")
            found = tuple([Container(ports=one.ports, restart_policy=one.restart_policy) for one in wire if one.ports])
            _remember(self._containers, wire, found)
        return found


def _remember(known: dict[K, V], key: K, value: V) -> None:
    if len(known) >= MOST_SHARED:
        known.clear()
    known[key] = value


def _bare(containers: tuple[Container, ...]) -> tuple[_Container, ...]:
    return tuple([_Container(ports=one.ports, restart_policy=one.restart_policy) for one in containers])


def _status(wire: PodStatus) -> PodStatus:
    """Phase and addresses, each once. Raises Unusual for what is no address."""
    own = _addresses(wire.pod_ips, wire.pod_ip)
    hosts = _addresses(wire.host_ips, wire.host_ip)
    return PodStatus(
        phase=sys.intern(wire.phase),
        pod_ip=own[0] if own else "",
        pod_ips=tuple([PodIP(ip=one) for one in own]) if len(own) > 1 else (),
        host_ip=sys.intern(hosts[0]) if hosts else "",
        host_ips=tuple([PodIP(ip=sys.intern(one)) for one in hosts]) if len(hosts) > 1 else (),
    )


def _addresses(listed: tuple[PodIP, ...], single: str) -> list[str]:
    found = [one.ip for one in listed if one.ip] or ([single] if single else [])
    for one in found:
        if not is_address(one):
            raise Unusual(f"{one!r} is no address")
    return found
