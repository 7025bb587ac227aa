"""Cluster-wide policies: rules that never decide, and rules whose order nobody knows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations

from gatewright.engine.compile import Class
from gatewright.engine.model import Action, Direction, Peers, Rule, RuleOrigin, Tier
from gatewright.engine.ports import PortSet
from gatewright.findings.containment import cluster_rule_covers, selector_covers
from gatewright.findings.coverage import remainder, rule_key
from gatewright.findings.model import Place, Related, Severity
from gatewright.findings.rule import Example, Hit, rule
from gatewright.findings.selects import subject_selectors
from gatewright.findings.survey import Survey, key_of
from gatewright.objects.cluster_policy import ClusterPolicy, ClusterRule
from gatewright.objects.meta import Key

_PODS = """\
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: shop}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {containers: [{name: main, image: web}]}
---
apiVersion: v1
kind: Pod
metadata: {name: api, namespace: shop, labels: {app: api}}
spec: {containers: [{name: main, image: api}]}
"""
_POLICY = """\
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: NAME}
spec:
  tier: Admin
  priority: PRIORITY
  subject: {namespaces: {}}
  ingress:
"""
_RULE = "  - {action: ACTION, from: [{namespaces: {matchLabels: {team: shop}}}]}\n"
_EVERY = "  - {action: Deny, from: [{namespaces: {}}]}\n"
_ACCEPT = """\
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {}}]
"""
Traffic = list[tuple[Peers, PortSet]]
Pair = tuple[RuleOrigin, RuleOrigin]


def _named(name: str, priority: int, *rules: str) -> str:
    return _POLICY.replace("NAME", name).replace("PRIORITY", str(priority)) + "".join(rules)


@rule(
    "GW801",
    "shadowed-rule",
    Severity.WARNING,
    remedy="put the rule before the one that covers it, or take it out",
    example=Example(
        _PODS + _named("guard", 10, _EVERY, _RULE.replace("ACTION", "Accept")),
        _PODS + _named("guard", 10, _RULE.replace("ACTION", "Accept"), _EVERY),
    ),
)
def shadowed_rule(survey: Survey) -> Iterator[Hit]:
    """A rule of a cluster-wide policy never decides: rules before it in its tier match all that it matches.

    Within a tier the first rule that matches decides, by priority and then by order. As a warning it holds whatever
    pods there are; as an info, made of a whole cluster alone, only with the pods at hand.
    """
    policies = {policy.key: policy for policy in survey.cluster_policies}
    for direction in Direction:
        for tier in (Tier.ADMIN, Tier.BASELINE):
            for origin, before in _shadowed(survey, direction, tier, policies).items():
                own = policies[key_of(origin)]
                covering = (one for one in before if _always(policies[key_of(one)], one, own, origin, direction))
                always = next(covering, None)
                if always is None and not survey.complete:
                    continue
                causes = [always] if always else before
                message = f"never decides: {_names(causes)} before it in the tier {_match(causes)} all that it matches"
                yield Hit(
                    Place.of_rule(origin),
                    message if always else f"{message}, with the pods at hand",
                    Severity.WARNING if always else Severity.INFO,
                    related=tuple(Related(Place.of_rule(one), "decides before") for one in causes),
                )


def _match(causes: list[RuleOrigin]) -> str:
    return "matches" if len(causes) == 1 else "match"


def _names(causes: list[RuleOrigin]) -> str:
    return " and ".join(f"{one.policy} {one.field}" for one in causes[:2]) + (" and more" if len(causes) > 2 else "")


def _shadowed(
    survey: Survey, direction: Direction, tier: Tier, policies: dict[Key, ClusterPolicy]
) -> dict[RuleOrigin, list[RuleOrigin]]:
    """The rules that are covered in every class that has them, and what covers them."""
    found: dict[RuleOrigin, list[RuleOrigin]] = {}
    deciding: set[RuleOrigin] = set()
    for home in survey.classes[direction]:
        rules = home.rules.tier(tier)
        for number, each in enumerate(rules):
            if not each.peers or each.origin in deciding:
                continue
            before = [one for one in rules[:number] if _surely_before(one, each, policies)]
            left, used = _after((each.peers, each.ports), before)
            if left:
                deciding.add(each.origin)
            else:
                found.setdefault(each.origin, []).extend(used)
    return {origin: list(dict.fromkeys(used)) for origin, used in found.items() if origin not in deciding}


def _surely_before(first: Rule, second: Rule, policies: dict[Key, ClusterPolicy]) -> bool:
    """Whether the order of two rules is defined: by priority, or by their order in one policy."""
    left, right = key_of(first.origin), key_of(second.origin)
    if left == right:
        return first.origin != second.origin
    return policies[left].spec.priority != policies[right].spec.priority


def _after(traffic: tuple[Peers, PortSet], rules: list[Rule]) -> tuple[Traffic, list[RuleOrigin]]:
    """What rules leave of some traffic, and those that take a part of it."""
    left, used = [traffic], []
    for each in rules:
        rest = [piece for peers, ports in left for piece in remainder(peers, ports, each)]
        if rest != left:
            used.append(each.origin)
        left = rest
    return left, used


def _always(wide: ClusterPolicy, at: RuleOrigin, narrow: ClusterPolicy, own: RuleOrigin, direction: Direction) -> bool:
    """Whether one rule covers the other whatever pods there are."""
    pairs = zip(subject_selectors(wide), subject_selectors(narrow), strict=True)
    if not all(selector_covers(left, right) for left, right in pairs):
        return False
    return cluster_rule_covers(_written(wide, at, direction), _written(narrow, own, direction), direction)


def _written(policy: ClusterPolicy, origin: RuleOrigin, direction: Direction) -> ClusterRule:
    rules = policy.spec.ingress if direction is Direction.INGRESS else policy.spec.egress
    return rules[int(origin.path[2])]


@rule(
    "GW802",
    "equal-priority",
    Severity.ERROR,
    remedy="give the policies different priorities",
    example=Example(
        _PODS + _named("a", 10, _EVERY) + _named("b", 10, _RULE.replace("ACTION", "Accept")),
        _PODS + _named("a", 20, _EVERY) + _named("b", 10, _RULE.replace("ACTION", "Accept")),
    ),
)
def equal_priority(survey: Survey) -> Iterator[Hit]:
    """Two policies of one tier and priority do different things to the same connections.

    Which of the two is asked first is not defined by the API: networks differ, and one may change its mind with the
    next release. Reported once for each pair of rules, where no rule before them has decided.
    """
    priorities = {policy.key: policy.spec.priority for policy in survey.cluster_policies if has_priority(policy)}
    for direction in Direction:
        for left, right in _conflicts(survey, direction, priorities):
            message = (
                f"conflicts with {left.policy} {left.field}: both have priority {priorities[key_of(left)]}, match the"
                " same connections and do different things"
            )
            yield Hit(Place.of_rule(right), message, related=(Related(Place.of_rule(left), "does something else"),))


def has_priority(policy: ClusterPolicy) -> bool:
    """Whether a policy's priority orders it among others: the one BaselineAdminNetworkPolicy has none."""
    return policy.kind != "BaselineAdminNetworkPolicy"


