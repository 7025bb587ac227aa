"""Whom a policy is about: policies that select nothing, or only what no policy can restrict."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from gatewright.findings.absence import absence
from gatewright.findings.model import Place, Related, Severity
from gatewright.findings.rule import Example, Hit, rule
from gatewright.findings.survey import EVERYTHING, Survey
from gatewright.findings.words import meant, selector, some
from gatewright.objects.cluster_policy import ClusterPolicy
from gatewright.objects.meta import LabelSelector
from gatewright.objects.policy import NetworkPolicy

_PODS = """\
apiVersion: v1
kind: Pod
metadata: {name: carts, namespace: shop, labels: {app: carts}}
spec: {HOSTcontainers: [{name: main, image: carts}]}
---
"""
_POLICY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: carts, namespace: shop}
spec:
  podSelector: {matchLabels: {app: LABEL}}
  policyTypes: [Ingress]
"""


@rule(
    "GW101",
    "selects-nothing",
    Severity.WARNING,
    remedy="correct the selector or the namespace, or delete the policy",
    example=Example(
        _PODS.replace("HOST", "") + _POLICY.replace("LABEL", "cart"),
        _PODS.replace("HOST", "") + _POLICY.replace("LABEL", "carts"),
    ),
)
def selects_nothing(survey: Survey) -> Iterator[Hit]:
    """A policy selects no pod.

    The API accepts it and nothing happens: the pods it was written for stay open. Most often a label is misspelt, or
    the policy stands in another namespace than its pods.
    """
    for policy in survey.policies:
        wanted = policy.spec.pod_selector
        if survey.subject(policy) or survey.hosts_like(policy.namespace, wanted):
            continue
        severity = absence(survey, policy.namespace, wanted)
        if severity is None:
            continue
        near = meant(wanted, partial(survey.label_values, policy.namespace))
        message = f"selects no pod: none in namespace {policy.namespace} has {selector(wanted)}{near}"
        yield Hit(Place.of(policy, "spec", "podSelector"), message, severity, related=_elsewhere(survey, policy))
    yield from _cluster_policies(survey)


def _elsewhere(survey: Survey, policy: NetworkPolicy) -> tuple[Related, ...]:
    """The pods of other namespaces that the selector would match."""
    wanted = policy.spec.pod_selector
    if selector(wanted) == selector(EVERYTHING):
        return ()
    found = [survey.at(index) for index in survey.selection.in_namespaces(EVERYTHING, wanted)]
    return tuple(
        Related(Place(one.kind, one.namespace, one.name, (), one.origin), "would match in its own namespace")
        for one in found[:1]
    )


def _cluster_policies(survey: Survey) -> Iterator[Hit]:
    """A cluster-wide subject is about every namespace: only the whole cluster can say that it selects nothing."""
    for policy in survey.cluster_policies if survey.complete else ():
        namespaces, pods = subject_selectors(policy)
        if namespaces is not None and not survey.selection.in_namespaces(namespaces, pods):
            yield Hit(Place.of(policy, "spec", "subject"), "selects no pod: its subject matches none of the cluster")


def subject_selectors(policy: ClusterPolicy) -> tuple[LabelSelector | None, LabelSelector | None]:
    """(namespaces, pods) of a cluster-wide policy's subject."""
    subject = policy.spec.subject
    if subject.pods is not None:
        return subject.pods.namespace_selector, subject.pods.pod_selector
    return subject.namespaces, None


@rule(
    "GW102",
    "selects-host-network",
    Severity.WARNING,
    remedy="protect the node's ports by the node's own packet filter, or run the pods without hostNetwork",
    example=Example(
        _PODS.replace("HOST", "hostNetwork: true, ") + _POLICY.replace("LABEL", "carts"),
        _PODS.replace("HOST", "") + _POLICY.replace("LABEL", "carts"),
    ),
)
def selects_host_network(survey: Survey) -> Iterator[Hit]:
    """A policy selects only pods of the host's network, on which it has no effect.

    A pod with `hostNetwork: true` has its node's address. To the network it is the node, and no implementation of
    NetworkPolicy restricts it: its ports stay open to everybody who reaches the node.
    """
    for policy in survey.policies:
        if survey.subject(policy):
            continue
        hosts = survey.hosts_like(policy.namespace, policy.spec.pod_selector)
        if hosts:
            message = f"has no effect: all it selects is on the host's network ({some(hosts)})"
            yield Hit(Place.of(policy, "spec", "podSelector"), message)
