"""Every answer of the Admin tier against every state of NetworkPolicy and every answer of the Baseline tier.

Both versions, both directions, in full: what is to come out is written down as the rules say it, row by row.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.reference.evaluator import End
from tests.subjects import SUBJECTS, Subject

Json = dict[str, Any]
EXPECTED = {  # (Admin, NetworkPolicy): the answer, or None where the Baseline tier is asked
    ("Accept", "not isolated"): "allowed",
    ("Accept", "allowing"): "allowed",
    ("Accept", "denying"): "allowed",
    ("Deny", "not isolated"): "denied",
    ("Deny", "allowing"): "denied",
    ("Deny", "denying"): "denied",
    ("Pass", "not isolated"): None,
    ("Pass", "allowing"): "allowed",
    ("Pass", "denying"): "denied",
    ("none", "not isolated"): None,
    ("none", "allowing"): "allowed",
    ("none", "denying"): "denied",
}
BASELINE = {"Accept": "allowed", "Deny": "denied", "none": "allowed"}


def pod(name: str, address: str) -> Json:
    metadata = {"name": name, "namespace": "x", "labels": {"app": name}}
    spec = {"containers": [{"name": "main", "image": "app"}]}
    status = {"podIP": address, "podIPs": [{"ip": address}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}


def cluster_policy(version: str, tier: str, action: str, direction: str) -> list[Json]:
    """A policy of one rule for the pod `subject`, towards everybody; none where there is no action."""
    if action == "none":
        return []
    rule = {"action": action, {"ingress": "from", "egress": "to"}[direction]: [{"namespaces": {}}]}
    subject = {"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "subject"}}}}
    spec: Json = {"subject": subject, direction: [rule]}
    if version == "v1alpha2":
        kind, name, spec = "ClusterNetworkPolicy", tier.lower(), {**spec, "tier": tier, "priority": 5}
    else:
        rule["action"] = {"Accept": "Allow"}.get(action, action)
        kind, name = ("AdminNetworkPolicy", "a") if tier == "Admin" else ("BaselineAdminNetworkPolicy", "default")
        spec |= {"priority": 5} if tier == "Admin" else {}
    head = {"apiVersion": f"policy.networking.k8s.io/{version}", "kind": kind, "metadata": {"name": name}}
    return [{**head, "spec": spec}]


def network_policy(state: str, direction: str) -> list[Json]:
    """The NetworkPolicy that brings the pod `subject` into a state."""
    if state == "not isolated":
        return []
    spec: Json = {
        "podSelector": {"matchLabels": {"app": "subject"}},
        "policyTypes": [direction.capitalize()],
        direction: [{}] if state == "allowing" else [],
    }
    metadata = {"name": "np", "namespace": "x"}
    return [{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}]


@pytest.mark.parametrize("who", SUBJECTS)
@pytest.mark.parametrize("direction", ["ingress", "egress"])
@pytest.mark.parametrize("version", ["v1alpha1", "v1alpha2"])
@pytest.mark.parametrize("baseline", BASELINE)
@pytest.mark.parametrize(("admin", "state"), EXPECTED)
def test_tiers(admin: str, state: str, baseline: str, version: str, direction: str, who: str) -> None:
    objects = [
        *(pod("subject", "10.0.0.1"), pod("other", "10.0.0.2")),
        *cluster_policy(version, "Admin", admin, direction),
        *network_policy(state, direction),
        *cluster_policy(version, "Baseline", baseline, direction),
    ]
    subject: End = ("pod", "x", "subject")
    other: End = ("pod", "x", "other")
    source, destination = (other, subject) if direction == "ingress" else (subject, other)
    expected = EXPECTED[admin, state] or BASELINE[baseline]
    judge: Subject = SUBJECTS[who](objects)
    for protocol, port in (("TCP", 80), ("UDP", 53), ("SCTP", 9), ("ICMP", None)):
        assert judge.connection(source, destination, protocol, port) == expected
        assert judge.connection(destination, source, protocol, port) == "allowed"  # the other way is nobody's business
