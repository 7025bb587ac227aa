"""Which rules the engine says change nothing: for no class of pods they select is there traffic that they alone allow.

Rules are asked in the order of the policies, the last first, and one that is covered counts no longer: all that are
named may be taken out together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator
from functools import reduce
from operator import or_

from gatewright.engine.addresses import AddressSet
from gatewright.engine.compile import Class
from gatewright.engine.model import Direction, Peers, Rule, RuleOrigin, Tier
from gatewright.engine.podset import NO_PODS, PodSet
from gatewright.engine.ports import PortSet
from gatewright.findings.survey import Survey, key_of
from gatewright.findings.written import Written
from gatewright.objects.meta import Key

RuleKey = tuple[str, str, str, Direction, int]
"""(kind, namespace, name, direction, number of the rule)."""
Traffic = list[tuple[Peers, PortSet]]


class Home:
    """A class of pods, its NetworkPolicy rules by ports and by origin, and the pods that a single rule names."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.by_ports: dict[PortSet, list[Rule]] = defaultdict(list)
        self.by_origin: dict[RuleOrigin, list[Rule]] = defaultdict(list)
        for rule in rules:
            self.by_ports[rule.ports].append(rule)
            self.by_origin[rule.origin].append(rule)
        seen, several, everyone = NO_PODS, NO_PODS, False
        for parts in self.by_origin.values():
            pods = PodSet.union(part.peers.pods for part in parts)
            several |= seen & pods
            seen |= pods
            everyone = everyone or any(part.peers.everyone for part in parts)
        self.single = NO_PODS if everyone else seen - several

    def needs(self, origin: RuleOrigin) -> bool:
        """Whether a rule is surely needed, as the only one that names some pod."""
        return any(part.peers.pods & self.single for part in self.by_origin[origin])

    def beside(self, origin: RuleOrigin, ports: PortSet) -> Iterator[Rule]:
        """The other rules that share some ports."""
        for own, rules in self.by_ports.items():
            if own & ports:
                yield from (rule for rule in rules if rule.origin != origin)


def covered_by_others(survey: Survey, without: Container[Key]) -> dict[RuleKey, list[RuleKey]]:
    """The NetworkPolicy rules that change nothing, and the rules that allow as much. `without` are left out of it."""
    found: dict[RuleKey, list[RuleKey]] = {}
    for direction in Direction:
        gone: set[RuleOrigin] = set()
        homes = _homes(survey.classes[direction], without)
        for origin in sorted(homes, key=lambda one: (key_of(one), one.path), reverse=True):
            others = _covering(homes[origin], origin, gone)
            if others is not None:
                gone.add(origin)
                found[rule_key(origin, direction)] = [rule_key(other, direction) for other in others]
    return found


def _homes(classes: Iterable[Class], without: Container[Key]) -> dict[RuleOrigin, list[Home]]:
    """The classes that have each rule; a rule that one of them surely needs is left out."""
    homes: dict[RuleOrigin, list[Home]] = defaultdict(list)
    needed: set[RuleOrigin] = set()
    for one in classes:
        home = Home(rule for rule in one.rules.tier(Tier.NETWORK_POLICY) if key_of(rule.origin) not in without)
        for origin in home.by_origin:
            if len(home.by_origin) == 1 or home.needs(origin):
                needed.add(origin)
            else:
                homes[origin].append(home)
    return {origin: each for origin, each in homes.items() if origin not in needed}


def rule_key(origin: RuleOrigin, direction: Direction) -> RuleKey:
    """The written rule that a compiled rule comes from."""
    return (*key_of(origin), direction, int(origin.path[2]))


def _covering(homes: list[Home], own: RuleOrigin, gone: Container[RuleOrigin]) -> list[RuleOrigin] | None:
    """The rules that cover one in every class that has it; None where they do not, or where it matches nothing.

    Where single rules cover it everywhere, these; else all that take a part.
    """
    used: dict[RuleOrigin, None] = {}
    alone: list[set[RuleOrigin]] = []
    for home in homes:
        traffic = [(part.peers, part.ports) for part in home.by_origin[own] if part.peers]
        if not traffic:
            continue
        left, covering = traffic, set()
        ports = reduce(or_, (part for _, part in traffic))
        for other in (one for one in home.beside(own, ports) if one.origin not in gone):
            rest = _after(left, other)
            if rest != left:
                used[other.origin] = None
            if not _after(traffic, other):
                covering.add(other.origin)
            left = rest
        if left:
            return None
        alone.append(covering)
    if not alone:
        return None
    return sorted(set.intersection(*alone), key=lambda one: (key_of(one), one.path)) or list(used)


def _after(traffic: Traffic, rule: Rule) -> Traffic:
    return [piece for peers, ports in traffic for piece in remainder(peers, ports, rule)]


def remainder(peers: Peers, ports: PortSet, rule: Rule) -> list[tuple[Peers, PortSet]]:
    """What is left of traffic when a rule's is taken away: the rest of the ports, and the rest of the peers."""
    shared = ports & rule.ports
    if not shared:
        return [(peers, ports)]
    rest = peers_without(peers, rule.peers)
    if rest == peers:
        return [(peers, ports)]
    pieces = [(peers, ports - shared), (rest, shared)]
    return [(who, what) for who, what in pieces if who and what]


def peers_without(peers: Peers, gone: Peers) -> Peers:
    """The peers that are not among others. Everyone stays everyone unless everyone is taken away."""
    if gone.everyone:
        return Peers()
    if peers.everyone:
        return peers
    names = tuple(name for name in peers.names if name not in gone.names)
    return Peers(False, peers.pods - gone.pods, peers.addresses - gone.addresses, names)


def undoing(survey: Survey, one: Written, number: int, cut: AddressSet) -> RuleOrigin | None:
    """A rule that admits all of what an `except` cuts out, to every pod of the policy and on every port of the rule."""
    key = (*one.policy.key, one.direction, one.number)
    blocks = (peer.ip_block for position, peer in enumerate(one.peers) if position != number)
    beside = AddressSet.union(survey.selection.block(block.cidr, block.except_) for block in blocks if block)
    shared: set[RuleOrigin] | None = None
    for home in survey.classes_of.get((one.policy.key, one.direction), ()):
        rules = home.rules.tier(Tier.NETWORK_POLICY)
        own = [rule for rule in rules if rule_key(rule.origin, one.direction) == key and rule.peers.addresses]
        if own and not cut - beside:
            return own[0].origin
        if own:
            ports = reduce(or_, (rule.ports for rule in own))
            found = {rule.origin for rule in rules if rule not in own and _admits(rule, cut, ports)}
            shared = found if shared is None else shared & found
    return min(shared, key=lambda origin: (key_of(origin), origin.path)) if shared else None


def _admits(rule: Rule, cut: AddressSet, ports: PortSet) -> bool:
    return (rule.peers.everyone or not cut - rule.peers.addresses) and not ports - rule.ports
