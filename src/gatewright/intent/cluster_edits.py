"""Small changes of cluster-wide policies, as `intent.edits` has them for NetworkPolicies.

The order of rules means something here, and so does the action: a rule can be put before another one, and an action be
another word. That a rule without its last peer or port would be another rule is the API's: such lists keep one entry.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from gatewright.engine.model import Action, Direction, RuleOrigin
from gatewright.intent.cluster_documents import KIND, SIDES, action_word
from gatewright.intent.edits import Edit
from gatewright.objects.cluster_policy import ClusterPolicy, ClusterRule
from gatewright.objects.meta import Json
from gatewright.objects.origin import Path

MOST_RULES = {KIND: 25}
"""That a policy may have in one direction: 100 in the other kinds [cnp]."""


def rules_of(policy: ClusterPolicy, direction: Direction) -> tuple[ClusterRule, ...]:
    """The rules of one direction."""
    return policy.spec.ingress if direction is Direction.INGRESS else policy.spec.egress


def put_before(policy: ClusterPolicy, direction: Direction, number: int, rule: Json) -> Iterator[Edit]:
    """A rule before another one; nothing where the policy has as many as it may."""
    own = rules_of(policy, direction)
    if len(own) >= MOST_RULES.get(policy.kind, 100):
        return
    field = direction.value.lower()
    made = msgspec.convert(rule, ClusterRule)
    at = _origin(policy, "spec", field, number)
    patch: Json = {"op": "add", "path": f"/spec/{field}/{number}", "value": rule}
    result = _with_rules(policy, direction, (*own[:number], made, *own[number:]))
    yield Edit(f"put before {at.field} of {policy}", at, {field: [rule]}, (patch,), result)


def other_action(policy: ClusterPolicy, direction: Direction, number: int, action: Action) -> Edit:
    """Another action of a rule."""
    own, field, word = rules_of(policy, direction), direction.value.lower(), action_word(action, policy.kind)
    at = _origin(policy, "spec", field, number, "action")
    patch: Json = {"op": "replace", "path": f"/spec/{field}/{number}/action", "value": word}
    rule = msgspec.structs.replace(own[number], action=word)
    result = _with_rules(policy, direction, (*own[:number], rule, *own[number + 1 :]))
    what = f"write {word} in place of {own[number].action} in {at.field} of {policy}"
    return Edit(what, at, None, (patch,), result)


def without_entry(policy: ClusterPolicy, direction: Direction, number: int, field: str, entry: int) -> Edit:
    """A rule without one of its peers (`from`, `to`) or ports (`protocols`, `ports`), of which it has several."""
    own, side = rules_of(policy, direction), direction.value.lower()
    attribute = {"from": "from_"}.get(field, field)
    entries = getattr(own[number], attribute)
    rule = msgspec.structs.replace(own[number], **{attribute: (*entries[:entry], *entries[entry + 1 :])})
    at = _origin(policy, "spec", side, number, field, entry)
    patch: Json = {"op": "remove", "path": f"/spec/{side}/{number}/{field}/{entry}"}
    result = _with_rules(policy, direction, (*own[:number], rule, *own[number + 1 :]))
    return Edit(f"take {at.field} out of {policy}", at, None, (patch,), result)


def without_rule(policy: ClusterPolicy, direction: Direction, number: int) -> Edit:
    """A policy without one of its rules."""
    own, field = rules_of(policy, direction), direction.value.lower()
    at = _origin(policy, "spec", field, number)
    patch: Json = {"op": "remove", "path": f"/spec/{field}/{number}"}
    result = _with_rules(policy, direction, (*own[:number], *own[number + 1 :]))
    return Edit(f"take {at.field} out of {policy}", at, None, (patch,), result)


def peers_of(rule: ClusterRule, direction: Direction) -> tuple[str, int]:
    """The field of a rule's peers, and how many it has."""
    return SIDES[direction], len(rule.from_ if direction is Direction.INGRESS else rule.to)


def ports_of(rule: ClusterRule) -> tuple[str, int]:
    """The field of a rule's ports, and how many it has."""
    if rule.protocols is not None:
        return "protocols", len(rule.protocols)
    return "ports", len(rule.ports or ())


def _with_rules(policy: ClusterPolicy, direction: Direction, rules: tuple[ClusterRule, ...]) -> ClusterPolicy:
    spec = msgspec.structs.replace(policy.spec, **{direction.value.lower(): rules})
    return msgspec.structs.replace(policy, spec=spec)


def _origin(policy: ClusterPolicy, *path: str | int) -> RuleOrigin:
    where: Path = path
    return RuleOrigin(policy.kind, "", policy.name, where, policy.origin)
