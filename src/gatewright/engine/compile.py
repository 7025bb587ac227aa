"""Policies to rules: selectors, names and protocols become endpoint positions, address ranges and port numbers.

Pods that the same policies select, and on which the named ports of those policies mean the same numbers, form a class
and share one `DirectionRules` a direction. Everything asked of the engine is answered class by class.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gatewright.engine.addresses import NO_ADDRESSES, AddressSet, IPAddress
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
from gatewright.engine.podset import NO_PODS, PodSet
from gatewright.engine.ports import ALL_TRAFFIC, EVERY_PORT, NO_TRAFFIC, PortSet, Protocol
from gatewright.engine.selectors import Selectors
from gatewright.engine.snapshot import Snapshot
from gatewright.objects.meta import LabelSelector
from gatewright.objects.policy import NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort

PortName = tuple[str, Protocol]


@dataclass(frozen=True, eq=False)
class Compiled:
    """Every endpoint and the rules in force for it. `endpoints[i].index == i`."""

    snapshot: Snapshot
    endpoints: tuple[Endpoint, ...]
    by_address: dict[IPAddress, Endpoint]
    _rules: dict[Direction, tuple[DirectionRules, ...]] = field(repr=False)

    def rules(self, index: int, direction: Direction) -> DirectionRules:
        """The rules of one endpoint in one direction; pods of one class share one instance."""
        return self._rules[direction][index]

    def classes(self, direction: Direction) -> dict[DirectionRules, PodSet]:
        """The endpoints of each class, host-network endpoints among the unrestricted."""
        groups: dict[DirectionRules, list[int]] = {}
        for index, rules in enumerate(self._rules[direction]):
            groups.setdefault(rules, []).append(index)
        return {rules: PodSet.of(members) for rules, members in groups.items()}


def compile_snapshot(snapshot: Snapshot) -> Compiled:
    """The rules that the snapshot's policies put on its endpoints."""
    endpoints = snapshot.endpoints
    compiler = _Compiler(snapshot)
    rules = {direction: compiler.classes(direction) for direction in Direction}
    by_address: dict[IPAddress, Endpoint] = {}
    for endpoint in endpoints:
        if not endpoint.host_network:
            for address in endpoint.addresses:
                by_address.setdefault(address, endpoint)
    return Compiled(snapshot, endpoints, by_address, rules)


@dataclass(frozen=True, slots=True)
class _Draft:
    """A rule before named ports are resolved: `ports` are numbers already, `names` are still to be looked up."""

    peers: Peers
    ports: PortSet
    names: tuple[PortName, ...]
    origin: RuleOrigin


@dataclass(frozen=True, slots=True)
class _Policy:
    """A NetworkPolicy in one direction: whom it isolates and what it allows."""

    subject: PodSet
    drafts: tuple[_Draft, ...]
    origin: RuleOrigin


