"""Small worlds for the tests of the kernel room: pods, rules, and two plain evaluators that share no code with it.

`allowed` walks compiled rules exactly as the policy API orders them. `outcome` walks a program chain by chain as the
kernel would. The property of this room is that the two agree on everything, and that packets agree with both.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hypothesis import strategies as st

from gatewright.engine.addresses import ALL_ADDRESSES, NO_ADDRESSES, AddressSet, IPAddress
from gatewright.engine.compile import Class, ClassKey
from gatewright.engine.model import (
    Action,
    Direction,
    DirectionRules,
    Endpoint,
    Peers,
    Rule,
    RuleOrigin,
    Tier,
    TierRules,
)
from gatewright.engine.podset import PodSet
from gatewright.engine.ports import ALL_TRAFFIC, EVERY_PORT, PortSet, Protocol
from gatewright.kernel import table
from gatewright.kernel.guards import Guards
from gatewright.kernel.names import policies_of
from gatewright.kernel.options import Options

TCP, UDP, ICMP, SCTP, EXPERIMENT = 6, 17, 1, 132, 253
NAMED = {TCP: Protocol.TCP, UDP: Protocol.UDP, SCTP: Protocol.SCTP}
PORTS = (1, 79, 80, 81, 443, 8080, 65534, 65535)
POLICY = RuleOrigin("NetworkPolicy", "default", "policy")
CLUSTER_POLICY = RuleOrigin("ClusterNetworkPolicy", "", "cluster")
NODE = (ipaddress.ip_address("10.77.255.1"), ipaddress.ip_address("fd77::ffff"))
Traffic = tuple[int, int]
"""(protocol number, port); the port is 0 for protocols without."""


@dataclass(frozen=True)
class World:
    """What a program asks of compiled rules: endpoints, and the classes that the rules of each make of them."""

    endpoints: tuple[Endpoint, ...]
    ingress: tuple[DirectionRules, ...]
    egress: tuple[DirectionRules, ...]

    def at(self, position: int) -> Endpoint:
        return self.endpoints[position]

    def rules(self, index: int, direction: Direction) -> DirectionRules:
        return (self.ingress if direction is Direction.INGRESS else self.egress)[index]

    def classes(self, direction: Direction) -> dict[ClassKey, Class]:
        """Endpoints by the instance of their rules; those of the same policies are of one cell."""
        cells: dict[tuple[str, ...], int] = {}
        found: dict[ClassKey, Class] = {}
        for rules in dict.fromkeys(self.rules(one.index, direction) for one in self.endpoints):
            members = [one.index for one in self.endpoints if self.rules(one.index, direction) is rules]
            cell = cells.setdefault(policies_of(rules), len(cells))
            key = cell, (PortSet.of(Protocol.TCP, (len(found) + 1,) * 2),)
            found[key] = Class(key, PodSet.of(members), rules)
        return found

    def of_cells(self, direction: Direction, cells: Iterable[int]) -> Iterator[Class]:
        chosen = set(cells)
        return (one for key, one in self.classes(direction).items() if key[0] in chosen)

    @property
    def holders(self) -> dict[IPAddress, tuple[int, ...]]:
        """Who has an address; all addresses here are different."""
        return {address: (one.index,) for one in self.endpoints for address in one.addresses}

    @property
    def positions(self) -> World:
        """Who stands where."""
        return self


def pod(index: int, *, v4: bool = True, v6: bool = True, host_network: bool = False) -> Endpoint:
    """Pod number `index`: 10.77.0.(index + 1), fd77::(index + 1)."""
    addresses: list[IPAddress] = []
    if v4:
        addresses.append(ipaddress.ip_address(f"10.77.0.{index + 1}"))
    if v6:
        addresses.append(ipaddress.ip_address(f"fd77::{index + 1:x}"))
    return Endpoint(index, "default", f"pod-{index}", "Pod", {}, tuple(addresses), host_network=host_network)


def world(
    count: int, ingress: dict[int, DirectionRules] | None = None, egress: dict[int, DirectionRules] | None = None
) -> World:
    """`count` pods, of which some have rules."""
    return World(
        tuple(pod(index) for index in range(count)),
        tuple((ingress or {}).get(index, DirectionRules(Direction.INGRESS)) for index in range(count)),
        tuple((egress or {}).get(index, DirectionRules(Direction.EGRESS)) for index in range(count)),
    )


def accept(
    ports: PortSet = ALL_TRAFFIC,
    *,
    pods: tuple[int, ...] = (),
    blocks: tuple[str, ...] = (),
    action: Action = Action.ACCEPT,
    origin: RuleOrigin = POLICY,
) -> Rule:
    """A rule for these pods and blocks; for everyone, when neither is given."""
    addresses = NO_ADDRESSES
    for block in blocks:
        addresses |= AddressSet.of_block(block)
    return Rule(Peers(not pods and not blocks, PodSet.of(pods), addresses), ports, action, origin)


def isolated(direction: Direction, *rules: Rule, origin: RuleOrigin = POLICY) -> DirectionRules:
    """What one NetworkPolicy with these rules makes of the pods it selects."""
    return DirectionRules(direction, (TierRules(Tier.NETWORK_POLICY, rules, (origin,)),))


def tcp(*ranges: int | tuple[int, int]) -> PortSet:
    """TCP ports."""
    return PortSet.of(Protocol.TCP, *((item, item) if isinstance(item, int) else item for item in ranges))


def udp(*ranges: int | tuple[int, int]) -> PortSet:
    """UDP ports."""
    return PortSet.of(Protocol.UDP, *((item, item) if isinstance(item, int) else item for item in ranges))


def covers(ports: PortSet, traffic: Traffic) -> bool:
    """Whether the ports cover the traffic."""
    protocol, port = traffic
    return ports.contains(NAMED[protocol], port) if protocol in NAMED else ports.other


def matches(rule: Rule, peer: IPAddress, endpoints: tuple[Endpoint, ...], traffic: Traffic) -> bool:
    """Whether the rule speaks about traffic from or to this address."""
    selected = any(peer in endpoints[index].addresses for index in rule.peers.pods)
    return (rule.peers.everyone or selected or rule.peers.addresses.contains(peer)) and covers(rule.ports, traffic)


def allowed(rules: DirectionRules, peer: IPAddress, endpoints: tuple[Endpoint, ...], traffic: Traffic) -> bool:
    """What one side says: the tiers in order, the first matching rule of a cluster tier, any rule of NetworkPolicy."""
    for tier in rules.tiers:
        found = [rule.action for rule in tier.rules if matches(rule, peer, endpoints, traffic)]
        if tier.tier is Tier.NETWORK_POLICY:
            if tier.policies:
                return bool(found)
        elif found and found[0] is not Action.PASS:
            return found[0] is Action.ACCEPT
    return True


def connects(where: World, source: IPAddress, destination: IPAddress, traffic: Traffic) -> bool:
    """What both sides say about a connection that the node forwards; unknown addresses have no rules."""
    sides = ((source, destination, where.egress), (destination, source, where.ingress))
    for subject, peer, rules in sides:
        for endpoint in where.endpoints:
            if subject in endpoint.addresses and not allowed(rules[endpoint.index], peer, where.endpoints, traffic):
                return False
    return True


def outcome(program: table.Program, source: IPAddress, destination: IPAddress, traffic: Traffic) -> bool:
    """Whether a new connection passes the program's `forward` hook."""
    return _Walk(program, source, destination, traffic).chain("forward") is not False


