"""Which rules the engine says change nothing: for no class of pods they select is there traffic that they alone allow.

Rules are asked in the order of the policies, the last first, and one that is covered counts no longer: all that are
named may be taken out together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable

from gatewright.engine.addresses import AddressSet
from gatewright.engine.model import Direction, Peers, Rule, RuleOrigin, Tier
from gatewright.engine.ports import PortSet
from gatewright.findings.survey import Class, PolicyKey, Survey, key_of
from gatewright.findings.written import Written

RuleKey = tuple[str, str, str, Direction, int]
"""(kind, namespace, name, direction, number of the rule)."""
Traffic = list[tuple[Peers, PortSet]]
Home = tuple[Class, list[Rule]]
"""A class that has a rule, and what the rule compiled to there."""


def covered_by_others(survey: Survey, without: Container[PolicyKey]) -> dict[RuleKey, list[RuleKey]]:
    """The NetworkPolicy rules that change nothing, and the rules that allow as much. `without` are left out of it."""
    found: dict[RuleKey, list[RuleKey]] = {}
    for direction in Direction:
        gone: dict[RuleOrigin, None] = {}
        homes = _homes(survey.classes[direction], without)
        for origin in sorted(homes, key=lambda one: (key_of(one), one.path), reverse=True):
            others = _covering(homes[origin], origin, gone, without)
            if others is not None:
                gone[origin] = None
                found[rule_key(origin, direction)] = [rule_key(other, direction) for other in others]
    return found


def _homes(classes: Iterable[Class], without: Container[PolicyKey]) -> dict[RuleOrigin, list[Home]]:
    """The classes that have each rule, without rules that stand alone in one of them: there nothing covers them."""
    homes: dict[RuleOrigin, list[Home]] = defaultdict(list)
    alone: set[RuleOrigin] = set()
    for one in classes:
        by_rule: dict[RuleOrigin, list[Rule]] = {}
        for compiled in one.tier(Tier.NETWORK_POLICY):
            by_rule.setdefault(compiled.origin, []).append(compiled)
        if len(by_rule) == 1:
            alone.update(by_rule)
            continue
        for origin, parts in by_rule.items():
            homes[origin].append((one, parts))
    return {one: each for one, each in homes.items() if one not in alone and key_of(one) not in without}


def rule_key(origin: RuleOrigin, direction: Direction) -> RuleKey:
    """The written rule that a compiled rule comes from."""
    return (*key_of(origin), direction, int(origin.path[2]))


def _covering(
    homes: list[Home], own: RuleOrigin, gone: Container[RuleOrigin], without: Container[PolicyKey]
) -> list[RuleOrigin] | None:
    """The rules that cover one in every class that has it; None where they do not, or where it matches nothing.

    Where single rules cover it everywhere, these; else all that take a part.
    """
    if not any(part.peers for _, parts in homes for part in parts):
        return None
    used: dict[RuleOrigin, None] = {}
    alone: list[set[RuleOrigin]] = []
    for home, parts in homes:
        traffic = [(part.peers, part.ports) for part in parts if part.peers]
        others = [one for one in home.tier(Tier.NETWORK_POLICY) if one.origin != own and one.origin not in gone]
        left, covering = traffic, set()
        for other in (one for one in others if key_of(one.origin) not in without):
            rest = _after(left, other)
            if rest != left:
                used[other.origin] = None
            if not _after(traffic, other):
                covering.add(other.origin)
            left = rest
        if left:
            return None
        alone.append(covering)
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
    homes = survey.classes_of.get((one.policy.key, one.direction), [])
    if homes and not cut - beside:
        return _own(one, homes)
    others = [
        {other.origin: None for other in home.tier(Tier.NETWORK_POLICY) if _admits(other, cut, one, key)}
        for home in homes
    ]
    shared = [origin for origin in others[0] if all(origin in found for found in others)] if others else []
    return shared[0] if shared else None


def _own(one: Written, homes: list[Class]) -> RuleOrigin | None:
    key = (*one.policy.key, one.direction, one.number)
    rules = homes[0].tier(Tier.NETWORK_POLICY)
    return next((rule.origin for rule in rules if rule_key(rule.origin, one.direction) == key), None)


def _admits(other: Rule, cut: AddressSet, one: Written, key: RuleKey) -> bool:
    if rule_key(other.origin, one.direction) == key:
        return False
    everyone = other.peers.everyone or not cut - other.peers.addresses
    return everyone and not one.covered[0] - other.ports
