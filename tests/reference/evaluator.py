"""A slow, plain evaluator of network policies, written from the rules alone: the oracle of the product's engine.

Read it beside the table of rules; every clause names its row. It answers one connection at a time by walking every
policy, every rule, every peer. Speed is no aim. It knows three answers, because an address can be unknown: YES and NO
are certain, MAYBE is neither. `min` is therefore "and", `max` is "or".

NetworkPolicy stands here, between the two tiers of `cluster_tiers.py`: `side` asks one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from tests.reference import cluster_tiers
from tests.reference.matching import (
    L4,
    MAYBE,
    NO,
    YES,
    Question,
    Truth,
    certain,
    in_block,
    matches,
    named_ports,
    telling_addresses,
)
from tests.reference.world import Json, Network, Party, World, labels_of, namespace_of, parse_address, parse_network

End = tuple[Literal["pod"], str, str] | tuple[Literal["address", "name"], str]
"""("pod", namespace, name), ("address", "192.0.2.1") or, as a destination, ("name", "www.example.com")."""


class Reference:
    """What the policies among `objects` (decoded manifests) allow. `pod_cidrs`: the cluster's pod ranges, if known."""

    def __init__(self, objects: Iterable[Json], pod_cidrs: Iterable[str] = ()) -> None:
        self.world = World(objects, pod_cidrs)

    def connection(self, source: End, destination: End, protocol: str, port: int | None, family: int = 4) -> str:
        """Give "allowed", "denied" or, where it hangs on an address that nobody knows yet, "depends".

        `protocol` is TCP, UDP, SCTP, or any other word for traffic that has no ports. An end given as an address
        decides the family. Raises LookupError for a pod that is not there, ValueError for one without the family.
        """
        for end in (source, destination):
            if end[0] == "address":
                family = parse_address(end[1]).version
        answer = self.verdict(self.party(source, family), self.party(destination, family), protocol, port)
        return {YES: "allowed", NO: "denied", MAYBE: "depends"}[answer]

    def outcomes(self, source: End, destination: End, protocol: str, port: int | None, family: int = 4) -> set[str]:
        """Everything `connection` can come to once every address is known: one answer for each place that tells."""
        blocks = self.telling_blocks()
        answers = {
            self.verdict(left, right, protocol, port)
            for left in placed(self.party(source, family), blocks)
            for right in placed(self.party(destination, family), blocks)
        }
        both = {"allowed", "denied"}  # what a domain name stands for is told by no place
        return {each for answer in answers for each in {YES: {"allowed"}, NO: {"denied"}, MAYBE: both}[answer]}

    def telling_blocks(self) -> list[Network]:
        """Every address range that a policy names, and every address of a node."""
        policies = [*self.world.policies, *self.world.cluster_policies]
        nodes = {node["metadata"]["name"] for node in self.world.nodes}
        addresses = [str(address) for name in sorted(nodes) for address in self.world.node_addresses(name)]
        return [*(block for policy in policies for block in blocks_of(policy)), *map(parse_network, addresses)]

    def party(self, end: End, family: int) -> Party:
        """The end of a connection, found in the cluster."""
        match end:
            case "pod", namespace, name:
                return self.world.pod_party(namespace, name, family)
            case "address", text:
                return self.world.address_party(text)
            case _, name:
                return self.world.named_party(name, family)

    def verdict(self, source: Party, destination: Party, protocol: str, port: int | None) -> Truth:
        """A connection needs both sides: the egress of its source and the ingress of its destination."""
        if source.pod is not None and source.pod is destination.pod:
            return YES  # Row "a pod to itself": never blocked on its own address.
        egress = self.side(Question("Egress", source, destination, protocol, port))
        ingress = self.side(Question("Ingress", destination, source, protocol, port))
        return min(egress, ingress)

    def side(self, question: Question) -> Truth:
        """One side's answer: the Admin tier, NetworkPolicy, which is final where it isolates, and the Baseline tier.

        Default, where nothing decides: everything is allowed.
        """
        subject = question.subject.pod
        if subject is None:
            return YES  # Row "hostNetwork pods": never a subject; an outside address is none either.
        if question.direction == "Ingress" and self.world.is_own_node(question.other, subject):
            return YES  # Row "a pod's own node": it may always reach the pod.
        answer = self.network_policies(question, subject)
        if answer is None:
            answer = cluster_tiers.decide(self.world, question, subject, "Baseline", YES)
        return cluster_tiers.decide(self.world, question, subject, "Admin", answer)

    def network_policies(self, question: Question, subject: Json) -> Truth | None:
        """What the NetworkPolicies say of a subject in one direction; None where none isolates it.

        Row "policies": they add up, the union of what they allow; there is no order and no deny rule.
        Row "a policy that selects nothing": no effect.
        """
        isolating = [
            policy
            for policy in self.world.policies
            if question.direction in policy_types(policy) and selects(policy, subject)
        ]
        if not isolating:
            return None
        # Row "`ingress: []` or absent while Ingress is in force": without a rule nothing is allowed.
        rules = [(policy, rule) for policy in isolating for rule in rules_of(policy, question.direction)]
        return max((self.rule(question, policy, rule) for policy, rule in rules), default=NO)

    def rule(self, question: Question, policy: Json, rule: Json) -> Truth:
        """One rule: some peer, on some port. Row "a rule `{}`": an absent or empty list leaves nothing out."""
        peers = rule.get("from" if question.direction == "Ingress" else "to") or []
        ports = rule.get("ports") or []
        if not peers:
            return certain(any_port(ports, question, question.destination.pod))
        return max(
            min(self.peer(question, policy, peer), certain(any_port(ports, question, names_for(question, peer))))
            for peer in peers
        )

    def peer(self, question: Question, policy: Json, peer: Json) -> Truth:
        """One peer: an ipBlock, or selectors, of which both must hold (row "namespaceSelector and podSelector")."""
        if peer.get("ipBlock"):
            return in_block(peer["ipBlock"], question.other)
        other = question.other.pod
        if other is None:
            return NO  # Row "hostNetwork pods": never matched by a selector; an outside address is no pod at all.
        if peer.get("namespaceSelector") is None:
            in_namespace = namespace_of(other) == namespace_of(policy)  # Row "podSelector alone": its own namespace.
        else:
            in_namespace = matches(peer["namespaceSelector"], self.world.namespace_labels(namespace_of(other)))
        if peer.get("podSelector") is None:
            return certain(in_namespace)  # Row "namespaceSelector alone": every pod of those namespaces.
        return certain(in_namespace and matches(peer["podSelector"], labels_of(other)))