def _conflicts(survey: Survey, direction: Direction, priorities: dict[Key, int]) -> list[Pair]:
    found: dict[Pair, None] = {}
    for one in survey.classes[direction]:
        for tier in (Tier.ADMIN, Tier.BASELINE):
            alike: dict[int, list[Rule]] = defaultdict(list)
            for each in one.rules.tier(tier):
                if key_of(each.origin) in priorities:
                    alike[priorities[key_of(each.origin)]].append(each)
            before: list[Rule] = []
            for _, rules in sorted(alike.items()):
                for left, right in combinations(rules, 2):
                    if _differ(left, right) and (left.origin, right.origin) not in found and _meet(left, right, before):
                        found[left.origin, right.origin] = None
                before += rules
    return list(found)


def _differ(left: Rule, right: Rule) -> bool:
    return left.action is not right.action and key_of(left.origin) != key_of(right.origin)


def _meet(left: Rule, right: Rule, before: list[Rule]) -> bool:
    """Whether some traffic that both match is undecided when their turn comes."""
    peers, ports = both(left.peers, right.peers), left.ports & right.ports
    return bool(peers and ports and _after((peers, ports), before)[0])


def both(left: Peers, right: Peers) -> Peers:
    """The peers that are among both."""
    if left.everyone or right.everyone:
        return right if left.everyone else left
    names = tuple(name for name in left.names if name in right.names)
    return Peers(False, left.pods & right.pods, left.addresses & right.addresses, names)


@rule(
    "GW803",
    "overruled",
    Severity.WARNING,
    remedy="take the rule out, or let the cluster-wide policy pass what it allows",
    example=Example(
        _PODS + _named("guard", 10, _EVERY) + _ACCEPT, _PODS + _named("guard", 10).replace("  ingress:\n", "") + _ACCEPT
    ),
)
def overruled(survey: Survey) -> Iterator[Hit]:
    """A NetworkPolicy allows what a cluster-wide policy denies to all of its pods.

    The Admin tier is asked first and its Deny is final: the rule reads as if it opened something, and opens nothing.
    """
    rules = {(*one.policy.key, one.direction, one.number): one for one in survey.rules}
    for direction in Direction:
        denied: dict[RuleOrigin, RuleOrigin] = {}
        open_: set[RuleOrigin] = set()
        for one in survey.classes[direction]:
            _judge(one, denied, open_)
        for origin, by in denied.items():
            if origin not in open_:
                place = rules[rule_key(origin, direction)].place()
                message = f"opens nothing: {by.policy} {by.field} denies all that it allows"
                yield Hit(place, message, related=(Related(Place.of_rule(by), "denies"),))


def _judge(one: Class, denied: dict[RuleOrigin, RuleOrigin], open_: set[RuleOrigin]) -> None:
    """Note which rules of a class an Admin Deny takes whole, and which have some effect."""
    admin = one.rules.tier(Tier.ADMIN)
    for each in one.rules.tier(Tier.NETWORK_POLICY):
        if not each.peers or each.origin in open_:
            continue
        left: Traffic = [(each.peers, each.ports)]
        for guard in admin:
            rest = [piece for peers, ports in left for piece in remainder(peers, ports, guard)]
            if rest != left and guard.action is Action.DENY:
                denied.setdefault(each.origin, guard.origin)
            elif rest != left:
                open_.add(each.origin)
            left = rest
        if left:
            open_.add(each.origin)
