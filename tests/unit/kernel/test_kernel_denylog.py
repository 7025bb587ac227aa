"""Heads of packets as the kernel hands them over: every protocol, extension headers, and whatever is cut off."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.engine.addresses import IPAddress
from gatewright.engine.model import Direction
from gatewright.kernel.denylog import Packet, parse, parse_packet
from tests.packets.crafted import ipv4, ipv6

Ends = tuple[IPAddress, IPAddress]
V4: Ends = (ipaddress.ip_address("10.0.0.1"), ipaddress.ip_address("10.0.0.2"))
V6: Ends = (ipaddress.ip_address("fd00::1"), ipaddress.ip_address("fd00::2"))
PORTS = struct.pack(">HH", 40000, 443) + bytes(16)
TIME, IN_LINK, PAYLOAD, PREFIX = 3, 4, 9, 10
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, OPTIONS = 0, 43, 44, 51, 60


@pytest.mark.parametrize("protocol", [6, 17, 33, 132, 136], ids=["tcp", "udp", "dccp", "sctp", "udp-lite"])
def test_ports(protocol: int) -> None:
    assert parse_packet(ipv4(*V4, protocol, PORTS)) == Packet(*V4, protocol, 40000, 443)
    assert parse_packet(ipv6(*V6, protocol, PORTS)) == Packet(*V6, protocol, 40000, 443)


def test_icmp_has_type_and_code() -> None:
    assert parse_packet(ipv4(*V4, 1, bytes((8, 1)))) == Packet(*V4, 1, icmp_type=8, icmp_code=1)
    assert parse_packet(ipv6(*V6, 58, bytes((128, 0)))) == Packet(*V6, 58, icmp_type=128, icmp_code=0)


def test_another_protocol_has_neither() -> None:
    assert parse_packet(ipv4(*V4, 253, PORTS)) == Packet(*V4, 253)


def test_ipv4_options_stand_before_the_ports() -> None:
    head = bytearray(ipv4(*V4, 6, bytes(8) + PORTS))
    head[0] = 0x47
    assert parse_packet(bytes(head)) == Packet(*V4, 6, 40000, 443)


def test_a_later_fragment_has_no_ports() -> None:
    head = bytearray(ipv4(*V4, 17, PORTS))
    head[6:8] = struct.pack(">H", 0x2000 | 185)
    assert parse_packet(bytes(head)) == Packet(*V4, 17)
    assert parse_packet(ipv6(*V6, FRAGMENT, struct.pack(">BBHI", 17, 0, 185 << 3, 7) + PORTS)) == Packet(*V6, 17)


def test_a_first_fragment_has_ports() -> None:
    head = struct.pack(">BBHI", 17, 0, 1, 7)
    assert parse_packet(ipv6(*V6, FRAGMENT, head + PORTS)) == Packet(*V6, 17, 40000, 443)


@pytest.mark.parametrize("kind", [HOP_BY_HOP, ROUTING, OPTIONS])
@pytest.mark.parametrize("more", [0, 2])
def test_an_extension_header_is_passed(kind: int, more: int) -> None:
    header = bytes((6, more)) + bytes(6 + 8 * more)
    assert parse_packet(ipv6(*V6, kind, header + PORTS)) == Packet(*V6, 6, 40000, 443)


def test_an_authentication_header_counts_in_fours() -> None:
    assert parse_packet(ipv6(*V6, AUTHENTICATION, bytes((6, 4)) + bytes(22) + PORTS)) == Packet(*V6, 6, 40000, 443)


def test_extension_headers_in_a_row_are_passed() -> None:
    chain = bytes((ROUTING, 0)) + bytes(6) + bytes((OPTIONS, 1)) + bytes(14) + bytes((17, 0)) + bytes(6)
    assert parse_packet(ipv6(*V6, HOP_BY_HOP, chain + PORTS)) == Packet(*V6, 17, 40000, 443)


def test_a_head_cut_off_inside_an_extension_names_the_extension() -> None:
    assert parse_packet(ipv6(*V6, HOP_BY_HOP, b"\6\0\0")) == Packet(*V6, HOP_BY_HOP)


@pytest.mark.parametrize("data", [b"", b"\x45", bytes(60), b"\x60" + bytes(38)])
def test_what_is_no_ip_packet_is_none(data: bytes) -> None:
    assert parse_packet(data) is None


@given(st.binary(max_size=200), st.sampled_from((0x40, 0x60)), st.integers(0, 15))
def test_whatever_comes_is_no_error(data: bytes, version: int, length: int) -> None:
    parse_packet(bytes((version | length,)) + data)


def test_a_message_says_who_where_why_and_when() -> None:
    found = parse(
        {
            PREFIX: b"audit egress/default/db policy\0",
            PAYLOAD: ipv4(*V4, 6, PORTS),
            IN_LINK: struct.pack(">I", 7),
            TIME: struct.pack(">QQ", 1000, 250000),
        }
    )
    assert found is not None
    assert (found.direction, found.where, found.why, found.audit) == (
        Direction.EGRESS,
        "egress/default/db",
        "policy",
        True,
    )
    assert (found.in_link, found.out_link, found.time) == (7, None, 1000.25)
    assert found.packet == Packet(*V4, 6, 40000, 443)


def test_a_message_without_time_has_the_reader_s() -> None:
    found = parse({PREFIX: b"drop ingress/a/b policy\0", PAYLOAD: ipv4(*V4, 6, PORTS)}, lambda: 5.0)
    assert found is not None
    assert (found.time, found.in_link) == (5.0, None)


def test_a_message_of_somebody_else_is_none() -> None:
    assert parse({PREFIX: b"IPTABLES: \0", PAYLOAD: ipv4(*V4, 6, PORTS)}) is None
    assert parse({PREFIX: b"drop ingress/a/b policy\0", PAYLOAD: b"\0" * 40}) is None
    assert parse({}) is None
