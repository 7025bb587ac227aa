"""How much it means that something is not among the objects.

Manifests are rarely the whole cluster, so a rule that speaks of absence ("no pod matches") asks here: the answer is a
severity, or None where nothing can be said.
"""

from __future__ import annotations

from typing import Any

from gatewright.engine.selectors import matches, requirements
from gatewright.engine.snapshot import NAMESPACE_NAME_LABEL
from gatewright.findings.model import Severity
from gatewright.findings.survey import EVERYTHING, Survey
from gatewright.objects.meta import LabelSelector
from gatewright.objects.policy import NetworkPolicy, NetworkPolicyPeer


def absence(survey: Survey, namespace: str, selector: LabelSelector) -> Severity | None:
    """How much it says that no pod of a namespace matches: None where the pods may well be somewhere else.

    Custom resources count as what an operator may make of them: pods with labels that they show, or others.
    """
    if survey.complete:
        return Severity.WARNING
    if namespace not in survey.populated:
        return None
    shown = [promised_labels(other.tree) for other in survey.others if other.namespace == namespace]
    promised = [labels for labels in shown if labels is not None]
    if any(matches(selector, labels) for labels in promised):
        return None
    return Severity.INFO if promised else Severity.WARNING


def absence_of_peer(survey: Survey, policy: NetworkPolicy, peer: NetworkPolicyPeer) -> Severity | None:
    """The same of a peer. What lies in other namespaces is often not in the input, and then not spoken of."""
    pods = peer.pod_selector or EVERYTHING
    if survey.complete:
        return Severity.WARNING
    if peer.namespace_selector is None:
        return absence(survey, policy.namespace, pods)
    found = [absence(survey, name, pods) for name in named_namespaces(peer.namespace_selector)]
    if not found or None in found:
        return None
    return Severity.INFO if Severity.INFO in found else Severity.WARNING


def named_namespaces(selector: LabelSelector) -> tuple[str, ...]:
    """The namespaces that a selector names by their name label; empty where it goes by other labels."""
    for key, operator, values in requirements(selector):
        if key == NAMESPACE_NAME_LABEL and operator == "In":
            return values
    return ()


def promised_labels(tree: Any) -> dict[str, str] | None:
    """The labels that pods made from a custom resource have, as far as it says; None where it makes no pods.

    Operators put their pods' labels into `spec.template.metadata`, `spec.podMetadata` or the resource's own labels.
    """
    spec = _mapping(tree, "spec")
    if not {"replicas", "template", "podMetadata", "podTemplate", "image", "containers"} & spec.keys():
        return None
    labels = dict(_mapping(tree, "metadata", "labels"))
    for path in (("template", "metadata"), ("podTemplate", "metadata"), ("podMetadata",)):
        labels |= _mapping(spec, *path, "labels")
    return {key: value for key, value in labels.items() if isinstance(value, str)}


def _mapping(tree: Any, *path: str) -> dict[str, Any]:
    for step in path:
        tree = tree.get(step) if isinstance(tree, dict) else None
    return tree if isinstance(tree, dict) else {}
