"""What covers what, whatever pods there are: each pair is (wide, narrow, whether it covers)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import yaml

from gatewright.engine.model import Direction
from gatewright.findings.containment import cluster_rule_covers, peer_covers, rule_covers, selector_covers
from gatewright.findings.written import Written
from gatewright.objects.cluster_policy import ClusterRule
from gatewright.objects.meta import LabelSelector, ObjectMeta
from gatewright.objects.policy import NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyPeer

NAMESPACES = {"shop": {"team": "shop", "kubernetes.io/metadata.name": "shop"}}


def made(text: str, struct: type[Any]) -> Any:
    return msgspec.convert(yaml.safe_load(text), struct)


def expression(operator: str, *values: str) -> str:
    return f"{{matchExpressions: [{{key: a, operator: {operator}, values: [{', '.join(values)}]}}]}}"


@pytest.mark.parametrize(("wide", "narrow", "covers"), [
    ("{}", expression("In", "x"), True), (expression("In", "x"), "{}", False),
    (expression("In", "x", "y"), expression("In", "x"), True),
    (expression("In", "x"), expression("In", "x", "y"), False),
    (expression("Exists"), expression("In", "x"), True), (expression("In", "x"), expression("Exists"), False),
    (expression("NotIn", "x"), expression("In", "y"), True), (expression("NotIn", "x"), expression("In", "x"), False),
    (expression("NotIn", "x"), expression("NotIn", "x", "y"), True),
    (expression("NotIn", "x", "y"), expression("NotIn", "x"), False),
    (expression("NotIn", "x"), expression("DoesNotExist"), True),
    (expression("Exists"), expression("DoesNotExist"), False),
    (expression("DoesNotExist"), expression("NotIn", "x"), False),
    (expression("DoesNotExist"), expression("In", "x"), False),
    ("{matchLabels: {a: x}}", "{matchLabels: {a: x, b: y}}", True),
    ("{matchLabels: {a: x, b: y}}", "{matchLabels: {a: x}}", False),
])  # fmt: skip
def test_selectors(wide: str, narrow: str, covers: bool) -> None:
    assert selector_covers(made(wide, LabelSelector), made(narrow, LabelSelector)) is covers


PODS = "{podSelector: {matchLabels: {a: x}}}"
SPACES = "{namespaceSelector: {matchLabels: {team: shop}}}"


@pytest.mark.parametrize(("wide", "narrow", "covers"), [
    ("{podSelector: {}}", PODS, True), (PODS, "{podSelector: {}}", False),
    (SPACES, PODS, True), (PODS, SPACES, False), ("{namespaceSelector: {matchLabels: {team: ops}}}", PODS, False),
    (SPACES, "{namespaceSelector: {matchLabels: {team: shop}}, podSelector: {matchLabels: {a: x}}}", True),
    ("{namespaceSelector: {matchLabels: {team: shop}}, podSelector: {matchLabels: {a: x}}}", SPACES, False),
    ("{ipBlock: {cidr: 10.0.0.0/8}}", "{ipBlock: {cidr: 10.1.0.0/16}}", True),
    ("{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/24]}}", "{ipBlock: {cidr: 10.1.0.0/16}}", False),
    ("{ipBlock: {cidr: 0.0.0.0/0}}", PODS, False), ("{namespaceSelector: {}}", "{ipBlock: {cidr: 10.0.0.0/8}}", False),
])  # fmt: skip
def test_peers(wide: str, narrow: str, covers: bool) -> None:
    left, right = made(wide, NetworkPolicyPeer), made(narrow, NetworkPolicyPeer)
    assert peer_covers(left, right, "shop", NAMESPACES) is covers


@pytest.mark.parametrize(("wide", "narrow", "covers"), [
    ("{}", f"{{to: [{PODS}]}}", True), (f"{{to: [{PODS}]}}", "{}", False),
    (f"{{to: [{PODS}, {SPACES}]}}", f"{{to: [{PODS}]}}", True),
    (f"{{to: [{PODS}]}}", f"{{to: [{PODS}, {SPACES}]}}", False),
    ("{ports: [{port: 80}, {port: 81}]}", "{ports: [{port: 80}]}", True),
    ("{ports: [{port: 80}]}", "{ports: [{port: 80}, {port: 81}]}", False),
    ("{ports: [{port: web}]}", "{ports: [{port: web}]}", True),
    ("{ports: [{port: 80}]}", "{ports: [{port: web}]}", False),
    ("{}", "{ports: [{port: web}]}", True), ("{ports: [{protocol: TCP}]}", "{ports: [{port: web}]}", False),
])  # fmt: skip
def test_rules(wide: str, narrow: str, covers: bool) -> None:
    policy = NetworkPolicy(metadata=ObjectMeta(name="p", namespace="shop"))
    left, right = (
        Written(policy, Direction.EGRESS, 0, rule.to, rule.ports)
        for rule in (made(wide, NetworkPolicyEgressRule), made(narrow, NetworkPolicyEgressRule))
    )
    assert rule_covers(left, right, NAMESPACES) is covers


EVERY = "{namespaces: {}}"
TEAM = "{namespaces: {matchLabels: {team: shop}}}"
IN_TEAM = "{pods: {namespaceSelector: {matchLabels: {team: shop}}, podSelector: {matchLabels: {a: x}}}}"


@pytest.mark.parametrize(("wide", "narrow", "covers"), [
    (EVERY, TEAM, True), (TEAM, EVERY, False), (TEAM, IN_TEAM, True), (IN_TEAM, TEAM, False),
    (f"{TEAM}, {EVERY}", IN_TEAM, True), (TEAM, f"{TEAM}, {EVERY}", False),
    ("{networks: [10.0.0.0/8]}", "{networks: [10.1.0.0/16, 10.2.0.0/16]}", True),
    ("{networks: [10.0.0.0/8]}", "{networks: [10.1.0.0/16, 11.0.0.0/8]}", False),
    (EVERY, "{networks: [10.1.0.0/16]}", False), ("{networks: [0.0.0.0/0]}", TEAM, False),
    ("{domainNames: [a.example, b.example]}", "{domainNames: [a.example]}", True),
    ("{domainNames: [a.example]}", "{domainNames: [a.example, b.example]}", False),
    (EVERY, "{domainNames: [a.example]}", False), ("{domainNames: [a.example]}", TEAM, False),
    ("{nodes: {}}", "{nodes: {matchLabels: {a: x}}}", True), ("{nodes: {matchLabels: {a: x}}}", "{nodes: {}}", False),
    (EVERY, "{nodes: {}}", False), ("{nodes: {}}", TEAM, False),
])  # fmt: skip
def test_cluster_peers(wide: str, narrow: str, covers: bool) -> None:
    left, right = (made(f"{{action: Deny, to: [{peers}]}}", ClusterRule) for peers in (wide, narrow))
    assert cluster_rule_covers(left, right, Direction.EGRESS) is covers


@pytest.mark.parametrize(("wide", "narrow", "covers"), [
    ("", "80", True), ("80", "", False), ("80 81", "80", True), ("80", "80 81", False), ("80", "80", True),
])  # fmt: skip
def test_cluster_ports(wide: str, narrow: str, covers: bool) -> None:
    def rule(ports: str) -> ClusterRule:
        entries = ", ".join(f"{{tcp: {{destinationPort: {{number: {port}}}}}}}" for port in ports.split())
        found: ClusterRule = made(f"{{from: [{EVERY}]{f', protocols: [{entries}]' if ports else ''}}}", ClusterRule)
        return found

    assert cluster_rule_covers(rule(wide), rule(narrow), Direction.INGRESS) is covers
