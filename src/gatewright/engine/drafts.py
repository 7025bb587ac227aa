"""Policies of every kind, one direction at a time, as drafts of rules.

A draft has its peers as sets and its numeric ports as numbers; on the way in only port names are left, because what
they mean depends on the destination. This is where the kinds of policy become alike.
"""

from __future__ import annotations

import msgspec

from gatewright.engine.addresses import NO_ADDRESSES, AddressSet
from gatewright.engine.model import Action, Direction, Peers, Rule, RuleOrigin, Tier
from gatewright.engine.podset import NO_PODS, PodSet
from gatewright.engine.ports import ALL_TRAFFIC, EVERY_PORT, NO_TRAFFIC, PortSet, Protocol
from gatewright.engine.selection import Carrying, InNamespace, InNamespaces, OnNodes, PortName, Question, Selection
from gatewright.engine.selectors import is_valid, requirements
from gatewright.objects.cluster_policy import ClusterPolicy, ClusterRule, Peer, Subject, port_choices
from gatewright.objects.meta import LabelSelector
from gatewright.objects.policy import NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort

_ACTIONS = {"Accept": Action.ACCEPT, "Allow": Action.ACCEPT, "Deny": Action.DENY, "Pass": Action.PASS}
_PROTOCOLS = {one.value: one for one in Protocol}
_FIELD = {Direction.INGRESS: "ingress", Direction.EGRESS: "egress"}
Place = tuple[Tier, int, str, str]
"""Where a policy stands in the evaluation: its tier and its rank there. No two policies stand in the same place."""


class Draft(msgspec.Struct, frozen=True):
    """A rule before named ports are resolved: `ports` are numbers already, `names` are still to be looked up."""

    peers: Peers
    ports: PortSet
    names: tuple[PortName, ...]
    action: Action
    origin: RuleOrigin


class DraftPolicy(msgspec.Struct, frozen=True):
    """A policy in one direction: where it stands, whom it is about, its rules.

    `rules` are those of every subject; where port names mean something else on each of them (ingress), there are
    `drafts` instead.
    """

    place: Place
    subject: PodSet
    drafts: tuple[Draft, ...]
    rules: tuple[Rule, ...] | None
    origin: RuleOrigin

    @property
    def tier(self) -> Tier:
        """Its tier."""
        return self.place[0]

    @property
    def words(self) -> tuple[object, ...]:
        """What it says, to whomever it says it."""
        return (self.drafts, self.rules, self.origin)


class Drafts(msgspec.Struct, frozen=True):
    """A policy in both directions (None: it says nothing there), and what had to be asked to draft it.

    `subjects` are the questions about whom it selects, where those are asked of another selection than the rest.
    """

    ingress: DraftPolicy | None
    egress: DraftPolicy | None
    questions: frozenset[Question]
    subjects: frozenset[Question] = frozenset()

    def of(self, direction: Direction) -> DraftPolicy | None:
        """One direction."""
        return self.ingress if direction is Direction.INGRESS else self.egress


class Asking:
    """A selection, and the questions that one policy asks it: when an answer changes, the policy is drafted again.

    Whom the policy selects is asked of `subjects`, which knows only endpoints whose rules are wanted.
    """

    __slots__ = ("questions", "selection", "subjects")

    def __init__(self, selection: Selection, subjects: Asking | None = None) -> None:
        self.selection = selection
        self.questions: list[Question] = []
        self.subjects = subjects or self

    def in_namespace(self, namespace: str, pods: LabelSelector | None) -> PodSet:
        """The pods of a namespace that a selector matches, all for None."""
        question = InNamespace(namespace, requirements(pods) if pods else ())
        self.questions.append(question)
        return self.selection.pods_in(question)

    def in_namespaces(self, namespaces: LabelSelector, pods: LabelSelector | None = None) -> PodSet:
        """The pods that a selector matches in the namespaces that another one matches."""
        question = InNamespaces(requirements(namespaces), requirements(pods) if pods else ())
        self.questions.append(question)
        return self.selection.pods_across(question)

    def nodes(self, selector: LabelSelector) -> tuple[PodSet, AddressSet]:
        """The host-network pods and the addresses of the nodes that a selector matches."""
        question = OnNodes(requirements(selector))
        self.questions.append(question)
        return self.selection.on_nodes(question)

    def resolved(self, draft: Draft) -> list[Rule]:
        """Egress: a named port has, on each destination pod, the numbers that pod gives it.

        An address outside, or one that only an ipBlock names, carries no names: a named port opens nothing there.
        """
        rules = [Rule(draft.peers, draft.ports, draft.action, draft.origin)] if draft.ports else []
        for name in draft.names:
            if draft.peers.everyone:  # else the questions about the peers tell when one of them has other ports
                self.questions.append(Carrying(name))
            for ports, carriers in self.selection.carriers(name).items():
                if pods := carriers if draft.peers.everyone else draft.peers.pods & carriers:
                    rules.append(Rule(Peers(pods=pods), ports, draft.action, draft.origin))
        return rules


