"""Why a connection is allowed or denied, down to the field.

For an allowed side: the peer and the port of the rule that let it through. For a denied side: every rule of the
isolating policies that failed, with the conditions that failed it, nearest first. Policies are read again here as they
are written; whether they match is never decided here but by the same selectors and sets as the verdict.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from gatewright.engine.addresses import AddressSet
from gatewright.engine.compile import Compiled
from gatewright.engine.drafts import port_numbers
from gatewright.engine.model import Direction, Endpoint, Peers, RuleOrigin
from gatewright.engine.ports import PortSet, Protocol
from gatewright.engine.selectors import Requirement, describe_requirement, requirement_holds, requirements
from gatewright.engine.verdict import DomainName, FamilyVerdict, Outcome, Party, Reason, Side, Verdict, matches_peer
from gatewright.objects.meta import LabelSelector
from gatewright.objects.policy import NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort


class Condition(msgspec.Struct, frozen=True):
    """One condition of a rule that a connection fails: where it is written, what it wants, what there is."""

    at: RuleOrigin
    wanted: str
    found: str


class Miss(msgspec.Struct, frozen=True):
    """One way in which a rule came short of matching.

    The fewer conditions fail, the nearer it was. Of two that fail as many, the one that admits the peer is nearer than
    one that is for somebody else, and one that lists the port is nearer than one that speaks of no port.
    """

    rule: RuleOrigin
    failed: tuple[Condition, ...]
    admits_peer: bool
    lists_port: bool


class Trace(msgspec.Struct, frozen=True):
    """One side of a verdict, explained. `matched` are the fields of the deciding rule that match (peer, port)."""

    side: Side
    subject: Party
    matched: tuple[RuleOrigin, ...] = ()
    misses: tuple[Miss, ...] = ()


class Explanation(msgspec.Struct, frozen=True):
    """A verdict for one family with both sides explained."""

    verdict: Verdict
    family: int
    outcome: Outcome
    egress: Trace
    ingress: Trace


def explain(compiled: Compiled, verdict: Verdict) -> tuple[Explanation, ...]:
    """The verdict explained, family by family; families with the same explanation are told once."""
    found: list[Explanation] = []
    for answer in verdict.families:
        one = _explain_family(compiled, verdict, answer)
        if not any((one.egress, one.ingress) == (other.egress, other.ingress) for other in found):
            found.append(one)
    return tuple(found)


def _explain_family(compiled: Compiled, verdict: Verdict, answer: FamilyVerdict) -> Explanation:
    question = _Question(compiled, verdict.destination, verdict.protocol, verdict.port, answer.family)
    return Explanation(
        verdict,
        answer.family,
        answer.outcome,
        egress=question.trace(answer.egress, verdict.source, verdict.destination),
        ingress=question.trace(answer.ingress, verdict.destination, verdict.source),
    )


class _Question(msgspec.Struct, frozen=True):
    """The connection that is asked about."""

    compiled: Compiled
    destination: Party
    protocol: Protocol | None
    port: int
    family: int

    def trace(self, side: Side, subject: Party, peer: Party) -> Trace:
        if side.rule is not None:
            return Trace(side, subject, matched=self._matched(side.rule, side.direction, peer))
        if side.reason is Reason.ISOLATED:
            misses = [miss for origin in side.policies for miss in self._misses(origin, side.direction, peer)]
            return Trace(side, subject, misses=tuple(sorted(misses, key=_distance)))
        return Trace(side, subject)

    def _policy(self, origin: RuleOrigin) -> NetworkPolicy | None:
        policy = self.compiled.snapshot.objects.get((origin.kind, origin.namespace, origin.name))
        return policy if isinstance(policy, NetworkPolicy) else None

    def _matched(self, rule: RuleOrigin, direction: Direction, peer: Party) -> tuple[RuleOrigin, ...]:
        policy = self._policy(rule)
        if policy is None:
            return (rule,)
        number = int(rule.path[-1])
        ports, peers = _written(policy, direction, number)
        found = [
            rule.at(_side(direction), i)
            for i, one in enumerate(peers)
            if self._peer_matches(one, policy.namespace, peer) is not False
        ][:1]
        found += [rule.at("ports", i) for i, port in enumerate(ports) if self._covers(port)][:1]
        return tuple(found) or (rule,)

    def _misses(self, origin: RuleOrigin, direction: Direction, peer: Party) -> Iterator[Miss]:
        policy = self._policy(origin)
        if policy is None:
            return
        written = policy.spec.ingress if direction is Direction.INGRESS else policy.spec.egress
        for number in range(len(written)):
            rule = origin.at("spec", direction.value.lower(), number)
            ports, peers = _written(policy, direction, number)
            wrong_port = self._failed_ports(rule, ports)
            wrong_peers = [
                tuple(self._failed_peer(rule.at(_side(direction), i), one, policy.namespace, peer))
                for i, one in enumerate(peers)
            ]
            if not (peers and all(wrong_peers)):
                yield Miss(rule, tuple(wrong_port), admits_peer=True, lists_port=False)
                continue
            for wrong_peer in wrong_peers:
                listed = bool(ports) and not wrong_port
                yield Miss(rule, (*wrong_peer, *wrong_port), admits_peer=False, lists_port=listed)

    def _covers(self, port: NetworkPolicyPort) -> bool:
        numbers, names = port_numbers((port,))
        for name in names:
            if isinstance(self.destination, Endpoint):
                numbers |= PortSet.of(name[1], *self.destination.named_ports.get(name, ()))
        return numbers.contains(self.protocol, self.port)

    def _failed_ports(self, rule: RuleOrigin, ports: tuple[NetworkPolicyPort, ...]) -> list[Condition]:
        if not ports or any(self._covers(port) for port in ports):
            return []
        at = rule.at("ports", 0) if len(ports) == 1 else rule.at("ports")
        return [Condition(at, ", ".join(map(_port_text, ports)), traffic_text(self.protocol, self.port))]

    def _peer_matches(self, peer: NetworkPolicyPeer, namespace: str, party: Party) -> bool | None:
        if peer.ip_block is None:
            return not any(self._failed_peer(RuleOrigin("", "", ""), peer, namespace, party))
        addresses = AddressSet.of_block(peer.ip_block.cidr, peer.ip_block.except_)
        return matches_peer(self.compiled, Peers(addresses=addresses), party, self.family)

    def _failed_peer(
        self, at: RuleOrigin, peer: NetworkPolicyPeer, namespace: str, party: Party
    ) -> Iterator[Condition]:
        if peer.ip_block is not None:
            if self._peer_matches(peer, namespace, party) is not True:
                yield self._failed_block(at, peer, party)
            return
        if not isinstance(party, Endpoint):
            yield Condition(at, "a pod", f"the address {party}")
            return
        if party.host_network:
            yield Condition(at, "a pod of the pod network", f"the host-network pod {party.path}")
            return
        if peer.namespace_selector is None:
            if party.namespace != namespace:
                yield Condition(at, f"a pod of namespace {namespace}", f"namespace {party.namespace}")
        else:
            labels = self.compiled.snapshot.namespaces[party.namespace]
            yield from _failed_selector(at.at("namespaceSelector"), peer.namespace_selector, labels)
        if peer.pod_selector is not None:
            yield from _failed_selector(at.at("podSelector"), peer.pod_selector, party.labels)

    def _failed_block(self, at: RuleOrigin, peer: NetworkPolicyPeer, party: Party) -> Condition:
        assert peer.ip_block is not None
        address = party.address(self.family) if isinstance(party, Endpoint) else party
        if isinstance(address, DomainName):
            return Condition(at.at("ipBlock", "cidr"), f"an address in {peer.ip_block.cidr}", f"the name {address}")
        found = str(address) if address else "an address that is not known yet"
        for i, cut in enumerate(peer.ip_block.except_):
            if address and AddressSet.of_block(cut).contains(address):
                return Condition(at.at("ipBlock", "except", i), f"an address outside {cut}", found)
        return Condition(at.at("ipBlock", "cidr"), f"an address in {peer.ip_block.cidr}", found)


def _failed_selector(at: RuleOrigin, selector: LabelSelector, labels: dict[str, str]) -> Iterator[Condition]:
    for requirement in requirements(selector):
        if not requirement_holds(requirement, labels):
            key = requirement[0]
            found = f"{key}={labels[key]}" if key in labels else f"no label {key}"
            yield Condition(at.at(*_requirement_path(selector, requirement)), describe_requirement(requirement), found)


def _requirement_path(selector: LabelSelector, requirement: Requirement) -> tuple[str | int, ...]:
    key, operator, values = requirement
    if operator == "In" and selector.match_labels.get(key) == values[0] and len(values) == 1:
        return ("matchLabels", key)
    for i, one in enumerate(selector.match_expressions):
        if (one.key, one.operator, tuple(sorted(set(one.values)))) == requirement:
            return ("matchExpressions", i)
    return ()


def _written(
    policy: NetworkPolicy, direction: Direction, number: int
) -> tuple[tuple[NetworkPolicyPort, ...], tuple[NetworkPolicyPeer, ...]]:
    if direction is Direction.INGRESS:
        return policy.spec.ingress[number].ports, policy.spec.ingress[number].from_
    return policy.spec.egress[number].ports, policy.spec.egress[number].to


def traffic_text(protocol: Protocol | None, port: int) -> str:
    """`TCP 80`, or the words for traffic that has no ports."""
    return f"{protocol} {port}" if protocol else "ICMP or another protocol without ports"


def _side(direction: Direction) -> str:
    return "from" if direction is Direction.INGRESS else "to"


def _port_text(port: NetworkPolicyPort) -> str:
    protocol = port.protocol or "TCP"
    if port.port is None:
        return f"{protocol} any port"
    return f"{protocol} {port.port}-{port.end_port}" if port.end_port else f"{protocol} {port.port}"


def _distance(miss: Miss) -> tuple[int, bool, bool, str, str]:
    return (len(miss.failed), not miss.admits_peer, not miss.lists_port, miss.rule.policy, miss.rule.field)
