"""What a node's proxy has to do for a Service: where each of its ports is reached, and which endpoints stand behind.

Pure. A front is one port of a Service in one family, with the traffic policies already worked out, as kube-proxy reads
them: ready endpoints, else those that end but still serve; all of them, or those of this node only. A Service without
an address of its own in a family has no front there: headless ones, and those of the other family.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gatewright.engine.addresses import IPAddress
from gatewright.lab.backing import Endpoint, addresses_of, cluster_addresses, endpoints, usable
from gatewright.objects.core import Service, ServicePort
from gatewright.objects.routing import EndpointSlice

LOCAL = "Local"
DEFAULT_AFFINITY = 10800
"""Seconds that a client stays with its endpoint (core/v1 ClientIPConfig)."""


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """Where connections end."""

    address: IPAddress
    port: int


@dataclass(frozen=True, slots=True)
class Front:
    """One port of a Service in one family.

    `everyone` and `local` are the endpoints that get connections: of the cluster, of this node. `kept` are those that
    may keep what they have: they serve. `near` are the addresses that may be pods of this node. `affinity` is how many
    seconds a client stays with its endpoint, 0: not at all. `node_port` 0: none.
    """

    name: str
    protocol: str
    address: IPAddress
    port: int
    node_port: int
    external: tuple[IPAddress, ...]
    everyone: tuple[Target, ...]
    local: tuple[Target, ...]
    kept: frozenset[Target]
    near: tuple[IPAddress, ...]
    internal_local: bool
    external_local: bool
    affinity: int

    @property
    def version(self) -> int:
        """The family, 4 or 6."""
        return self.address.version

    @property
    def targets(self) -> tuple[Target, ...]:
        """All that get connections by one way or another."""
        return tuple(dict.fromkeys((*self.everyone, *self.local)))

    @property
    def inside(self) -> tuple[Target, ...]:
        """Where connections to the cluster address end."""
        return self.local if self.internal_local else self.everyone

    @property
    def outside(self) -> tuple[Target, ...]:
        """Where connections from elsewhere to a node port or an external address end."""
        return self.local if self.external_local else self.everyone


def fronts(service: Service, slices: Iterable[EndpointSlice], node: str, versions: Iterable[int]) -> tuple[Front, ...]:
    """The fronts of a Service on this node, in families that it has addresses of."""
    known = tuple(slices)
    return tuple(_fronts(service, known, node, frozenset(versions)))


def _fronts(
    service: Service, slices: tuple[EndpointSlice, ...], node: str, versions: frozenset[int]
) -> Iterator[Front]:
    spec = service.spec
    reached_by_node = spec.type in ("NodePort", "LoadBalancer")
    external = addresses_of(spec.external_ips)
    for address in cluster_addresses(service):
        if address.version not in versions:
            continue
        for port in spec.ports:
            found = endpoints(slices, port.name, port.protocol, address.version)
            yield Front(
                name=_name(service, port, address.version),
                protocol=port.protocol.lower(),
                address=address,
                port=port.port,
                node_port=port.node_port if reached_by_node else 0,
                external=tuple(one for one in external if one.version == address.version),
                everyone=_targets(usable(found)),
                local=_targets(usable(one for one in found if one.node == node)),
                kept=frozenset(_targets(one for one in found if one.ready or one.serving)),
                near=tuple(sorted({one.address for one in found if one.node in (node, "")}, key=int)),
                internal_local=spec.internal_traffic_policy == LOCAL,
                external_local=spec.external_traffic_policy == LOCAL,
                affinity=_affinity(service),
            )


def _name(service: Service, port: ServicePort, version: int) -> str:
    """Names of Services, namespaces and ports hold no slash; a port's name has a letter in it, its number has none."""
    return f"{service.namespace}/{service.name}/{port.protocol.lower()}/{port.name or port.port}/v{version}"


def _targets(found: Iterable[Endpoint]) -> tuple[Target, ...]:
    return tuple(Target(one.address, one.port) for one in found)


def _affinity(service: Service) -> int:
    if service.spec.session_affinity != "ClientIP":
        return 0
    config = service.spec.session_affinity_config
    return config.client_ip.timeout_seconds if config and config.client_ip else DEFAULT_AFFINITY
