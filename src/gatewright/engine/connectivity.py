"""Every allowed connection at once, class by class.

For each class of pods the peers are partitioned by what the class's rules say to them; a connection is where the
partition of a source class and that of a destination class meet. The result is rectangles (sources x destinations on
ports): their number grows with the number of classes, not of pods. Only `connections` expands them to pairs. After a
change only the rectangles of classes that it touches are worked out again.

What hangs on addresses that are not known yet is kept apart: see `Access`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from functools import cached_property

import msgspec

from gatewright.engine.address_index import AddressIndex
from gatewright.engine.addresses import EVERY_V4, EVERY_V6, FAMILIES, NO_ADDRESSES, AddressSet
from gatewright.engine.compile import Class, ClassKey, Compiled, Update
from gatewright.engine.layers import variant
from gatewright.engine.model import Direction, DirectionRules, Endpoint, Rule
from gatewright.engine.parts import EVERYTHING, Access, parts
from gatewright.engine.podset import NO_PODS, PodSet
from gatewright.engine.ports import Ranges
from gatewright.engine.verdict import DomainName, expected_families, matches_peer


class Connection(msgspec.Struct, frozen=True):
    """One row of the answer: an endpoint, outside addresses or a domain name; never outside on both sides.

    `family` is 4 or 6 where the row holds for that family only, None where it holds for every family of the cluster.
    """

    source: Endpoint | AddressSet
    destination: Endpoint | AddressSet | DomainName
    access: Access
    family: int | None = None


class Rectangle(msgspec.Struct, frozen=True):
    """Every pod of `sources` may connect to every pod of `destinations` (but not to itself)."""

    sources: PodSet
    destinations: PodSet
    access: Access


class Outside(msgspec.Struct, frozen=True):
    """Every pod of `pods` may receive from (Ingress) or connect to (Egress) these addresses, whoever has them."""

    direction: Direction
    pods: PodSet
    addresses: AddressSet
    access: Access


class Named(msgspec.Struct, frozen=True):
    """Every pod of `pods` may connect to what a domain name resolves to."""

    pods: PodSet
    name: DomainName
    access: Access


def families_in_use(compiled: Compiled) -> tuple[int, ...]:
    """The address families of the cluster: those of known addresses, of the pod range, else IPv4."""
    known = {address.version for endpoint in compiled.endpoints for address in endpoint.addresses}
    return tuple(sorted(known | (set() if known else set(expected_families(compiled)))))


class _Side(msgspec.Struct, frozen=True):
    """A class in one direction, in one family: who it is, and what may be done with whom.

    `members` are those that can have an address of the family. `peers`, `addresses` and `names` say what may pass to or
    from whom; `reach` is all of `peers`, and `span` where they lie. `blocks` are the address ranges that `peers` hangs
    on.
    """

    rules: DirectionRules
    members: PodSet
    peers: dict[Access, PodSet]
    reach: PodSet
    span: tuple[int, int]
    addresses: dict[Access, AddressSet]
    names: dict[DomainName, Access]
    blocks: frozenset[Ranges]


_NO_SIDE = _Side(DirectionRules(Direction.INGRESS), NO_PODS, {}, NO_PODS, NO_PODS.span, {}, {}, frozenset())


class _Crossed(msgspec.Struct, frozen=True):
    """A rectangle; one that holds `elsewhere` leaves out pairs that stand on one node, which are told by themselves."""

    rectangle: Rectangle
    elsewhere: bool = False


class _Delta(msgspec.Struct, frozen=True):
    """What became of a side: the members that came or left, and the peers with which something else may be done."""

    members: PodSet
    peers: PodSet

    def __bool__(self) -> bool:
        return bool(self.members or self.peers)


Sides = dict[ClassKey, _Side]
Crossing = tuple[ClassKey, ClassKey]
"""A sending and a receiving class."""


class Connectivity:
    """Everything that is allowed in one address family. A value: `after` gives that of another state."""

    def __init__(self, compiled: Compiled, family: int) -> None:
        """What `connectivity` makes."""
        self.compiled = compiled
        self.family = family
        capacity = compiled.snapshot.roster.capacity
        self._everywhere = PodSet.first(capacity + capacity // 4 + 64)  # room for newcomers: it means everyone
        self._index = AddressIndex(compiled.snapshot, family)
        self._sides: dict[Direction, Sides] = {}
        for direction in Direction:
            classes = compiled.classes(direction)
            self._sides[direction] = {key: self._side(one) for key, one in classes.items()}
        self._crossings: dict[Crossing, tuple[_Crossed, ...]] = {}
        for key, side in self._sides[Direction.EGRESS].items():
            for receiver in self._classes_in(side.reach, Direction.INGRESS):
                self._cross((key, receiver))

    @cached_property
    def rectangles(self) -> tuple[Rectangle, ...]:
        """Between pods. No pair of pods is in two rectangles."""
        found = [one for every in self._crossings.values() for one in every]
        return (*(one.rectangle for one in found if not one.elsewhere), *self._from_hosts(found))

    @cached_property
    def outside(self) -> tuple[Outside, ...]:
        """Between pods and addresses."""
        return tuple(
            Outside(direction, side.members, addresses, access)
            for direction, sides in self._sides.items()
            for side in sides.values()
            if side.members
            for access, addresses in side.addresses.items()
        )

    @cached_property
    def named(self) -> tuple[Named, ...]:
        """Between pods and domain names."""
        sides = self._sides[Direction.EGRESS].values()
        return tuple(Named(one.members, *item) for one in sides if one.members for item in one.names.items())

    def admitted(self, index: int) -> dict[Access, PodSet]:
        """Who may connect to an endpoint, its own node apart, by what they may do."""
        side = self._sides[Direction.INGRESS][self.compiled.class_of(index, Direction.INGRESS).key]
        return {access: peers & self._index.present for access, peers in side.peers.items()}

    def after(self, update: Update) -> Connectivity:
        """What is allowed after a change, worked out from this."""
        roster = update.compiled.snapshot.roster
        if roster.capacity > len(self._everywhere):
            return Connectivity(update.compiled, self.family)
        following = variant(self)
        for memo in ("rectangles", "outside", "named"):
            vars(following).pop(memo, None)
        following.compiled = update.compiled
        following._index, ranges = self._index.step(update.step.moves, update.compiled.snapshot)
        following._crossings = dict(self._crossings)
        arrived = (following._index.present ^ self._index.present) | (self.compiled.hosts ^ following.compiled.hosts)
        sides, deltas = {}, {}
        for direction in Direction:
            again = update.touched[direction] | self._hanging_on(ranges, direction)
            again |= {update.compiled.class_of(one, direction).key for one in arrived if roster.is_taken(one)}
            sides[direction], deltas[direction] = following._renewed(self._sides[direction], direction, again, arrived)
        following._sides = sides
        for direction, other in ((Direction.EGRESS, Direction.INGRESS), (Direction.INGRESS, Direction.EGRESS)):
            for key, found in following._touched(deltas[direction], deltas[other], other):
                following._cross((key, found) if direction is Direction.EGRESS else (found, key))
        return following

    def _hanging_on(self, ranges: set[Ranges], direction: Direction) -> set[ClassKey]:
        """The classes whose peers hang on some address ranges."""
        if not ranges:
            return set()
        return {
            key for key, side in self._sides[direction].items() if side.blocks and not ranges.isdisjoint(side.blocks)
        }

    def _renewed(
        self, before: Sides, direction: Direction, keys: set[ClassKey], arrived: PodSet
    ) -> tuple[Sides, dict[ClassKey, _Delta]]:
        """The sides of one direction where these classes may not be what they were, and what became of each."""
        sides, deltas = dict(before), {}
        classes = self.compiled.classes(direction)
        for key in keys:
            old, one = sides.pop(key, _NO_SIDE), classes.get(key)
            new = _NO_SIDE
            if one is not None:
                new = sides[key] = self._side(one)
            delta = _Delta((old.members ^ new.members) | (new.members & arrived), _differing(old.peers, new.peers))
            if delta:
                deltas[key] = delta
        return sides, deltas

    def _touched(
        self, deltas: dict[ClassKey, _Delta], others: dict[ClassKey, _Delta], other: Direction
    ) -> Iterator[Crossing]:
        """Where what became of classes matters: with the classes of their peers, and with those whose peers they are.

        Pairs of such a class and one of the other direction.
        """
        moved = PodSet.union(delta.members for delta in deltas.values())
        reached = self._reaching(moved, other) if moved else []
        for key, delta in deltas.items():
            found = set(self._classes_in(delta.peers, other))
            if delta.members:
                found.update([one for one, reach in reached if reach & delta.members])
                found.update([one for one, its in others.items() if its.peers & delta.members])
            yield from ((key, one) for one in found)

    def _reaching(self, pods: PodSet, direction: Direction) -> list[tuple[ClassKey, PodSet]]:
        """The classes of one direction that have one of these pods among their peers, with all their peers.

        Most are told apart by where their peers lie.
        """
        first, last = pods.span
        sides = self._sides[direction].items()
        near = [(key, side.reach) for key, side in sides if side.span[0] <= last and first <= side.span[1]]
        return [(key, reach) for key, reach in near if reach & pods]

    def _side(self, one: Class) -> _Side:
        rules = one.rules
        blocks: set[Ranges] = set()

        def endpoints(rule: Rule) -> tuple[PodSet, PodSet]:
            if rule.peers.everyone:
                return self._everywhere, NO_PODS
            if not (ranges := rule.peers.addresses.ranges(self.family)):
                return rule.peers.pods, NO_PODS
            blocks.add(ranges)
            sure, unsure = self._index.within(ranges)
            sure |= rule.peers.pods
            return sure, unsure - sure

        peers = parts(rules, self._everywhere, endpoints, self.family)
        addresses = address_parts(rules, self.family)
        names = dict(self._names(rules, addresses)) if rules.direction is Direction.EGRESS else {}
        reach = PodSet.union(peers.values())
        return _Side(
            rules, one.members & self._index.present, peers, reach, reach.span, addresses, names, frozenset(blocks)
        )

    def _names(self, rules: DirectionRules, addresses: dict[Access, AddressSet]) -> Iterator[tuple[DomainName, Access]]:
        """What the domain names of rules add to the addresses: left out where every address may do as much anyway."""
        patterns = {name for tier in rules.tiers for rule in tier.rules for name in rule.peers.names}
        for pattern in sorted(patterns):
            name = DomainName(pattern)

            def match(rule: Rule, name: DomainName = name) -> tuple[PodSet, PodSet]:
                found = matches_peer(self.compiled, rule.peers, name, self.family)
                return _ONE if found else NO_PODS, _ONE if found is None else NO_PODS

            for access in parts(rules, _ONE, match, self.family):
                if set(addresses) != {access}:
                    yield name, access

    def _classes_in(self, region: PodSet, direction: Direction) -> Set[ClassKey]:
        """The classes of one direction that have members in a region, and perhaps others."""
        classes = self._sides[direction]
        if len(region) > len(classes):
            return classes.keys()
        return {self.compiled.class_of(position, direction).key for position in region & self._index.present}

    def _cross(self, crossing: Crossing) -> None:
        """Keep where what one class may reach meets what another admits."""
        left = self._sides[Direction.EGRESS].get(crossing[0], _NO_SIDE)
        right = self._sides[Direction.INGRESS].get(crossing[1], _NO_SIDE)
        if found := tuple(self._meet(left, right)):
            self._crossings[crossing] = found
        else:
            self._crossings.pop(crossing, None)

    def _meet(self, left: _Side, right: _Side) -> Iterator[_Crossed]:
        for out, destinations in left.peers.items():
            if not (targets := destinations & right.members):
                continue
            for into, sources in right.peers.items():
                if (origins := sources & left.members) and (access := out & into):
                    hosts = NO_PODS if left.rules or not right.rules else origins & self.compiled.hosts
                    if hosts:
                        yield _Crossed(Rectangle(hosts, targets, access), elsewhere=True)
                        origins -= hosts
                    if origins:
                        yield _Crossed(Rectangle(origins, targets, access))

    def _from_hosts(self, crossed: list[_Crossed]) -> Iterator[Rectangle]:
        """From host-network pods to isolated ones: whatever to those of their own node, what rules say elsewhere."""
        hosts = self.compiled.hosts & self._index.present
        if not hosts:
            return
        free = PodSet.union(side.members for side in self._sides[Direction.INGRESS].values() if not side.rules)
        by_node: dict[str, tuple[list[int], list[int]]] = {}
        for position in hosts:
            by_node.setdefault(self.compiled.at(position).node, ([], []))[0].append(position)
        for position in self._index.present - free:
            if (node := self.compiled.at(position).node) in by_node:
                by_node[node][1].append(position)
        for node, (sources, targets) in by_node.items():
            here, there = PodSet.of(sources), PodSet.of(targets) if node else NO_PODS
            if there:
                yield Rectangle(here, there, EVERYTHING)
            for rectangle in (one.rectangle for one in crossed if one.elsewhere):
                origins, others = rectangle.sources & here, rectangle.destinations - there
                if origins and others:
                    yield Rectangle(origins, others, rectangle.access)


def connectivity(compiled: Compiled, family: int) -> Connectivity:
    """Everything that the policies allow in one family."""
    return Connectivity(compiled, family)


def _differing(old: dict[Access, PodSet], new: dict[Access, PodSet]) -> PodSet:
    """The peers with which something else may be done."""
    if old is new:
        return NO_PODS
    return PodSet.union(old.get(access, NO_PODS) ^ new.get(access, NO_PODS) for access in old.keys() | new.keys())


_ONE = PodSet.first(1)


def address_parts(rules: DirectionRules, family: int) -> dict[Access, AddressSet]:
    """All addresses of a family, partitioned by what they may do with a class."""
    everything = AddressSet(v4=EVERY_V4) if family == FAMILIES[0] else AddressSet(v6=EVERY_V6)

    def matching(rule: Rule) -> tuple[AddressSet, AddressSet]:
        return (everything if rule.peers.everyone else rule.peers.addresses & everything), NO_ADDRESSES

    return parts(rules, everything, matching, family)


def connections(compiled: Compiled) -> list[Connection]:
    """Every allowed connection, pair by pair, in stable order. Rows that hold for all families are written once."""
    answers = [connectivity(compiled, family) for family in families_in_use(compiled)]
    return pairs(answers, compiled.snapshot.roster.everyone)


def pairs(answers: Sequence[Connectivity], among: PodSet) -> list[Connection]:
    """The same for some endpoints: between them, and between them and what is outside. An answer for each family."""
    rows: dict[tuple[object, ...], dict[int, Connection]] = {}
    families = [answer.family for answer in answers]
    for answer in answers:
        for row in _pairs(answer, among):
            rows.setdefault(_place(row), {})[answer.family] = row
    result: list[Connection] = []
    for by_family in rows.values():
        first = next(iter(by_family.values()))
        shared = [one for one in families if _may_use(first, one)]
        if all(one in by_family and by_family[one].access == first.access for one in shared):
            result.append(Connection(first.source, first.destination, first.access))
        else:
            result += by_family.values()
    return sorted(result, key=_order)


def _pairs(answer: Connectivity, among: PodSet) -> Iterator[Connection]:
    at, family = answer.compiled.at, answer.family
    for rectangle in answer.rectangles:
        targets = [at(position) for position in rectangle.destinations & among]
        for source in map(at, rectangle.sources & among) if targets else ():
            for target in targets:
                if source is not target or source.many:
                    yield Connection(source, target, rectangle.access, family)
    for out in answer.outside:
        for pod in map(at, out.pods & among):
            if out.direction is Direction.INGRESS:
                yield Connection(out.addresses, pod, out.access, family)
            else:
                yield Connection(pod, out.addresses, out.access, family)
    for named in answer.named:
        for pod in map(at, named.pods & among):
            yield Connection(pod, named.name, named.access, family)


def _may_use(row: Connection, family: int) -> bool:
    """Whether a row between these two could exist in a family. Outside addresses belong to one."""
    for end in (row.source, row.destination):
        if isinstance(end, AddressSet):
            if not end.ranges(family):
                return False
        elif isinstance(end, Endpoint) and end.addresses and end.address(family) is None:
            return False
    return True


def _place(row: Connection) -> tuple[object, ...]:
    ends = (row.source, row.destination)
    return tuple(end.index if isinstance(end, Endpoint) else end for end in ends)


def _order(row: Connection) -> tuple[object, ...]:
    def end(party: Endpoint | AddressSet | DomainName) -> tuple[object, ...]:
        if isinstance(party, Endpoint):
            return (0, party.namespace, party.name, party.kind)
        if isinstance(party, DomainName):
            return (2, party.name)
        return (1, bool(party.v6), party.v4 or party.v6)

    return (end(row.source), end(row.destination), row.family or 0)