class _Compiler:
    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.endpoints = snapshot.endpoints
        self.selectors = Selectors([endpoint.labels for endpoint in self.endpoints])
        self.selectable = PodSet.of(e.index for e in self.endpoints if not e.host_network)
        self.namespaces = tuple(snapshot.namespaces)
        self.namespace_selectors = Selectors([snapshot.namespaces[name] for name in self.namespaces])
        members: dict[str, list[int]] = {name: [] for name in self.namespaces}
        for endpoint in self.endpoints:
            members[endpoint.namespace].append(endpoint.index)
        self.members = {name: PodSet.of(indices) for name, indices in members.items()}
        self.blocks: dict[tuple[str, tuple[str, ...]], AddressSet] = {}
        self.named: dict[PortName, dict[PortSet, PodSet]] = {}

    def classes(self, direction: Direction) -> tuple[DirectionRules, ...]:
        """The rules of every endpoint in one direction."""
        drafted = (self._policy(policy, direction) for policy in self.snapshot.policies)
        policies = [policy for policy in drafted if policy is not None]
        selecting: list[tuple[int, ...]] = [()] * len(self.endpoints)
        for subject, group in _grouped_by_subject(policies):
            for index in subject:
                selecting[index] += group
        names = [_names_used(policy) for policy in policies]
        unrestricted = DirectionRules(direction)
        shared: dict[object, DirectionRules] = {}
        result: list[DirectionRules] = []
        for endpoint, group in zip(self.endpoints, selecting, strict=True):
            if not group:
                result.append(unrestricted)
                continue
            key: object = group
            if direction is Direction.INGRESS:
                used = sorted(set().union(*(names[number] for number in group)))
                key = (group, tuple(endpoint.named_ports.get(name, ()) for name in used))
            if key not in shared:
                shared[key] = self._class_rules([policies[number] for number in sorted(group)], direction, endpoint)
            result.append(shared[key])
        return tuple(result)

    def _policy(self, policy: NetworkPolicy, direction: Direction) -> _Policy | None:
        if direction.value not in policy.policy_types:
            return None
        subject = self.selectors.select(policy.spec.pod_selector) & self.members[policy.namespace] & self.selectable
        if not subject:
            return None
        origin = RuleOrigin(policy.kind, policy.namespace, policy.name, (), policy.origin)
        if direction is Direction.INGRESS:
            written = [(rule.ports, rule.from_) for rule in policy.spec.ingress]
        else:
            written = [(rule.ports, rule.to) for rule in policy.spec.egress]
        drafts = [
            self._draft(ports, peers, policy.namespace, origin.at("spec", direction.value.lower(), i))
            for i, (ports, peers) in enumerate(written)
        ]
        return _Policy(subject, tuple(drafts), origin)

    def _draft(
        self,
        ports: tuple[NetworkPolicyPort, ...],
        peers: tuple[NetworkPolicyPeer, ...],
        namespace: str,
        origin: RuleOrigin,
    ) -> _Draft:
        numbers, names = port_numbers(ports)
        return _Draft(self.peers(peers, namespace), numbers, names, origin)

    def peers(self, peers: tuple[NetworkPolicyPeer, ...], namespace: str) -> Peers:
        """The union of the peers of a rule; no peers is everyone."""
        if not peers:
            return Peers(everyone=True)
        pods, addresses = NO_PODS, NO_ADDRESSES
        for peer in peers:
            if peer.ip_block is not None:
                key = (peer.ip_block.cidr, peer.ip_block.except_)
                if key not in self.blocks:
                    self.blocks[key] = AddressSet.of_block(*key)
                addresses |= self.blocks[key]
            else:
                pods |= self.selected(peer.namespace_selector, peer.pod_selector, namespace)
        return Peers(pods=pods, addresses=addresses)

    def selected(self, namespaces: LabelSelector | None, pods: LabelSelector | None, namespace: str) -> PodSet:
        """The pods a peer's selectors match: in the selected namespaces, else in the policy's own."""
        if namespaces is None:
            found = self.members[namespace]
        elif not namespaces.match_labels and not namespaces.match_expressions:
            found = self.selectable
        else:
            found = NO_PODS
            for position in self.namespace_selectors.select(namespaces):
                found |= self.members[self.namespaces[position]]
        if pods is not None:
            found &= self.selectors.select(pods)
        return found & self.selectable

    def _class_rules(self, policies: list[_Policy], direction: Direction, endpoint: Endpoint) -> DirectionRules:
        rules: list[Rule] = []
        for policy in policies:
            for draft in policy.drafts:
                if direction is Direction.INGRESS:
                    rules += _resolved_on(draft, endpoint)
                else:
                    rules += self._resolved_by_destination(draft)
        tier = TierRules(Tier.NETWORK_POLICY, tuple(rules), tuple(policy.origin for policy in policies))
        return DirectionRules(direction, (tier,))

    def _resolved_by_destination(self, draft: _Draft) -> list[Rule]:
        """Egress: a named port has, on each destination pod, the numbers that pod gives it.

        An address outside, or one that only an ipBlock names, carries no names: a named port opens nothing there.
        """
        rules = [Rule(draft.peers, draft.ports, Action.ACCEPT, draft.origin)] if draft.ports else []
        reachable = self.selectable if draft.peers.everyone else draft.peers.pods
        for name in draft.names:
            for ports, carriers in self._carriers(name).items():
                if pods := reachable & carriers:
                    rules.append(Rule(Peers(pods=pods), ports, Action.ACCEPT, draft.origin))
        return rules

    def _carriers(self, name: PortName) -> dict[PortSet, PodSet]:
        """The pods that have a named port, by the numbers it has on them."""
        if name not in self.named:
            groups: dict[PortSet, list[int]] = {}
            for endpoint in self.endpoints:
                if ranges := endpoint.named_ports.get(name):
                    groups.setdefault(PortSet.of(name[1], *ranges), []).append(endpoint.index)
            self.named[name] = {ports: PodSet.of(members) for ports, members in groups.items()}
        return self.named[name]


def port_numbers(ports: tuple[NetworkPolicyPort, ...]) -> tuple[PortSet, tuple[PortName, ...]]:
    """The numeric ports of a rule, and the names that each destination resolves. No ports is all traffic."""
    if not ports:
        return ALL_TRAFFIC, ()
    numbers, names = NO_TRAFFIC, []
    for port in ports:
        protocol = Protocol(port.protocol or "TCP")
        if isinstance(port.port, str):
            names.append((port.port, protocol))
        elif port.port is None:
            numbers |= PortSet.of(protocol, *EVERY_PORT)
        else:
            numbers |= PortSet.of(protocol, (port.port, port.end_port or port.port))
    return numbers, tuple(dict.fromkeys(names))


def _resolved_on(draft: _Draft, endpoint: Endpoint) -> list[Rule]:
    """Ingress: the destination is the selected pod, so its own named ports count."""
    ports = draft.ports
    for name in draft.names:
        if ranges := endpoint.named_ports.get(name):
            ports |= PortSet.of(name[1], *ranges)
    return [Rule(draft.peers, ports, Action.ACCEPT, draft.origin)] if ports else []


def _grouped_by_subject(policies: list[_Policy]) -> list[tuple[PodSet, tuple[int, ...]]]:
    groups: dict[PodSet, list[int]] = {}
    for number, policy in enumerate(policies):
        groups.setdefault(policy.subject, []).append(number)
    return [(subject, tuple(numbers)) for subject, numbers in groups.items()]


def _names_used(policy: _Policy) -> set[PortName]:
    return {name for draft in policy.drafts for name in draft.names}
