"""Which rules the engine says change nothing: for no class of pods they select is there traffic that they alone allow.

Rules are asked in the order of the policies, the last first, and one that is covered counts no longer: all that are
named may be taken out together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container

from gatewright.engine.addresses import AddressSet
from gatewright.engine.model import Direction, Peers, Rule, RuleOrigin, Tier
from gatewright.engine.ports import PortSet
from gatewright.findings.survey import Class, PolicyKey, Survey, Written, key_of

RuleKey = tuple[str, str, str, Direction, int]
"""(kind, namespace, name, direction, number of the rule)."""


def covered_by_others(survey: Survey, without: set[PolicyKey]) -> dict[RuleKey, list[RuleKey]]:
    """The NetworkPolicy rules that change nothing, and the rules that allow as much. `without` are left out of it."""
    found: dict[RuleKey, list[RuleKey]] = {}
    for direction in Direction:
        homes: dict[RuleKey, list[tuple[Class, list[Rule]]]] = defaultdict(list)
        written: dict[RuleKey, None] = {}
        for one in survey.classes[direction]:
            by_rule: dict[RuleKey, list[Rule]] = defaultdict(list)
            for compiled in one.tier(Tier.NETWORK_POLICY):
                if key_of(compiled.origin) not in without:
                    by_rule[rule_key(compiled.origin, direction)].append(compiled)
            for key, parts in by_rule.items():
                written[key] = None
                homes[key].append((one, parts))
        for key in sorted(written, reverse=True):
            others = _covering(homes[key], key, direction, without, found.keys())
            if others is not None:
                found[key] = others
    return found


def rule_key(origin: RuleOrigin, direction: Direction) -> RuleKey:
    """The written rule that a compiled rule comes from."""
    return (*key_of(origin), direction, int(origin.path[2]))


def _covering(
    homes: list[tuple[Class, list[Rule]]],
    key: RuleKey,
    direction: Direction,
    without: set[PolicyKey],
    gone: Container[RuleKey],
) -> list[RuleKey] | None:
    """The rules that cover one in every class that has it; None where they do not, or where it matches nothing."""
    used: dict[RuleKey, None] = {}
    if not any(part.peers for _, parts in homes for part in parts):
        return None
    for home, parts in homes:
        left = [(part.peers, part.ports) for part in parts if part.peers]
        for other in home.tier(Tier.NETWORK_POLICY):
            other_key = rule_key(other.origin, direction)
            if not left:
                break
            if other_key == key or other_key in gone or other_key[:3] in without:
                continue
            rest = [piece for peers, ports in left for piece in remainder(peers, ports, other)]
            if rest != left:
                used[other_key] = None
            left = rest
        if left:
            return None
    return list(used)


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
