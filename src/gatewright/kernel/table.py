"""The words of a node's nftables program, as frozen data: sets, verdict maps, chains and rules.

Only what the program needs is expressible, so that two programs can be compared, one can be turned into another, and
what the kernel lists can be read back into the same values. Rendering and parsing stand elsewhere; nothing here knows
policies, text or the kernel.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

Element = tuple[int, ...]
"""One number a field; in an interval set two, (first, last), both included."""


class Field(enum.StrEnum):
    """What a part of a set's key holds, by the name nftables has for its type."""

    IPV4 = "ipv4_addr"
    IPV6 = "ipv6_addr"
    PROTOCOL = "inet_proto"
    PORT = "inet_service"


ADDRESS_FIELD = {4: Field.IPV4, 6: Field.IPV6}
TCP, UDP, SCTP = 6, 17, 132


class Side(enum.StrEnum):
    """Which address of a packet a key reads."""

    SOURCE = "saddr"
    DESTINATION = "daddr"


@dataclass(frozen=True, slots=True)
class Set:
    """A named set. With `interval` each field of an element is a range; elements must then be disjoint."""

    name: str
    fields: tuple[Field, ...]
    interval: bool
    elements: frozenset[Element]


class Verb(enum.StrEnum):
    """What becomes of a packet."""

    ACCEPT = "accept"
    DROP = "drop"
    RETURN = "return"
    RESET = "reject with tcp reset"
    GOTO = "goto"
    JUMP = "jump"


@dataclass(frozen=True, slots=True)
class VerdictMap:
    """A named map from an address to the chain that goes on with the packet."""

    name: str
    field: Field
    verb: Verb
    elements: frozenset[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verb, with its chain for goto and jump."""

    verb: Verb
    chain: str = ""


@dataclass(frozen=True, slots=True)
class LookUp:
    """The verdict that a map has for an address of the packet; none there: the next rule."""

    map: str
    field: Field
    side: Side


@dataclass(frozen=True, slots=True)
class InSet:
    """The packet's key stands in a named set.

    The key follows the set's fields; a port is the destination's; `side` says whose the address is (None: no address).
    """

    set: str
    fields: tuple[Field, ...]
    side: Side | None


@dataclass(frozen=True, slots=True)
class Marked:
    """Every bit of the mask is set in the connection's mark."""

    mask: int


@dataclass(frozen=True, slots=True)
class Tracked:
    """A packet of a connection that exists, or an error about one."""


@dataclass(frozen=True, slots=True)
class NeighbourDiscovery:
    """IPv6 neighbour and router discovery from this link (RFC 4861: hop limit 255)."""


@dataclass(frozen=True, slots=True)
class OtherProtocols:
    """Neither TCP, UDP nor SCTP."""


@dataclass(frozen=True, slots=True)
class IsTcp:
    """TCP."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """Something in our table that no program contains; read back only, so that it shows as a difference."""

    text: str


Match = InSet | Marked | Tracked | NeighbourDiscovery | OtherProtocols | IsTcp


@dataclass(frozen=True, slots=True)
class Rule:
    """If the match holds (None: always), the verdict."""

    match: Match | None
    then: Verdict | LookUp | Foreign


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain; with a `hook` a base chain of type filter at priority `filter`, policy accept."""

    name: str
    rules: tuple[Rule, ...]
    hook: str = ""


_Part = TypeVar("_Part", Set, VerdictMap, Chain)


@dataclass(frozen=True, slots=True)
class Program:
    """One private `inet` table. Sets, maps and chains are each sorted by name."""

    table: str
    sets: tuple[Set, ...]
    maps: tuple[VerdictMap, ...]
    chains: tuple[Chain, ...]

    @classmethod
    def of(cls, table: str, sets: Iterable[Set], maps: Iterable[VerdictMap], chains: Iterable[Chain]) -> Program:
        """The program of these parts, in order."""
        return cls(table, _by_name(sets), _by_name(maps), _by_name(chains))

    @property
    def element_count(self) -> int:
        """How many elements all sets and maps hold together; what loading costs."""
        sets = sum(len(part.elements) for part in self.sets)
        return sets + sum(len(part.elements) for part in self.maps)


def _by_name(parts: Iterable[_Part]) -> tuple[_Part, ...]:
    return tuple(sorted(parts, key=lambda part: part.name))