def draft(selection: Selection, policy: NetworkPolicy | ClusterPolicy, subjects: Selection | None = None) -> Drafts:
    """A policy in both directions. `subjects` selects whom it may be about; everyone, where it is not given."""
    about = Asking(subjects) if subjects else None
    ask = Asking(selection, about)
    if isinstance(policy, NetworkPolicy):
        both = [draft_network_policy(ask, policy, direction) for direction in Direction]
    else:
        both = [draft_cluster_policy(ask, policy, direction) for direction in Direction]
    return Drafts(both[0], both[1], frozenset(ask.questions), frozenset(about.questions if about else ()))


def draft_network_policy(ask: Asking, policy: NetworkPolicy, direction: Direction) -> DraftPolicy | None:
    """A NetworkPolicy in one direction; None where it isolates nothing there."""
    if direction not in policy.policy_types:
        return None
    namespace, name, spec = policy.metadata.namespace, policy.metadata.name, policy.spec
    subject = ask.subjects.in_namespace(namespace, spec.pod_selector)
    if not subject:
        return None
    origin = RuleOrigin(policy.kind, namespace, name, (), policy.origin)
    if direction is Direction.INGRESS:
        written = [(rule.ports, rule.from_) for rule in spec.ingress]
    else:
        written = [(rule.ports, rule.to) for rule in spec.egress]
    drafts = []
    for i, (ports, peers) in enumerate(written):
        numbers, names = port_numbers(ports)
        at = origin.at("spec", _FIELD[direction], i)
        drafts.append(Draft(_peers(ask, peers, namespace), numbers, names, Action.ACCEPT, at))
    return _drafted(ask, (Tier.NETWORK_POLICY, 0, namespace, name), direction, subject, drafts, origin)


def _drafted(
    ask: Asking, place: Place, direction: Direction, subject: PodSet, drafts: list[Draft], origin: RuleOrigin
) -> DraftPolicy:
    if direction is Direction.INGRESS and any(one.names for one in drafts):
        return DraftPolicy(place, subject, tuple(drafts), None, origin)
    return DraftPolicy(place, subject, (), tuple([rule for one in drafts for rule in ask.resolved(one)]), origin)


def port_numbers(ports: tuple[NetworkPolicyPort, ...]) -> tuple[PortSet, tuple[PortName, ...]]:
    """The numeric ports of a NetworkPolicy's rule, and the names to resolve. No ports is all traffic."""
    if not ports:
        return ALL_TRAFFIC, ()
    numbers, names = NO_TRAFFIC, []
    for port in ports:
        protocol = _PROTOCOLS[port.protocol or "TCP"]
        if isinstance(port.port, str):
            names.append((port.port, protocol))
        elif port.port is None:
            numbers |= PortSet.of(protocol, *EVERY_PORT)
        else:
            numbers |= PortSet.of(protocol, (port.port, port.end_port or port.port))
    return numbers, tuple(dict.fromkeys(names))


