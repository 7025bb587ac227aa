"""Which link is a pod's, as the node's own routing tables say: what `Guards.links` needs.

A network plugin that routes (Calico, kindnet, ptp, the cloud providers' own, the lab) gives every pod a link of its own
and a route to its address alone, `10.244.1.7 dev veth3f2a`. Where pods hang on a bridge there is no such route, and no
answer: behind the bridge's link there are many pods. The kernel is asked, not the plugin, so there is nothing to
configure and nothing to get out of step. The node's own addresses are read here too.

Reads by rtnetlink(7) in the network namespace of the calling thread; nothing is changed.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TypeVar

from gatewright.engine.addresses import IPAddress, IPNetwork
from gatewright.kernel.errors import NetlinkFailed
from gatewright.kernel.netlink import NETLINK_ROUTE, attributes, dump

_GET_LINK, _GET_ADDRESS, _GET_ROUTE = 18, 22, 26
_ROUTE = struct.Struct("=BBBBBBBBI")
"""Family, destination and source length, type of service, table, protocol, scope, type, flags (struct rtmsg)."""
_LINK = struct.Struct("=BxHiII")
"""Family, hardware type, index, flags, change mask (struct ifinfomsg)."""
_ADDRESS = struct.Struct("=BBBBI")
"""Family, prefix length, flags, scope, interface index (struct ifaddrmsg)."""
_ANY_ADDRESS, _OWN_ADDRESS = 1, 2
_DESTINATION, _OUT_LINK, _GATEWAY, _VIA, _TABLE = 1, 4, 5, 18, 15
_NAME, _MASTER, _LINK_INFO, _INFO_KIND = 3, 10, 18, 1
_UNICAST, _LOCAL_TABLE, _CLONED = 1, 255, 0x200
_FULL_LENGTH = {socket.AF_INET: 32, socket.AF_INET6: 128}
_POINT_TO_POINT = frozenset({"veth", "netkit"})
"""Kinds of links at whose other end there is exactly one network namespace."""
Pairs = frozenset[tuple[int, IPAddress]]
"""(interface index, address)."""
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Link:
    """An interface. `enslaved`: it belongs to a bridge or bond, through which its packets enter."""

    index: int
    name: str
    kind: str
    enslaved: bool


@dataclass(frozen=True, slots=True)
class HostRoute:
    """A route to one address, straight through a link."""

    address: IPAddress
    link: int


def pod_links(pods: Collection[IPAddress]) -> Pairs:
    """(interface index, address) for every link that leads to one of these pods, read from the kernel.

    A pod whose link is not known is not in it. Raises NetlinkFailed.
    """
    return match(pods, host_routes(), links())


def match(
    pods: Collection[IPAddress], routes: Iterable[HostRoute], known: Iterable[Link]
) -> frozenset[tuple[int, IPAddress]]:
    """The pairs that these routes and links make: of each link that leads to a pod, all addresses routed to it."""
    single = {link.index for link in known if link.kind in _POINT_TO_POINT and not link.enslaved}
    addresses: defaultdict[int, set[IPAddress]] = defaultdict(set)
    for route in routes:
        if route.link in single:
            addresses[route.link].add(route.address)
    wanted = frozenset(pods)
    return frozenset(
        (link, address) for link, routed in addresses.items() if not wanted.isdisjoint(routed) for address in routed
    )


def host_routes() -> list[HostRoute]:
    """The routes to single addresses, of both families and all tables but the node's own addresses."""
    return _read(_GET_ROUTE, _ROUTE.pack(socket.AF_UNSPEC, *(0,) * 8), parse_route)


def links() -> list[Link]:
    """The interfaces of the network namespace."""
    return _read(_GET_LINK, _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0), parse_link)


def own_addresses() -> frozenset[IPAddress]:
    """The addresses of the node itself, those of its bridges and of its loopback link among them."""
    return frozenset(_read(_GET_ADDRESS, _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0), parse_address))


def pod_bridges(ranges: Collection[IPNetwork]) -> frozenset[str]:
    """The names of the bridges on which pods of these ranges hang: those that have an address in one of them.

    Raises NetlinkFailed.
    """
    bridges = {link.index: link.name for link in links() if link.kind == "bridge"}
    question = _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    found = _read(_GET_ADDRESS, question, _parse_interface_address) if bridges and ranges else []
    return frozenset(
        bridges[index] for index, address in found if index in bridges and any(address in each for each in ranges)
    )


def parse_address(body: bytes) -> IPAddress | None:
    """The address of one message: this side's, where a link has two."""
    found = attributes(body[_ADDRESS.size :])
    raw = found.get(_OWN_ADDRESS, found.get(_ANY_ADDRESS))
    return ipaddress.ip_address(raw) if raw else None


def _parse_interface_address(body: bytes) -> tuple[int, IPAddress] | None:
    address = parse_address(body)
    return (_ADDRESS.unpack_from(body)[4], address) if address else None


def parse_route(body: bytes) -> HostRoute | None:
    """The route of one message, None when it is not to one address straight through a link."""
    family, length, _, _, table, _, _, kind, flags = _ROUTE.unpack_from(body)
    if kind != _UNICAST or length != _FULL_LENGTH.get(family) or flags & _CLONED:
        return None
    found = attributes(body[_ROUTE.size :])
    if _TABLE in found:
        (table,) = struct.unpack("=I", found[_TABLE])
    if table == _LOCAL_TABLE or _GATEWAY in found or _VIA in found or not {_DESTINATION, _OUT_LINK} <= found.keys():
        return None
    (link,) = struct.unpack("=I", found[_OUT_LINK])
    return HostRoute(ipaddress.ip_address(found[_DESTINATION]), link)


def parse_link(body: bytes) -> Link:
    """The interface of one message."""
    _, _, index, _, _ = _LINK.unpack_from(body)
    found = attributes(body[_LINK.size :])
    kind = attributes(found.get(_LINK_INFO, b"")).get(_INFO_KIND, b"")
    return Link(index, _text(found.get(_NAME, b"")), _text(kind), _MASTER in found)


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")


def _read(kind: int, question: bytes, parse: Callable[[bytes], _Item | None]) -> list[_Item]:
    try:
        answers = dump(NETLINK_ROUTE, kind, question)
    except OSError as error:
        raise NetlinkFailed(f"links and routes cannot be read: {error.strerror}") from error
    return [item for answer in answers if (item := parse(answer)) is not None]
