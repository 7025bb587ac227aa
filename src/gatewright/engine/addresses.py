"""Sets of addresses: what an ipBlock covers, IPv4 and IPv6 apart.

An `AddressSet` is sorted disjoint ranges of integers a family. IPv4 and IPv6 never mix: `0.0.0.0/0` covers no IPv6
address, not even a mapped one [types].
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_pton

import msgspec

from gatewright.engine.ports import Range, Ranges, contains, intersect, normalize, subtract

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

FAMILIES = (4, 6)
EVERY_V4: Ranges = ((0, 2**32 - 1),)
EVERY_V6: Ranges = ((0, 2**128 - 1),)


def parse_address(text: str) -> IPAddress:
    """An address from its text. Raises ValueError for anything else."""
    try:  # the C library reads the usual forms several times faster
        if ":" not in text:
            return ipaddress.IPv4Address(inet_pton(AF_INET, text))
        return ipaddress.IPv6Address(inet_pton(AF_INET6, text))
    except (OSError, ValueError):
        return ipaddress.ip_address(text)


@lru_cache(maxsize=65536)
def block_range(cidr: str) -> tuple[int, Range]:
    """(family, range) of a CIDR; host bits are ignored as the API server ignores them. Raises ValueError."""
    address_text, slash, length_text = cidr.partition("/")
    address = parse_address(address_text)
    if not slash or not length_text.isascii() or not length_text.isdigit() or int(length_text) > address.max_prefixlen:
        raise ValueError(f"{cidr!r} is not a CIDR")
    hosts = (1 << (address.max_prefixlen - int(length_text))) - 1
    first = int(address) & ~hosts
    return address.version, (first, first | hosts)


class AddressSet(msgspec.Struct, frozen=True, cache_hash=True, gc=False):
    """Addresses by family, as sorted disjoint ranges of integers."""

    v4: Ranges = ()
    v6: Ranges = ()

    @classmethod
    def of_block(cls, cidr: str, excepts: Iterable[str] = ()) -> AddressSet:
        """The addresses of an ipBlock: those of `cidr` that no block of `excepts` covers. Raises ValueError."""
        family, whole = block_range(cidr)
        cut = normalize(block for other, block in map(block_range, excepts) if other == family)
        ranges = subtract((whole,), cut)
        return cls(v4=ranges) if family == 4 else cls(v6=ranges)

    @classmethod
    def of_address(cls, address: IPAddress) -> AddressSet:
        """One address."""
        ranges = ((int(address), int(address)),)
        return cls(v4=ranges) if address.version == 4 else cls(v6=ranges)

    @classmethod
    def union(cls, parts: Iterable[AddressSet]) -> AddressSet:
        """The addresses of all parts."""
        every = [part for part in parts if part]
        if len(every) < 2:
            return every[0] if every else NO_ADDRESSES
        v4 = normalize(one for part in every for one in part.v4)
        return cls(v4, normalize(one for part in every for one in part.v6))

    def ranges(self, family: int) -> Ranges:
        """The ranges of one family (4 or 6)."""
        return self.v4 if family == 4 else self.v6

    def contains(self, address: IPAddress) -> bool:
        """Whether the address is in the set."""
        return contains(self.ranges(address.version), int(address))

    def networks(self, family: int) -> Iterator[IPNetwork]:
        """The fewest CIDRs of one family that cover exactly the set."""
        make = ipaddress.IPv4Address if family == 4 else ipaddress.IPv6Address
        for first, last in self.ranges(family):
            yield from ipaddress.summarize_address_range(make(first), make(last))

    def __bool__(self) -> bool:
        return bool(self.v4 or self.v6)

    def __or__(self, that: AddressSet) -> AddressSet:
        return AddressSet(normalize(self.v4 + that.v4), normalize(self.v6 + that.v6))

    def __and__(self, that: AddressSet) -> AddressSet:
        return AddressSet(intersect(self.v4, that.v4), intersect(self.v6, that.v6))

    def __sub__(self, that: AddressSet) -> AddressSet:
        return AddressSet(subtract(self.v4, that.v4), subtract(self.v6, that.v6))

    def __str__(self) -> str:
        parts = []
        for family in FAMILIES:
            make = ipaddress.IPv4Address if family == 4 else ipaddress.IPv6Address
            parts += [
                f"{make(first)}-{make(last)}" if first != last else str(make(first))
                for first, last in self.ranges(family)
            ]
        return ",".join(parts)


NO_ADDRESSES = AddressSet()
ALL_ADDRESSES = AddressSet(EVERY_V4, EVERY_V6)
