"""Policies of every kind, one direction at a time, as drafts of rules.

A draft has its peers as sets and its numeric ports as numbers; only port names are left, because what they mean
depends on the destination. This is where the kinds of policy become alike.
"""

from __future__ import annotations

import msgspec

from gatewright.engine.addresses import NO_ADDRESSES, AddressSet
from gatewright.engine.model import Action, Direction, Peers, RuleOrigin, Tier
from gatewright.engine.podset import NO_PODS, PodSet
from gatewright.engine.ports import ALL_TRAFFIC, EVERY_PORT, NO_TRAFFIC, PortSet, Protocol
from gatewright.engine.selection import PortName, Selection
from gatewright.engine.selectors import is_valid
from gatewright.objects.cluster_policy import ClusterPolicy, ClusterRule, Peer, Subject, port_choices
from gatewright.objects.meta import LabelSelector
from gatewright.objects.policy import NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort

_ACTIONS = {"Accept": Action.ACCEPT, "Allow": Action.ACCEPT, "Deny": Action.DENY, "Pass": Action.PASS}


class Draft(msgspec.Struct, frozen=True):
    """A rule before named ports are resolved: `ports` are numbers already, `names` are still to be looked up."""

    peers: Peers
    ports: PortSet
    names: tuple[PortName, ...]
    action: Action
    origin: RuleOrigin


class DraftPolicy(msgspec.Struct, frozen=True):
    """A policy in one direction: where it stands (`rank` orders policies of one tier), whom it is about, its rules."""

    tier: Tier
    rank: tuple[int, str, str]
    subject: PodSet
    drafts: tuple[Draft, ...]
    origin: RuleOrigin

    @property
    def names(self) -> set[PortName]:
        """The port names its rules use."""
        return {name for draft in self.drafts for name in draft.names}


def draft_network_policy(selection: Selection, policy: NetworkPolicy, direction: Direction) -> DraftPolicy | None:
    """A NetworkPolicy in one direction; None where it isolates nothing there."""
    if direction.value not in policy.policy_types:
        return None
    subject = selection.in_namespace(policy.namespace, policy.spec.pod_selector)
    if not subject:
        return None
    origin = RuleOrigin(policy.kind, policy.namespace, policy.name, (), policy.origin)
    if direction is Direction.INGRESS:
        written = [(rule.ports, rule.from_) for rule in policy.spec.ingress]
    else:
        written = [(rule.ports, rule.to) for rule in policy.spec.egress]
    drafts = []
    for i, (ports, peers) in enumerate(written):
        numbers, names = port_numbers(ports)
        at = origin.at("spec", direction.value.lower(), i)
        drafts.append(Draft(_peers(selection, peers, policy.namespace), numbers, names, Action.ACCEPT, at))
    return DraftPolicy(Tier.NETWORK_POLICY, (0, policy.namespace, policy.name), subject, tuple(drafts), origin)


def port_numbers(ports: tuple[NetworkPolicyPort, ...]) -> tuple[PortSet, tuple[PortName, ...]]:
    """The numeric ports of a NetworkPolicy's rule, and the names to resolve. No ports is all traffic."""
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


def _peers(selection: Selection, peers: tuple[NetworkPolicyPeer, ...], namespace: str) -> Peers:
    """The union of the peers of a rule; no peers is everyone."""
    if not peers:
        return Peers(everyone=True)
    pods, blocks = NO_PODS, []
    for peer in peers:
        if peer.ip_block is not None:
            blocks.append(selection.block(peer.ip_block.cidr, peer.ip_block.except_))
        elif peer.namespace_selector is None:
            pods |= selection.in_namespace(namespace, peer.pod_selector)
        else:
            pods |= selection.in_namespaces(peer.namespace_selector, peer.pod_selector)
    return Peers(pods=pods, addresses=AddressSet.union(blocks))


