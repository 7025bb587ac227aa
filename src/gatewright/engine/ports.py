"""Sets of ports: what traffic a rule covers, by protocol.

A `PortSet` covers for each of TCP, UDP and SCTP some port numbers, and possibly everything that is none of the three
(ICMP and the like), which only a rule without ports allows. It is a value: hashable, comparable, and it prints itself
as the field's tools do (`TCP 80,8080-8090`).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from functools import lru_cache

import msgspec

Range = tuple[int, int]
"""(first, last), both included."""
Ranges = tuple[Range, ...]
"""Sorted, disjoint, not adjacent."""

FIRST_PORT, LAST_PORT = 1, 65535
EVERY_PORT: Ranges = ((FIRST_PORT, LAST_PORT),)


class Protocol(enum.StrEnum):
    """The protocols that a policy can name [types]."""

    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"


def normalize(ranges: Iterable[Range]) -> Ranges:
    """The same numbers as sorted, disjoint ranges that do not touch."""
    result: list[Range] = []
    for first, last in sorted(ranges):
        if result and first <= result[-1][1] + 1:
            if last > result[-1][1]:
                result[-1] = (result[-1][0], last)
        else:
            result.append((first, last))
    return tuple(result)


def intersect(left: Ranges, right: Ranges) -> Ranges:
    """The numbers in both."""
    result: list[Range] = []
    i = j = 0
    while i < len(left) and j < len(right):
        first, last = max(left[i][0], right[j][0]), min(left[i][1], right[j][1])
        if first <= last:
            result.append((first, last))
        if left[i][1] < right[j][1]:
            i += 1
        else:
            j += 1
    return tuple(result)


def subtract(left: Ranges, right: Ranges) -> Ranges:
    """The numbers in `left` that are not in `right`."""
    result: list[Range] = []
    j = 0
    for first, last in left:
        while j < len(right) and right[j][1] < first:
            j += 1
        k = j
        while k < len(right) and right[k][0] <= last:
            if first < right[k][0]:
                result.append((first, right[k][0] - 1))
            first = right[k][1] + 1
            k += 1
        if first <= last:
            result.append((first, last))
    return tuple(result)


def contains(ranges: Ranges, number: int) -> bool:
    """Whether the number lies in one of the ranges."""
    return any(first <= number <= last for first, last in ranges)


class PortSet(msgspec.Struct, frozen=True, cache_hash=True, gc=False):
    """Ports by protocol, and whether traffic that is neither TCP, UDP nor SCTP is covered (`other`)."""

    tcp: Ranges = ()
    udp: Ranges = ()
    sctp: Ranges = ()
    other: bool = False

    @classmethod
    def of(cls, protocol: Protocol, *ranges: Range) -> PortSet:
        """Some port ranges of one protocol."""
        numbers = normalize(ranges)
        if protocol is Protocol.TCP:
            return cls(tcp=numbers)
        return cls(udp=numbers) if protocol is Protocol.UDP else cls(sctp=numbers)

    def ranges(self, protocol: Protocol) -> Ranges:
        """The port ranges of one protocol."""
        return self.tcp if protocol is Protocol.TCP else self.udp if protocol is Protocol.UDP else self.sctp

    def contains(self, protocol: Protocol | None, port: int) -> bool:
        """Whether a connection by this protocol to this port is covered; None is what is not TCP, UDP or SCTP."""
        return self.other if protocol is None else contains(self.ranges(protocol), port)

    @property
    def is_everything(self) -> bool:
        """Whether it covers all traffic."""
        return self == ALL_TRAFFIC

    def __bool__(self) -> bool:
        return bool(self.tcp or self.udp or self.sctp or self.other)

    def __or__(self, that: PortSet) -> PortSet:
        return _union(self, that)

    def __and__(self, that: PortSet) -> PortSet:
        return _intersection(self, that)

    def __sub__(self, that: PortSet) -> PortSet:
        return PortSet(
            subtract(self.tcp, that.tcp),
            subtract(self.udp, that.udp),
            subtract(self.sctp, that.sctp),
            self.other and not that.other,
        )

    def __str__(self) -> str:
        if self.is_everything:
            return "All Connections"
        parts = []
        for protocol in Protocol:
            ranges = self.ranges(protocol)
            if ranges == EVERY_PORT:
                parts.append(f"{protocol} {FIRST_PORT}-{LAST_PORT}")
            elif ranges:
                numbers = ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)
                parts.append(f"{protocol} {numbers}")
        if self.other:
            parts.append("other protocols")
        return "; ".join(parts) if parts else "No Connections"


NO_TRAFFIC = PortSet()
ALL_TRAFFIC = PortSet(EVERY_PORT, EVERY_PORT, EVERY_PORT, True)


@lru_cache(maxsize=65536)
def _union(left: PortSet, right: PortSet) -> PortSet:
    if left == right or not right:
        return left
    return PortSet(
        normalize(left.tcp + right.tcp),
        normalize(left.udp + right.udp),
        normalize(left.sctp + right.sctp),
        left.other or right.other,
    )


@lru_cache(maxsize=65536)
def _intersection(left: PortSet, right: PortSet) -> PortSet:
    return PortSet(
        intersect(left.tcp, right.tcp),
        intersect(left.udp, right.udp),
        intersect(left.sctp, right.sctp),
        left.other and right.other,
    )
