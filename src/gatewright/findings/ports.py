"""Which ports a rule covers: names that nobody has, and numbers on which nobody listens.

What a container declares is documentation: it opens nothing, and what it leaves out may listen all the same. So a
number is spoken of only where all that it can concern declare others; a name needs its declaration to mean anything.
"""

from __future__ import annotations

from collections.abc import Iterator

from gatewright.engine.model import Direction
from gatewright.engine.podset import NO_PODS, PodSet
from gatewright.engine.ports import PortSet, Protocol
from gatewright.findings.absence import knows_peer
from gatewright.findings.model import Severity
from gatewright.findings.rule import Example, Hit, rule
from gatewright.findings.survey import Survey
from gatewright.findings.written import Written
from gatewright.objects.core import Service
from gatewright.objects.policy import NetworkPolicyPort

_POD = """\
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  containers:
  - {name: main, image: web, ports: [{name: http, containerPort: 8080}]}
---
"""
_SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
"""
_POLICY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [TYPE]
"""
_INGRESS = _POD + _POLICY.replace("TYPE", "Ingress") + "  ingress:\n  - ports: [{port: PORT}]\n"
_EGRESS = _POD + _POLICY.replace("TYPE", "Egress") + "  egress:\n  - to: [PEER]\n    ports: [{port: http}]\n"


def _destinations(survey: Survey, one: Written) -> PodSet:
    """The pods on which the rule's ports are: those selected, or those it leads to; none where these are not known."""
    if one.direction is Direction.INGRESS:
        return survey.subject(one.policy)
    if not all(knows_peer(survey, one.policy, peer) for peer in one.peers):
        return NO_PODS
    if not one.peers:
        return survey.selection.selectable if survey.complete else NO_PODS
    return PodSet.union(survey.peer_pods(one.policy, peer) for peer in one.peers)


def _entries(survey: Survey) -> Iterator[tuple[Written, int, NetworkPolicyPort, PodSet]]:
    """Every port entry of every rule in force, with the pods on which it would be."""
    for one in survey.rules:
        pods = _destinations(survey, one) if one.ports else NO_PODS
        for number, port in enumerate(one.ports):
            yield one, number, port, pods


@rule(
    "GW301",
    "unknown-port-name",
    Severity.ERROR,
    remedy="declare the name on the container's port, or write the number",
    example=Example(_INGRESS.replace("PORT", "web"), _INGRESS.replace("PORT", "http")),
)
def unknown_port_name(survey: Survey) -> Iterator[Hit]:
    """A named port that none of the pods has.

    A name stands for the number under which the destination pod declares it: for an ingress rule the pods that the
    policy selects, for an egress rule those it names as peers. Where none declares it, for that protocol, the entry
    allows nothing. An egress rule into namespaces that are not among the input is not judged.
    """
    for one, number, port, pods in _entries(survey):
        if not isinstance(port.port, str) or not pods:
            continue
        protocol = Protocol(port.protocol or "TCP")
        if any(pods & carriers for carriers in survey.selection.carriers((port.port, protocol)).values()):
            continue
        others = [p for p in Protocol if any(pods & c for c in survey.selection.carriers((port.port, p)).values())]
        hint = f"; it is declared for {others[0]}" if others else ""
        whose = "selected pod" if one.direction is Direction.INGRESS else "pod it leads to"
        message = f"no {whose} has a {protocol} port named {port.port}{hint}"
        yield Hit(one.place("ports", number, "port"), message)


@rule(
    "GW302",
    "port-name-of-addresses",
    Severity.ERROR,
    remedy="write the number",
    example=Example(
        _EGRESS.replace("PEER", "{ipBlock: {cidr: 192.0.2.0/24}}"),
        _EGRESS.replace("PEER", "{ipBlock: {cidr: 192.0.2.0/24}}").replace("port: http}]\n", "port: 80}]\n"),
    ),
)
def port_name_of_addresses(survey: Survey) -> Iterator[Hit]:
    """A named port in an egress rule that leads to addresses alone.

    A name is looked up on the destination pod. An address that an ipBlock names has none, so the entry allows nothing.
    """
    for one, number, port, _ in _entries(survey):
        if one.direction is Direction.EGRESS and isinstance(port.port, str) and _addresses_alone(one):
            message = f"addresses have no port named {port.port}: it allows nothing"
            yield Hit(one.place("ports", number, "port"), message)


def _addresses_alone(one: Written) -> bool:
    return bool(one.peers) and all(peer.ip_block is not None for peer in one.peers)


@rule(
    "GW303",
    "nobody-listens",
    Severity.INFO,
    remedy="write the number on which the container listens, or declare it on the container",
    example=Example(_INGRESS.replace("PORT", "9999"), _INGRESS.replace("PORT", "8080")),
)
def nobody_listens(survey: Survey) -> Iterator[Hit]:
    """A port on which none of the pods says that it listens.

    Every pod that the entry concerns declares ports, and this one is not among them. The declaration is documentation,
    so the port may be open all the same; more often it is the number of something else.
    """
    for one, number, covered, declared in _missed(survey):
        if _translating(survey, one, number) is None:
            message = f"no pod it concerns declares {covered}; they declare {declared}"
            yield Hit(one.place("ports", number, "port"), message)


@rule(
    "GW304",
    "service-port",
    Severity.WARNING,
    remedy="write the target port: policies judge a connection after the Service has translated it",
    example=Example(_SERVICE + _INGRESS.replace("PORT", "80"), _SERVICE + _INGRESS.replace("PORT", "8080")),
)
def service_port(survey: Survey) -> Iterator[Hit]:
    """A Service's port where the pod's own is meant.

    Who calls a Service is connected to a pod behind it, on the target port. Policies see that connection, and never the
    Service's port. Here a Service translates the number to another, and no pod declares to listen on the number itself.
    """
    for one, number, covered, _ in _missed(survey):
        found = _translating(survey, one, number)
        if found is not None:
            message = f"{covered} is the port of {found[0]}, which leads to port {found[1]} of the pods"
            yield Hit(one.place("ports", number, "port"), message)


def _missed(survey: Survey) -> Iterator[tuple[Written, int, PortSet, PortSet]]:
    """The entries with numbers of which no pod declares any: the rule, the entry, what it covers, what is declared."""
    for one, number, port, pods in _entries(survey):
        if not isinstance(port.port, int) or not pods or _leads_beyond_pods(one):
            continue
        declared = survey.declared_ports(pods)
        covered = PortSet.of(Protocol(port.protocol or "TCP"), (port.port, port.end_port or port.port))
        if declared is not None and not covered & declared:
            yield one, number, covered, declared


def _leads_beyond_pods(one: Written) -> bool:
    if one.direction is Direction.INGRESS:
        return False
    return not one.peers or any(peer.ip_block is not None for peer in one.peers)


def _translating(survey: Survey, one: Written, number: int) -> tuple[Service, int | str] | None:
    """A Service before the rule's pods that translates the entry's port to another, and to which."""
    port = one.ports[number]
    translated = survey.translated.get((port.protocol or "TCP", port.port or 0))
    if translated is None:
        return None
    return next((translated[index] for index in _destinations(survey, one) if index in translated), None)
