"""Which link is a pod's: routes of single addresses through links with one other end, and nothing else."""

from __future__ import annotations

import ipaddress
import socket
import struct

import pytest

from gatewright.kernel.links import HostRoute, Link, match, parse_link, parse_route
from gatewright.kernel.netlink import NESTED, attribute

POD, OTHER, NODE = map(ipaddress.ip_address, ("10.0.0.1", "10.0.0.2", "10.9.9.9"))
POD6 = ipaddress.ip_address("fd00::1")
DESTINATION, OUT_LINK, GATEWAY, TABLE, VIA, MULTIPATH = 1, 4, 5, 15, 18, 9
UNICAST, LOCAL = 1, 2
VETH, BRIDGE, ETHERNET = Link(5, "veth1", "veth", False), Link(6, "cni0", "bridge", False), Link(7, "eth0", "", False)


def route(
    address: bytes = POD.packed,
    length: int = 32,
    kind: int = UNICAST,
    table: int = 254,
    flags: int = 0,
    more: bytes = b"",
    link: int | None = 5,
) -> bytes:
    family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
    body = struct.pack("=BBBBBBBBI", family, length, 0, 0, table, 4, 0, kind, flags) + attribute(DESTINATION, address)
    return body + (attribute(OUT_LINK, struct.pack("=I", link)) if link else b"") + more


def test_a_route_to_one_address_names_its_link() -> None:
    assert parse_route(route()) == HostRoute(POD, 5)
    assert parse_route(route(POD6.packed, 128)) == HostRoute(POD6, 5)


def test_a_route_of_another_table_counts() -> None:
    more = attribute(TABLE, struct.pack("=I", 1000))
    assert parse_route(route(table=0, more=more)) == HostRoute(POD, 5)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(route(length=24), id="a range"),
        pytest.param(route(POD6.packed, 64), id="a range of IPv6"),
        pytest.param(route(kind=LOCAL), id="the node's own address"),
        pytest.param(route(table=255), id="the table of own addresses"),
        pytest.param(route(table=0, more=attribute(TABLE, struct.pack("=I", 255))), id="that table, named at length"),
        pytest.param(route(more=attribute(GATEWAY, OTHER.packed)), id="through a gateway"),
        pytest.param(route(more=attribute(VIA, bytes(6))), id="through a gateway of the other family"),
        pytest.param(route(link=None, more=attribute(MULTIPATH, bytes(16))), id="several ways"),
        pytest.param(route(flags=0x200), id="an exception the kernel made itself"),
    ],
)
def test_other_routes_name_none(body: bytes) -> None:
    assert parse_route(body) is None


def test_a_link_s_kind_and_master_are_read() -> None:
    head = struct.pack("=BxHiII", 0, 1, 5, 0, 0)
    info = attribute(18 | NESTED, attribute(1, b"veth\0"))
    assert parse_link(head + attribute(3, b"veth1\0") + info) == VETH
    assert parse_link(head + attribute(3, b"veth1\0") + info + attribute(10, bytes(4))) == Link(
        5, "veth1", "veth", True
    )
    assert parse_link(head + attribute(3, b"lo\0")) == Link(5, "lo", "", False)


def test_a_link_brings_every_address_routed_to_it() -> None:
    routes = [HostRoute(POD, 5), HostRoute(POD6, 5), HostRoute(OTHER, 8)]
    assert match([POD], routes, [VETH, Link(8, "veth2", "veth", False)]) == {(5, POD), (5, POD6)}


def test_a_bridge_or_the_node_s_own_link_gives_no_answer() -> None:
    assert match([POD, OTHER], [HostRoute(POD, 6), HostRoute(OTHER, 7)], [VETH, BRIDGE, ETHERNET]) == frozenset()


def test_an_enslaved_link_gives_no_answer() -> None:
    assert match([POD], [HostRoute(POD, 5)], [Link(5, "veth1", "veth", True)]) == frozenset()


def test_a_link_that_leads_to_no_pod_gives_no_answer() -> None:
    assert match([POD], [HostRoute(NODE, 5)], [VETH]) == frozenset()
