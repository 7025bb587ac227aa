"""What no policy restricts: pods left open beside isolated ones, and namespaces without any policy."""

from __future__ import annotations

from collections.abc import Iterator

from gatewright.engine.model import Action, Direction, Endpoint, Tier
from gatewright.engine.owners import standing
from gatewright.engine.podset import PodSet
from gatewright.findings.model import Place, Severity
from gatewright.findings.rule import Example, Hit, rule
from gatewright.findings.survey import Class, Survey
from gatewright.objects.core import Namespace

_PODS = """\
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {containers: [{name: main, image: web}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop, labels: {app: db}}
spec: {containers: [{name: main, image: db}]}
"""
_POLICY = """\
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: policy, namespace: shop}
spec:
  podSelector: SELECTOR
  policyTypes: [TYPE]
"""
_DB = "{matchLabels: {app: db}}"
_BATCH = ("Job", "CronJob")


def _policy(selector: str, direction: str) -> str:
    return _POLICY.replace("SELECTOR", selector).replace("TYPE", direction)


@rule(
    "GW601",
    "not-isolated",
    Severity.WARNING,
    remedy="write a policy for it, or a default deny for the namespace (podSelector {})",
    example=Example(_PODS + _policy(_DB, "Ingress"), _PODS + _policy("{}", "Ingress")),
)
def not_isolated(survey: Survey) -> Iterator[Hit]:
    """No policy isolates a pod for ingress, while others of its namespace are isolated.

    A pod that no policy selects accepts every connection. In a namespace where policies are in use that is rarely
    meant: most often the pod came later, or a selector misses it. Jobs that declare no port are left out, and pods of
    the host's network, which no policy restricts.
    """
    for one in _open_beside_isolated(survey, Direction.INGRESS):
        if one.kind not in _BATCH or one.ports:
            yield Hit(_place(one), "no policy isolates it for ingress: every connection to it is allowed")


@rule(
    "GW602",
    "egress-not-isolated",
    Severity.INFO,
    remedy="write a policy for it, or a default deny of egress for the namespace (podSelector {})",
    example=Example(_PODS + _policy(_DB, "Egress"), _PODS + _policy("{}", "Egress")),
    default=False,
)
def egress_not_isolated(survey: Survey) -> Iterator[Hit]:
    """No policy isolates a pod for egress, while others of its namespace are isolated.

    It may call everything, inside and outside of the cluster. Many namespaces isolate single pods for egress and mean
    no more than that, so this rule is asked only where it is selected.
    """
    for one in _open_beside_isolated(survey, Direction.EGRESS):
        yield Hit(_place(one), "no policy isolates it for egress: it may open every connection")


@rule(
    "GW603",
    "no-policies",
    Severity.INFO,
    remedy="write policies for it; a default deny (podSelector {}, no rules) is the usual start",
    example=Example(_PODS, _PODS + _policy("{}", "Ingress")),
)
def no_policies(survey: Survey) -> Iterator[Hit]:
    """No policy isolates any pod of a namespace.

    Everything in the cluster may connect to its pods. Policies that are not among the input are not known here.
    """
    isolated = PodSet.union(_isolated(survey, direction) for direction in Direction)
    declared = {namespace.name: namespace for namespace in survey.compiled.snapshot.all(Namespace)}
    for name in sorted(survey.populated):
        members = survey.selection.in_namespace(name)
        if isolated & members or not members:
            continue
        first = min((_place(survey.endpoints[index]) for index in members), key=lambda place: place.order)
        origin = declared[name].origin if name in declared else first.origin
        yield Hit(Place("Namespace", "", name, (), origin), "no policy of the input isolates any of its pods")


def _open_beside_isolated(survey: Survey, direction: Direction) -> Iterator[Endpoint]:
    isolated = _isolated(survey, direction)
    used = {survey.endpoints[index].namespace for index in isolated}
    for one in standing(survey.compiled):
        if one.namespace in used and not one.host_network and one.index not in isolated:
            yield one


def _isolated(survey: Survey, direction: Direction) -> PodSet:
    return PodSet.union(one.members for one in survey.classes[direction] if _restricts(one))


def _restricts(one: Class) -> bool:
    """Whether a class is isolated by NetworkPolicies, or denied something by a cluster-wide rule."""
    tiers = one.rules.tiers
    return any(t.tier is Tier.NETWORK_POLICY or any(r.action is Action.DENY for r in t.rules) for t in tiers)


def _place(one: Endpoint) -> Place:
    return Place(one.kind, one.namespace, one.name, (), one.origin)
