"""Guard rails: what stands under `never:` as ClusterNetworkPolicies, which no NetworkPolicy can override.

The Admin tier comes before every NetworkPolicy, so a Deny there holds whatever anybody allows later. A policy is about
one component: it denies at the destination what other pods must never send, and at the source what must never leave.
Ingress rules of this API know no addresses, so "these addresses never reach it" cannot be said; it is told instead.
"""

from __future__ import annotations

from collections.abc import Iterable

from gatewright.engine.model import Action, Direction
from gatewright.errors import Problem
from gatewright.intent.cluster_documents import API_VERSION, KIND, pods_document, rule_document
from gatewright.intent.model import PodsOf
from gatewright.intent.parties import Bound, Need, Party
from gatewright.intent.plan import Planned
from gatewright.objects.meta import Json
from gatewright.objects.origin import Path

PRIORITY = 100
"""Of 0 to 1000, the lower the sooner: room on both sides."""


def guard_rails(bound: Bound) -> tuple[list[Planned], list[Problem]]:
    """The policies, and what of `never:` they cannot say."""
    by_subject: dict[Party, list[tuple[Direction, Need]]] = {}
    untold = []
    for assertion in bound.never:
        if assertion.destination.is_component and assertion.source.pods is not None:
            by_subject.setdefault(assertion.destination, []).append((Direction.INGRESS, assertion))
        elif assertion.source.is_component:
            by_subject.setdefault(assertion.source, []).append((Direction.EGRESS, assertion))
        else:
            what = f"never {assertion}: no guard rail, since {KIND} denies no addresses on the way in"
            untold.append(Problem(str(assertion.flow.entry.origin) if assertion.flow else "", what))
    made = [_policy(party, rules) for party, rules in by_subject.items()]
    return sorted(made, key=lambda one: str(one.document["metadata"]["name"])), untold


def _policy(party: Party, rules: Iterable[tuple[Direction, Need]]) -> Planned:
    comments: dict[Path, tuple[str, ...]] = {
        (): (f"What {party.name} must never receive or send, whatever else allows.",)
    }
    where = "-".join(party.namespaces)
    spec: Json = {"tier": "Admin", "priority": PRIORITY, "subject": pods_document(party.pods or PodsOf())}
    written = sorted(
        rules, key=lambda rule: (rule[0] is Direction.EGRESS, rule[1].destination.pods is None, str(rule[1]))
    )
    for direction, assertion in written:
        side = direction.value.lower()
        found = spec.setdefault(side, [])
        if assertion.destination.pods is None and not any(rule["action"] == "Pass" for rule in found):
            comments["spec", side, len(found)] = ("What goes to pods is not meant by the addresses below.",)
            found.append({"action": "Pass", "to": [{"namespaces": {}}]})
        comments["spec", side, len(found)] = (
            f"never {assertion}",
            *(assertion.flow.entry.comment if assertion.flow else ()),
        )
        peer = assertion.source if direction is Direction.INGRESS else assertion.destination
        if rule := rule_document(KIND, Action.DENY, direction, peer, assertion.ports):
            found.append(rule)
    document = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": f"never-{where}-{party.name}"},
        "spec": spec,
    }
    return Planned(document, comments)
