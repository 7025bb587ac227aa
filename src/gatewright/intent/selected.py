"""Whom the policies of every kind select, as pods of a model: their subjects, and the peers whom they let through."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from gatewright.engine.selectors import is_valid
from gatewright.intent.model import PodsOf
from gatewright.objects.cluster_policy import ClusterPolicy, NamespacedPod
from gatewright.objects.meta import LabelSelector, Object
from gatewright.objects.policy import NetworkPolicy


def subjects_of(policy: Object) -> Iterator[PodsOf]:
    """The pods that a policy is about; nothing for an object that is no policy."""
    if isinstance(policy, NetworkPolicy):
        yield PodsOf(policy.namespace, labels=policy.spec.pod_selector)
    elif isinstance(policy, ClusterPolicy):
        yield from _cluster_pods(policy.spec.subject.namespaces, policy.spec.subject.pods)


def peers_of(policy: Object) -> Iterator[PodsOf]:
    """The pods of every rule that may let something through: one that denies opens nothing to anybody."""
    if isinstance(policy, NetworkPolicy):
        rules = (*(rule.from_ for rule in policy.spec.ingress), *(rule.to for rule in policy.spec.egress))
        for peer in chain.from_iterable(rules):
            own = "" if peer.namespace_selector is not None else policy.namespace
            if peer.ip_block is None:
                yield PodsOf(own, peer.namespace_selector, peer.pod_selector or LabelSelector())
    elif isinstance(policy, ClusterPolicy):
        allowing = (rule for rule in (*policy.spec.ingress, *policy.spec.egress) if rule.action != "Deny")
        for one in chain.from_iterable((*rule.from_, *rule.to) for rule in allowing):
            yield from _cluster_pods(one.namespaces, one.pods)


def lets_through(policy: Object) -> bool:
    """Whether some rule of a policy may let something through."""
    if isinstance(policy, NetworkPolicy):
        return bool(policy.spec.ingress or policy.spec.egress)
    if not isinstance(policy, ClusterPolicy):
        return False
    return any(rule.action != "Deny" for rule in (*policy.spec.ingress, *policy.spec.egress))


def _cluster_pods(namespaces: LabelSelector | None, pods: NamespacedPod | None) -> Iterator[PodsOf]:
    """A subject or peer of a cluster-wide policy; nothing where it is no pods, or no server can apply the selector."""
    if namespaces is not None:
        pods = NamespacedPod(namespace_selector=namespaces)
    if pods is not None and is_valid(pods.namespace_selector) and is_valid(pods.pod_selector):
        yield PodsOf("", pods.namespace_selector, pods.pod_selector)
