"""What one run of rules with the same action matches, cut into the few kinds of sets the kernel looks up fast.

Number of objects is what costs in nftables, not the number of elements: rules never become sets or chains of their own.
All peers and ports of a run are merged into at most four sets a family (and one for ports open to everyone), its parts:

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
from functools import lru_cache
from typing import NamedTuple

from gatewright.engine.addresses import FAMILIES, NO_ADDRESSES, AddressSet
from gatewright.engine.model import Endpoint, Rule
from gatewright.engine.podset import NO_PODS, PodSet
from gatewright.engine.ports import EVERY_PORT, NO_TRAFFIC, PortSet, Protocol, Ranges, contains, normalize, subtract
from gatewright.kernel.segments import Segment, Segments, disjoint
from gatewright.kernel.table import ADDRESS_FIELD, SCTP, TCP, UDP, Element, Field

PROTOCOL_NUMBER = {Protocol.TCP: TCP, Protocol.UDP: UDP, Protocol.SCTP: SCTP}
PROTOCOLS = {number: protocol for protocol, number in PROTOCOL_NUMBER.items()}
"""IP protocol numbers (IANA) to the protocols that policies know."""
EVERY_PROTOCOL: Ranges = ((0, 255),)
OTHER_PROTOCOLS = subtract(EVERY_PROTOCOL, tuple((number, number) for number in sorted(PROTOCOL_NUMBER.values())))
WHOLE_PORT_FIELD = (0, 65535)


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


class Part(NamedTuple):
    """Which set of a run of rules: its kind, and the family of its addresses (0 where the key has none)."""

    kind: Kind
    family: int

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


PARTS = (*(Part(kind, family) for family in FAMILIES for kind in Kind if kind is not Kind.OPEN), Part(Kind.OPEN, 0))
"""Every part, in the order they are looked up."""
Elements = dict[Part, set[Element]]
At = Callable[[int], Endpoint]
"""The endpoint at a position. Raises KeyError where nobody is."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Whom a run of rules lets meet its action: everyone, pods and addresses, by the ports on which they do."""

    everyone: PortSet
    pods: Mapping[PortSet, PodSet]
    blocks: Mapping[PortSet, AddressSet]
    members: PodSet = NO_PODS
    """All of those pods."""

    @property
    def everything(self) -> bool:
        """Whether everyone does on every port: then no set is needed."""
        return self.everyone.is_everything

    def ports_of(self, positions: Iterable[int]) -> PortSet:
        """The ports of an address that the pods at these positions have."""
        found = NO_TRAFFIC
        for ports, pods in self.pods.items():
            if any(position in pods for position in positions):
                found |= ports
        return found

    def blocks_at(self, family: int, number: int) -> PortSet:
        """The ports that blocks open to an address."""
        found = NO_TRAFFIC
        for ports, addresses in self.blocks.items():
            if contains(addresses.ranges(family), number):
                found |= ports
        return found


NOBODY = Reach(NO_TRAFFIC, {}, {})


def reach(rules: Iterable[Rule]) -> Reach:
    """The union of the rules' peers and ports."""
    everyone = NO_TRAFFIC
    pods: defaultdict[PortSet, PodSet] = defaultdict(lambda: NO_PODS)
    blocks: defaultdict[PortSet, AddressSet] = defaultdict(lambda: NO_ADDRESSES)
    for rule in rules:
        if rule.peers.everyone:
            everyone |= rule.ports
            continue
        if rule.peers.pods:
            pods[rule.ports] |= rule.peers.pods
        if rule.peers.addresses:
            blocks[rule.ports] |= rule.peers.addresses
    if everyone.is_everything:
        return Reach(everyone, {}, {})
    return Reach(everyone, dict(pods), dict(blocks), PodSet.union(pods.values()))


@dataclass(frozen=True, slots=True)
class Cover:
    """Every element of every part, and the segments that those with ranges are made of, by family."""

    elements: Elements
    segments: dict[int, Segments]


