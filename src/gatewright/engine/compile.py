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
from gatewright.engine.ports import PortSet
from gatewright.engine.selection import Selection
from gatewright.engine.snapshot import Snapshot


@dataclass(frozen=True, eq=False)
class Compiled:
    """Every endpoint and the rules in force for it. `endpoints[i].index == i`."""

    snapshot: Snapshot
    endpoints: tuple[Endpoint, ...]
    _rules: dict[Direction, tuple[DirectionRules, ...]] = field(repr=False)

    def rules(self, index: int, direction: Direction) -> DirectionRules:
        """The rules of one endpoint in one direction; pods of one class share one instance."""
        return self._rules[direction][index]

    def classes(self, direction: Direction) -> dict[DirectionRules, PodSet]:
        """The endpoints of each class, host-network endpoints among the unrestricted."""
        return self._classes[direction]

    @cached_property
    def _classes(self) -> dict[Direction, dict[DirectionRules, PodSet]]:
        found: dict[Direction, dict[DirectionRules, PodSet]] = {}
        for direction, all_rules in self._rules.items():
            groups: dict[DirectionRules, list[int]] = defaultdict(list)
            for index, rules in enumerate(all_rules):
                groups[rules].append(index)
            found[direction] = {rules: PodSet.of(members) for rules, members in groups.items()}
        return found

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


def _all_rules(snapshot: Snapshot, selection: Selection, direction: Direction) -> tuple[DirectionRules, ...]:
    """The rules of every endpoint in one direction."""
    policies = _drafted(snapshot, selection, direction)
    unrestricted = DirectionRules(direction)
    shared: dict[object, DirectionRules] = {}
    result: list[DirectionRules] = []
    for endpoint, group in zip(snapshot.endpoints, _selecting(policies, len(snapshot.endpoints)), strict=True):
        if not group:
            result.append(unrestricted)
            continue
        key: object = group
        if direction is Direction.INGRESS:
            used = sorted(set().union(*(policies[number].names for number in group)))
            key = (group, tuple(endpoint.named_ports.get(name, ()) for name in used))
        if key not in shared:
            chosen = [policies[number] for number in sorted(group)]
            shared[key] = DirectionRules(direction, _tiers(chosen, selection, endpoint, direction))
        result.append(shared[key])
    return tuple(result)


def _drafted(snapshot: Snapshot, selection: Selection, direction: Direction) -> list[DraftPolicy]:
    """Every policy that says something in this direction, in order of evaluation."""
    drafted = [draft_network_policy(selection, policy, direction) for policy in snapshot.policies]
    drafted += [draft_cluster_policy(selection, policy, direction) for policy in snapshot.cluster_policies]
    return sorted((one for one in drafted if one is not None), key=lambda one: (one.tier, one.rank))


def _selecting(policies: list[DraftPolicy], count: int) -> list[tuple[int, ...]]:
    """For each endpoint the numbers of the policies that select it. Equal subjects are walked once."""
    groups: dict[PodSet, list[int]] = {}
    for number, policy in enumerate(policies):
        groups.setdefault(policy.subject, []).append(number)
    selecting: list[tuple[int, ...]] = [()] * count
    for subject, numbers in groups.items():
        group = tuple(numbers)
        for index in subject:
            selecting[index] += group
    return selecting


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
