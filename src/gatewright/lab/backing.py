"""What stands behind Services, as a watch tells of it: which Services there are, and which EndpointSlices each has.

Pure. The service proxy and the name server follow the same two kinds and ask the same two questions: what is the state
of this Service now, and which Services are others than before. Both are answered in proportion to what changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gatewright.engine.addresses import IPAddress, parse_address
from gatewright.engine.snapshot import Changes
from gatewright.objects.core import Service
from gatewright.objects.routing import EndpointPort, EndpointSlice

SERVICE, ENDPOINT_SLICE = ("", "Service"), ("discovery.k8s.io", "EndpointSlice")
"""The kinds, as a watch names them."""
HEADLESS = "None"
"""What stands for the address of a Service that has none of its own on purpose."""

Owner = tuple[str, str]
"""(namespace, name) of a Service."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address behind a port of a Service. `node` is empty where nobody said on which node it is."""

    address: IPAddress
    port: int
    ready: bool
    serving: bool
    terminating: bool
    node: str = ""
    hostname: str = ""

    @property
    def place(self) -> tuple[int, int, int]:
        """What makes it one and the same, and its order among others."""
        return (self.address.version, int(self.address), self.port)


class Backing:
    """The Services and their EndpointSlices. Changed in place by what was delivered."""

    def __init__(self) -> None:
        self._services: dict[Owner, Service] = {}
        self._slices: dict[Owner, dict[str, EndpointSlice]] = {}
        self._owners: dict[Owner, str] = {}

    def take(self, changes: Changes) -> set[Owner]:
        """Take in what was delivered, of other kinds too, which change nothing; the Services that it is about."""
        touched: set[Owner] = set()
        for item in changes.put:
            if isinstance(item, Service):
                self._services[item.namespace, item.name] = item
                touched.add((item.namespace, item.name))
            elif isinstance(item, EndpointSlice):
                touched |= self._forget_slice(item.namespace, item.name)
                if item.service:
                    owner = item.namespace, item.service
                    self._owners[item.namespace, item.name] = item.service
                    self._slices.setdefault(owner, {})[item.name] = item
                    touched.add(owner)
        for kind, namespace, name in changes.gone:
            if kind == "Service":
                self._services.pop((namespace, name), None)
                touched.add((namespace, name))
            elif kind == "EndpointSlice":
                touched |= self._forget_slice(namespace, name)
        return touched

    def _forget_slice(self, namespace: str, name: str) -> set[Owner]:
        service = self._owners.pop((namespace, name), None)
        if service is None:
            return set()
        owner = namespace, service
        self._slices[owner].pop(name)
        if not self._slices[owner]:
            del self._slices[owner]
        return {owner}

    def service(self, owner: Owner) -> Service | None:
        """The Service, None where there is none."""
        return self._services.get(owner)

    def slices(self, owner: Owner) -> list[EndpointSlice]:
        """Its EndpointSlices by name, whoever made them."""
        return [one for _, one in sorted(self._slices.get(owner, {}).items())]


def cluster_addresses(service: Service) -> tuple[IPAddress, ...]:
    """The addresses of the Service itself, at most one a family; none where it is headless or an ExternalName."""
    spec = service.spec
    if spec.type == "ExternalName" or is_headless(service):
        return ()
    return addresses_of(spec.cluster_ips or ((spec.cluster_ip,) if spec.cluster_ip else ()))


def is_headless(service: Service) -> bool:
    """Whether the Service has no address of its own on purpose."""
    return service.spec.cluster_ip == HEADLESS or HEADLESS in service.spec.cluster_ips


def addresses_of(texts: Iterable[str]) -> tuple[IPAddress, ...]:
    """The addresses among some texts; what is none was refused by the API server already."""
    found = []
    for text in texts:
        try:
            found.append(parse_address(text))
        except ValueError:
            continue
    return tuple(found)


def endpoints(slices: Iterable[EndpointSlice], port_name: str, protocol: str, version: int) -> tuple[Endpoint, ...]:
    """What stands behind a Service's port in one family, in the order of addresses, each once.

    While an endpoint moves from one slice to another it may stand in both for a moment: then the readier one counts.
    """
    found: dict[tuple[int, int, int], Endpoint] = {}
    for one in slices:
        for port in one.ports:
            if port.name == port_name and port.protocol == protocol and port.port is not None:
                for endpoint in _endpoints(one, port, version):
                    known = found.get(endpoint.place)
                    if known is None or (endpoint.ready, endpoint.serving) > (known.ready, known.serving):
                        found[endpoint.place] = endpoint
    return tuple(found[place] for place in sorted(found))


def _endpoints(one: EndpointSlice, port: EndpointPort, version: int) -> Iterator[Endpoint]:
    """An endpoint's addresses stand for the same thing, so the first is as good as all (discovery/v1)."""
    for item in one.endpoints:
        for address in addresses_of(item.addresses[:1]):
            if address.version == version:
                yield Endpoint(
                    address, port.port or 0, item.ready, item.serving, item.terminating, item.node_name, item.hostname
                )


def usable(found: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """Those that get connections: the ready ones; where none is, those that end but still serve (KEP-1669)."""
    known = tuple(found)
    ready = tuple(one for one in known if one.ready)
    return ready or tuple(one for one in known if one.serving and one.terminating)
