"""Port, address and pod sets obey the laws of sets: each operation is compared with Python's own sets."""

from __future__ import annotations

import ipaddress
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.engine.addresses import ALL_ADDRESSES, AddressSet
from gatewright.engine.podset import PodSet
from gatewright.engine.ports import ALL_TRAFFIC, NO_TRAFFIC, PortSet, Protocol, intersect, normalize, subtract

RANGE = st.tuples(st.integers(1, 40), st.integers(0, 8)).map(lambda pair: (pair[0], pair[0] + pair[1]))
RANGES = st.lists(RANGE, max_size=6).map(normalize)
POSITIONS = st.frozensets(st.integers(0, 200))


def numbers(ranges: tuple[tuple[int, int], ...]) -> set[int]:
    return {number for first, last in ranges for number in range(first, last + 1)}


def is_normal(ranges: tuple[tuple[int, int], ...]) -> bool:
    gaps = all(left[1] + 1 < right[0] for left, right in itertools.pairwise(ranges))
    return gaps and all(first <= last for first, last in ranges)


@given(st.lists(RANGE, max_size=6))
def test_normal_form_keeps_the_numbers(ranges: list[tuple[int, int]]) -> None:
    normal = normalize(ranges)
    assert numbers(normal) == numbers(tuple(ranges))
    assert is_normal(normal)


@given(RANGES, RANGES)
def test_range_operations(left: tuple[tuple[int, int], ...], right: tuple[tuple[int, int], ...]) -> None:
    assert numbers(intersect(left, right)) == numbers(left) & numbers(right)
    assert numbers(subtract(left, right)) == numbers(left) - numbers(right)
    assert is_normal(intersect(left, right))
    assert is_normal(subtract(left, right))


PORTS = st.builds(PortSet, RANGES, RANGES, RANGES, st.booleans())


@given(PORTS, PORTS)
def test_port_sets(left: PortSet, right: PortSet) -> None:
    for protocol in Protocol:
        mine, other = numbers(left.ranges(protocol)), numbers(right.ranges(protocol))
        assert numbers((left | right).ranges(protocol)) == mine | other
        assert numbers((left & right).ranges(protocol)) == mine & other
        assert numbers((left - right).ranges(protocol)) == mine - other
        assert all(left.contains(protocol, port) == (port in mine) for port in range(50))
    assert (left | right).other == (left.other or right.other)
    assert (left - right).other == (left.other and not right.other)
    assert (left | ALL_TRAFFIC) == (left & ALL_TRAFFIC) | ALL_TRAFFIC
    assert (left - left) == NO_TRAFFIC


@pytest.mark.parametrize(
    ("ports", "text"),
    [
        (NO_TRAFFIC, "No Connections"),
        (ALL_TRAFFIC, "All Connections"),
        (PortSet.of(Protocol.TCP, (80, 80), (8080, 8090)), "TCP 80,8080-8090"),
        (PortSet.of(Protocol.SCTP, (1, 65535)), "SCTP 1-65535"),
        (PortSet.of(Protocol.UDP, (53, 53)) | PortSet.of(Protocol.TCP, (53, 53)), "TCP 53; UDP 53"),
        (ALL_TRAFFIC - PortSet.of(Protocol.TCP, (1, 65535)), "UDP 1-65535; SCTP 1-65535; other protocols"),
    ],
)
def test_port_sets_print_themselves(ports: PortSet, text: str) -> None:
    assert str(ports) == text


def test_a_block_is_its_addresses_without_the_cuts() -> None:
    block = AddressSet.of_block("10.0.0.0/29", ["10.0.0.2/32", "10.0.0.4/31", "fd00::/64"])
    inside = [address for address in ipaddress.ip_network("10.0.0.0/28") if block.contains(address)]
    assert [str(address) for address in inside] == ["10.0.0.0", "10.0.0.1", "10.0.0.3", "10.0.0.6", "10.0.0.7"]
    assert str(block) == "10.0.0.0-10.0.0.1,10.0.0.3,10.0.0.6-10.0.0.7"
    assert [str(network) for network in block.networks(4)] == ["10.0.0.0/31", "10.0.0.3/32", "10.0.0.6/31"]


def test_host_bits_of_a_block_do_not_count() -> None:
    assert AddressSet.of_block("10.0.0.77/24") == AddressSet.of_block("10.0.0.0/24")


def test_families_never_mix() -> None:
    everything_v4, mapped = AddressSet.of_block("0.0.0.0/0"), ipaddress.ip_address("::ffff:10.0.0.1")
    assert not everything_v4.contains(mapped)
    assert not AddressSet.of_block("::/0").contains(ipaddress.ip_address("10.0.0.1"))
    assert everything_v4 | AddressSet.of_block("::/0") == ALL_ADDRESSES
    assert ALL_ADDRESSES - everything_v4 == AddressSet.of_block("::/0")
    assert ALL_ADDRESSES & everything_v4 == everything_v4


def test_one_address() -> None:
    address = ipaddress.ip_address("fd00::7")
    assert AddressSet.of_address(address) == AddressSet.of_block("fd00::7/128")


@given(POSITIONS, POSITIONS)
def test_pod_sets(left: frozenset[int], right: frozenset[int]) -> None:
    a, b = PodSet.of(left), PodSet.of(right)
    assert set(a | b) == left | right
    assert set(a & b) == left & right
    assert set(a - b) == left - right
    assert list(a) == sorted(left)
    assert a.blocks == sorted({position // 64 for position in left})
    assert (len(a), bool(a)) == (len(left), bool(left))
    assert all((position in a) == (position in left) for position in range(201))


def test_the_first_positions() -> None:
    assert PodSet.first(5) == PodSet.of(range(5))
    assert not PodSet.first(0)