def _peers(ask: Asking, peers: tuple[NetworkPolicyPeer, ...], namespace: str) -> Peers:
    """The union of the peers of a rule; no peers is everyone."""
    if not peers:
        return Peers(everyone=True)
    pods, blocks = NO_PODS, []
    for peer in peers:
        if peer.ip_block is not None:
            blocks.append(ask.selection.block(peer.ip_block.cidr, peer.ip_block.except_))
        elif peer.namespace_selector is None:
            pods |= ask.in_namespace(namespace, peer.pod_selector)
        else:
            pods |= ask.in_namespaces(peer.namespace_selector, peer.pod_selector)
    return Peers(pods=pods, addresses=AddressSet.union(blocks))


def draft_cluster_policy(ask: Asking, policy: ClusterPolicy, direction: Direction) -> DraftPolicy | None:
    """A cluster-wide policy in one direction; None where it has no rules there: it isolates nothing by itself."""
    rules = policy.spec.ingress if direction is Direction.INGRESS else policy.spec.egress
    subject = _subject(ask.subjects, policy.spec.subject)
    if not rules or not subject:
        return None
    origin = RuleOrigin(policy.kind, "", policy.name, (), policy.origin)
    drafts = [
        _cluster_rule(ask, rule, direction, origin.at("spec", _FIELD[direction], i)) for i, rule in enumerate(rules)
    ]
    tier = Tier.BASELINE if policy.is_baseline else Tier.ADMIN
    place = (tier, policy.spec.priority, policy.kind, policy.name)
    return _drafted(ask, place, direction, subject, drafts, origin)


def _subject(ask: Asking, subject: Subject) -> PodSet:
    if subject.namespaces is not None and is_valid(subject.namespaces):
        return ask.in_namespaces(subject.namespaces)
    if subject.pods is not None and is_valid(subject.pods.namespace_selector) and is_valid(subject.pods.pod_selector):
        return ask.in_namespaces(subject.pods.namespace_selector, subject.pods.pod_selector)
    return NO_PODS


def _cluster_rule(ask: Asking, rule: ClusterRule, direction: Direction, origin: RuleOrigin) -> Draft:
    action = _ACTIONS.get(rule.action)
    peers = _cluster_peers(ask, rule.from_ if direction is Direction.INGRESS else rule.to, action)
    ports = _cluster_ports(rule)
    if action is None or peers is None or ports is None:
        return _fail_closed(action, origin)
    return Draft(peers, *ports, action, origin)


def _fail_closed(action: Action | None, origin: RuleOrigin) -> Draft:
    """A rule with a part that this version does not know: Accept matches nothing, Deny and Pass deny all [cnp]."""
    if action is Action.ACCEPT:
        return Draft(Peers(), NO_TRAFFIC, (), Action.ACCEPT, origin)
    return Draft(Peers(everyone=True), ALL_TRAFFIC, (), Action.DENY, origin)


def _cluster_peers(ask: Asking, peers: tuple[Peer, ...], action: Action | None) -> Peers | None:
    """The union of the peers; None when one of them is empty, unknown, or a domain name outside an Accept rule."""
    pods, addresses, names = NO_PODS, NO_ADDRESSES, []
    for peer in peers:
        found = _inside(ask, peer)
        if found is not None:
            pods |= found
        elif peer.nodes is not None and is_valid(peer.nodes):
            host_pods, node_addresses = ask.nodes(peer.nodes)
            pods, addresses = pods | host_pods, addresses | node_addresses
        elif peer.networks:
            for network in peer.networks:
                addresses |= ask.selection.block(network)
        elif peer.domain_names and action is Action.ACCEPT:
            names += [name.lower().rstrip(".") for name in peer.domain_names]
        else:
            return None
    return Peers(pods=pods, addresses=addresses, names=tuple(sorted(set(names)))) if peers else None


def _inside(ask: Asking, peer: Peer) -> PodSet | None:
    """The pods of a namespaces or pods peer; None for another peer and for a selector no server can apply."""
    if peer.namespaces is not None:
        return ask.in_namespaces(peer.namespaces) if is_valid(peer.namespaces) else None
    if peer.pods is None or not _usable(peer.pods.namespace_selector, peer.pods.pod_selector):
        return None
    return ask.in_namespaces(peer.pods.namespace_selector, peer.pods.pod_selector)


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