class _Walk:
    def __init__(self, program: table.Program, source: IPAddress, destination: IPAddress, traffic: Traffic) -> None:
        self.chains = {chain.name: chain for chain in program.chains}
        self.sets = {part.name: part for part in program.sets}
        self.maps = {part.name: dict(part.elements) for part in program.maps}
        self.family = table.ADDRESS_FIELD[source.version]
        self.address = {table.Side.SOURCE: int(source), table.Side.DESTINATION: int(destination)}
        self.traffic = traffic

    def chain(self, name: str) -> bool | None:
        """True: accepted, False: dropped, None: back to the caller."""
        for rule in self.chains[name].rules:
            if rule.match is not None and not self.match(rule.match):
                continue
            then = rule.then
            if isinstance(then, table.Log | table.Count):
                continue
            if isinstance(then, table.LookUp):
                target = self.maps[then.map].get(self.address[then.side]) if then.field is self.family else None
                if target is not None:
                    return self.chain(target)
                continue
            assert isinstance(then, table.Verdict)
            if then.verb in (table.Verb.ACCEPT, table.Verb.DROP):
                return then.verb is table.Verb.ACCEPT
            if then.verb is table.Verb.RETURN:
                return None
            answer = self.chain(then.chain)
            if answer is not None or then.verb is table.Verb.GOTO:
                return answer
        return None

    def match(self, match: table.Match) -> bool:
        if isinstance(match, table.InSet):
            return self.in_set(match)
        if isinstance(match, table.OtherProtocols):
            return self.traffic[0] not in NAMED
        return False

    def in_set(self, match: table.InSet) -> bool:
        values = {table.Field.PROTOCOL: self.traffic[0], table.Field.PORT: self.traffic[1]}
        if match.side is not None:
            values[self.family] = self.address[match.side]
        if any(field not in values for field in match.fields):
            return False
        key = tuple(values[field] for field in match.fields)
        part = self.sets[match.set]
        if not part.interval:
            return key in part.elements
        return any(
            all(first <= value <= last for value, first, last in zip(key, item[::2], item[1::2], strict=True))
            for item in part.elements
        )


