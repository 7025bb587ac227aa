"""What no policy restricts: pods left open beside isolated ones, and namespaces without any policy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from gatewright.engine.compile import Class
from gatewright.engine.model import Action, Direction, Endpoint, Tier
from gatewright.engine.owners import owner
from gatewright.engine.podset import PodSet
from gatewright.findings.model import Place, Severity
from gatewright.findings.rule import Example, Hit, rule
from gatewright.findings.survey import Survey
from gatewright.findings.words import some
from gatewright.objects.meta import Key

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
MOST_TOLD = 20
"""Open pods of a namespace that are told one by one."""


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
    yield from _left_open(survey, Direction.INGRESS, "every connection to it is allowed")


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
    yield from _left_open(survey, Direction.EGRESS, "it may open every connection")


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
    for name in sorted(survey.populated):
        members = survey.selection.in_namespace(name)
        if members and not isolated & members:
            yield Hit(_namespace(survey, name), "no policy of the input isolates any of its pods")


def _left_open(survey: Survey, direction: Direction, consequence: str) -> Iterator[Hit]:
    """The workloads that are open beside isolated ones; a namespace that has very many of them is told once."""
    isolated = _isolated(survey, direction)
    name = direction.value.lower()
    for namespace in sorted({survey.at(index).namespace for index in isolated}):
        members = survey.selection.in_namespace(namespace)
        open_ = members - isolated
        if len(open_) > MOST_TOLD:
            pods = some(survey.at(index) for index in open_)
            yield Hit(_namespace(survey, namespace), f"no policy isolates {len(open_)} of its pods for {name}: {pods}")
        elif open_:
            for place in _workloads(survey, members, open_, direction):
                yield Hit(place, f"no policy isolates it for {name}: {consequence}")


def _workloads(survey: Survey, members: PodSet, open_: PodSet, direction: Direction) -> Iterator[Place]:
    """The workloads of a namespace of which a pod is open; a template counts where none of its pods are there."""
    snapshot = survey.compiled.snapshot
    owned: dict[Key, list[Endpoint]] = defaultdict(list)
    for one in (survey.at(index) for index in members):
        owned[owner(snapshot, one)].append(one)
    for key, endpoints in owned.items():
        pods = [one for one in endpoints if one.kind == "Pod"] or endpoints
        left = [one for one in pods if one.index in open_]
        if left and (direction is Direction.EGRESS or left[0].kind not in _BATCH or left[0].ports):
            top = snapshot.objects.get(key)
            yield Place.of(top) if top is not None else _place(left[0])


def _isolated(survey: Survey, direction: Direction) -> PodSet:
    return PodSet.union(one.members for one in survey.classes[direction] if _restricts(one))


def _restricts(one: Class) -> bool:
    """Whether a class is isolated by NetworkPolicies, or denied something by a cluster-wide rule."""
    tiers = one.rules.tiers
    return any(t.tier is Tier.NETWORK_POLICY or any(r.action is Action.DENY for r in t.rules) for t in tiers)


def _namespace(survey: Survey, name: str) -> Place:
    """The namespace where it is declared, else where its first pod is."""
    declared = survey.compiled.snapshot.objects.get(("Namespace", "", name))
    if declared is not None:
        return Place.of(declared)
    pods = (_place(survey.at(index)) for index in survey.selection.in_namespace(name))
    first = min(pods, key=lambda place: place.order)
    return Place("Namespace", "", name, (), first.origin)


def _place(one: Endpoint) -> Place:
    return Place(one.kind, one.namespace, one.name, (), one.origin)
