"""Guard rails: what stands under `never:` as ClusterNetworkPolicies, which no NetworkPolicy can override.

The Admin tier comes before every NetworkPolicy, so a Deny there holds whatever anybody allows later. A policy is about
one component: it denies at the destination what other pods must never send, and at the source what must never leave.
Ingress rules of this API know no addresses, so "these addresses never reach it" cannot be said; it is told instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gatewright.engine.model import Direction
from gatewright.errors import Problem
from gatewright.intent.documents import namespaces_document, selector_document
from gatewright.intent.model import EVERY_POD, PodsOf, Port
from gatewright.intent.numbers import policy_ports
from gatewright.intent.parties import Bound, Need, Party
from gatewright.intent.plan import Planned
from gatewright.objects.meta import Json
from gatewright.objects.origin import Path

API_VERSION = "policy.networking.k8s.io/v1alpha2"
KIND = "ClusterNetworkPolicy"
PRIORITY = 100
"""Of 0 to 1000, the lower the sooner: room on both sides."""
MOST_NETWORKS = 25
"""That one peer may list [cnp]."""
EVERY_NETWORK = ("0.0.0.0/0", "::/0")


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
    spec: Json = {"tier": "Admin", "priority": PRIORITY, "subject": _pods(party.pods or PodsOf())}
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
        found.append(_rule(direction, assertion))
    document = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": f"never-{where}-{party.name}"},
        "spec": spec,
    }
    return Planned(document, comments)


def _rule(direction: Direction, assertion: Need) -> Json:
    if direction is Direction.INGRESS:
        peers: Json = {"from": [_pods(assertion.source.pods or PodsOf())]}
    elif assertion.destination.pods is not None:
        peers = {"to": [_pods(assertion.destination.pods)]}
    else:
        networks = _networks(assertion.destination)
        peers = {"to": [{"networks": networks[i : i + MOST_NETWORKS]} for i in range(0, len(networks), MOST_NETWORKS)]}
    protocols = list(_protocols(assertion.ports))
    return {"action": "Deny", **peers, **({"protocols": protocols} if protocols else {})}


def _pods(pods: PodsOf) -> Json:
    """Pods as this API's subjects and peers name them."""
    namespaces = namespaces_document(pods)
    if pods.labels == EVERY_POD:
        return {"namespaces": namespaces}
    return {"pods": {"namespaceSelector": namespaces, "podSelector": selector_document(pods.labels)}}


def _networks(party: Party) -> list[str]:
    if party.is_anywhere:
        return list(EVERY_NETWORK)
    return [str(network) for family in (4, 6) for network in party.addresses.networks(family)]


def _protocols(ports: Iterable[Port]) -> Iterator[Json]:
    for one in policy_ports(ports):
        if isinstance(one.port, str):
            yield {"destinationNamedPort": one.port}
            continue
        numbers = {"range": {"start": one.port, "end": one.end_port}} if one.end_port else {"number": one.port}
        yield {(one.protocol or "TCP").lower(): {"destinationPort": numbers}}
