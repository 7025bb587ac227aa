"""The ways into a cluster that its objects declare, whatever policies say to them.

A way leads from outside to a port of some endpoints: through a NodePort, a load balancer or an external address of a
Service, through a port of the pod's node, or through a proxy in the cluster that an Ingress, a route of the Gateway API
or an OpenShift Route tells where to go. What is declared but leads nowhere is said too.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from gatewright.engine.backends import Backends
from gatewright.engine.compile import Compiled
from gatewright.engine.model import Endpoint
from gatewright.engine.owners import standing
from gatewright.engine.ports import Protocol
from gatewright.objects.core import Pod, Service, ServicePort
from gatewright.objects.meta import IntOrString, Object
from gatewright.objects.origin import Origin
from gatewright.objects.routing import GatewayRoute, GRPCRoute, HTTPRoute, Ingress, Route, RouteMatch
from gatewright.objects.workloads import CronJob, Workload


class Entrance(enum.StrEnum):
    """What a way leads through."""

    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"
    EXTERNAL_IP = "external IP"
    HOST_PORT = "host port"
    INGRESS = "Ingress"
    GATEWAY = "Gateway"
    ROUTE = "Route"

    @property
    def proxied(self) -> bool:
        """Whether a proxy in the cluster opens the connection that the pod sees."""
        return self in (Entrance.INGRESS, Entrance.GATEWAY, Entrance.ROUTE)


@dataclass(frozen=True, slots=True)
class Way:
    """One way in. `holder` declares it (`Ingress shop/web`), `entry` is what somebody outside calls.

    `service` is the Service it goes through, empty for a host port. `ends` are its endpoints and their ports. With
    `hides_client` the pod may see a node's address in place of the client's (externalTrafficPolicy Cluster).
    """

    entrance: Entrance
    holder: str
    entry: str
    service: str
    protocol: Protocol
    ends: tuple[tuple[Endpoint, int], ...]
    origin: Origin | None = None
    hides_client: bool = False


@dataclass(frozen=True, slots=True)
class Nowhere:
    """Something declared that leads to no pod, and why. `namespace` is that of what declares it."""

    namespace: str
    holder: str
    entry: str
    why: str
    origin: Origin | None = None


def ways(compiled: Compiled) -> Iterator[Way | Nowhere]:
    """Every way in, in order of the objects that declare them."""
    finder = _Finder(compiled)
    for service in compiled.snapshot.services:
        yield from finder.of_service(service)
    yield from _host_ports(compiled)
    for ingress in compiled.snapshot.all(Ingress):
        yield from finder.of_ingress(ingress)
    for gateway_route in sorted(
        compiled.snapshot.all(GatewayRoute), key=lambda one: (one.namespace, one.name, one.kind)
    ):
        yield from finder.of_gateway_route(gateway_route)
    for route in compiled.snapshot.all(Route):
        yield from finder.of_route(route)


class _Finder:
    """Follows what is declared to its endpoints."""

    def __init__(self, compiled: Compiled) -> None:
        self.objects = compiled.snapshot.objects
        self.backends = Backends(compiled)

    def of_service(self, service: Service) -> Iterator[Way | Nowhere]:
        spec = service.spec
        balanced = spec.type == "LoadBalancer"
        cluster = spec.external_traffic_policy != "Local"
        for port in spec.ports:
            entrances: list[tuple[Entrance, str]] = []
            if spec.type == "NodePort" or port.node_port or (balanced and spec.allocate_load_balancer_node_ports):
                entrances.append(
                    (Entrance.NODE_PORT, f"{port.protocol} {port.node_port or '(to be chosen)'} of every node")
                )
            if balanced:
                admitted = (
                    f" for {', '.join(spec.load_balancer_source_ranges)}" if spec.load_balancer_source_ranges else ""
                )
                entrances.append((Entrance.LOAD_BALANCER, f"{port.protocol} {port.port}{admitted}"))
            entrances += [(Entrance.EXTERNAL_IP, f"{port.protocol} {port.port} of {ip}") for ip in spec.external_ips]
            for entrance, entry in entrances:
                yield self._through(entrance, service, entry, service, port, hides_client=cluster)

    def of_ingress(self, ingress: Ingress) -> Iterator[Way | Nowhere]:
        spec = ingress.spec
        backends = [("*", backend) for backend in (spec.default_backend, spec.backend) if backend is not None]
        backends += [
            (f"{rule.host or '*'}{path.path or '/'}", path.backend) for rule in spec.rules for path in rule.http.paths
        ]
        for entry, backend in backends:
            target = backend.target
            if target is None:
                yield Nowhere(ingress.namespace, str(ingress), entry, "its backend is no Service", ingress.origin)
            else:
                yield from self._to_service(Entrance.INGRESS, ingress, entry, ingress.namespace, target)

    def of_gateway_route(self, route: GatewayRoute) -> Iterator[Way | Nowhere]:
        parents = [one for one in route.spec.parent_refs if one.kind == "Gateway"]
        if not parents:
            if not route.spec.parent_refs:
                yield Nowhere(route.namespace, str(route), "*", "it names no Gateway", route.origin)
            return
        gateways = ", ".join(f"Gateway {one.namespace or route.namespace}/{one.name}" for one in parents)
        hosts = route.spec.hostnames or ("*",)
        for rule in route.spec.rules:
            calls = [call for match in rule.matches or (RouteMatch(),) for call in _calls(route, match)]
            for reference in rule.backend_refs:
                target = (reference.name, reference.port)
                entry = f"{', '.join(host + call for host in hosts for call in calls)} at {gateways}"
                if reference.kind != "Service":
                    why = f"its backend is a {reference.kind}, no Service"
                    yield Nowhere(route.namespace, str(route), entry, why, route.origin)
                    continue
                namespace = reference.namespace or route.namespace
                yield from self._to_service(Entrance.GATEWAY, route, entry, namespace, target)

    def of_route(self, route: Route) -> Iterator[Way | Nowhere]:
        entry = f"{route.spec.host or '*'}{route.spec.path}"
        wanted = route.spec.port.target_port if route.spec.port else 0
        for target in (route.spec.to, *route.spec.alternate_backends):
            yield from self._to_service(Entrance.ROUTE, route, entry, route.namespace, (target.name, wanted))

    def _to_service(
        self, entrance: Entrance, holder: Object, entry: str, namespace: str, target: tuple[str, IntOrString]
    ) -> Iterator[Way | Nowhere]:
        name, wanted = target
        service = self.objects.get(("Service", namespace, name))
        if not isinstance(service, Service):
            yield Nowhere(
                holder.namespace, str(holder), entry, f"there is no Service {namespace}/{name}", holder.origin
            )
            return
        ports = [port for port in service.spec.ports if _is_port(port, wanted, entrance)]
        if not ports:
            yield Nowhere(holder.namespace, str(holder), entry, f"{service} has no port {wanted}", holder.origin)
        for port in ports:
            yield self._through(entrance, holder, entry, service, port)

    def _through(
        self,
        entrance: Entrance,
        holder: Object,
        entry: str,
        service: Service,
        port: ServicePort,
        *,
        hides_client: bool = False,
    ) -> Way | Nowhere:
        ends = self.backends.doors(service, port)
        if not ends:
            why = f"nothing behind {service} serves {port.protocol} {port.port}"
            return Nowhere(
                holder.namespace, str(holder), f"{entrance} {entry}" if holder is service else entry, why, holder.origin
            )
        protocol = Protocol(port.protocol)
        return Way(entrance, str(holder), entry, str(service), protocol, ends, holder.origin, hides_client)


def _is_port(port: ServicePort, wanted: IntOrString, entrance: Entrance) -> bool:
    """Whether a Service's port is meant: by name or number; OpenShift names the target port, or none for every port."""
    if entrance is Entrance.ROUTE:
        return not wanted or wanted in (port.name, port.target_port, port.port)
    return wanted in (port.name, port.port) and bool(wanted)


def _calls(route: GatewayRoute, match: RouteMatch) -> Iterator[str]:
    """What is called of a host: a path, a gRPC method, or nothing that could be told apart."""
    if isinstance(route, HTTPRoute):
        yield match.path.value if match.path else "/"
    elif isinstance(route, GRPCRoute) and isinstance(match.method, dict):
        yield "/" + "/".join(str(match.method[part]) for part in ("service", "method") if part in match.method)
    else:
        yield ""


def _host_ports(compiled: Compiled) -> Iterator[Way]:
    for endpoint in standing(compiled):
        item = compiled.snapshot.objects[endpoint.kind, endpoint.namespace, endpoint.name]
        spec = (
            item.spec if isinstance(item, Pod) else item.template.spec if isinstance(item, Workload | CronJob) else None
        )
        for container in spec.containers if spec else ():
            for port in container.ports:
                number = port.container_port if endpoint.host_network else port.host_port
                if number:
                    entry = f"{port.protocol} {number} of its node"
                    ends = ((endpoint, port.container_port),)
                    protocol = Protocol(port.protocol)
                    yield Way(Entrance.HOST_PORT, str(item), entry, "", protocol, ends, item.origin)