def draft_cluster_policy(selection: Selection, policy: ClusterPolicy, direction: Direction) -> DraftPolicy | None:
    """A cluster-wide policy in one direction; None where it has no rules there: it isolates nothing by itself."""
    rules = policy.spec.ingress if direction is Direction.INGRESS else policy.spec.egress
    subject = _subject(selection, policy.spec.subject)
    if not rules or not subject:
        return None
    origin = RuleOrigin(policy.kind, "", policy.name, (), policy.origin)
    drafts = tuple(
        _cluster_rule(selection, rule, direction, origin.at("spec", direction.value.lower(), i))
        for i, rule in enumerate(rules)
    )
    tier = Tier.BASELINE if policy.is_baseline else Tier.ADMIN
    return DraftPolicy(tier, (policy.spec.priority, policy.kind, policy.name), subject, drafts, origin)


def _subject(selection: Selection, subject: Subject) -> PodSet:
    if subject.namespaces is not None and is_valid(subject.namespaces):
        return selection.in_namespaces(subject.namespaces)
    if subject.pods is not None and is_valid(subject.pods.namespace_selector) and is_valid(subject.pods.pod_selector):
        return selection.in_namespaces(subject.pods.namespace_selector, subject.pods.pod_selector)
    return NO_PODS


def _cluster_rule(selection: Selection, rule: ClusterRule, direction: Direction, origin: RuleOrigin) -> Draft:
    action = _ACTIONS.get(rule.action)
    peers = _cluster_peers(selection, rule.from_ if direction is Direction.INGRESS else rule.to, action)
    ports = _cluster_ports(rule)
    if action is None or peers is None or ports is None:
        return _fail_closed(action, origin)
    return Draft(peers, *ports, action, origin)


def _fail_closed(action: Action | None, origin: RuleOrigin) -> Draft:
    """A rule with a part that this version does not know: Accept matches nothing, Deny and Pass deny all [cnp]."""
    if action is Action.ACCEPT:
        return Draft(Peers(), NO_TRAFFIC, (), Action.ACCEPT, origin)
    return Draft(Peers(everyone=True), ALL_TRAFFIC, (), Action.DENY, origin)


def _cluster_peers(selection: Selection, peers: tuple[Peer, ...], action: Action | None) -> Peers | None:
    """The union of the peers; None when one of them is empty, unknown, or a domain name outside an Accept rule."""
    pods, addresses, names = NO_PODS, NO_ADDRESSES, []
    for peer in peers:
        found = _inside(selection, peer)
        if found is not None:
            pods |= found
        elif peer.nodes is not None and is_valid(peer.nodes):
            host_pods, node_addresses = selection.nodes(peer.nodes)
            pods, addresses = pods | host_pods, addresses | node_addresses
        elif peer.networks:
            for network in peer.networks:
                addresses |= selection.block(network)
        elif peer.domain_names and action is Action.ACCEPT:
            names += [name.lower().rstrip(".") for name in peer.domain_names]
        else:
            return None
    return Peers(pods=pods, addresses=addresses, names=tuple(sorted(set(names)))) if peers else None


def _inside(selection: Selection, peer: Peer) -> PodSet | None:
    """The pods of a namespaces or pods peer; None for another peer and for a selector no server can apply."""
    if peer.namespaces is not None:
        return selection.in_namespaces(peer.namespaces) if is_valid(peer.namespaces) else None
    if peer.pods is None or not _usable(peer.pods.namespace_selector, peer.pods.pod_selector):
        return None
    return selection.in_namespaces(peer.pods.namespace_selector, peer.pods.pod_selector)


def _usable(*selectors: LabelSelector) -> bool:
    return all(is_valid(selector) for selector in selectors)


def _cluster_ports(rule: ClusterRule) -> tuple[PortSet, tuple[PortName, ...]] | None:
    """Numbers and names of a rule; None when an entry is empty or unknown. A name counts in every protocol."""
    choices = port_choices(rule)
    if choices is None:
        return ALL_TRAFFIC, ()
    numbers, names = NO_TRAFFIC, []
    for choice in choices:
        if choice.protocol in Protocol.__members__:
            numbers |= PortSet.of(Protocol(choice.protocol), (choice.first, choice.last))
        elif choice.name and not choice.protocol:
            names += [(choice.name, protocol) for protocol in Protocol]
        else:
            return None
    return numbers, tuple(dict.fromkeys(names))
