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

from gatewright.engine.addresses import EVERY_V4, EVERY_V6, FAMILIES, AddressSet
from gatewright.engine.compile import Compiled
from gatewright.engine.model import Action, Direction, DirectionRules, Endpoint, Rule, Tier
from gatewright.engine.podset import NO_PODS, PodSet
from gatewright.engine.ports import ALL_TRAFFIC, NO_TRAFFIC, PortSet
from gatewright.engine.verdict import DomainName, expected_families, matches_peer


@dataclass(frozen=True, slots=True)
class Access:
    """What may pass: `ports` surely, `possible` (never less) if unknown addresses turn out so."""

    ports: PortSet
    possible: PortSet

    def __and__(self, that: Access) -> Access:
        return Access(self.ports & that.ports, self.possible & that.possible)

    def __bool__(self) -> bool:
        return bool(self.possible)


EVERYTHING = Access(ALL_TRAFFIC, ALL_TRAFFIC)


@dataclass(frozen=True, slots=True)
class Connection:
    """One row of the answer: an endpoint, outside addresses or a domain name; never outside on both sides.

    `family` is 4 or 6 where the row holds for that family only, None where it holds for every family of the cluster.
    """

    source: Endpoint | AddressSet
    destination: Endpoint | AddressSet | DomainName
    access: Access
    family: int | None = None


@dataclass(frozen=True, slots=True)
class Rectangle:
    """Every pod of `sources` may connect to every pod of `destinations` (but not to itself)."""

    sources: PodSet
    destinations: PodSet
    access: Access


@dataclass(frozen=True, slots=True)
class Outside:
    """Every pod of `pods` may receive from (Ingress) or connect to (Egress) these addresses, whoever has them."""

    direction: Direction
    pods: PodSet
    addresses: AddressSet
    access: Access


@dataclass(frozen=True, slots=True)
class Named:
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
    present = PodSet.of(
        endpoint.index for endpoint in compiled.endpoints if not endpoint.addresses or endpoint.address(family)
    )
    sides = {direction: _sides(compiled, direction, present, family) for direction in Direction}
    rectangles = []
    for senders, reached in sides[Direction.EGRESS]:
        for receivers, admitted in sides[Direction.INGRESS]:
            for out, destinations in reached.items():
                targets = destinations & receivers
                if not targets:
                    continue
                for into, sources in admitted.items():
                    origins, access = sources & senders, out & into
                    if origins and access:
                        rectangles.append(Rectangle(origins, targets, access))
    outside = tuple(_outside(compiled, present, family))
    named = tuple(_named(compiled, present, family))
    return Connectivity(compiled, family, tuple(rectangles), outside, named)


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


def _sides(
    compiled: Compiled, direction: Direction, present: PodSet, family: int
) -> list[tuple[PodSet, dict[Access, PodSet]]]:
    """For each class: its members, and all peers partitioned by what they may do with it."""
    sides = []
    for rules, members in compiled.classes(direction).items():
        if not (members := members & present):
            continue
        parts = _peer_parts(compiled, rules, present, family)
        if direction is Direction.EGRESS:
            sides.append((members, parts))
            continue
        for neighbours, group in _by_own_node(compiled, members, present, bool(rules)):
            sides.append((group, _admit(parts, neighbours)))
    return sides


def _by_own_node(
    compiled: Compiled, members: PodSet, present: PodSet, restricted: bool
) -> Iterator[tuple[PodSet, PodSet]]:
    """(host-network pods of a node, members on that node): a pod's own node may always reach it."""
    hosts: dict[str, list[int]] = {}
    for endpoint in compiled.endpoints:
        if restricted and endpoint.host_network and endpoint.node and endpoint.index in present:
            hosts.setdefault(endpoint.node, []).append(endpoint.index)
    rest = members
    for node, neighbours in hosts.items():
        group = PodSet.of(index for index in members if compiled.endpoints[index].node == node)
        if group:
            yield PodSet.of(neighbours), group
            rest -= group
    if rest:
        yield NO_PODS, rest


def _admit(parts: dict[Access, PodSet], neighbours: PodSet) -> dict[Access, PodSet]:
    if not neighbours:
        return parts
    admitted = {access: left for access, peers in parts.items() if (left := peers - neighbours)}
    admitted[EVERYTHING] = admitted.get(EVERYTHING, NO_PODS) | neighbours
    return admitted


def _peer_parts(compiled: Compiled, rules: DirectionRules, present: PodSet, family: int) -> dict[Access, PodSet]:
    parts: dict[_State, PodSet] = {_START: present}
    for tier, rule in _walk(rules):
        if rule is None:
            parts = _merged((state.leave(tier), peers) for state, peers in parts.items())
            continue
        sure, unsure = _matching(compiled, rule, present, family)
        pieces: list[tuple[_State, PodSet]] = []
        for state, peers in parts.items():
            pieces.append((state.meet(rule, True), peers & sure))
            pieces.append((state.meet(rule, False), peers & unsure))
            pieces.append((state, peers - sure - unsure))
        parts = _merged(pieces)
    result: dict[Access, PodSet] = {}
    for state, peers in parts.items():
        access = state.end()
        result[access] = result.get(access, NO_PODS) | peers
    return result


def _merged(pieces: Iterable[tuple[_State, PodSet]]) -> dict[_State, PodSet]:
    parts: dict[_State, PodSet] = {}
    for state, peers in pieces:
        if peers:
            parts[state] = parts.get(state, NO_PODS) | peers
    return parts


def _matching(compiled: Compiled, rule: Rule, present: PodSet, family: int) -> tuple[PodSet, PodSet]:
    """The endpoints that the peers of a rule match, surely and perhaps."""
    if rule.peers.everyone:
        return present, NO_PODS
    sure, unsure = rule.peers.pods & present, NO_PODS
    if rule.peers.addresses.ranges(family):
        answers: dict[bool | None, list[int]] = {True: [], None: [], False: []}
        for index in present - sure:
            answers[matches_peer(compiled, rule.peers, compiled.endpoints[index], family)].append(index)
        sure, unsure = sure | PodSet.of(answers[True]), PodSet.of(answers[None])
    return sure, unsure


def _walk(rules: DirectionRules) -> Iterator[tuple[Tier, Rule | None]]:
    """The rules in order of evaluation; (tier, None) where a tier ends."""
    for tier in rules.tiers:
        for rule in tier.rules:
            yield tier.tier, rule
        yield tier.tier, None


@dataclass(frozen=True, slots=True)
class _State:
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
