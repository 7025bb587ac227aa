"""A slow, plain evaluator of NetworkPolicy v1, written from the rules alone: the oracle of the product's engine.

Read it beside the table of rules; every clause names its row. It answers one connection at a time by walking every
policy, every rule, every peer. Speed is no aim. It knows three answers, because an address can be unknown: YES and NO
are certain, MAYBE is neither. `min` is therefore "and", `max` is "or".

Tiers (ClusterNetworkPolicy) would stand beside `network_policies`: `side` asks one tier after another, and the answer
of `network_policies` is None where no policy isolates the pod, so that a later tier can be asked.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Literal

from tests.reference.world import (
    Address,
    Json,
    Network,
    Party,
    World,
    container_ports,
    labels_of,
    namespace_of,
    parse_address,
    parse_network,
)

End = tuple[Literal["pod"], str, str] | tuple[Literal["address"], str]
"""("pod", namespace, name) or ("address", "192.0.2.1")."""

L4 = ("TCP", "UDP", "SCTP")


class Truth(IntEnum):
    """A three-valued truth; `min` is "and", `max` is "or"."""

    NO = 0
    MAYBE = 1
    YES = 2


NO, MAYBE, YES = Truth.NO, Truth.MAYBE, Truth.YES


def certain(holds: bool) -> Truth:
    """A statement that does not depend on an unknown address."""
    return YES if holds else NO


@dataclass(frozen=True)
class Question:
    """One side of one connection: may `subject` receive this from (Ingress), or send it to (Egress), `other`?"""

    direction: Literal["Ingress", "Egress"]
    subject: Party
    other: Party
    protocol: str
    port: int | None

    @property
    def destination(self) -> Party:
        """The end whose port is meant; its names are the ones that count."""
        return self.subject if self.direction == "Ingress" else self.other


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
        blocks = [block for policy in self.world.policies for block in blocks_of(policy)]
        return {
            {YES: "allowed", NO: "denied"}[self.verdict(left, right, protocol, port)]
            for left in placed(self.party(source, family), blocks)
            for right in placed(self.party(destination, family), blocks)
        }

    def party(self, end: End, family: int) -> Party:
        """The end of a connection, found in the cluster."""
        return self.world.address_party(end[1]) if end[0] == "address" else self.world.pod_party(end[1], end[2], family)

    def verdict(self, source: Party, destination: Party, protocol: str, port: int | None) -> Truth:
        """A connection needs both sides: the egress of its source and the ingress of its destination."""
        if source.pod is not None and source.pod is destination.pod:
            return YES  # Row "a pod to itself": never blocked on its own address.
        egress = self.side(Question("Egress", source, destination, protocol, port))
        ingress = self.side(Question("Ingress", destination, source, protocol, port))
        return min(egress, ingress)

    def side(self, question: Question) -> Truth:
        """One side's answer. Default, where nothing isolates the subject: everything is allowed."""
        subject = question.subject.pod
        if subject is None:
            return YES  # Row "hostNetwork pods": never a subject; an outside address is none either.
        if question.direction == "Ingress" and self.world.is_own_node(question.other, subject):
            return YES  # Row "a pod's own node": it may always reach the pod.
        answer = self.network_policies(question, subject)
        return YES if answer is None else answer

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


def matches(selector: Json, labels: dict[str, str]) -> bool:
    """A label selector: all of matchLabels and all of matchExpressions; an empty one matches everything."""
    by_labels = all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items())
    return by_labels and all(requirement(each, labels) for each in selector.get("matchExpressions") or [])


def requirement(expression: Json, labels: dict[str, str]) -> bool:
    """Row "matchExpressions": In and Exists need the key; NotIn and DoesNotExist match a pod that lacks it."""
    key, values = expression["key"], expression.get("values") or []
    match expression["operator"]:
        case "In":
            return key in labels and labels[key] in values
        case "NotIn":
            return key not in labels or labels[key] not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case operator:
            raise ValueError(f"no such operator: {operator}")


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


def named_ports(pod: Json, name: str, protocol: str) -> list[int]:
    """Row "named port": by (name, protocol) on the destination pod; several numbers may match."""
    return [
        each["containerPort"]
        for each in container_ports(pod)
        if each.get("name") == name and each.get("protocol", "TCP") == protocol
    ]


def in_block(block: Json, party: Party) -> Truth:
    """Row "ipBlock": any address in the block, pod addresses included, but those that `except` cuts out.

    Row "ipBlock and pods whose address is not known yet": YES where the block covers the whole range, NO where it
    cannot cover it, else MAYBE. The answer can change only where a block begins or has just ended, so it is enough to
    try the first address of each range and those.
    """
    blocks = [parse_network(each) for each in [block["cidr"], *(block.get("except") or [])]]
    if party.address is not None:
        return certain(covers(blocks, party.address))
    answers = {covers(blocks, address) for network in party.within for address in telling_addresses(network, blocks)}
    return MAYBE if len(answers) > 1 else certain(answers.pop())


def blocks_of(policy: Json) -> list[Network]:
    """Every address range that a policy names."""
    rules = [*rules_of(policy, "Ingress"), *rules_of(policy, "Egress")]
    peers = [peer for rule in rules for side in ("from", "to") for peer in rule.get(side) or []]
    blocks = [peer["ipBlock"] for peer in peers if peer.get("ipBlock")]
    return [parse_network(each) for block in blocks
            for each in [block["cidr"], *(block.get("except") or [])]]  # fmt: skip


def placed(party: Party, blocks: list[Network]) -> list[Party]:
    """The party with its address; with each address that tells, where nobody knows it."""
    if party.address is not None:
        return [party]
    return [
        replace(party, address=address)
        for network in party.within
        for address in telling_addresses(network, [block for block in blocks if block.version == network.version])
    ]


def covers(blocks: list[Network], address: Address) -> bool:
    """Whether the address is in the first block and in none of the others. Families never mix."""
    cidr, *excepts = blocks
    return address in cidr and not any(address in each for each in excepts)


def telling_addresses(network: Network, blocks: list[Network]) -> list[Address]:
    """The first address of the network, and each of its addresses where one of the blocks begins or has just ended."""
    edges = [int(block[0]) for block in blocks] + [int(block[-1]) + 1 for block in blocks]
    first, last = int(network[0]), int(network[-1])
    make = ipaddress.IPv4Address if network.version == 4 else ipaddress.IPv6Address
    return [make(each) for each in sorted({first, *(edge for edge in edges if first <= edge <= last)})]