def traffics(sctp: bool = True) -> Iterator[Traffic]:
    """Every protocol on every port worth asking about."""
    for protocol in (TCP, UDP, *((SCTP,) if sctp else ())):
        for port in PORTS:
            yield protocol, port
    yield ICMP, 0
    yield EXPERIMENT, 0


BLOCKS = (
    "0.0.0.0/0",
    "10.77.0.0/24",
    "10.77.0.2/31",
    "10.77.0.1/32",
    "10.77.255.1/32",
    "192.0.2.0/24",
    "::/0",
    "fd77::/64",
    "fd77::2/127",
    "fd77::1/128",
)
_ports = st.sampled_from(PORTS)
_spans = st.one_of(
    st.builds(lambda a, b: (min(a, b), max(a, b)), _ports, _ports), st.just(EVERY_PORT[0]), _ports.map(lambda n: (n, n))
)
_one_protocol = st.builds(
    lambda p, spans: PortSet.of(p, *spans), st.sampled_from(Protocol), st.lists(_spans, max_size=3)
)
port_sets = st.one_of(
    st.just(ALL_TRAFFIC),
    st.builds(lambda a, b: a | b, _one_protocol, _one_protocol),
    st.builds(lambda a: a | PortSet(other=True), _one_protocol),
)
address_sets = st.one_of(
    st.just(NO_ADDRESSES),
    st.builds(
        AddressSet.of_block,
        st.sampled_from(BLOCKS),
        st.lists(st.sampled_from(BLOCKS), max_size=2),
    ),
    st.just(ALL_ADDRESSES),
)


def peers(count: int) -> st.SearchStrategy[Peers]:
    """Everyone, or some pods and addresses (perhaps none)."""
    some = st.builds(lambda bits, found: Peers(False, PodSet(bits), found), st.integers(0, 2**count - 1), address_sets)
    return st.one_of(st.just(Peers(everyone=True)), some, some, some)


def _rules(count: int, tier: Tier, most: int) -> st.SearchStrategy[TierRules]:
    np = tier is Tier.NETWORK_POLICY
    origin = POLICY if np else CLUSTER_POLICY
    action = st.just(Action.ACCEPT) if np else st.sampled_from(Action)
    rule = st.builds(Rule, peers(count), port_sets, action, st.just(origin))
    return st.lists(rule, max_size=most).map(lambda rules: TierRules(tier, tuple(rules), (origin,) if np else ()))


def direction_rules(count: int, direction: Direction) -> st.SearchStrategy[DirectionRules]:
    """Nothing, or any of the three tiers."""
    tiers = st.tuples(
        st.one_of(st.just(TierRules(Tier.ADMIN)), _rules(count, Tier.ADMIN, 4)),
        st.one_of(st.none(), _rules(count, Tier.NETWORK_POLICY, 3)),
        st.one_of(st.just(TierRules(Tier.BASELINE)), _rules(count, Tier.BASELINE, 3)),
    )
    return tiers.map(
        lambda found: DirectionRules(
            direction,
            tuple(tier for tier in found if tier is not None and (tier.rules or tier.policies)),
        )
    )


@st.composite
def worlds(draw: st.DrawFn, count: int = 4) -> World:
    """Pods in at most three classes a direction."""
    chosen: dict[Direction, tuple[DirectionRules, ...]] = {}
    for direction in Direction:
        classes = draw(st.lists(direction_rules(count, direction), min_size=1, max_size=3))
        chosen[direction] = tuple(draw(st.sampled_from(classes)) for _ in range(count))
    return World(tuple(pod(index) for index in range(count)), chosen[Direction.INGRESS], chosen[Direction.EGRESS])


all_options = st.builds(
    Options,
    audit=st.booleans(),
    log_group=st.sampled_from((None, 0, 100)),
    log_rate=st.integers(1, 1000),
    log_burst=st.integers(1, 1000),
    counters=st.booleans(),
    start_closed=st.booleans(),
    check_sources=st.booleans(),
)
GUARDS = Guards(
    frozenset(map(ipaddress.ip_network, ("10.77.0.0/24", "10.77.1.0/24", "fd77::/64"))),
    frozenset(address for index in range(3) for address in pod(index).addresses),
    frozenset((9 + index, address) for index in range(2) for address in pod(index).addresses),
)
