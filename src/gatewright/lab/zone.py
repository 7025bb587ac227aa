"""The names of a cluster as plain data: what the name server answers, worked out from Services and pods.

Pure. Follows the Kubernetes DNS specification 1.1.0 as CoreDNS serves it. A zone is a table from a full name to its
records; a name that only has names below it exists too and is empty (RFC 8020).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gatewright.engine.addresses import IPAddress
from gatewright.lab.services import Allocation, Backend, backends_of, is_headless, serving, target_port
from gatewright.objects.core import Service

DOMAIN = "cluster.local"
TTL = 5
ZONE_FILE = "zone.json"
SOA = f"ns.dns.{DOMAIN}. hostmaster.{DOMAIN}. 1 7200 1800 86400 {TTL}"
_REVERSE = ("in-addr.arpa", "ip6.arpa")

Records = dict[str, list[str]]
"""Record type to record texts."""


@dataclass(slots=True)
class Zone:
    """Every name of the cluster with its records, and the namespaces there are."""

    names: dict[str, Records] = field(default_factory=dict)
    namespaces: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The zone for its file."""
        return {"names": self.names, "namespaces": self.namespaces}

    def add(self, name: str, kind: str, text: str) -> None:
        """Add a record, once."""
        texts = self.names.setdefault(name, {}).setdefault(kind, [])
        if text not in texts:
            texts.append(text)

    def existing(self) -> frozenset[str]:
        """Every name that exists: those with records, and those above them."""
        found = {DOMAIN, f"svc.{DOMAIN}", f"pod.{DOMAIN}"}
        found |= {f"{namespace}.{kind}.{DOMAIN}" for namespace in self.namespaces for kind in ("svc", "pod")}
        for name in self.names:
            while name.endswith(f".{DOMAIN}") and name not in found:
                found.add(name)
                name = name.partition(".")[2]
        return frozenset(found)


@dataclass(frozen=True, slots=True)
class Answer:
    """What to answer: the response code, (name, type, text) records, and whether the zone's SOA goes with it."""

    code: str
    records: tuple[tuple[str, str, str], ...] = ()
    negative: bool = False


def zone_of(
    services: Iterable[Service],
    allocations: Mapping[str, Allocation],
    backends: Iterable[Backend],
    namespaces: Iterable[str],
) -> Zone:
    """The zone of a cluster in this state."""
    zone = Zone(namespaces=sorted(namespaces))
    known = tuple(backends)
    for service in services:
        base = f"{service.name}.{service.namespace}.svc.{DOMAIN}"
        if service.spec.type == "ExternalName":
            zone.add(base, "CNAME", f"{service.spec.external_name.rstrip('.')}.")
        elif is_headless(service):
            _headless(zone, base, service, known)
        else:
            for address in allocations[f"{service.namespace}/{service.name}"].addresses:
                _address(zone, base, address)
                zone.add(reverse(address), "PTR", f"{base}.")
            for port in service.spec.ports:
                _service_record(zone, base, port.name, port.protocol, port.port, base)
    return zone


def _headless(zone: Zone, base: str, service: Service, known: tuple[Backend, ...]) -> None:
    for backend in serving(service, known):
        named = backend.pod.spec.hostname and backend.pod.spec.subdomain == service.name
        for address in backend.addresses:
            host = f"{backend.hostname if named else dashed(address)}.{base}"
            _address(zone, base, address)
            _address(zone, host, address)
            zone.add(reverse(address), "PTR", f"{host}.")
            for port in service.spec.ports:
                number = target_port(port, backend.pod)
                if number is not None:
                    _service_record(zone, base, port.name, port.protocol, number, host)
    if not backends_of(service, known):
        zone.names.setdefault(base, {})


def _address(zone: Zone, name: str, address: IPAddress) -> None:
    zone.add(name, "A" if address.version == 4 else "AAAA", str(address))


def _service_record(zone: Zone, base: str, port: str, protocol: str, number: int, target: str) -> None:
    if port:
        zone.add(f"_{port}._{protocol.lower()}.{base}", "SRV", f"0 100 {number} {target}.")


def reverse(address: IPAddress) -> str:
    """The name that PTR records of an address stand under."""
    return address.reverse_pointer


def dashed(address: IPAddress) -> str:
    """An address as one label: `10-244-0-5`."""
    return str(address).replace(".", "-").replace(":", "-")


def lookup(zone: Zone, existing: frozenset[str], name: str, kind: str) -> Answer:
    """What the name server says to one question; `name` in any case, without the last dot."""
    name = name.lower()
    if not (name == DOMAIN or name.endswith((f".{DOMAIN}", *(f".{domain}" for domain in _REVERSE)))):
        return Answer("REFUSED")
    if name == DOMAIN and kind == "SOA":
        return Answer("NOERROR", ((name, "SOA", SOA),))
    records = zone.names.get(name) or _pod_record(zone, name)
    if records is None:
        exists = name in existing
        return Answer("NOERROR" if exists else "NXDOMAIN", negative=True)
    if "CNAME" in records and kind != "CNAME":
        target = records["CNAME"][0]
        alias = (name, "CNAME", target)
        followed = lookup(zone, existing, target.rstrip("."), kind)
        return Answer("NOERROR", (alias, *followed.records))
    found = tuple((name, kind, text) for text in records.get(kind, ()))
    return Answer("NOERROR", found, negative=not found)


def _pod_record(zone: Zone, name: str) -> Records | None:
    """`10-244-0-5.NAMESPACE.pod.cluster.local`: any address in a namespace that exists (CoreDNS `pods insecure`)."""
    label, _, rest = name.partition(".")
    namespace = rest.removesuffix(f".pod.{DOMAIN}")
    if namespace == rest or namespace not in zone.namespaces:
        return None
    for separator, kind in ((".", "A"), (":", "AAAA")):
        try:
            address = ipaddress.ip_address(label.replace("-", separator))
        except ValueError:
            continue
        return {kind: [str(address)]}
    return None
