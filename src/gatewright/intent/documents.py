"""The parts of a NetworkPolicy as it is written: selectors, peers and ports as plain documents, in the usual order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gatewright.engine.snapshot import NAMESPACE_NAME_LABEL
from gatewright.intent.model import EVERY_POD, PodsOf, Port
from gatewright.intent.numbers import policy_ports
from gatewright.intent.parties import Party
from gatewright.objects.meta import Json, LabelSelector


def selector_document(selector: LabelSelector) -> Json:
    """A label selector; empty for one that matches everything."""
    found: Json = {}
    if selector.match_labels:
        found["matchLabels"] = dict(sorted(selector.match_labels.items()))
    if selector.match_expressions:
        found["matchExpressions"] = [
            {"key": one.key, "operator": one.operator, **({"values": list(one.values)} if one.values else {})}
            for one in selector.match_expressions
        ]
    return found


def namespaces_document(pods: PodsOf) -> Json:
    """The selector of the namespaces in which pods lie: by labels, or by the name that every namespace carries."""
    if pods.namespaces is not None:
        return selector_document(pods.namespaces)
    return {"matchLabels": {NAMESPACE_NAME_LABEL: pods.namespace}}


def peer_documents(party: Party, namespace: str) -> list[Json]:
    """The peers of a rule that lets a party through, in a policy of a namespace; none for everybody."""
    if party.is_anywhere:
        return []
    if party.pods is None:
        return [
            {"ipBlock": {"cidr": b.cidr, **({"except": list(b.except_)} if b.except_ else {})}} for b in party.blocks
        ]
    pods = selector_document(party.pods.labels)
    if party.pods.namespaces is None and party.pods.namespace == namespace:
        return [{"podSelector": pods}]
    own: Json = {"namespaceSelector": namespaces_document(party.pods)}
    return [own if party.pods.labels == EVERY_POD else {**own, "podSelector": pods}]


def port_documents(ports: Iterable[Port]) -> list[Json]:
    """The ports of a rule; none for all traffic."""
    found = []
    for one in policy_ports(ports):
        port: dict[str, Any] = {"protocol": one.protocol, "port": one.port}
        found.append({**port, "endPort": one.end_port} if one.end_port else port)
    return found


def rule_document(party: Party, ports: Iterable[Port], side: str, namespace: str) -> Json:
    """A rule that lets a party through on some ports. `side` is `from` or `to`."""
    peers, written = peer_documents(party, namespace), port_documents(ports)
    return {**({side: peers} if peers else {}), **({"ports": written} if written else {})}
