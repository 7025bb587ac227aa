"""Connectivity answers of different programs as one value, so that they can be compared connection by connection.

Gatewright and network-config-analyzer both print `source => destination : traffic` lines and differ in how they write
traffic. Compared is what IPv4 surely allows between two different ends. Left out is what either prints beyond that:
lines that depend on an address nobody knows yet, a workload's lines to itself, IPv6, and the pods that the analyzer
adds of its own (`-livesim`: a kube-dns or an ingress controller that the manifests do not have).
"""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from gatewright.engine.ports import ALL_TRAFFIC, EVERY_PORT, NO_TRAFFIC, PortSet, Protocol, Range

DEPENDS = " (depends on"
ADDED = "-livesim"
EXTERNAL = "[External]"
EVERYTHING = "All connections"
BUT = "All but "
CUBE = re.compile(r"\{(?:protocols:([A-Z, ]+?))?,?(?:dst_ports:([\d,-]+))?\}")

Place = tuple[str, str]
Piece = tuple[Range, PortSet]


@dataclass(frozen=True)
class Answer:
    """What may pass between pairs of ends; outside addresses as disjoint ranges in order, by (pod, "from" or "to")."""

    pairs: dict[Place, PortSet] = field(default_factory=dict)
    outside: dict[Place, tuple[Piece, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.pairs) + sum(map(len, self.outside.values()))


def differences(left: Answer, right: Answer) -> set[Place]:
    """The pairs, and the pods with outside addresses, of which two answers say different things."""
    places = {place for place in left.pairs | right.pairs if left.pairs.get(place) != right.pairs.get(place)}
    outside = left.outside | right.outside
    return places | {place for place in outside if left.outside.get(place) != right.outside.get(place)}


def said(answer: Answer, place: Place) -> str:
    """What an answer says of a place, for people."""
    if place in answer.pairs or place not in answer.outside:
        return str(answer.pairs.get(place, NO_TRAFFIC))
    return ", ".join(f"{_range_text(*addresses)} {traffic}" for addresses, traffic in answer.outside[place])


def parse(text: Iterable[str], traffic: Callable[[str], PortSet]) -> Answer:
    """The answer of these lines; those that hold no connection are skipped. Raises ValueError for unknown traffic."""
    answer = Answer()
    outside: dict[Place, dict[Range, PortSet]] = {}
    seen: dict[str, PortSet] = {}
    for line in text:
        ends, separator, words = line.rstrip("\n").partition(" : ")
        source, arrow, destination = ends.partition(" => ")
        if not (separator and arrow) or DEPENDS in words or source == destination or ADDED in ends or "::" in ends:
            continue
        ports = seen[words] if words in seen else seen.setdefault(words, traffic(words))
        if not (place := _outside(source, destination)):
            answer.pairs[source, destination] = answer.pairs.get((source, destination), NO_TRAFFIC) | ports
            continue
        addresses = outside.setdefault(place[0], {})
        addresses[place[1]] = addresses.get(place[1], NO_TRAFFIC) | ports
    answer.outside.update({place: tuple(_disjoint(ranges)) for place, ranges in outside.items()})
    return answer


def gatewright_traffic(words: str) -> PortSet:
    """`TCP 80,8080-8090; UDP 53; other protocols`, or `All Connections`."""
    if words == str(ALL_TRAFFIC):
        return ALL_TRAFFIC
    found = NO_TRAFFIC
    for part in words.split("; "):
        name, _, ports = part.partition(" ")
        found |= PortSet(other=True) if part == "other protocols" else PortSet.of(Protocol(name), *_ranges(ports))
    return found


def analyzer_traffic(words: str) -> PortSet:
    """`{protocols:TCP, UDP,dst_ports:53},{protocols:SCTP}`, `All connections`, or `All but` such."""
    if words == EVERYTHING:
        return ALL_TRAFFIC
    cubes = words.removeprefix(BUT)
    found = NO_TRAFFIC
    for protocols, ports in CUBE.findall(cubes):
        for name in protocols.split(", "):
            found |= PortSet.of(Protocol(name), *(_ranges(ports) if ports else EVERY_PORT))
    if not cubes or CUBE.sub("", cubes).strip(","):
        raise ValueError(f"traffic in words that are not known here: {words}")
    return ALL_TRAFFIC - found if words.startswith(BUT) else found


def _ranges(text: str) -> Iterator[Range]:
    for one in text.split(","):
        first, _, last = one.partition("-")
        yield int(first), int(last or first)


def _outside(source: str, destination: str) -> tuple[Place, Range] | None:
    """Where one end is a range of addresses: the other end with the direction, and the range."""
    for end, pod, direction in ((source, destination, "from"), (destination, source, "to")):
        if "/" not in end:
            first, _, last = end.removesuffix(EXTERNAL).partition("-")
            return (pod, direction), (int(ipaddress.IPv4Address(first)), int(ipaddress.IPv4Address(last or first)))
    return None


def _disjoint(ranges: dict[Range, PortSet]) -> Iterator[Piece]:
    """The same as ranges that do not overlap, neighbours of the same traffic joined."""
    cuts = sorted({first for first, _ in ranges} | {last + 1 for _, last in ranges})
    joined: list[Piece] = []
    for first, following in itertools.pairwise(cuts):
        traffic = NO_TRAFFIC
        for (start, end), ports in ranges.items():
            if start <= first <= end:
                traffic |= ports
        if joined and joined[-1][1] == traffic and joined[-1][0][1] + 1 == first:
            joined[-1] = ((joined[-1][0][0], following - 1), traffic)
        else:
            joined.append(((first, following - 1), traffic))
    return (piece for piece in joined if piece[1])


def _range_text(first: int, last: int) -> str:
    return f"{ipaddress.IPv4Address(first)}-{ipaddress.IPv4Address(last)}"
