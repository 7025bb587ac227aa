"""What one run of rules with the same action matches, cut into the few kinds of sets the kernel looks up fast.

Number of objects is what costs in nftables, not the number of elements: rules never become sets or chains of their own.
All peers and ports of a run are merged into at most four sets a family (and one for ports open to everyone):

- `ports`      hash, address . protocol . port: one port of one pod; nearly everything in a real cluster
- `hosts`      hash, address: everything from or to one pod
- `ranges`     intervals, address . protocol . port: CIDRs, and port ranges of pods
- `protocols`  intervals, address . protocol: CIDRs, or pods, with all ports of a protocol, or with all traffic
- `open`       intervals, protocol . port: ports for everyone

Elements of an interval set are disjoint, as the kernel demands; the union over all sets is exactly the union of the
rules.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from gatewright.engine.addresses import FAMILIES, NO_ADDRESSES, AddressSet
from gatewright.engine.model import Endpoint, Rule
from gatewright.engine.podset import NO_PODS, PodSet
from gatewright.engine.ports import EVERY_PORT, NO_TRAFFIC, PortSet, Protocol, Ranges, normalize, subtract
from gatewright.kernel.table import ADDRESS_FIELD, SCTP, TCP, UDP, Element, Field

PROTOCOL_NUMBER = {Protocol.TCP: TCP, Protocol.UDP: UDP, Protocol.SCTP: SCTP}
EVERY_PROTOCOL: Ranges = ((0, 255),)
OTHER_PROTOCOLS = subtract(EVERY_PROTOCOL, tuple((number, number) for number in sorted(PROTOCOL_NUMBER.values())))
WHOLE_PORT_FIELD = (0, 65535)
Segment = tuple[int, int, PortSet]
"""(first address, last address, what is covered between them)."""


class Kind(enum.StrEnum):
    """The kinds of sets, in the order they are looked up."""

    PORTS = "ports"
    HOSTS = "hosts"
    RANGES = "ranges"
    PROTOCOLS = "protocols"
    OPEN = "open"


FIELDS = {
    Kind.PORTS: (Field.PROTOCOL, Field.PORT),
    Kind.HOSTS: (),
    Kind.RANGES: (Field.PROTOCOL, Field.PORT),
    Kind.PROTOCOLS: (Field.PROTOCOL,),
    Kind.OPEN: (Field.PROTOCOL, Field.PORT),
}
"""What follows the address in each kind's key (`open` has no address)."""
INTERVAL = frozenset({Kind.RANGES, Kind.PROTOCOLS, Kind.OPEN})


@dataclass(frozen=True, slots=True)
class Part:
    """One set of a cover. `family` is 0 where the key has no address."""

    kind: Kind
    family: int
    elements: frozenset[Element]

    @property
    def suffix(self) -> str:
        """The end of the set's name: `ports4`."""
        return f"{self.kind}{self.family or ''}"

    @property
    def fields(self) -> tuple[Field, ...]:
        """The set's key."""
        address = (ADDRESS_FIELD[self.family],) if self.family else ()
        return address + FIELDS[self.kind]

    @property
    def interval(self) -> bool:
        """Whether the elements are ranges."""
        return self.kind in INTERVAL


@dataclass(frozen=True, slots=True)
class Cover:
    """What a run of rules matches: everything, or other protocols from everyone and the union of some sets."""

    everything: bool = False
    other_protocols: bool = False
    parts: tuple[Part, ...] = ()


At = Callable[[int], Endpoint]
"""The endpoint at a position."""


def cover(rules: Iterable[Rule], at: At) -> Cover:
    """The union of the rules' peers and ports. A peer pod without a known address contributes nothing."""
    open_to_all, pods, blocks = _by_ports(rules)
    if open_to_all.is_everything:
        return Cover(everything=True)
    parts = [part for family in FAMILIES for part in _family_parts(family, _pod_ports(pods, at, family), blocks)]
    parts.append(Part(Kind.OPEN, 0, frozenset(_open_elements(open_to_all))))
    return Cover(other_protocols=open_to_all.other, parts=tuple(part for part in parts if part.elements))