def cover(whom: Reach, at: At) -> Cover:
    """Parts without elements are left out. A pod without a known address contributes none."""
    found: Elements = {}
    segments: dict[int, Segments] = {}
    ranged = may_span(whom.pods)
    for family, pods in pod_ports(whom.pods, at).items():
        found |= exact_elements(family, pods)
        segments[family] = segments_of(family, pods if ranged else {}, whom.blocks)
        found |= segment_elements(family, segments[family])
    return Cover(found | open_elements(whom), segments)


def pod_ports(pods: Mapping[PortSet, PodSet], at: At) -> dict[int, dict[int, PortSet]]:
    """By family: address to what is covered, for these pods. Pods that share an address are one."""
    result: dict[int, dict[int, PortSet]] = {family: {} for family in FAMILIES}
    for ports, members in pods.items():
        for pod in map(at, members):
            for address in pod.addresses:
                own, number = result[address.version], int(address)
                known = own.get(number)
                own[number] = ports if known is None else known | ports
    return result


def exact_elements(family: int, pods: Mapping[int, PortSet]) -> Elements:
    """What the sets without ranges hold of pods of one family; parts without elements are left out."""
    found: Elements = {}
    ports: set[Element] = set()
    hosts: set[Element] = set()
    for address, own in pods.items():
        if own.is_everything:
            hosts.add((address,))
        else:
            for protocol, port in _split(own)[0]:
                ports.add((address, protocol, port))
    if ports:
        found[Part(Kind.PORTS, family)] = ports
    if hosts:
        found[Part(Kind.HOSTS, family)] = hosts
    return found


def spans(ports: PortSet) -> PortSet:
    """What of a pod's ports only the sets with ranges can hold."""
    return NO_TRAFFIC if ports.is_everything else _split(ports)[1]


def may_span(pods: Mapping[PortSet, PodSet]) -> bool:
    """Whether some pod may have ports that only the sets with ranges can hold: single ones side by side are a range."""
    together = NO_TRAFFIC
    for ports in pods:
        together |= ports
    return bool(_split(together)[1])


def segments_of(family: int, pods: Mapping[int, PortSet], blocks: Mapping[PortSet, AddressSet]) -> Segments:
    """What of pods and blocks only the sets with ranges can hold, of one family."""
    covered: defaultdict[PortSet, list[tuple[int, int]]] = defaultdict(list)
    for address, ports in pods.items():
        if rest := spans(ports):
            covered[rest].append((address, address))
    for ports, addresses in blocks.items():
        covered[ports] += addresses.ranges(family)
    return disjoint({ports: normalize(ranges) for ports, ranges in covered.items() if ports})


def segment_elements(family: int, segments: Iterable[Segment]) -> Elements:
    """What the sets with ranges hold of these segments; parts without elements are left out."""
    found: Elements = {}
    for kind, items in ((Kind.RANGES, _range_elements(segments)), (Kind.PROTOCOLS, _protocol_elements(segments))):
        if own := set(items):
            found[Part(kind, family)] = own
    return found


def open_elements(whom: Reach) -> Elements:
    """The ports that are open to everyone; nothing where there are none, or where everything is open."""
    items = set() if whom.everything else set(_open_elements(whom.everyone))
    return {Part(Kind.OPEN, 0): items} if items else {}


@lru_cache(maxsize=4096)
def _split(ports: PortSet) -> tuple[tuple[tuple[int, int], ...], PortSet]:
    """The single ports, as (protocol number, port), and the rest."""
    singles: list[tuple[int, int]] = []
    rest: dict[str, Ranges] = {}
    for protocol, number in PROTOCOL_NUMBER.items():
        ranges = ports.ranges(protocol)
        singles += [(number, first) for first, last in ranges if first == last]
        rest[protocol.value.lower()] = tuple(span for span in ranges if span[0] != span[1])
    return tuple(singles), PortSet(**rest, other=ports.other)


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
