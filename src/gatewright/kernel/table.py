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
    LINK = "iface_index"


ADDRESS_FIELD = {4: Field.IPV4, 6: Field.IPV6}
TCP, UDP, SCTP = 6, 17, 132


class Side(enum.StrEnum):
    """Which address of a packet a key reads."""

    SOURCE = "saddr"
    DESTINATION = "daddr"


@dataclass(frozen=True, slots=True)
class Set:
    """A named set. With `interval` each field of an element is a range; elements must then be disjoint.

    A link is the index of the interface by which a packet enters: unlike names, the kernel gives it to no other soon.
    """

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

    The key follows the set's fields; a port is the destination's, a link the one by which the packet enters; `side`
    says whose the address is (None: no address).
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
class ListenerDiscovery:
    """IPv6 multicast listener discovery from this link (RFC 2710, RFC 3810: hop limit 1)."""


@dataclass(frozen=True, slots=True)
class AddressRequest:
    """A DHCP request of this family from a link that has no address yet, or only a link-local one."""

    family: int


@dataclass(frozen=True, slots=True)
class FromLoopback:
    """The node talks to itself."""


@dataclass(frozen=True, slots=True)
class ToNode:
    """The packet leaves by no link: it has arrived."""


@dataclass(frozen=True, slots=True)
class Log:
    """Hands the packet's head to whoever listens to this NFLOG group, as often as the named limit lets; goes on."""

    prefix: str
    group: int
    limit: str


@dataclass(frozen=True, slots=True)
class Count:
    """Counts the packet in a named counter; goes on."""

    counter: str


@dataclass(frozen=True, slots=True)
class Foreign:
    """Something in our table that no program contains; read back only, so that it shows as a difference."""

    text: str


Match = (
    InSet
    | Marked
    | Tracked
    | NeighbourDiscovery
    | OtherProtocols
    | IsTcp
    | ListenerDiscovery
    | AddressRequest
    | FromLoopback
    | ToNode
)
Then = Verdict | LookUp | Log | Count | Foreign


@dataclass(frozen=True, slots=True)
class Rule:
    """If the match holds (None: always), what is done."""

    match: Match | None
    then: Then


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain; with a `hook` a base chain of type filter at priority `filter`, policy accept."""

    name: str
    rules: tuple[Rule, ...]
    hook: str = ""


@dataclass(frozen=True, slots=True)
class Counter:
    """A named counter. What it has counted is no part of the program: equal programs may have counted differently."""

    name: str


@dataclass(frozen=True, slots=True)
class Limit:
    """A named limit that rules share: so many packets a second on average, `burst` of them at once."""

    name: str
    rate: int
    burst: int


_Part = TypeVar("_Part", Set, VerdictMap, Chain, Counter, Limit)


@dataclass(frozen=True, slots=True)
class Program:
    """One private `inet` table. Sets, maps, chains, counters and limits are each sorted by name."""

    table: str
    sets: tuple[Set, ...]
    maps: tuple[VerdictMap, ...]
    chains: tuple[Chain, ...]
    counters: tuple[Counter, ...] = ()
    limits: tuple[Limit, ...] = ()

    @classmethod
    def of(
        cls,
        table: str,
        sets: Iterable[Set],
        maps: Iterable[VerdictMap],
        chains: Iterable[Chain],
        counters: Iterable[Counter] = (),
        limits: Iterable[Limit] = (),
    ) -> Program:
        """The program of these parts, in order."""
        parts = _by_name(sets), _by_name(maps), _by_name(chains), _by_name(counters), _by_name(limits)
        return cls(table, *parts)

    @property
    def has_foreign(self) -> bool:
        """Whether something stands in it that no program of ours contains."""
        return any(isinstance(rule.then, Foreign) for chain in self.chains for rule in chain.rules)

    @property
    def element_count(self) -> int:
        """How many elements all sets and maps hold together; what loading costs."""
        sets = sum(len(part.elements) for part in self.sets)
        return sets + sum(len(part.elements) for part in self.maps)


def _by_name(parts: Iterable[_Part]) -> tuple[_Part, ...]:
    return tuple(sorted(parts, key=lambda part: part.name))
