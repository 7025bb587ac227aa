"""Every allowed connection at once, class by class.

For each class of pods the peers are partitioned by what the class's rules say to them; a connection is where the
partition of a source class and that of a destination class meet. The result is rectangles (sources x destinations on
ports): their number grows with the number of classes, not of pods. Only `connections` expands them to pairs.

What hangs on addresses that are not known yet is kept apart: `ports` are surely allowed, `possible` are those that
some addresses would allow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from gatewright.engine.address_index import AddressIndex
from gatewright.engine.addresses import EVERY_V4, EVERY_V6, FAMILIES, AddressSet
from gatewright.engine.compile import Compiled
from gatewright.engine.model import Action, Direction, DirectionRules, Endpoint, Rule, Tier, join_rules
from gatewright.engine.podset import NO_PODS, PodSet
from gatewright.engine.ports import ALL_TRAFFIC, NO_TRAFFIC, PortSet
from gatewright.engine.verdict import DomainName, expected_families, matches_peer


class Access(msgspec.Struct, frozen=True):
    """What may pass: `ports` surely, `possible` (never less) if unknown addresses turn out so."""

    ports: PortSet
    possible: PortSet

    def __and__(self, that: Access) -> Access:
        return Access(self.ports & that.ports, self.possible & that.possible)

    def __bool__(self) -> bool:
        return bool(self.possible)


EVERYTHING = Access(ALL_TRAFFIC, ALL_TRAFFIC)


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


@dataclass(frozen=True)
class Connectivity:
    """Everything that is allowed in one address family."""

    compiled: Compiled
    family: int
    rectangles: tuple[Rectangle, ...]
    outside: tuple[Outside, ...]
    named: tuple[Named, ...]


def families_in_use(compiled: Compiled) -> tuple[int, ...]:
    """The address families of the cluster: those of known addresses, of the pod range, else IPv4."""
    known = {address.version for endpoint in compiled.endpoints for address in endpoint.addresses}
    return tuple(sorted(known | (set() if known else set(expected_families(compiled)))))


def connectivity(compiled: Compiled, family: int) -> Connectivity:
    """Everything that the policies allow in one family."""
    index = AddressIndex(compiled.endpoints, compiled.snapshot.pod_range, family)
    present = index.present
    senders = _sides(compiled, Direction.EGRESS, index)
    receivers = _sides(compiled, Direction.INGRESS, index)
    outside = tuple(_outside(compiled, present, family))
    named = tuple(_named(compiled, present, family))
    return Connectivity(compiled, family, tuple(_rectangles(senders, receivers)), outside, named)


def _rectangles(senders: list[_Side], receivers: list[_Side]) -> Iterator[Rectangle]:
    """Where what a class may reach meets the classes that admit it."""
    class_of = {position: number for number, side in enumerate(receivers) for position in side.members}
    for sender in senders:
        for out, destinations in sender.peers.items():
            if len(destinations) < len(receivers):
                near = sorted({class_of[position] for position in destinations})
            else:
                near = list(range(len(receivers)))
            for number in near:
                receiver = receivers[number]
                targets = destinations & receiver.members
                if not targets:
                    continue
                for into, sources in receiver.peers.items():
                    origins, access = sources & sender.members, out & into
                    if origins and access:
                        yield Rectangle(origins, targets, access)


def connections(compiled: Compiled) -> list[Connection]:
    """Every allowed connection, pair by pair, in stable order. Rows that hold for all families are written once."""
    rows: dict[tuple[object, ...], dict[int, Connection]] = {}
    families = families_in_use(compiled)
    for family in families:
        for row in _pairs(connectivity(compiled, family)):
            rows.setdefault(_place(row), {})[family] = row
    result: list[Connection] = []
    for by_family in rows.values():
        first = next(iter(by_family.values()))
        shared = [one for one in families if _may_use(first, one)]
        if all(one in by_family and by_family[one].access == first.access for one in shared):
            result.append(Connection(first.source, first.destination, first.access))
        else:
            result += by_family.values()
    return sorted(result, key=_order)


def _pairs(answer: Connectivity) -> Iterator[Connection]:
    endpoints, family = answer.compiled.endpoints, answer.family
    for rectangle in answer.rectangles:
        targets = [endpoints[index] for index in rectangle.destinations]
        for index in rectangle.sources:
            source = endpoints[index]
            for target in targets:
                if source is not target or source.many:
                    yield Connection(source, target, rectangle.access, family)
    for out in answer.outside:
        for index in out.pods:
            pod = endpoints[index]
            if out.direction is Direction.INGRESS:
                yield Connection(out.addresses, pod, out.access, family)
            else:
                yield Connection(pod, out.addresses, out.access, family)
    for named in answer.named:
        for index in named.pods:
            yield Connection(endpoints[index], named.name, named.access, family)


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


class _Side(msgspec.Struct, frozen=True):
    """A class in one direction: its members, and by what they may do with it the peers that may do anything."""

    members: PodSet
    peers: dict[Access, PodSet]


def _sides(compiled: Compiled, direction: Direction, index: AddressIndex) -> list[_Side]:
    hosts = _host_network_pods(compiled, index.present) if direction is Direction.INGRESS else {}
    sides = []
    for rules, everyone in compiled.classes(direction).items():
        if not (members := everyone & index.present):
            continue
        peers = peer_parts(rules, index)
        for neighbours, locals_ in hosts.values() if rules else ():
            # A pod's own node may always reach it.
            if group := members & locals_:
                sides.append(_Side(group, _admit(peers, neighbours)))
                members -= group
        if members:
            sides.append(_Side(members, peers))
    return sides


def _host_network_pods(compiled: Compiled, present: PodSet) -> dict[str, tuple[PodSet, PodSet]]:
    """For each node that has them: its host-network pods, and all its pods."""
    hosts: dict[str, list[int]] = {}
    pods: dict[str, list[int]] = {}
    for endpoint in compiled.endpoints:
        if endpoint.node:
            pods.setdefault(endpoint.node, []).append(endpoint.index)
            if endpoint.host_network:
                hosts.setdefault(endpoint.node, []).append(endpoint.index)
    return {node: (PodSet.of(found) & present, PodSet.of(pods[node])) for node, found in hosts.items()}


def _admit(parts: dict[Access, PodSet], neighbours: PodSet) -> dict[Access, PodSet]:
    if not neighbours:
        return parts
    admitted = {access: left for access, peers in parts.items() if (left := peers - neighbours)}
    admitted[EVERYTHING] = admitted.get(EVERYTHING, NO_PODS) | neighbours
    return admitted


def peer_parts(rules: DirectionRules, index: AddressIndex) -> dict[Access, PodSet]:
    """All endpoints partitioned by what the rules let them do; those that may do nothing are left out."""
    parts: dict[_State, PodSet] = {_START: index.present}
    for tier, rule in _walk(rules):
        pieces: list[tuple[_State, PodSet]] = []
        if rule is None:
            pieces = [(state.leave(tier), peers) for state, peers in parts.items()]
        else:
            sure, unsure = _matching(rule, index)
            for state, peers in parts.items():
                pieces.append((state.meet(rule, True), peers & sure))
                pieces.append((state.meet(rule, False), peers & unsure))
                pieces.append((state, peers - sure - unsure))
        parts = _merged(pieces)
    return _merged((state.end(), peers) for state, peers in parts.items() if state.end())


Part = TypeVar("Part")


def _merged(pieces: Iterable[tuple[Part, PodSet]]) -> dict[Part, PodSet]:
    parts: dict[Part, PodSet] = {}
    for state, peers in pieces:
        if peers:
            parts[state] = parts.get(state, NO_PODS) | peers
    return parts


def _matching(rule: Rule, index: AddressIndex) -> tuple[PodSet, PodSet]:
    """The endpoints that the peers of a rule match: (surely, perhaps)."""
    if rule.peers.everyone:
        return index.present, NO_PODS
    sure, unsure = index.within(rule.peers.addresses.ranges(index.family))
    sure |= rule.peers.pods
    return sure, unsure - sure


def _walk(rules: DirectionRules) -> Iterator[tuple[Tier, Rule | None]]:
    """The rules in order of evaluation; (tier, None) where a tier ends."""
    for tier in rules.tiers:
        for rule in join_rules(tier.rules) if tier.tier is Tier.NETWORK_POLICY else tier.rules:
            yield tier.tier, rule
        yield tier.tier, None


class _State(msgspec.Struct, frozen=True):
    """Traffic on its way through the tiers, port by port.

    `open` is what no rule of this tier has surely decided, `passed` what may go on to the next tier. A port that only
    unsure rules match stays open, so that it can end in more than one way: `accepted` and `denied` may overlap.
    """

    accepted: PortSet = NO_TRAFFIC
    denied: PortSet = NO_TRAFFIC
    open: PortSet = ALL_TRAFFIC
    passed: PortSet = NO_TRAFFIC

    def meet(self, rule: Rule, sure: bool) -> _State:
        """A rule matches, or may match, the peer."""
        taken = self.open & rule.ports
        return _State(
            self.accepted | taken if rule.action is Action.ACCEPT else self.accepted,
            self.denied | taken if rule.action is Action.DENY else self.denied,
            self.open - taken if sure else self.open,
            self.passed | taken if rule.action is Action.PASS else self.passed,
        )

    def leave(self, tier: Tier) -> _State:
        """The end of a tier: what a NetworkPolicy did not accept is denied, other tiers hand the rest on."""
        if tier is Tier.NETWORK_POLICY:
            return _State(self.accepted, self.denied | self.open, NO_TRAFFIC)
        return _State(self.accepted, self.denied, self.open | self.passed)

    def end(self) -> Access:
        """What is left undecided is allowed."""
        possible = self.accepted | self.open
        return Access(possible - self.denied, possible)


_START = _State()


def _outside(compiled: Compiled, present: PodSet, family: int) -> Iterator[Outside]:
    for direction in Direction:
        for rules, members in compiled.classes(direction).items():
            if members := members & present:
                for access, addresses in _address_parts(rules, family).items():
                    yield Outside(direction, members, addresses, access)


def _address_parts(rules: DirectionRules, family: int) -> dict[Access, AddressSet]:
    """All addresses of a family, partitioned by what they may do with a class; what may do nothing is left out."""
    everything = AddressSet(v4=EVERY_V4) if family == FAMILIES[0] else AddressSet(v6=EVERY_V6)
    parts: dict[_State, AddressSet] = {_START: everything}
    for tier, rule in _walk(rules):
        pieces: dict[_State, AddressSet] = {}
        for state, addresses in parts.items():
            if rule is None:
                split = [(state.leave(tier), addresses)]
            else:
                matched = addresses if rule.peers.everyone else addresses & rule.peers.addresses
                split = [(state.meet(rule, True), matched), (state, addresses - matched)]
            for following, piece in split:
                if piece:
                    pieces[following] = pieces[following] | piece if following in pieces else piece
        parts = pieces
    result: dict[Access, AddressSet] = {}
    for state, addresses in parts.items():
        if access := state.end():
            result[access] = result[access] | addresses if access in result else addresses
    return result


def _named(compiled: Compiled, present: PodSet, family: int) -> Iterator[Named]:
    """What the domain names of rules add to the addresses: left out where every address may do as much anyway."""
    for rules, members in compiled.classes(Direction.EGRESS).items():
        if not (members := members & present):
            continue
        patterns = sorted({name for _, rule in _walk(rules) if rule for name in rule.peers.names})
        everywhere = set(_address_parts(rules, family)) if patterns else set()
        for pattern in patterns:
            name, state = DomainName(pattern), _START
            for tier, rule in _walk(rules):
                match = matches_peer(compiled, rule.peers, name, family) if rule else None
                if rule is None:
                    state = state.leave(tier)
                elif match is not False:
                    state = state.meet(rule, match is True)
            if (access := state.end()) and everywhere != {access}:
                yield Named(members, name, access)