def selects(policy: Json, pod: Json) -> bool:
    """A policy's subjects: the pods of its own namespace that its podSelector matches; an absent one matches all."""
    selector = policy.get("spec", {}).get("podSelector") or {}
    return namespace_of(policy) == namespace_of(pod) and matches(selector, labels_of(pod))


def policy_types(policy: Json) -> list[str]:
    """Row "policyTypes absent or empty": Ingress always; Egress too iff there is at least one egress rule."""
    spec = policy.get("spec", {})
    written: list[str] = spec.get("policyTypes") or []
    return written or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])


def rules_of(policy: Json, direction: str) -> list[Json]:
    """The rules of one direction."""
    return policy.get("spec", {}).get(direction.lower()) or []


def names_for(question: Question, peer: Json) -> Json | None:
    """Row "named port": the destination pod has the names; an ipBlock that a pod sends to has none."""
    return None if peer.get("ipBlock") and question.direction == "Egress" else question.destination.pod


def any_port(ports: list[Json], question: Question, named_by: Json | None) -> bool:
    """Whether a rule's ports cover the traffic; no ports: all of it.

    Row "ICMP, ARP, ND, other protocols": traffic that is not TCP, UDP or SCTP passes only a rule without ports.
    """
    return not ports or (question.protocol in L4 and any(one_port(each, question, named_by) for each in ports))


def one_port(entry: Json, question: Question, named_by: Json | None) -> bool:
    """Row "protocol absent; port absent": TCP; every port of that protocol. Row "SCTP": its own protocol."""
    if entry.get("protocol", "TCP") != question.protocol:
        return False
    wanted, port = entry.get("port"), question.port
    if wanted is None:
        return True
    if isinstance(wanted, str):
        return named_by is not None and port in named_ports(named_by, wanted, question.protocol)
    last = entry.get("endPort") or wanted
    return port is not None and wanted <= port <= last  # Row "endPort": a range, both ends included.


def blocks_of(policy: Json) -> list[Network]:
    """Every address range that a policy names."""
    rules = [*rules_of(policy, "Ingress"), *rules_of(policy, "Egress")]
    peers = [peer for rule in rules for side in ("from", "to") for peer in rule.get(side) or []]
    blocks = [peer["ipBlock"] for peer in peers if peer.get("ipBlock")]
    texts = [each for block in blocks for each in [block["cidr"], *(block.get("except") or [])]]
    return [parse_network(each) for each in [*texts, *(cidr for peer in peers for cidr in peer.get("networks") or [])]]


def placed(party: Party, blocks: list[Network]) -> list[Party]:
    """The party with its address; with each address that tells, where nobody knows it."""
    if party.address is not None:
        return [party]
    return [
        replace(party, address=address, assumed=True)
        for network in party.within
        for address in telling_addresses(network, [block for block in blocks if block.version == network.version])
    ]
