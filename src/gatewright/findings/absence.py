"""How much it means that something is not among the objects.

Manifests are rarely the whole cluster, so a rule that speaks of absence ("no pod matches") asks here: the answer is a
severity, or None where nothing can be said.
"""

from __future__ import annotations

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
    promised = survey.promised.get(namespace, ())
    if any(matches(selector, labels) for labels in promised):
        return None
    return Severity.INFO if promised else Severity.WARNING


def knows_peer(survey: Survey, policy: NetworkPolicy, peer: NetworkPolicyPeer) -> bool:
    """Whether the pods that a peer may mean are among the objects, as far as an input shows; an ipBlock means none."""
    if survey.complete or peer.ip_block is not None:
        return True
    if peer.namespace_selector is None:
        return policy.namespace in survey.populated
    names = named_namespaces(peer.namespace_selector)
    return bool(names) and survey.populated.issuperset(names)


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
