"""What could be left out: duplicate policies, rules, peers and ports that change nothing, and rules that undo others.

NetworkPolicies add up, so a rule is superfluous where the others allow as much. That is decided by the engine's
compiled rules, class by class; where it holds whatever pods there are (`containment`), the finding is a warning, where
it is so with the pods at hand alone, an info.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from gatewright.engine.drafts import port_numbers
from gatewright.engine.model import Direction
from gatewright.engine.selectors import Canonical, requirements
from gatewright.findings.containment import (
    canonical_peer,
    peer_covers,
    rule_covers,
    selector_covers,
)
from gatewright.findings.coverage import covered_by_others, undoing
from gatewright.findings.model import Fix, Place, Related, Remove, Severity
from gatewright.findings.peers import trapped
from gatewright.findings.rule import Example, Hit, rule
from gatewright.findings.survey import Survey
from gatewright.findings.written import Written
from gatewright.objects.policy import NetworkPolicy

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
---
"""
_POLICY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: NAME, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress:
"""
_RULE = "  - from: [{podSelector: {matchLabels: {app: web}}}]\n    ports: [{port: 5432}]\n"
_ONE = _PODS + _POLICY.replace("NAME", "db") + _RULE


@rule(
    "GW501",
    "duplicate-policy",
    Severity.WARNING,
    remedy="keep one of them",
    example=Example(_ONE + "---\n" + _POLICY.replace("NAME", "database") + _RULE, _ONE),
)
def duplicate_policy(survey: Survey) -> Iterator[Hit]:
    """A policy says exactly what another of its namespace says.

    Two copies drift apart: the one that somebody tightens later has no effect while the other still allows.
    """
    for policy, first in survey.duplicates.values():
        same = Related(Place.of(first), "says the same")
        yield Hit(Place.of(policy), f"says exactly what {first} says", related=(same,))


@rule(
    "GW502",
    "redundant-rule",
    Severity.WARNING,
    remedy="take the rule out, or narrow the one that covers it",
    example=Example(_ONE + "  - from: [{podSelector: {}}]\n", _ONE),
)
def redundant_rule(survey: Survey) -> Iterator[Hit]:
    """A rule changes nothing: other rules for the same pods allow all that it allows.

    It misleads: who takes it away believes to have closed something. As a warning it holds whatever pods there are; as
    an info only with the pods at hand, and another pod may give the rule its meaning.
    """
    repeated = survey.duplicates
    rules = {(*one.policy.key, one.direction, one.number): one for one in survey.rules}
    for key, others in covered_by_others(survey, repeated).items():
        one, causes = rules[key], [rules[other] for other in others]
        always = next((wide for wide in causes if _covers(survey, wide, one)), None)
        if always is not None:
            yield _superfluous(one, [always], Severity.WARNING)
        else:
            yield _superfluous(one, causes, Severity.INFO)


def _covers(survey: Survey, wide: Written, narrow: Written) -> bool:
    if not selector_covers(wide.policy.spec.pod_selector, narrow.policy.spec.pod_selector):
        return False
    return rule_covers(wide, narrow, survey.compiled.snapshot.namespaces)


def _superfluous(one: Written, others: list[Written], severity: Severity) -> Hit:
    names = " and ".join(
        other.place().field if other.policy is one.policy else f"{other.policy} {other.place().field}"
        for other in others[:2]
    )
    more = f" and {len(others) - 2} more" if len(others) > 2 else ""
    message = f"allows nothing that {names}{more} {'does' if len(others) == 1 else 'do'} not allow"
    if severity is Severity.INFO:
        message += ", with the pods at hand"
    same = len(others) == 1 and others[0].policy is one.policy and severity is Severity.WARNING
    return Hit(
        one.place(),
        message,
        severity,
        Fix("take the rule out", Remove(one.path)) if same else None,
        tuple(Related(other.place(), "allows as much") for other in others),
    )


@rule(
    "GW503",
    "redundant-peer",
    Severity.WARNING,
    remedy="take the peer out",
    example=Example(
        _PODS + _POLICY.replace("NAME", "db") + "  - from:\n" + 2 * "    - podSelector: {matchLabels: {app: web}}\n",
        _PODS + _POLICY.replace("NAME", "db") + "  - from:\n    - podSelector: {matchLabels: {app: web}}\n",
    ),
)
def redundant_peer(survey: Survey) -> Iterator[Hit]:
    """A peer of a rule is covered by another peer of the same rule.

    Either is enough, so the narrower one changes nothing, whatever pods there are.
    """
    namespaces = survey.compiled.snapshot.namespaces
    for one in survey.rules:
        traps = trapped(survey, one) if len(one.peers) > 1 else {}
        gone: set[int] = set()
        for number in reversed(range(len(one.peers))):
            peer = one.peers[number]
            others = [i for i in range(len(one.peers)) if i not in gone | {number}]
            wide = next((i for i in others if peer_covers(one.peers[i], peer, one.policy.namespace, namespaces)), None)
            if wide is None or number in traps:
                continue
            gone.add(number)
            same = canonical_peer(one.peers[wide]) == canonical_peer(peer)
            message = f"{'repeats' if same else 'is covered by'} {one.side}[{wide}] of the same rule"
            fix = Fix("take the peer out", Remove((*one.path, one.side, number)))
            yield Hit(one.peer_place(number), message, fix=fix)


@rule(
    "GW504",
    "redundant-port",
    Severity.WARNING,
    remedy="take the entry out",
    example=Example(_ONE.replace("[{port: 5432}]", "[{port: 5432}, {port: 5000, endPort: 6000}]"), _ONE),
)
def redundant_port(survey: Survey) -> Iterator[Hit]:
    """A port of a rule is covered by the other ports of the same rule."""
    for one in survey.rules:
        left = list(range(len(one.ports)))
        for number in reversed(range(len(one.ports))):
            rest = port_numbers(tuple(one.ports[i] for i in left if i != number)) if len(left) > 1 else None
            own = port_numbers((one.ports[number],))
            if rest is not None and not own[0] - rest[0] and set(own[1]) <= set(rest[1]):
                left.remove(number)
                fix = Fix("take the entry out", Remove((*one.path, "ports", number)))
                yield Hit(one.place("ports", number), "is covered by the other ports of the rule", fix=fix)


@rule(
    "GW505",
    "undone",
    Severity.WARNING,
    remedy="take out what has no effect, or narrow the rule that undoes it",
    example=Example(
        _PODS
        + _POLICY.replace("NAME", "db")
        + "  - from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]\n"
        + "  - from: [{ipBlock: {cidr: 10.1.0.0/16}}]\n",
        _PODS + _POLICY.replace("NAME", "db") + "  - from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]\n",
    ),
)
def undone(survey: Survey) -> Iterator[Hit]:
    """Two rules contradict each other, and the one that allows wins.

    There is no deny in a NetworkPolicy: what one rule leaves out, another may allow. Reported are an `except` whose
    whole range another rule admits to the same pods on the same ports, and a policy that denies everything to pods to
    which another one, with the same selector or a wider one, allows everything.
    """
    for one in survey.rules:
        for number, peer in enumerate(one.peers):
            for cut, text in enumerate(peer.ip_block.except_ if peer.ip_block else ()):
                other = undoing(survey, one, number, survey.selection.block(text))
                if other is not None:
                    place = one.place(one.side, number, "ipBlock", "except", cut)
                    where = Related(Place.of_rule(other), "admits all of it")
                    yield Hit(place, f"has no effect: {other.policy} {other.field} admits all of it", related=(where,))
    yield from _denials(survey)


def _denials(survey: Survey) -> Iterator[Hit]:
    """The policies that deny everything in vain."""
    allowing: dict[tuple[str, Direction], dict[Canonical, Written]] = defaultdict(dict)
    for one in survey.rules:
        if not one.peers and not one.ports:
            near = allowing[one.policy.namespace, one.direction]
            near.setdefault(requirements(one.policy.spec.pod_selector), one)
    for policy in survey.policies:
        for direction in Direction:
            rules = policy.spec.ingress if direction is Direction.INGRESS else policy.spec.egress
            if rules or direction.value not in policy.policy_types:
                continue
            found = _wider(survey, policy, allowing[policy.namespace, direction])
            if found is not None:
                what = f"denies all {direction.value.lower()} in vain: {found.policy} allows everything to its pods"
                yield Hit(Place.of(policy), what, related=(Related(found.place(), "allows everything"),))


def _wider(survey: Survey, policy: NetworkPolicy, rules: dict[Canonical, Written]) -> Written | None:
    """A rule whose policy is about all pods that this one is about; the pods at hand are asked first."""
    selector, subject = policy.spec.pod_selector, survey.subject(policy)
    same = rules.get(requirements(selector))
    if same is not None:
        return same
    near = (one for one in rules.values() if not subject - survey.subject(one.policy))
    return next((one for one in near if selector_covers(one.policy.spec.pod_selector, selector)), None)
