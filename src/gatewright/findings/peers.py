"""Whom a rule names: peers that match nothing, and the dash that turns AND into OR."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise

from gatewright.engine.selectors import requirements
from gatewright.engine.snapshot import NAMESPACE_NAME_LABEL
from gatewright.findings.absence import absence_of_peer, named_namespaces
from gatewright.findings.model import Severity
from gatewright.findings.rule import Example, Hit, rule
from gatewright.findings.survey import EVERYTHING, Survey
from gatewright.findings.words import meant, selector, some
from gatewright.findings.written import Written
from gatewright.objects.core import Namespace
from gatewright.objects.meta import LabelSelector
from gatewright.objects.policy import NetworkPolicyPeer

EVERY_CLUSTER_HAS = frozenset({"default", "kube-node-lease", "kube-public", "kube-system"})
"""The namespaces that a cluster makes by itself."""
_PODS = """\
apiVersion: v1
kind: Namespace
metadata: {name: monitoring, labels: {team: ops}}
---
apiVersion: v1
kind: Pod
metadata: {name: prometheus, namespace: monitoring, labels: {app: prometheus}}
spec: {HOSTcontainers: [{name: main, image: prometheus}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {containers: [{name: main, image: web}]}
---
"""
_POLICY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from:
"""
_MONITORING = "namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}\n"
_PROMETHEUS = "podSelector: {matchLabels: {app: prometheus}}\n"


@rule(
    "GW201",
    "peer-matches-nothing",
    Severity.WARNING,
    remedy="correct the selector, or take the peer out",
    example=Example(
        _PODS.replace("HOST", "") + _POLICY + "    - podSelector: {matchLabels: {app: wbe}}\n",
        _PODS.replace("HOST", "") + _POLICY + "    - podSelector: {matchLabels: {app: web}}\n",
    ),
)
def peer_matches_nothing(survey: Survey) -> Iterator[Hit]:
    """A peer matches no pod.

    The rule allows less than it seems to: whoever was meant cannot connect. Most often a label is misspelt, or the pods
    are in another namespace: a `podSelector` without `namespaceSelector` means pods of the policy's own namespace.
    """
    for one, number, peer in _selector_peers(survey):
        if survey.peer_pods(one.policy, peer) or number in trapped(survey, one) or _hosts(survey, one, peer):
            continue
        if peer.namespace_selector is not None and not survey.matching_namespaces(peer.namespace_selector):
            continue
        severity = absence_of_peer(survey, one.policy, peer)
        if severity is None:
            continue
        pods = peer.pod_selector or EVERYTHING
        near = meant(pods, partial(_values, survey, one, peer)) + _in_others(survey, one, peer)
        message = f"matches no pod: none in {_where(one, peer)} has {selector(pods)}{near}"
        yield Hit(one.peer_place(number), message, severity)


def _where(one: Written, peer: NetworkPolicyPeer) -> str:
    if peer.namespace_selector is None:
        return f"namespace {one.policy.namespace}"
    return f"namespaces with {selector(peer.namespace_selector)}"


def _values(survey: Survey, one: Written, peer: NetworkPolicyPeer, key: str) -> list[str]:
    """The values that a label has on the pods among which the peer looks."""
    spaces = peer.namespace_selector
    names = [one.policy.namespace] if spaces is None else survey.matching_namespaces(spaces)
    return sorted({value for name in names for value in survey.label_values(name, key)})


def _in_others(survey: Survey, one: Written, peer: NetworkPolicyPeer) -> str:
    """Where the pods are that a podSelector alone would match in another namespace."""
    if peer.namespace_selector is not None or peer.pod_selector is None:
        return ""
    found = survey.selection.in_namespaces(EVERYTHING, peer.pod_selector)
    names = sorted({survey.at(index).namespace for index in found} - {one.policy.namespace})
    return f"; such pods are in namespace {some(names)}" if names else ""


def _selector_peers(survey: Survey) -> Iterator[tuple[Written, int, NetworkPolicyPeer]]:
    for one in survey.rules:
        for number, peer in enumerate(one.peers):
            if peer.ip_block is None:
                yield one, number, peer


def _hosts(survey: Survey, one: Written, peer: NetworkPolicyPeer) -> bool:
    """Whether host-network pods have the labels that a peer asks for."""
    pods = peer.pod_selector or EVERYTHING
    if peer.namespace_selector is None:
        return bool(survey.hosts_like(one.policy.namespace, pods))
    names = set(survey.matching_namespaces(peer.namespace_selector))
    return any(host.namespace in names for host in survey.hosts_like(None, pods))


@rule(
    "GW202",
    "and-or",
    Severity.ERROR,
    remedy="write both selectors in one item: take the dash away from the second",
    example=Example(
        _PODS.replace("HOST", "") + _POLICY + f"    - {_MONITORING}    - {_PROMETHEUS}",
        _PODS.replace("HOST", "") + _POLICY + f"    - {_MONITORING}      {_PROMETHEUS}",
    ),
)
def and_or(survey: Survey) -> Iterator[Hit]:
    """A namespaceSelector and a podSelector are two peers where one was meant, or one where two were.

    In one item both must hold: these pods of those namespaces. With a dash before each they are two peers, and either
    is enough: every pod of those namespaces, and these pods of the policy's own namespace. The pods say which was
    meant: the podSelector alone matches nothing in the policy's namespace, or nobody whom the other peer does not admit
    already, while both together do match.
    """
    for one in survey.rules:
        for number in trapped(survey, one):
            yield _two_items(survey, one, number)
        for number, peer in enumerate(one.peers):
            if peer.namespace_selector is not None and peer.pod_selector is not None:
                yield from _one_item(survey, one, number, peer)


def trapped(survey: Survey, one: Written) -> dict[int, int]:
    """The peers that are only half of what was meant: number of the podSelector: number of the namespaceSelector."""
    found = {}
    for (i, left), (j, right) in pairwise(enumerate(one.peers)):
        for (n, spaces), (p, pods) in (((i, left), (j, right)), ((j, right), (i, left))):
            if _only(spaces, "namespace") and _only(pods, "pod") and _is_trap(survey, one, spaces, pods):
                found[p] = n
    return found


def _only(peer: NetworkPolicyPeer, kind: str) -> bool:
    selectors = {"namespace": peer.namespace_selector, "pod": peer.pod_selector}
    return selectors.pop(kind) is not None and selectors.popitem()[1] is None and peer.ip_block is None


def _is_trap(survey: Survey, one: Written, spaces: NetworkPolicyPeer, pods: NetworkPolicyPeer) -> bool:
    if pods.pod_selector is None or spaces.namespace_selector is None:
        return False
    here = survey.peer_pods(one.policy, pods)
    there = survey.peer_pods(one.policy, spaces)
    joined = survey.selection.in_namespaces(spaces.namespace_selector, pods.pod_selector)
    if here:
        return bool(joined) and joined != there and not here - there
    surely_nobody = absence_of_peer(survey, one.policy, pods) is Severity.WARNING and not _hosts(survey, one, pods)
    return bool(joined) and surely_nobody


def _two_items(survey: Survey, one: Written, number: int) -> Hit:
    partner = trapped(survey, one)[number]
    spaces, pods = one.peers[partner].namespace_selector or EVERYTHING, one.peers[number].pod_selector or EVERYTHING
    every = len(survey.selection.in_namespaces(spaces))
    joined = len(survey.selection.in_namespaces(spaces, pods))
    adds = "matches nothing by itself" if not survey.peer_pods(one.policy, one.peers[number]) else "adds nobody"
    message = (
        f"a peer of its own beside {one.side}[{partner}]: the rule admits every pod of namespaces with "
        f"{selector(spaces)} ({every} here), and {selector(pods)} {adds}; in one item they would be {joined}"
    )
    return Hit(one.peer_place(number), message)


def _one_item(survey: Survey, one: Written, number: int, peer: NetworkPolicyPeer) -> Iterator[Hit]:
    """Both selectors together match nothing, while each has pods of its own."""
    if peer.namespace_selector is None or survey.peer_pods(one.policy, peer) or _hosts(survey, one, peer):
        return
    there = survey.selection.in_namespaces(peer.namespace_selector)
    here = survey.selection.in_namespace(one.policy.namespace, peer.pod_selector)
    own = survey.selection.in_namespace(one.policy.namespace)
    if there and here and not there & own and absence_of_peer(survey, one.policy, peer) is Severity.WARNING:
        message = (
            f"one peer whose selectors match no pod together: namespaces with {selector(peer.namespace_selector)} have"
            f" none with {selector(peer.pod_selector)}, namespace {one.policy.namespace} has; with a dash before each"
            " they would be two peers"
        )
        yield Hit(one.peer_place(number), message, Severity.WARNING)


@rule(
    "GW203",
    "unknown-namespace",
    Severity.WARNING,
    remedy="correct the selector, or select by kubernetes.io/metadata.name, the label that every namespace has",
    example=Example(
        _PODS.replace("HOST", "") + _POLICY + "    - namespaceSelector: {matchLabels: {name: monitoring}}\n",
        _PODS.replace("HOST", "") + _POLICY + f"    - {_MONITORING}",
    ),
)
def unknown_namespace(survey: Survey) -> Iterator[Hit]:
    """A namespaceSelector matches no namespace.

    A namespace has the labels that somebody gave it, and `kubernetes.io/metadata.name`. The label `name`, which many
    examples use, exists only where it was set. Where the input is not the whole cluster, another namespace may exist
    all the same: the finding is then an info, made only of an input that declares namespaces.
    """
    for one, number, peer in _selector_peers(survey):
        wanted = peer.namespace_selector
        if wanted is None or survey.matching_namespaces(wanted):
            continue
        place = one.place(one.side, number, "namespaceSelector")
        unlabelled = _lacking_label(survey, wanted)
        if unlabelled is not None:
            key, namespace = unlabelled
            found = f"namespace {namespace.name} is declared without the label {key}"
            yield Hit(place, f"matches no namespace: {found}", Severity.ERROR)
        elif survey.complete:
            yield Hit(place, f"matches no namespace: none has {selector(wanted)}")
        elif survey.namespaces and not set(named_namespaces(wanted)) & EVERY_CLUSTER_HAS:
            yield Hit(place, f"matches no namespace among the input ({selector(wanted)})", Severity.INFO)


def _lacking_label(survey: Survey, wanted: LabelSelector) -> tuple[str, Namespace] | None:
    """The label that a namespace is asked for by its own name, but was declared without."""
    for key, operator, values in requirements(wanted):
        if operator != "In" or key == NAMESPACE_NAME_LABEL:
            continue
        for namespace in survey.namespaces:
            if namespace.name in values and key not in namespace.labels:
                return key, namespace
    return None


@rule(
    "GW204",
    "peer-on-host-network",
    Severity.WARNING,
    remedy="name the nodes' addresses in an ipBlock, or run the pods without hostNetwork",
    example=Example(
        _PODS.replace("HOST", "hostNetwork: true, ") + _POLICY + f"    - {_MONITORING}      {_PROMETHEUS}",
        _PODS.replace("HOST", "") + _POLICY + f"    - {_MONITORING}      {_PROMETHEUS}",
    ),
)
def peer_on_host_network(survey: Survey) -> Iterator[Hit]:
    """A peer's selectors match only pods of the host's network, whose traffic they do not match.

    A pod with `hostNetwork: true` speaks with its node's address, and no selector matches that: only an ipBlock that
    has the node's address does.
    """
    for one, number, peer in _selector_peers(survey):
        if survey.peer_pods(one.policy, peer) or (peer.pod_selector is None and not _named(peer)):
            continue
        if _hosts(survey, one, peer):
            message = f"matches no traffic: the pods with {selector(peer.pod_selector)} are on the host's network"
            yield Hit(one.peer_place(number), message)


def _named(peer: NetworkPolicyPeer) -> bool:
    return peer.namespace_selector is not None and bool(named_namespaces(peer.namespace_selector))
