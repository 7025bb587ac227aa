"""Names: pods that may call others, but not the resolver that would tell them where."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from gatewright.engine.addresses import ALL_ADDRESSES
from gatewright.engine.backends import Backends
from gatewright.engine.model import Direction
from gatewright.engine.podset import NO_PODS, PodSet
from gatewright.engine.ports import ALL_TRAFFIC, NO_TRAFFIC, PortSet, Protocol
from gatewright.findings.containment import selector_covers
from gatewright.findings.model import Place, Severity
from gatewright.findings.rule import Example, Hit, rule
from gatewright.findings.survey import Survey, key_of
from gatewright.findings.written import Written
from gatewright.objects.meta import Key
from gatewright.objects.policy import NetworkPolicy, NetworkPolicyPeer

_EXAMPLE = """\
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {containers: [{name: main, image: web}]}
---
apiVersion: v1
kind: Pod
metadata: {name: api, namespace: shop, labels: {app: api}}
spec: {containers: [{name: main, image: api}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Egress]
  egress:
  - to: [{podSelector: {matchLabels: {app: api}}}]
    ports: [{port: 5000}]
"""
_DNS = """\
  - to: [{namespaceSelector: {}, podSelector: {matchLabels: {k8s-app: kube-dns}}}]
    ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
"""
_QUESTION = (Protocol.UDP, 53)
DNS_NAMESPACE = "kube-system"


@rule(
    "GW604",
    "no-dns",
    Severity.WARNING,
    remedy="allow UDP and TCP 53 to the cluster's DNS (namespace kube-system, k8s-app: kube-dns)",
    example=Example(_EXAMPLE, _EXAMPLE + _DNS),
)
def no_dns(survey: Survey) -> Iterator[Hit]:
    """An egress policy allows calls, but no question to the cluster's DNS.

    A call by name (`http://api`) begins with a question to the resolver on UDP 53, and egress isolation blocks it as
    it blocks everything: the call fails although a rule allows it. All policies of the pod count together. A policy
    that allows nothing, or only single addresses, needs no names and is not reported.
    """
    resolvers = _resolvers(survey)
    asking: dict[Key, bool] = {}
    calling: dict[Key, bool] = {}
    for one in (one for one in survey.rules if one.direction is Direction.EGRESS):
        key = one.policy.key
        asking[key] = asking.get(key, False) or _may_ask(survey, one, resolvers)
        calling[key] = calling.get(key, False) or _by_name(survey, one)
    able: dict[str, list[NetworkPolicy]] = defaultdict(list)
    for policy in survey.policies:
        if asking.get(policy.key):
            able[policy.namespace].append(policy)
    for policy in survey.policies:
        if calling.get(policy.key) and not asking[policy.key]:
            yield from _deaf(survey, policy, asking, able[policy.namespace])


def _deaf(survey: Survey, policy: NetworkPolicy, asking: dict[Key, bool], able: list[NetworkPolicy]) -> Iterator[Hit]:
    """The policy itself allows no questions: do the others of its pods? `able` are those of its namespace that do."""
    classes = survey.classes_of.get((policy.key, Direction.EGRESS), [])
    place = Place.of(policy, "spec", "egress")
    if classes:
        for one in classes:
            keys = {key_of(origin) for tier in one.rules.tiers for origin in tier.policies}
            if not any(asking.get(key) for key in keys):
                example = survey.at(next(iter(one.members)))
                yield Hit(place, f"lets {example} make calls, but nothing lets it ask DNS (UDP 53)")
                return
    elif policy.namespace not in survey.populated and not any(_covers(other, policy) for other in able):
        yield Hit(place, "allows calls, but no policy of the input allows DNS (UDP 53) to its pods", Severity.INFO)


def _covers(wide: NetworkPolicy, narrow: NetworkPolicy) -> bool:
    return selector_covers(wide.spec.pod_selector, narrow.spec.pod_selector)


def _by_name(survey: Survey, one: Written) -> bool:
    """Whether a rule lets a pod call what it would call by name: a pod, or anything outside."""
    if not one.peers:
        return True
    blocks = (peer.ip_block for peer in one.peers)
    return any(
        block is None
        or any(survey.selection.block(block.cidr).ranges(family) == ALL_ADDRESSES.ranges(family) for family in (4, 6))
        for block in blocks
    )


def _resolvers(survey: Survey) -> tuple[PodSet, PortSet]:
    """The pods behind Services on UDP 53, and the ports on which they answer. None where one is on a host's network."""
    entries = [(service, entry) for service in survey.compiled.snapshot.services for entry in service.spec.ports]
    answering = [(service, entry) for service, entry in entries if (entry.protocol, entry.port) == ("UDP", 53)]
    if not answering:
        return NO_PODS, NO_TRAFFIC
    backends = Backends(survey.compiled)
    doors = [door for service, entry in answering for door in backends.doors(service, entry)]
    if any(endpoint.host_network for endpoint, _ in doors):
        return NO_PODS, NO_TRAFFIC
    ports = PortSet.of(Protocol.UDP, *((number, number) for _, number in doors))
    return PodSet.of(endpoint.index for endpoint, _ in doors), ports


def _may_ask(survey: Survey, one: Written, resolvers: tuple[PodSet, PortSet]) -> bool:
    """Whether a rule lets a pod ask DNS, or may do so as far as can be known."""
    pods, answering = resolvers
    numbers, names = one.covered
    asks = bool(numbers & answering) if pods else numbers.contains(*_QUESTION)
    if not asks and not any(protocol is Protocol.UDP for _, protocol in names):
        return False
    return not one.peers or any(_is_resolver(survey, one, peer, pods) for peer in one.peers)


def _is_resolver(survey: Survey, one: Written, peer: NetworkPolicyPeer, resolvers: PodSet) -> bool:
    if peer.ip_block is not None:
        return True
    if resolvers:
        return bool(survey.peer_pods(one.policy, peer) & resolvers)
    if peer.namespace_selector is not None or one.policy.namespace == DNS_NAMESPACE:
        return True
    return one.covered[0] != ALL_TRAFFIC
