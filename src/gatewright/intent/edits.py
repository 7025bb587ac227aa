"""Small changes of policies, as values: what is done to which policy, how it is shown, and the policy that results.

A change is at once a sentence for people, lines of YAML, a JSON patch (RFC 6902) for `kubectl patch --type=json`, and
an object to try in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from gatewright.engine.model import Direction, RuleOrigin
from gatewright.intent.plan import Planned
from gatewright.objects.meta import Json, Object
from gatewright.objects.policy import (
    NetworkPolicy,
    NetworkPolicyEgressRule,
    NetworkPolicyIngressRule,
    NetworkPolicyPort,
)

Rule = NetworkPolicyIngressRule | NetworkPolicyEgressRule


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """A change of one policy: what to do, where, the YAML that comes in (None: something is taken out)."""

    what: str
    at: RuleOrigin | None
    lines: Any
    patch: tuple[Json, ...]
    result: Object


def create(planned: Planned) -> Edit:
    """A new policy."""
    item = planned.object
    return Edit(f"create {item}", None, planned.document, (), item)


def add_rule(policy: NetworkPolicy, direction: Direction, rule: Json) -> Edit:
    """A rule at the end of a direction."""
    field = direction.value.lower()
    own = _rules(policy, direction)
    result = _with_rules(policy, direction, (*own, _rule(rule, direction)))
    op: Json = {"op": "add", "path": f"/spec/{field}/-", "value": rule}
    if not own:
        op = {"op": "add", "path": f"/spec/{field}", "value": [rule]}
    return Edit(f"add a rule to {policy}", _origin(policy, "spec", field), {field: [rule]}, (op,), result)


def add_ports(policy: NetworkPolicy, direction: Direction, number: int, ports: list[Json]) -> Edit:
    """Ports in a rule that has some."""
    field, own = direction.value.lower(), _rules(policy, direction)
    more = tuple(msgspec.convert(port, NetworkPolicyPort) for port in ports)
    rule = msgspec.structs.replace(own[number], ports=(*own[number].ports, *more))
    result = _with_rules(policy, direction, (*own[:number], rule, *own[number + 1 :]))
    at = _origin(policy, "spec", field, number, "ports")
    patch = tuple({"op": "add", "path": f"/spec/{field}/{number}/ports/-", "value": port} for port in ports)
    return Edit(f"add to {at.field} of {policy}", at, ports, patch, result)


def removals(
    policy: NetworkPolicy, direction: Direction, number: int, matched: tuple[RuleOrigin, ...]
) -> Iterator[Edit]:
    """What could be taken out of a rule, the least first: the peer or port that matched, then the rule."""
    field, own = direction.value.lower(), _rules(policy, direction)
    for place in matched:
        path = place.path[3:]
        if len(path) != 2 or not isinstance(path[1], int):
            continue
        attribute = {"from": "from_"}.get(str(path[0]), str(path[0]))
        entries = getattr(own[number], attribute)
        if len(entries) < 2:  # without its last entry the list would mean everything
            continue
        left = (*entries[: path[1]], *entries[path[1] + 1 :])
        rule = msgspec.structs.replace(own[number], **{attribute: left})
        result = _with_rules(policy, direction, (*own[:number], rule, *own[number + 1 :]))
        op = {"op": "remove", "path": f"/spec/{field}/{number}/{path[0]}/{path[1]}"}
        yield Edit(f"take {place.field} out of {policy}", place, None, (op,), result)
    at = _origin(policy, "spec", field, number)
    result = _with_rules(policy, direction, (*own[:number], *own[number + 1 :]))
    patch: list[Json] = [{"op": "remove", "path": f"/spec/{field}/{number}"}]
    kept = ""
    if policy.spec.policy_types != result.spec.policy_types:
        patch.insert(0, {"op": "add", "path": "/spec/policyTypes", "value": list(result.spec.policy_types)})
        kept = f", and write policyTypes: [{', '.join(result.spec.policy_types)}]"
    yield Edit(f"take {at.field} out of {policy}{kept}", at, None, tuple(patch), result)


def replace_rule(policy: NetworkPolicy, direction: Direction, number: int, rules: list[Json]) -> Edit:
    """Narrower rules in place of one."""
    field, own = direction.value.lower(), _rules(policy, direction)
    made = tuple(_rule(rule, direction) for rule in rules)
    result = _with_rules(policy, direction, (*own[:number], *made, *own[number + 1 :]))
    at = _origin(policy, "spec", field, number)
    path = f"/spec/{field}/{number}"
    patch: tuple[Json, ...] = (
        {"op": "remove", "path": path},
        *({"op": "add", "path": path, "value": r} for r in reversed(rules)),
    )
    return Edit(f"write in place of {at.field} of {policy}", at, {field: rules}, patch, result)


def _rule(document: Json, direction: Direction) -> Rule:
    if direction is Direction.INGRESS:
        return msgspec.convert(document, NetworkPolicyIngressRule)
    return msgspec.convert(document, NetworkPolicyEgressRule)


def _rules(policy: NetworkPolicy, direction: Direction) -> tuple[Rule, ...]:
    return policy.spec.ingress if direction is Direction.INGRESS else policy.spec.egress


def _with_rules(policy: NetworkPolicy, direction: Direction, rules: tuple[Rule, ...]) -> NetworkPolicy:
    """The policy with other rules, isolating what it did: implied types are written out where they would change."""
    spec = msgspec.structs.replace(policy.spec, **{direction.value.lower(): rules})
    changed = msgspec.structs.replace(policy, spec=spec)
    if set(changed.policy_types) != set(policy.policy_types):
        spec = msgspec.structs.replace(spec, policy_types=policy.policy_types)
    return msgspec.structs.replace(policy, spec=spec)


def _origin(policy: NetworkPolicy, *path: str | int) -> RuleOrigin:
    return RuleOrigin(policy.kind, policy.namespace, policy.name, path, policy.origin)
