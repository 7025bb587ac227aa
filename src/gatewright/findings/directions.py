"""policyTypes: what a policy says it is about, and rules of the other direction."""

from __future__ import annotations

from collections.abc import Iterator

from gatewright.findings.model import Append, Fix, Insert, Place, Severity
from gatewright.findings.rule import Example, Hit, rule
from gatewright.findings.survey import Survey
from gatewright.findings.written import written

_POLICY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
"""
_DNS = """\
  egress:
  - to: [{namespaceSelector: {}, podSelector: {matchLabels: {k8s-app: kube-dns}}}]
    ports: [{port: 53, protocol: UDP}]
"""


@rule(
    "GW701",
    "rules-without-effect",
    Severity.ERROR,
    remedy="add the direction to policyTypes, or take the rules out",
    example=Example(
        _POLICY + "  policyTypes: [Ingress]\n" + _DNS, _POLICY + "  policyTypes: [Ingress, Egress]\n" + _DNS
    ),
)
def rules_without_effect(survey: Survey) -> Iterator[Hit]:
    """Rules of a direction that policyTypes leaves out.

    Where policyTypes is written, it alone says what the policy isolates. Rules of another direction are accepted and
    have no effect: the pods stay open in that direction. The mending isolates them, so it is not safe.
    """
    for policy in survey.policies:
        missing = {one.direction for one in written(policy) if not one.in_force}
        for direction in sorted(missing):
            name = direction.value
            place = Place.of(policy, "spec", name.lower())
            fix = Fix(f"add {name} to policyTypes", Append(("spec", "policyTypes"), name), safe=False)
            yield Hit(place, f"the rules have no effect: policyTypes does not name {name}", fix=fix)


@rule(
    "GW702",
    "unsaid-ingress",
    Severity.WARNING,
    remedy="write policyTypes: [Egress], or [Ingress, Egress] if no connection is to be accepted",
    example=Example(_POLICY + _DNS, _POLICY + "  policyTypes: [Egress]\n" + _DNS),
)
def unsaid_ingress(survey: Survey) -> Iterator[Hit]:
    """A policy with egress rules alone isolates its pods for ingress, too.

    Without policyTypes a policy is always about ingress. One that has only egress rules, and does not say so, denies
    every connection to its pods.
    """
    for policy in survey.policies:
        if not policy.spec.policy_types and policy.spec.egress and not policy.spec.ingress:
            yield Hit(Place.of(policy, "spec", "egress"), "denies all ingress, too: policyTypes is not written")


@rule(
    "GW703",
    "unsaid-policy-types",
    Severity.INFO,
    remedy="write policyTypes",
    example=Example(
        _POLICY + "  ingress:\n  - {}\n",
        _POLICY + "  policyTypes:\n  - Ingress\n  ingress:\n  - {}\n",
    ),
    default=False,
)
def unsaid_policy_types(survey: Survey) -> Iterator[Hit]:
    """A policy does not say its policyTypes.

    The API server fills it in: Ingress always, Egress where there are egress rules. A reader has to know that. This
    rule is about style, and asked only where it is selected; its mending writes what the API server would.
    """
    for policy in survey.policies:
        if not policy.spec.policy_types:
            meant = policy.policy_types
            fix = Fix("write policyTypes", Insert(("spec",), "policyTypes", meant, after="podSelector"))
            yield Hit(Place.of(policy, "spec"), f"policyTypes is not written; it means {' and '.join(meant)}", fix=fix)
