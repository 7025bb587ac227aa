"""The verdict on one connection, and what decided it.

A connection needs both sides: the egress rules of the source and the ingress rules of the destination. Where an answer
hangs on an address that is not known yet (pods of manifests against ipBlocks), the outcome is `DEPENDS` and says so;
where the two address families of dual-stack pods differ, each family has its own outcome.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

import msgspec

from gatewright.engine.addresses import ALL_ADDRESSES, FAMILIES, AddressSet, IPAddress
from gatewright.engine.compile import Compiled
from gatewright.engine.model import Action, Direction, Endpoint, Peers, Rule, RuleOrigin, Tier, TierRules, join_rules
from gatewright.engine.parts import in_line
from gatewright.engine.ports import Protocol, intersect


class DomainName(msgspec.Struct, frozen=True):
    """A name outside the cluster, as ClusterNetworkPolicy's domainNames know it. It can only be a destination."""

    name: str

    def is_covered_by(self, patterns: tuple[str, ...]) -> bool:
        """Whether a pattern covers it: itself, or `*.` and one or more labels [cnp]."""
        own = self.name.lower().rstrip(".")
        return any(own.endswith(one[1:]) if one.startswith("*.") else own == one for one in patterns)

    def __str__(self) -> str:
        return self.name


Party = Endpoint | IPAddress | DomainName
"""One side of a connection: an endpoint of the snapshot, any other address, or a domain name."""


class Outcome(enum.StrEnum):
    """What becomes of a connection."""

    ALLOWED = "allowed"
    DENIED = "denied"
    DEPENDS = "depends"


class Reason(enum.StrEnum):
    """Why a side came to its outcome."""

    RULE = "a rule matches"
    NOT_ISOLATED = "no policy isolates it"
    ISOLATED = "isolated, and no rule matches"
    NOT_A_POD = "not a pod that policies select"
    OWN_NODE = "its own node may always reach it"
    OWN_ADDRESS = "a pod may always reach its own address"
    ADDRESS_UNKNOWN = "depends on an address that is not known yet"
    NO_SUCH_FAMILY = "the two sides share no address family"


class Side(msgspec.Struct, frozen=True):
    """One direction's answer: the outcome, why, the rule that decided it, and every policy that isolates the pod."""

    direction: Direction
    outcome: Outcome
    reason: Reason
    rule: RuleOrigin | None = None
    policies: tuple[RuleOrigin, ...] = ()


class FamilyVerdict(msgspec.Struct, frozen=True):
    """The answer for one address family."""

    family: int
    egress: Side
    ingress: Side

    @property
    def outcome(self) -> Outcome:
        """Allowed when both sides allow; denied when one surely denies."""
        return _both(self.egress.outcome, self.ingress.outcome)


class Verdict(msgspec.Struct, frozen=True):
    """The answer to one question: may `source` open a connection to this port of `destination`?

    `protocol` None asks about traffic that is neither TCP, UDP nor SCTP (a ping), whose `port` has no meaning.
    `families` holds an answer for each address family the two share; `egress` and `ingress` are those of the first.
    """

    source: Party
    destination: Party
    protocol: Protocol | None
    port: int
    families: tuple[FamilyVerdict, ...]

    @property
    def outcome(self) -> Outcome:
        """The outcome; DEPENDS where it is not the same for every family."""
        outcomes = {family.outcome for family in self.families}
        return outcomes.pop() if len(outcomes) == 1 else Outcome.DEPENDS

    @property
    def allowed(self) -> bool:
        """Whether the connection is surely allowed, whatever the family."""
        return self.outcome is Outcome.ALLOWED

    @property
    def egress(self) -> Side:
        """The source's side."""
        return self.families[0].egress

    @property
    def ingress(self) -> Side:
        """The destination's side."""
        return self.families[0].ingress


def verdict(
    compiled: Compiled,
    source: Party,
    destination: Party,
    protocol: Protocol | None,
    port: int,
    family: int | None = None,
) -> Verdict:
    """Judge one connection, for one family (4 or 6) or for all that the two sides share.

    `port` is the destination's own port: for a Service, its target port. `protocol` None is traffic that is neither
    TCP, UDP nor SCTP. An address of a pod stands for that pod.
    """
    source, destination = _party(compiled, source), _party(compiled, destination)
    shared = [one for one in _families(compiled, source) if one in _families(compiled, destination)]
    if family is not None:
        shared = [one for one in shared if one == family]
    answers = [_judge(compiled, source, destination, protocol, port, one) for one in shared]
    if not answers:
        sides = [Side(direction, Outcome.DENIED, Reason.NO_SUCH_FAMILY) for direction in Direction]
        answers = [FamilyVerdict(family or 4, egress=sides[1], ingress=sides[0])]
    return Verdict(source, destination, protocol, port, tuple(answers))


def _party(compiled: Compiled, party: Party) -> Party:
    return compiled.by_address.get(party, party) if isinstance(party, IPAddress) else party


def _families(compiled: Compiled, party: Party) -> tuple[int, ...]:
    if isinstance(party, DomainName):
        return FAMILIES
    if not isinstance(party, Endpoint):
        return (party.version,)
    if party.addresses:
        return tuple(family for family in FAMILIES if party.address(family) is not None)
    return expected_families(compiled)


def expected_families(compiled: Compiled) -> tuple[int, ...]:
    """The families that pods without a known address will have: those of the pod range, else IPv4."""
    pod_range = compiled.snapshot.pod_range
    return tuple(family for family in FAMILIES if pod_range.ranges(family)) or (4,)