def _by_ports(rules: Iterable[Rule]) -> tuple[PortSet, dict[PortSet, PodSet], dict[PortSet, AddressSet]]:
    open_to_all = NO_TRAFFIC
    pods: defaultdict[PortSet, PodSet] = defaultdict(lambda: NO_PODS)
    blocks: defaultdict[PortSet, AddressSet] = defaultdict(lambda: NO_ADDRESSES)
    for rule in rules:
        if rule.peers.everyone:
            open_to_all |= rule.ports
            continue
        pods[rule.ports] |= rule.peers.pods
        blocks[rule.ports] |= rule.peers.addresses
    return open_to_all, pods, blocks


def _pod_ports(pods: Mapping[PortSet, PodSet], at: At, family: int) -> dict[int, PortSet]:
    """Address to what is covered, for the pods of one family."""
    result: dict[int, PortSet] = {}
    for ports, members in pods.items():
        for position in members:
            address = at(position).address(family)
            if address is not None:
                number = int(address)
                result[number] = result.get(number, NO_TRAFFIC) | ports
    return result


def _family_parts(family: int, pods: Mapping[int, PortSet], blocks: Mapping[PortSet, AddressSet]) -> Iterator[Part]:
    exact: list[Element] = []
    hosts: list[Element] = []
    spans: defaultdict[PortSet, list[tuple[int, int]]] = defaultdict(list)
    for address, ports in pods.items():
        if ports.is_everything:
            hosts.append((address,))
            continue
        singles, rest = _split(ports)
        exact += [(address, *single) for single in singles]
        if rest:
            spans[rest].append((address, address))
    for ports, addresses in blocks.items():
        spans[ports] += addresses.ranges(family)
    segments = disjoint({ports: normalize(ranges) for ports, ranges in spans.items() if ports})
    yield Part(Kind.PORTS, family, frozenset(exact))
    yield Part(Kind.HOSTS, family, frozenset(hosts))
    yield Part(Kind.RANGES, family, frozenset(_range_elements(segments)))
    yield Part(Kind.PROTOCOLS, family, frozenset(_protocol_elements(segments)))


def _split(ports: PortSet) -> tuple[list[tuple[int, int]], PortSet]:
    """The single ports, as (protocol number, port), and the rest."""
    singles: list[tuple[int, int]] = []
    rest: dict[str, Ranges] = {}
    for protocol, number in PROTOCOL_NUMBER.items():
        ranges = ports.ranges(protocol)
        singles += [(number, first) for first, last in ranges if first == last]
        rest[protocol.value.lower()] = tuple(span for span in ranges if span[0] != span[1])
    return singles, PortSet(**rest, other=ports.other)


def disjoint(spans: Mapping[PortSet, Ranges]) -> list[Segment]:
    """Overlapping ranges, each with its ports, as disjoint segments in order, each with the union of the ports."""
    changes: defaultdict[int, list[PortSet]] = defaultdict(list)
    for ports, ranges in spans.items():
        for first, last in ranges:
            changes[first].append(ports)
            changes[last + 1].append(ports)
    segments: list[Segment] = []
    active: set[PortSet] = set()
    union, start = NO_TRAFFIC, 0
    for place in sorted(changes):
        active.symmetric_difference_update(changes[place])
        following = NO_TRAFFIC
        for ports in active:
            following |= ports
        if following != union:
            if union:
                segments.append((start, place - 1, union))
            union, start = following, place
    return segments


def _range_elements(segments: Iterable[Segment]) -> Iterator[Element]:
    for first, last, ports in segments:
        for protocol, number in PROTOCOL_NUMBER.items():
            ranges = ports.ranges(protocol)
            if ranges != EVERY_PORT:
                for span in ranges:
                    yield (first, last, number, number, *span)


def _protocol_elements(segments: Iterable[Segment]) -> Iterator[Element]:
    for first, last, ports in segments:
        whole = [(n, n) for protocol, n in PROTOCOL_NUMBER.items() if ports.ranges(protocol) == EVERY_PORT]
        for span in normalize((*whole, *(OTHER_PROTOCOLS if ports.other else ()))):
            yield (first, last, *span)


def _open_elements(ports: PortSet) -> Iterator[Element]:
    for protocol, number in PROTOCOL_NUMBER.items():
        ranges = ports.ranges(protocol)
        for span in (WHOLE_PORT_FIELD,) if ranges == EVERY_PORT else ranges:
            yield (number, number, *span)
