"""Cluster-wide policies: ClusterNetworkPolicy, AdminNetworkPolicy and BaselineAdminNetworkPolicy.

The first is policy.networking.k8s.io/v1alpha2, the other two its forerunners in v1alpha1. They differ in words alone,
so one set of structs reads them all. Fields they do not know are passed over, because a newer cluster may have peers
that this version does not: what is left of such a part is empty, and the engine lets it fail closed. Manifests are
checked for unknown fields before (`objects.crd`).
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from gatewright.objects.meta import LabelSelector, Lenient, Object

MATCHES_ALL = LabelSelector()


class NamespacedPod(Lenient, frozen=True):
    """Pods by the labels of their namespace and their own; both must hold."""

    namespace_selector: LabelSelector = MATCHES_ALL
    pod_selector: LabelSelector = MATCHES_ALL


class Subject(Lenient, frozen=True):
    """Whom a policy is about: exactly one of the two."""

    namespaces: LabelSelector | None = None
    pods: NamespacedPod | None = None


class Peer(Lenient, frozen=True):
    """The other side of a rule: exactly one field. nodes, networks and domain_names stand in egress rules only."""

    namespaces: LabelSelector | None = None
    pods: NamespacedPod | None = None
    nodes: LabelSelector | None = None
    networks: tuple[str, ...] = ()
    domain_names: tuple[str, ...] = ()

    @property
    def unknown(self) -> bool:
        """Whether it names nothing that this version knows."""
        chosen = (self.namespaces, self.pods, self.nodes)
        return all(one is None for one in chosen) and not self.networks and not self.domain_names


class PortRange(Lenient, frozen=True):
    """Ports start to end, both included. `protocol` is written in v1alpha1 only (TCP when absent)."""

    start: int = 0
    end: int = 0
    protocol: str = "TCP"


class DestinationPort(Lenient, frozen=True):
    """v1alpha2 Port: a number or a range."""

    number: int | None = None
    range: PortRange | None = None


class ProtocolPorts(Lenient, frozen=True):
    """v1alpha2 TCP, UDP or SCTP. Something is always written; if it is no port, it is a part not known here."""

    destination_port: DestinationPort | None = None


class RuleProtocol(Lenient, frozen=True):
    """v1alpha2 protocol of a rule: exactly one field."""

    tcp: ProtocolPorts | None = None
    udp: ProtocolPorts | None = None
    sctp: ProtocolPorts | None = None
    destination_named_port: str | None = None


class PortNumber(Lenient, frozen=True):
    """v1alpha1 port by number."""

    port: int = 0
    protocol: str = "TCP"


class RulePort(Lenient, frozen=True):
    """v1alpha1 port of a rule: exactly one field."""

    port_number: PortNumber | None = None
    named_port: str | None = None
    port_range: PortRange | None = None


class ClusterRule(Lenient, frozen=True):
    """A rule of either version and direction. `protocols` (v1alpha2) or `ports` (v1alpha1): None is all traffic."""

    action: str = ""
    name: str = ""
    from_: tuple[Peer, ...] = msgspec.field(default=(), name="from")
    to: tuple[Peer, ...] = ()
    protocols: tuple[RuleProtocol, ...] | None = None
    ports: tuple[RulePort, ...] | None = None


class ClusterPolicySpec(Lenient, frozen=True):
    """The spec of all three kinds. `tier` is written in ClusterNetworkPolicy only."""

    subject: Subject = Subject()
    priority: int = 0
    tier: str = ""
    ingress: tuple[ClusterRule, ...] = ()
    egress: tuple[ClusterRule, ...] = ()


@dataclass(frozen=True, slots=True)
class PortChoice:
    """One entry of what a rule covers: ports first to last of a protocol, a port name, or (neither) nothing known."""

    protocol: str = ""
    first: int = 0
    last: int = 0
    name: str = ""


class ClusterPolicy(Object, frozen=True):
    """Base of the three kinds."""

    spec: ClusterPolicySpec = ClusterPolicySpec()

    @property
    def is_baseline(self) -> bool:
        """Whether it stands in the Baseline tier, after NetworkPolicies; else in the Admin tier, before them."""
        return self.spec.tier == "Baseline"


class ClusterNetworkPolicy(ClusterPolicy, frozen=True):
    """policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy."""


class AdminNetworkPolicy(ClusterPolicy, frozen=True):
    """policy.networking.k8s.io/v1alpha1 AdminNetworkPolicy: the Admin tier."""


class BaselineAdminNetworkPolicy(ClusterPolicy, frozen=True):
    """policy.networking.k8s.io/v1alpha1 BaselineAdminNetworkPolicy: the Baseline tier, one object named `default`."""

    @property
    def is_baseline(self) -> bool:
        """Always."""
        return True


def port_choices(rule: ClusterRule) -> tuple[PortChoice, ...] | None:
    """What a rule covers, in either version's words; None is all traffic, ports or not."""
    if rule.protocols is not None:
        return tuple(_choice(one) for one in rule.protocols)
    return None if rule.ports is None else tuple(_old_choice(one) for one in rule.ports)


def _choice(one: RuleProtocol) -> PortChoice:
    for protocol, ports in (("TCP", one.tcp), ("UDP", one.udp), ("SCTP", one.sctp)):
        if ports is None:
            continue
        port = ports.destination_port or DestinationPort()
        if port.range is not None:
            return PortChoice(protocol, port.range.start, port.range.end)
        return PortChoice() if port.number is None else PortChoice(protocol, port.number, port.number)
    return PortChoice(name=one.destination_named_port or "")


def _old_choice(one: RulePort) -> PortChoice:
    if one.port_number is not None:
        return PortChoice(one.port_number.protocol, one.port_number.port, one.port_number.port)
    if one.port_range is not None:
        return PortChoice(one.port_range.protocol, one.port_range.start, one.port_range.end)
    return PortChoice(name=one.named_port or "")