def _judge(
    compiled: Compiled, source: Party, destination: Party, protocol: Protocol | None, port: int, family: int
) -> FamilyVerdict:
    if source is destination and isinstance(source, Endpoint) and not source.many:
        egress = Side(Direction.EGRESS, Outcome.ALLOWED, Reason.OWN_ADDRESS)
        return FamilyVerdict(family, egress, Side(Direction.INGRESS, Outcome.ALLOWED, Reason.OWN_ADDRESS))
    egress = judge_side(compiled, source, destination, Direction.EGRESS, protocol, port, family)
    ingress = judge_side(compiled, destination, source, Direction.INGRESS, protocol, port, family)
    return FamilyVerdict(family, egress, ingress)


def judge_side(
    compiled: Compiled,
    subject: Party,
    peer: Party,
    direction: Direction,
    protocol: Protocol | None,
    port: int,
    family: int,
) -> Side:
    """The answer of one side: what the rules of `subject` say to a connection with `peer`."""
    if not isinstance(subject, Endpoint) or subject.host_network:
        return Side(direction, Outcome.ALLOWED, Reason.NOT_A_POD)
    if direction is Direction.INGRESS and _is_own_node(compiled, subject, peer):
        return Side(direction, Outcome.ALLOWED, Reason.OWN_NODE)
    traffic = _Traffic(compiled, peer, protocol, port, family)
    *perhaps, certain = _answers(traffic, compiled.rules(subject.index, direction).tiers, direction)
    unsure = next((side for side in perhaps if side.outcome is not certain.outcome), None)
    if unsure is None:
        return certain
    return Side(direction, Outcome.DEPENDS, Reason.ADDRESS_UNKNOWN, unsure.rule, certain.policies or unsure.policies)


class _Traffic(msgspec.Struct, frozen=True):
    """A connection as the rules of one side see it."""

    compiled: Compiled
    peer: Party
    protocol: Protocol | None
    port: int
    family: int

    def met_by(self, rule: Rule) -> bool | None:
        """Whether the rule matches; None where that depends on an address that is not known yet."""
        if not rule.ports.contains(self.protocol, self.port):
            return False
        return matches_peer(self.compiled, rule.peers, self.peer, self.family)

    def may_be_first(self, rule: Rule, rules: tuple[Rule, ...]) -> bool:
        """Whether rules before one leave it some of the addresses that the peer may have."""
        left = next(ports for one, ports in in_line(rules, self.family) if one is rule)
        return left.contains(self.protocol, self.port)


def _answers(traffic: _Traffic, tiers: tuple[TierRules, ...], direction: Direction) -> Iterator[Side]:
    """Every answer that the tiers can come to; the last is what they come to if no unsure rule matches."""
    if not tiers:
        yield Side(direction, Outcome.ALLOWED, Reason.NOT_ISOLATED)
        return
    tier, following = tiers[0], tiers[1:]
    met = [(rule, match) for rule in tier.rules if (match := traffic.met_by(rule)) is not False]
    if tier.tier is not Tier.NETWORK_POLICY:
        met = [(rule, match) for rule, match in met if match or traffic.may_be_first(rule, tier.rules)]
    else:  # order has no meaning here: one sure match settles it
        met.sort(key=lambda pair: pair[1] is None)
        if met and met[0][1] is None:  # together, two blocks can cover what neither covers alone
            joined = join_rules([rule for rule, _ in met])
            met = [(rule, True) for rule in joined if traffic.met_by(rule)] or met
    for rule, match in met:
        if rule.action is Action.PASS:
            yield from _answers(traffic, following, direction)
        else:
            outcome = Outcome.ALLOWED if rule.action is Action.ACCEPT else Outcome.DENIED
            yield Side(direction, outcome, Reason.RULE, rule.origin, tier.policies)
        if match:
            return
    if tier.tier is Tier.NETWORK_POLICY:
        yield Side(direction, Outcome.DENIED, Reason.ISOLATED, None, tier.policies)
    else:
        yield from _answers(traffic, following, direction)


def _is_own_node(compiled: Compiled, subject: Endpoint, peer: Party) -> bool:
    if not subject.node:
        return False
    if isinstance(peer, Endpoint):
        return peer.host_network and peer.node == subject.node
    return isinstance(peer, IPAddress) and compiled.snapshot.nodes_by_address.get(peer) == subject.node


def matches_peer(compiled: Compiled, peers: Peers, peer: Party, family: int) -> bool | None:
    """Whether the peers of a rule match one party: None where that depends on an address that is not known yet."""
    if peers.everyone:
        return True
    if isinstance(peer, DomainName):
        return peer.is_covered_by(peers.names) or _covers_unknown(peers.addresses, ALL_ADDRESSES, family)
    if not isinstance(peer, Endpoint):
        return peers.addresses.contains(peer) or (None if peers.names else False)
    if peer.index in peers.pods:
        return True
    address = peer.address(family)
    if address is not None:
        found: bool | None = peers.addresses.contains(address)
    else:
        possible = ALL_ADDRESSES if peer.host_network else compiled.snapshot.own_addresses
        found = _covers_unknown(peers.addresses, possible, family)
    # A host-network pod is its node's address, and a name may stand for that; a pod's own address is no name's.
    return found or None if peers.names and peer.host_network else found


def _covers_unknown(block: AddressSet, possible: AddressSet, family: int) -> bool | None:
    shared = intersect(block.ranges(family), possible.ranges(family))
    if not shared:
        return False
    return True if shared == possible.ranges(family) else None


def _both(left: Outcome, right: Outcome) -> Outcome:
    if Outcome.DENIED in (left, right):
        return Outcome.DENIED
    return Outcome.ALLOWED if left is right is Outcome.ALLOWED else Outcome.DEPENDS
