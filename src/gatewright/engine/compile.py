"""Policies to rules: every endpoint gets the rules in force for it, in order of evaluation.

Pods that the same policies select, and on which the named ports of those policies mean the same numbers, form a class
and share one `DirectionRules` a direction. Everything asked of the engine is answered class by class.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property

from gatewright.engine.addresses import IPAddress
from gatewright.engine.drafts import Draft, DraftPolicy, draft_cluster_policy, draft_network_policy
from gatewright.engine.model import Direction, DirectionRules, Endpoint, Peers, Rule, Tier, TierRules
from gatewright.engine.podset import PodSet
from gatewright.engine.ports import PortSet, Ranges
from gatewright.engine.selection import PortName, Selection
from gatewright.engine.snapshot import Snapshot


@dataclass(frozen=True, eq=False, slots=True)
class _Rules:
    """The rules of one direction: of each endpoint by its index, and the endpoints of each class."""

    of: list[DirectionRules]
    classes: dict[DirectionRules, PodSet]


@dataclass(frozen=True, eq=False)
class Compiled:
    """Every endpoint and the rules in force for it. `endpoints[i].index == i`."""

    snapshot: Snapshot
    endpoints: tuple[Endpoint, ...]
    _rules: dict[Direction, _Rules] = field(repr=False)

    def rules(self, index: int, direction: Direction) -> DirectionRules:
        """The rules of one endpoint in one direction; pods of one class share one instance."""
        return self._rules[direction].of[index]

    def classes(self, direction: Direction) -> dict[DirectionRules, PodSet]:
        """The endpoints of each class, host-network endpoints among the unrestricted."""
        return self._rules[direction].classes

    @cached_property
    def by_address(self) -> dict[IPAddress, Endpoint]:
        """The pod that has an address; host-network pods share their node's and are left out."""
        return {
            address: endpoint
            for endpoint in reversed(self.endpoints)
            if not endpoint.host_network
            for address in endpoint.addresses
        }


def compile_snapshot(snapshot: Snapshot) -> Compiled:
    """The rules that the snapshot's policies put on its endpoints."""
    selection = Selection(snapshot)
    rules = {direction: _all_rules(snapshot, selection, direction) for direction in Direction}
    return Compiled(snapshot, snapshot.endpoints, rules)


def _all_rules(snapshot: Snapshot, selection: Selection, direction: Direction) -> _Rules:
    """The rules of every endpoint in one direction."""
    endpoints, policies = snapshot.endpoints, _drafted(snapshot, selection, direction)
    unrestricted = DirectionRules(direction)
    found = [unrestricted] * len(endpoints)
    classes: dict[DirectionRules, PodSet] = {}
    for group, members in _selected_alike(policies).items():
        chosen = [policies[number] for number in sorted(group)]
        names = sorted(set().union(*(policy.names for policy in chosen))) if direction is Direction.INGRESS else []
        for alike in _serving_alike(members, names, endpoints):
            rules = DirectionRules(direction, _tiers(chosen, selection, endpoints[alike[0]], direction))
            classes[rules] = PodSet.of(alike)
            for index in alike:
                found[index] = rules
    if rest := [index for index, rules in enumerate(found) if rules is unrestricted]:
        classes[unrestricted] = PodSet.of(rest)
    return _Rules(found, classes)


def _drafted(snapshot: Snapshot, selection: Selection, direction: Direction) -> list[DraftPolicy]:
    """Every policy that says something in this direction, in order of evaluation."""
    drafted = [draft_network_policy(selection, policy, direction) for policy in snapshot.policies]
    drafted += [draft_cluster_policy(selection, policy, direction) for policy in snapshot.cluster_policies]
    return sorted((one for one in drafted if one is not None), key=lambda one: (one.tier, one.rank))


def _selected_alike(policies: list[DraftPolicy]) -> dict[tuple[int, ...], list[int]]:
    """The endpoints that some policy selects, by the numbers of all that do. Equal subjects are walked once."""
    subjects: dict[PodSet, list[int]] = {}
    for number, policy in enumerate(policies):
        subjects.setdefault(policy.subject, []).append(number)
    selecting: dict[int, list[int]] = defaultdict(list)
    for subject, numbers in subjects.items():
        for index in subject:
            selecting[index] += numbers
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, numbers in selecting.items():
        groups[tuple(numbers)].append(index)
    return groups


def _serving_alike(members: list[int], names: list[PortName], endpoints: tuple[Endpoint, ...]) -> list[list[int]]:
    """The members on which each of the port names means the same numbers, together."""
    if not names:
        return [members]
    groups: dict[tuple[Ranges, ...], list[int]] = defaultdict(list)
    for index in members:
        named_ports = endpoints[index].named_ports
        groups[tuple(named_ports.get(name, ()) for name in names)].append(index)
    return list(groups.values())


def _tiers(
    policies: list[DraftPolicy], selection: Selection, endpoint: Endpoint, direction: Direction
) -> tuple[TierRules, ...]:
    """The rules of a class, tier by tier; `endpoint` is one of its members."""
    tiers = []
    for tier in Tier:
        chosen = [policy for policy in policies if policy.tier is tier]
        rules: list[Rule] = []
        for draft in (draft for policy in chosen for draft in policy.drafts):
            if direction is Direction.INGRESS:
                rules += _resolved_on(draft, endpoint)
            else:
                rules += _resolved_by_destination(draft, selection)
        if chosen:
            tiers.append(TierRules(tier, tuple(rules), tuple(policy.origin for policy in chosen)))
    return tuple(tiers)


def _resolved_on(draft: Draft, endpoint: Endpoint) -> list[Rule]:
    """Ingress: the destination is the selected pod, so its own named ports count."""
    ports = draft.ports
    for name in draft.names:
        if ranges := endpoint.named_ports.get(name):
            ports |= PortSet.of(name[1], *ranges)
    return [Rule(draft.peers, ports, draft.action, draft.origin)] if ports else []


def _resolved_by_destination(draft: Draft, selection: Selection) -> list[Rule]:
    """Egress: a named port has, on each destination pod, the numbers that pod gives it.

    An address outside, or one that only an ipBlock names, carries no names: a named port opens nothing there.
    """
    rules = [Rule(draft.peers, draft.ports, draft.action, draft.origin)] if draft.ports else []
    reachable = selection.selectable if draft.peers.everyone else draft.peers.pods
    for name in draft.names:
        for ports, carriers in selection.carriers(name).items():
            if pods := reachable & carriers:
                rules.append(Rule(Peers(pods=pods), ports, draft.action, draft.origin))
    return rules
