"""What stands behind a Service, on which port: the pods its selector finds, or those that its EndpointSlices list.

Policies never see a Service: they see these pods and these ports. An ExternalName Service is a name and has none.
"""

from __future__ import annotations

from gatewright.engine.addresses import parse_address
from gatewright.engine.compile import Compiled
from gatewright.engine.model import Endpoint
from gatewright.engine.owners import standing
from gatewright.engine.ports import Protocol
from gatewright.objects.core import Service, ServicePort
from gatewright.objects.routing import EndpointSlice, SliceEndpoint

Door = tuple[Endpoint, int]
"""An endpoint, and the number of its port."""


class Backends:
    """The backends of every Service of a snapshot; made once, asked often."""

    def __init__(self, compiled: Compiled) -> None:
        self._by_address = compiled.by_address
        self._members: dict[str, list[Endpoint]] = {}
        for endpoint in standing(compiled):
            self._members.setdefault(endpoint.namespace, []).append(endpoint)
        self._slices: dict[tuple[str, str], list[EndpointSlice]] = {}
        for one in compiled.snapshot.all(EndpointSlice):
            self._slices.setdefault((one.namespace, one.service), []).append(one)

    def of(self, service: Service) -> tuple[Endpoint, ...]:
        """The endpoints behind a Service: those it selects, or those listed for one that selects nothing."""
        if service.spec.type == "ExternalName":
            return ()
        wanted = service.spec.selector.items()
        if wanted:
            members = self._members.get(service.namespace, ())
            return tuple(e for e in members if all(e.labels.get(key) == value for key, value in wanted))
        entries = (entry for one in self.slices(service) for entry in one.endpoints)
        found = {endpoint.index: endpoint for entry in entries for endpoint in self._listed(entry)}
        return tuple(found[index] for index in sorted(found))

    def doors(self, service: Service, port: ServicePort) -> tuple[Door, ...]:
        """Where connections to a Service's port end. Empty when nothing behind it has the target port."""
        if service.spec.selector or service.spec.type == "ExternalName":
            return tuple((e, number) for e in self.of(service) for number in target_ports(service, port, e))
        found: dict[Door, None] = {}
        for one in self.slices(service):
            numbers = [
                port.port if entry.port is None else entry.port
                for entry in one.ports
                if (entry.name, entry.protocol) == (port.name, port.protocol)
            ]
            for each in one.endpoints:
                found |= dict.fromkeys((e, number) for e in self._listed(each) for number in numbers)
        return tuple(found)

    def slices(self, service: Service) -> list[EndpointSlice]:
        """The EndpointSlices of a Service."""
        return self._slices.get((service.namespace, service.name), [])

    def _listed(self, entry: SliceEndpoint) -> list[Endpoint]:
        """What an entry of an EndpointSlice stands for: the pod it names, else the pods that have its addresses."""
        target = entry.target_ref
        if target is not None and target.kind == "Pod":
            members = self._members.get(target.namespace, ())
            return [e for e in members if (e.kind, e.name) == ("Pod", target.name)]
        found = []
        for text in entry.addresses:
            try:
                endpoint = self._by_address.get(parse_address(text))
            except ValueError:  # addressType FQDN
                continue
            if endpoint is not None:
                found.append(endpoint)
        return found


def target_ports(service: Service, port: ServicePort, backend: Endpoint) -> tuple[int, ...]:
    """The numbers on which a backend serves a Service's port: empty when it lacks the named port.

    A headless Service translates nothing: its name resolves to pods, which are called on the port itself.
    """
    if service.spec.cluster_ip == "None":
        return (port.port,)
    if isinstance(port.target_port, str):
        ranges = backend.named_ports.get((port.target_port, Protocol(port.protocol)), ())
        return tuple(number for first, last in ranges for number in range(first, last + 1))[:1]
    return (port.target_port or port.port,)
