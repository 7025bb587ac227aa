"""The words that every format shares: how ends of a connection, addresses and ports are written, text and JSON."""

from __future__ import annotations

import ipaddress
from typing import Any

from gatewright.engine.addresses import FAMILIES, AddressSet
from gatewright.engine.parts import Access
from gatewright.engine.ports import PortSet, Protocol
from gatewright.engine.verdict import DomainName
from gatewright.engine.view import End, Group

DEPENDS_NOTE = "depends on addresses that are not known yet"


def address_ranges(addresses: AddressSet) -> list[str]:
    """Each range as `first-last`, IPv4 before IPv6."""
    texts = []
    for family in FAMILIES:
        make = ipaddress.IPv4Address if family == 4 else ipaddress.IPv6Address
        texts += [f"{make(first)}-{make(last)}" for first, last in addresses.ranges(family)]
    return texts


def end_names(end: End) -> list[str]:
    """What lines call an end: a group by its name, each range of outside addresses apart."""
    if isinstance(end, Group):
        return [str(end)]
    if isinstance(end, DomainName):
        return [f"{end}[External]"]
    return [f"{text}[External]" for text in address_ranges(end)]


def family_note(family: int | None) -> list[str]:
    """What has to be said of a row that holds for one address family alone."""
    return [f"IPv{family} only"] if family else []


def access_text(access: Access) -> str:
    """`TCP 80; UDP 53 (depends on ...)`: what is sure, then what is not."""
    parts = [str(access.ports)] if access.ports else []
    if unsure := access.possible - access.ports:
        parts.append(f"{unsure} ({DEPENDS_NOTE})")
    return "; ".join(parts) or str(access.ports)


def end_json(end: End) -> dict[str, Any]:
    """A workload or pod by namespace, name and kind, or what lies outside."""
    if isinstance(end, Group):
        found: dict[str, Any] = {"namespace": end.namespace, "name": end.name, "kind": end.kind}
        return {**found, "labels": dict(end.labels)} if end.labels else found
    return {"external": [end.name] if isinstance(end, DomainName) else address_ranges(end)}


def access_json(access: Access) -> dict[str, Any]:
    """The ports that are surely open, and under `depends` those that some addresses would open."""
    found: dict[str, Any] = {"ports": ports_json(access.ports)}
    if unsure := access.possible - access.ports:
        found["depends"] = {"ports": ports_json(unsure), "reason": DEPENDS_NOTE}
    return found


def ports_json(ports: PortSet) -> dict[str, Any]:
    """`{"all": true}`, or the ranges of each protocol as [first, last] and whether other protocols are included."""
    if ports.is_everything:
        return {"all": True}
    found: dict[str, Any] = {
        protocol.value: [list(one) for one in ports.ranges(protocol)] for protocol in Protocol if ports.ranges(protocol)
    }
    return {**found, "other": True} if ports.other else found
