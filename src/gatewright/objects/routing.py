"""What leads traffic into a cluster: EndpointSlice, Ingress, the Gateway API's routes, OpenShift's Route.

These kinds say where connections from outside end: which Service's backends, on which port. They are read leniently, in
every version that has been served, because no answer about policies hangs on what else stands in them.
"""

from __future__ import annotations

from typing import Any

from gatewright.objects.meta import IntOrString, Lenient, Object

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
"""The label by which an EndpointSlice belongs to a Service of its namespace."""


class TargetReference(Lenient, frozen=True):
    """core/v1 ObjectReference, as an endpoint points at its pod."""

    kind: str = ""
    namespace: str = ""
    name: str = ""


class EndpointConditions(Lenient, frozen=True):
    """discovery/v1 EndpointConditions. What is not said counts as ready and serving, and as not terminating."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class SliceEndpoint(Lenient, frozen=True):
    """discovery/v1 Endpoint: addresses of one thing, the pod it is, if it is one, and where and how it is."""

    addresses: tuple[str, ...] = ()
    target_ref: TargetReference | None = None
    conditions: EndpointConditions = EndpointConditions()
    hostname: str = ""
    node_name: str = ""

    @property
    def ready(self) -> bool:
        """Whether it gets connections."""
        return self.conditions.ready is not False

    @property
    def serving(self) -> bool:
        """Whether it would answer, terminating or not."""
        return self.ready if self.conditions.serving is None else self.conditions.serving

    @property
    def terminating(self) -> bool:
        """Whether it is on its way out."""
        return self.conditions.terminating is True


class EndpointPort(Lenient, frozen=True):
    """discovery/v1 EndpointPort: what stands for the Service's port of this name. Without a number, every port."""

    name: str = ""
    protocol: str = "TCP"
    port: int | None = None


class EndpointSlice(Object, frozen=True):
    """discovery/v1 EndpointSlice."""

    address_type: str = ""
    endpoints: tuple[SliceEndpoint, ...] = ()
    ports: tuple[EndpointPort, ...] = ()

    @property
    def service(self) -> str:
        """The name of the Service it belongs to; empty when it belongs to none."""
        return self.labels.get(SERVICE_NAME_LABEL, "")


class ServiceBackendPort(Lenient, frozen=True):
    """networking/v1 ServiceBackendPort: a Service's port by name or number."""

    name: str = ""
    number: int = 0


class IngressServiceBackend(Lenient, frozen=True):
    """networking/v1 IngressServiceBackend."""

    name: str = ""
    port: ServiceBackendPort = ServiceBackendPort()


class IngressBackend(Lenient, frozen=True):
    """networking/v1 IngressBackend; `service_name` and `service_port` are the words of v1beta1."""

    service: IngressServiceBackend | None = None
    service_name: str = ""
    service_port: IntOrString | None = None

    @property
    def target(self) -> tuple[str, IntOrString] | None:
        """(Service, its port by name or number); None where the backend is no Service."""
        if self.service is not None:
            return self.service.name, self.service.port.name or self.service.port.number
        return (self.service_name, self.service_port or 0) if self.service_name else None


class HTTPIngressPath(Lenient, frozen=True):
    """networking/v1 HTTPIngressPath."""

    path: str = ""
    path_type: str = ""
    backend: IngressBackend = IngressBackend()


class HTTPIngressRuleValue(Lenient, frozen=True):
    """networking/v1 HTTPIngressRuleValue."""

    paths: tuple[HTTPIngressPath, ...] = ()


class IngressRule(Lenient, frozen=True):
    """networking/v1 IngressRule; no host is every host."""

    host: str = ""
    http: HTTPIngressRuleValue = HTTPIngressRuleValue()


class IngressSpec(Lenient, frozen=True):
    """networking/v1 IngressSpec; `backend` is v1beta1's word for the default one."""

    ingress_class_name: str = ""
    default_backend: IngressBackend | None = None
    backend: IngressBackend | None = None
    rules: tuple[IngressRule, ...] = ()


class Ingress(Object, frozen=True):
    """networking/v1 Ingress."""

    spec: IngressSpec = IngressSpec()


class ParentReference(Lenient, frozen=True):
    """gateway/v1 ParentReference: the Gateway (or, in a mesh, the Service) that a route hangs on."""

    kind: str = "Gateway"
    namespace: str = ""
    name: str = ""


class BackendRef(Lenient, frozen=True):
    """gateway/v1 BackendRef: a Service and its port; other kinds are an implementation's own."""

    kind: str = "Service"
    namespace: str = ""
    name: str = ""
    port: int = 0


class PathMatch(Lenient, frozen=True):
    """gateway/v1 HTTPPathMatch."""

    type: str = "PathPrefix"
    value: str = "/"


class RouteMatch(Lenient, frozen=True):
    """gateway/v1 HTTPRouteMatch and GRPCRouteMatch. `method` is HTTP's (text), or gRPC's `{service, method}`."""

    path: PathMatch | None = None
    method: Any = None


class RouteRule(Lenient, frozen=True):
    """A rule of every kind of route; `matches` stand in HTTPRoute and GRPCRoute only."""

    matches: tuple[RouteMatch, ...] = ()
    backend_refs: tuple[BackendRef, ...] = ()


class RouteSpec(Lenient, frozen=True):
    """The spec of every kind of route."""

    parent_refs: tuple[ParentReference, ...] = ()
    hostnames: tuple[str, ...] = ()
    rules: tuple[RouteRule, ...] = ()


class GatewayRoute(Object, frozen=True):
    """Base of the Gateway API's routes."""

    spec: RouteSpec = RouteSpec()


class HTTPRoute(GatewayRoute, frozen=True):
    """gateway/v1 HTTPRoute."""


class GRPCRoute(GatewayRoute, frozen=True):
    """gateway/v1 GRPCRoute."""


class TLSRoute(GatewayRoute, frozen=True):
    """gateway/v1alpha2 TLSRoute."""


class TCPRoute(GatewayRoute, frozen=True):
    """gateway/v1alpha2 TCPRoute."""


class UDPRoute(GatewayRoute, frozen=True):
    """gateway/v1alpha2 UDPRoute."""


class Listener(Lenient, frozen=True):
    """gateway/v1 Listener."""

    name: str = ""
    hostname: str = ""
    port: int = 0
    protocol: str = ""


class GatewaySpec(Lenient, frozen=True):
    """gateway/v1 GatewaySpec."""

    gateway_class_name: str = ""
    listeners: tuple[Listener, ...] = ()


class Gateway(Object, frozen=True):
    """gateway/v1 Gateway."""

    spec: GatewaySpec = GatewaySpec()


class RouteTarget(Lenient, frozen=True):
    """route.openshift.io/v1 RouteTargetReference: a Service."""

    kind: str = "Service"
    name: str = ""


class RoutePort(Lenient, frozen=True):
    """route.openshift.io/v1 RoutePort: the Service's port by its name or its target port."""

    target_port: IntOrString = 0


class OpenShiftRouteSpec(Lenient, frozen=True):
    """route.openshift.io/v1 RouteSpec."""

    host: str = ""
    path: str = ""
    to: RouteTarget = RouteTarget()
    alternate_backends: tuple[RouteTarget, ...] = ()
    port: RoutePort | None = None


class Route(Object, frozen=True):
    """route.openshift.io/v1 Route."""

    spec: OpenShiftRouteSpec = OpenShiftRouteSpec()
