"""Allowed connections as text lines and as JSON.

A line is written as the field's tools write it: `ns/name[Kind] => ns/name[Kind] : TCP 80,8080-8090`, outside addresses
as `first-last[External]`, everything as `All Connections`.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Iterator
from typing import Any

from gatewright.engine.addresses import FAMILIES, AddressSet
from gatewright.engine.connectivity import Connection
from gatewright.engine.model import Endpoint
from gatewright.engine.ports import PortSet, Protocol
from gatewright.engine.verdict import DomainName

SCHEMA = "gatewright/connections/v1"
DEPENDS_NOTE = "depends on addresses that are not known yet"


def to_text(connections: Iterable[Connection]) -> str:
    """One line a connection; a range of outside addresses has a line of its own."""
    return "".join(f"{line}\n" for connection in connections for line in _lines(connection))


def to_json(connections: Iterable[Connection]) -> str:
    """A document of schema `gatewright/connections/v1`."""
    items = [_item(connection) for connection in connections]
    return json.dumps({"schema": SCHEMA, "connections": items}, indent=2) + "\n"


def address_ranges(addresses: AddressSet) -> list[str]:
    """Each range as `first-last`, IPv4 before IPv6."""
    texts = []
    for family in FAMILIES:
        make = ipaddress.IPv4Address if family == 4 else ipaddress.IPv6Address
        texts += [f"{make(first)}-{make(last)}" for first, last in addresses.ranges(family)]
    return texts


def _lines(connection: Connection) -> Iterator[str]:
    access = connection.access
    notes = [f"IPv{connection.family} only"] if connection.family else []
    for source in _names(connection.source):
        for destination in _names(connection.destination):
            if access.ports:
                yield _line(source, destination, access.ports, notes)
            if unsure := access.possible - access.ports:
                yield _line(source, destination, unsure, [*notes, DEPENDS_NOTE])


def _line(source: str, destination: str, ports: PortSet, notes: list[str]) -> str:
    note = f" ({', '.join(notes)})" if notes else ""
    return f"{source} => {destination} : {ports}{note}"


def _names(party: Endpoint | AddressSet | DomainName) -> list[str]:
    if isinstance(party, Endpoint):
        return [str(party)]
    if isinstance(party, DomainName):
        return [f"{party}[External]"]
    return [f"{text}[External]" for text in address_ranges(party)]


def _item(connection: Connection) -> dict[str, Any]:
    unsure = connection.access.possible - connection.access.ports
    item: dict[str, Any] = {
        "source": _party(connection.source),
        "destination": _party(connection.destination),
        "ports": ports_json(connection.access.ports),
    }
    if unsure:
        item["depends"] = {"ports": ports_json(unsure), "reason": DEPENDS_NOTE}
    if connection.family:
        item["family"] = connection.family
    return item


def _party(party: Endpoint | AddressSet | DomainName) -> dict[str, Any]:
    if isinstance(party, Endpoint):
        return {"namespace": party.namespace, "name": party.name, "kind": party.kind}
    return {"external": [party.name] if isinstance(party, DomainName) else address_ranges(party)}


def ports_json(ports: PortSet) -> dict[str, Any]:
    """`{"all": true}`, or the ranges of each protocol as [first, last] and whether other protocols are included."""
    if ports.is_everything:
        return {"all": True}
    found: dict[str, Any] = {
        protocol.value: [list(one) for one in ports.ranges(protocol)] for protocol in Protocol if ports.ranges(protocol)
    }
    return {**found, "other": True} if ports.other else found
