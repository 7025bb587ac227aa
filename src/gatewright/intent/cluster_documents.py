"""The parts of cluster-wide policies as they are written, in the words of either version of the API.

ClusterNetworkPolicy (v1alpha2) says Accept and lists `protocols`; its forerunners AdminNetworkPolicy and
BaselineAdminNetworkPolicy (v1alpha1) say Allow and list `ports`. Peers are named alike.
"""

from __future__ import annotations

from collections.abc import Iterable

from gatewright.engine.model import Action, Direction
from gatewright.intent.documents import namespaces_document, selector_document
from gatewright.intent.model import EVERY_POD, PodsOf, Port
from gatewright.intent.numbers import policy_ports
from gatewright.intent.parties import Party
from gatewright.objects.meta import Json
from gatewright.objects.policy import NetworkPolicyPort

KIND = "ClusterNetworkPolicy"
API_VERSION = "policy.networking.k8s.io/v1alpha2"
OLD_API_VERSION = "policy.networking.k8s.io/v1alpha1"
SIDES = {Direction.INGRESS: "from", Direction.EGRESS: "to"}
MOST_NETWORKS = 25
"""That one peer may list [cnp]."""
EVERY_NETWORK = ("0.0.0.0/0", "::/0")


def pods_document(pods: PodsOf) -> Json:
    """Pods as subjects and peers name them."""
    namespaces = namespaces_document(pods)
    if pods.labels == EVERY_POD:
        return {"namespaces": namespaces}
    return {"pods": {"namespaceSelector": namespaces, "podSelector": selector_document(pods.labels)}}


def action_word(action: Action, kind: str) -> str:
    """An action as a kind of policy calls it."""
    return "Allow" if action is Action.ACCEPT and kind != KIND else action.value


def rule_document(kind: str, action: Action, direction: Direction, peer: Party, ports: Iterable[Port]) -> Json | None:
    """A rule about a party on some ports; None where it cannot be said: ingress rules know no addresses."""
    if peer.pods is not None:
        peers = [pods_document(peer.pods)]
    elif direction is Direction.EGRESS:
        networks = _networks(peer)
        peers = [{"networks": networks[i : i + MOST_NETWORKS]} for i in range(0, len(networks), MOST_NETWORKS)]
    else:
        return None
    rule: Json = {"action": action_word(action, kind), SIDES[direction]: peers}
    written = policy_ports(ports)
    if written:
        rule["protocols" if kind == KIND else "ports"] = [*map(_protocol if kind == KIND else _old_port, written)]
    return rule


def _networks(party: Party) -> list[str]:
    if party.is_anywhere:
        return list(EVERY_NETWORK)
    return [str(network) for family in (4, 6) for network in party.addresses.networks(family)]


def _protocol(port: NetworkPolicyPort) -> Json:
    if isinstance(port.port, str):
        return {"destinationNamedPort": port.port}
    numbers: Json = {"range": {"start": port.port, "end": port.end_port}} if port.end_port else {"number": port.port}
    return {(port.protocol or "TCP").lower(): {"destinationPort": numbers}}


def _old_port(port: NetworkPolicyPort) -> Json:
    if isinstance(port.port, str):
        return {"namedPort": port.port}
    if port.end_port:
        return {"portRange": {"protocol": port.protocol, "start": port.port, "end": port.end_port}}
    return {"portNumber": {"protocol": port.protocol, "port": port.port}}
