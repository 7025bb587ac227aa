"""What policies allow, held against what a model says: every gap between the two.

Both are sets of pairs of endpoints and of outside addresses, with ports. A flow is *blocked* where something it needs
is not surely allowed; a connection is *forbidden* where policies may allow what stands under `never`, and *beyond* the
model where they may allow what no flow covers. What is prepared of a model serves every state of the policies, and
after a change only the region that it touches is compared again.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gatewright.engine.addresses import EVERY_V4, EVERY_V6, AddressSet
from gatewright.engine.connectivity import Connectivity, Outside, Rectangle
from gatewright.engine.model import Direction
from gatewright.engine.podset import PodSet
from gatewright.engine.ports import PortSet
from gatewright.intent.groups import Group, Model, holds
from gatewright.intent.model import ANY
from gatewright.intent.numbers import NamedPorts, port_set
from gatewright.intent.parties import Need, Party
from gatewright.intent.pieces import Piece, without
from gatewright.intent.region import Region


class Kind(enum.StrEnum):
    """How policies and model differ."""

    BLOCKED = "blocked"
    FORBIDDEN = "forbidden"
    BEYOND = "beyond"


@dataclass(frozen=True, slots=True, eq=False)
class Gap:
    """One difference: between which ends, on which ports, and the flow or assertion it breaks (None: beyond all).

    `sure` is False where it hangs on addresses that are not known yet. Exactly one end may be addresses.
    """

    kind: Kind
    need: Need | None
    source: PodSet | AddressSet
    destination: PodSet | AddressSet
    ports: PortSet
    family: int
    sure: bool = True


FEW = 16
"""Rectangles that are gone through one by one; more of them are looked up by source."""


class _Reaching:
    """The rectangles by destination and source. A pair of endpoints is in one of them at most."""

    def __init__(self, rectangles: Iterable[Rectangle]) -> None:
        self._by_destination: dict[int, list[Rectangle]] = {}
        self._by_source: dict[int, dict[int, Rectangle]] = {}
        for rectangle in rectangles:
            for index in rectangle.destinations:
                self._by_destination.setdefault(index, []).append(rectangle)

    def find(self, sources: PodSet, destination: int) -> list[Rectangle]:
        """Those that may hold connections of some sources to a destination."""
        every = self._by_destination.get(destination, [])
        if len(every) <= FEW:
            return every
        if destination not in self._by_source:
            self._by_source[destination] = {index: one for one in every for index in one.sources}
        known = self._by_source[destination]
        return list({id(known[index]): known[index] for index in sources if index in known}.values())


class Comparison:
    """A model in one address family, ready to be held against what policies allow. `exact` asks for what is beyond."""

    def __init__(self, model: Model, family: int, *, exact: bool) -> None:
        """Prepare what no policy changes."""
        self.model, self.family, self.exact = model, family, exact
        self.every = AddressSet(v4=EVERY_V4) if family == 4 else AddressSet(v6=EVERY_V6)
        self.never: dict[Party, list[Need]] = {}
        for assertion in model.bound.never:
            for party in {assertion.source, assertion.destination}:
                self.never.setdefault(party, []).append(assertion)
        self.restricted = PodSet.union(
            group.members
            for group in model.groups
            if (group.component or group.closed) and (exact or group.component in self.never)
        )

    def gaps(self, answer: Connectivity, region: Region | None = None) -> list[Gap]:
        """Every gap; of a region those that are in it, and perhaps others."""
        if region is None:
            everyone = answer.compiled.snapshot.roster.everyone
            region = Region(everyone, everyone)
        part = _Part(self, answer, region)
        found = [*part.blocked(), *part.blocked_addresses()]
        return [*found, *part.excess(), *part.excess_addresses()]


class _Part:
    """A comparison with one answer, in one region."""

    def __init__(self, of: Comparison, answer: Connectivity, region: Region) -> None:
        self.model, self.family, self.exact, self.every = of.model, of.family, of.exact, of.every
        self.never, self.restricted = of.never, of.restricted
        self.compiled, self.region = answer.compiled, region
        self.rectangles = [one for one in answer.rectangles if region.meets(one.sources, one.destinations)]
        near = [party for party in self.model.bound.parties if region.touches(self.model.members(party))]
        needs = (need for party in near for need in (*self.model.leaving(party), *self.model.arriving(party)))
        self.needs = tuple(dict.fromkeys(needs))
        self.rows = [row for row in answer.outside if row.pods & region.pods(row.direction)]

    def blocked(self) -> Iterator[Gap]:
        """The flows between pods of which some connection is not surely allowed."""
        reaching = _Reaching(self.rectangles)
        for need in self.needs:
            if need.source.pods is None or need.destination.pods is None:
                continue
            sources = self.model.members(need.source)
            for number in self.model.numbers(need.destination):
                group = self._group(number)
                for senders, members in self.region.cut(sources, group.members):
                    yield from self._blocked_at(need, senders, members, group.named_ports, reaching)

    def _blocked_at(
        self, need: Need, sources: PodSet, members: PodSet, named: NamedPorts, reaching: _Reaching
    ) -> Iterator[Gap]:
        wanted = port_set(need.ports, named)
        found: dict[tuple[PodSet, PortSet, bool], list[int]] = {}
        for index in members if wanted else ():
            left = sources if self.compiled.at(index).many else sources - PodSet.of([index])
            for rectangle in reaching.find(left, index):
                met = left & rectangle.sources
                left -= met
                if met and (lacking := wanted - rectangle.access.ports):
                    sure = bool(wanted - rectangle.access.possible)
                    found.setdefault((met, lacking, sure), []).append(index)
            if left:
                found.setdefault((left, wanted, True), []).append(index)
        for (met, lacking, sure), indices in found.items():
            yield Gap(Kind.BLOCKED, need, met, PodSet.of(indices), lacking, self.family, sure)

    def blocked_addresses(self) -> Iterator[Gap]:
        """The flows from and to addresses of which something is not surely allowed."""
        rows = {direction: _by_pods(row for row in self.rows if row.direction is direction) for direction in Direction}
        for need in self.needs:
            direction = Direction.INGRESS if need.source.pods is None else Direction.EGRESS
            party, outer = need.destination, need.source
            if direction is Direction.EGRESS:
                party, outer = outer, party
            if party.pods is None or outer.pods is not None:
                continue
            for number in self.model.numbers(party):
                group = self._group(number)
                members = group.members & self.region.pods(direction)
                ports = port_set(need.ports, group.named_ports if direction is Direction.INGRESS else {})
                wanted = [(outer.addresses & self.every, ports)] if ports else []
                for pods, own in _classes_of(members, rows[direction]):
                    for addresses, lacking in without(wanted, ((row.addresses, row.access.ports) for row in own)):
                        possible = ((row.addresses, row.access.possible) for row in own)
                        sure = bool(without([(addresses, lacking)], possible))
                        source, destination = _ends(direction, addresses, pods)
                        yield Gap(Kind.BLOCKED, need, source, destination, lacking, self.family, sure)

    def excess(self) -> Iterator[Gap]:
        """Connections between pods that may be allowed and that the model forbids or, if exact, has no flow for."""
        for rectangle in self.rectangles:
            parts = self.model.split(rectangle.sources), self.model.split(rectangle.destinations)
            touched = rectangle.sources & self.restricted, rectangle.destinations & self.restricted
            for source, sources in parts[0].items() if any(touched) else ():
                for destination, destinations in parts[1].items():
                    allowed, access = self.model.allows(source, destination), rectangle.access
                    beyond = (access.possible - allowed.possible) | (access.ports - allowed.ports)
                    if beyond and not self._is_itself(sources, destinations):
                        sure = bool(beyond & rectangle.access.ports)
                        yield from self._told(source, destination, sources, destinations, beyond, sure)

    def _told(
        self, source: int, destination: int, sources: PodSet, destinations: PodSet, ports: PortSet, sure: bool
    ) -> Iterator[Gap]:
        ends = (self._group(source), self._group(destination))
        candidates = [one for end in ends if end.component for one in self.never.get(end.component, ())]
        for assertion in dict.fromkeys(candidates):
            if _meant(assertion.source, ends[0]) and _meant(assertion.destination, ends[1]):
                forbidden = ports & port_set(assertion.ports or (ANY,), ends[1].named_ports)
                if forbidden:
                    yield Gap(Kind.FORBIDDEN, assertion, sources, destinations, forbidden, self.family, sure)
                    ports -= forbidden
        if ports and self.exact:
            yield Gap(Kind.BEYOND, None, sources, destinations, ports, self.family, sure)

    def excess_addresses(self) -> Iterator[Gap]:
        """The same with outside addresses."""
        for row in self.rows:
            for number, pods in self.model.split(row.pods).items():
                group = self._group(number)
                if group.component is None or not (self.exact or group.component in self.never):
                    continue
                sure = bool(row.access.ports)
                for piece in self._beyond(row, group):
                    yield from self._told_of_addresses(row.direction, group.component, pods, piece, sure)

    def _beyond(self, row: Outside, group: Group) -> list[Piece]:
        assert group.component is not None
        inwards = row.direction is Direction.INGRESS
        needs = self.model.arriving(group.component) if inwards else self.model.leaving(group.component)
        outer = ((need.source if inwards else need.destination, need) for need in needs)
        named = group.named_ports if inwards else {}
        allowed = ((party.addresses, port_set(need.ports, named)) for party, need in outer if party.pods is None)
        return without([(row.addresses, row.access.possible)], allowed)

    def _told_of_addresses(
        self, direction: Direction, component: Party, pods: PodSet, piece: Piece, sure: bool
    ) -> Iterator[Gap]:
        pieces = [piece]
        for assertion in self.never.get(component, ()):
            ends = (assertion.source, assertion.destination)
            outer = ends[0] if direction is Direction.INGRESS else ends[1]
            if outer.pods is not None or component is not (ends[1] if direction is Direction.INGRESS else ends[0]):
                continue
            meant = (outer.addresses, port_set(assertion.ports or (ANY,), {}))
            for addresses, ports in pieces:
                shared = (addresses & meant[0], ports & meant[1])
                if all(shared):
                    source, destination = _ends(direction, shared[0], pods)
                    yield Gap(Kind.FORBIDDEN, assertion, source, destination, shared[1], self.family, sure)
            pieces = without(pieces, [meant])
        for addresses, ports in pieces if self.exact else ():
            source, destination = _ends(direction, addresses, pods)
            yield Gap(Kind.BEYOND, None, source, destination, ports, self.family, sure)

    def _group(self, number: int) -> Group:
        return self.model.groups[number]

    def _is_itself(self, sources: PodSet, destinations: PodSet) -> bool:
        if len(sources) != 1 or sources != destinations:
            return False
        return not self.compiled.at(next(iter(sources))).many


def _meant(party: Party, group: Group) -> bool:
    """Whether an assertion about a party is about a group: one about addresses is not about components."""
    if party.pods is None:
        return group.component is None and bool(holds(party, group))
    return bool(holds(party, group))


def _ends(direction: Direction, outer: AddressSet, pods: PodSet) -> tuple[PodSet | AddressSet, PodSet | AddressSet]:
    """(source, destination) of connections between pods and addresses in a direction of the pods."""
    return (outer, pods) if direction is Direction.INGRESS else (pods, outer)


def _by_pods(rows: Iterable[Outside]) -> dict[PodSet, list[Outside]]:
    found: dict[PodSet, list[Outside]] = {}
    for row in rows:
        found.setdefault(row.pods, []).append(row)
    return found


def _classes_of(members: PodSet, rows: dict[PodSet, list[Outside]]) -> Iterator[tuple[PodSet, list[Outside]]]:
    """Some pods by the rows that hold for them; those without any row last."""
    left = members
    for pods, own in rows.items():
        if shared := members & pods:
            left -= shared
            yield shared, own
    if left:
        yield left, []
