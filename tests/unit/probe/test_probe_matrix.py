"""The matrix: what is tried, what is predicted, and when prediction and packet differ."""

from __future__ import annotations

import ipaddress
import json
from xml.etree import ElementTree

import pytest

from gatewright.engine.compile import compile_snapshot
from gatewright.engine.ports import Protocol
from gatewright.engine.snapshot import Snapshot
from gatewright.engine.verdict import Outcome
from gatewright.objects.read import parse
from gatewright.probe.matrix import (
    OUTSIDE,
    Agreement,
    Cluster,
    Connection,
    Row,
    Selection,
    ServiceFront,
    measured,
    parse_port,
    plan,
)
from gatewright.report.matrix import MatrixRow, as_json, as_junit, as_table

PODS = """
apiVersion: v1
kind: Pod
metadata: {name: NAME, namespace: default, labels: {app: NAME}}
spec: {containers: [{name: c, image: i, ports: [{containerPort: 80}, {containerPort: 9, protocol: SCTP}]}]}
status: {podIP: ADDRESS}
"""
POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: only-a, namespace: default}
spec: {podSelector: {matchLabels: {app: b}}, ingress: [{from: [{podSelector: {matchLabels: {app: a}}}]}]}
"""
FRONT = ServiceFront("default/svc/b", ipaddress.ip_address("10.96.0.1"), Protocol.TCP, 8000, (("default/b", 80),))


def cluster(*fronts: ServiceFront) -> Cluster:
    pods = [PODS.replace("NAME", name).replace("ADDRESS", f"10.0.0.{n}") for n, name in enumerate("abc", 1)]
    objects = parse("\n---\n".join([*pods, POLICY]), "t.yaml").require()
    return Cluster(compile_snapshot(Snapshot.of(objects)), (ipaddress.ip_address("203.0.113.9"),), fronts)


def told(selection: Selection, *fronts: ServiceFront) -> list[tuple[str, str, int, str]]:
    found = plan(cluster(*fronts), selection)
    return [(one.source, one.destination, one.port, one.predicted.value) for one in found]


def test_every_pair_is_tried_on_declared_ports_and_predicted() -> None:
    everyone = [f"default/{name}" for name in "abc"]
    assert told(Selection([*everyone, OUTSIDE], everyone)) == [
        ("default/a", "default/b", 80, "allowed"),
        ("default/a", "default/c", 80, "allowed"),
        ("default/b", "default/a", 80, "allowed"),
        ("default/b", "default/c", 80, "allowed"),
        ("default/c", "default/a", 80, "allowed"),
        ("default/c", "default/b", 80, "denied"),
        (OUTSIDE, "default/a", 80, "allowed"),
        (OUTSIDE, "default/b", 80, "denied"),
        (OUTSIDE, "default/c", 80, "allowed"),
    ]


def test_other_ports_come_besides_and_services_lead_to_their_pods() -> None:
    selection = Selection(["default/c"], ["default/b"], ports=((Protocol.UDP, 53), (Protocol.TCP, 80)))
    assert told(selection, FRONT) == [
        ("default/c", "default/b", 80, "denied"),
        ("default/c", "default/b", 53, "denied"),
        ("default/c", "default/svc/b", 8000, "denied"),
    ]


def test_a_family_that_nobody_has_gives_nothing() -> None:
    assert told(Selection(["default/a"], ["default/b"], families=(6,)), FRONT) == []


def test_the_policies_that_decide_are_named() -> None:
    allowed, denied = plan(cluster(), Selection(["default/a", "default/c"], ["default/b"]))
    assert allowed.policies == denied.policies == ("default/only-a (ingress)",)


@pytest.mark.parametrize(
    ("predicted", "result", "agreement"),
    [
        (Outcome.ALLOWED, "open", Agreement.SAME),
        (Outcome.ALLOWED, "refused", Agreement.SAME),
        (Outcome.ALLOWED, "dropped", Agreement.DIFFERS),
        (Outcome.ALLOWED, "rejected", Agreement.DIFFERS),
        (Outcome.ALLOWED, "unknown", Agreement.UNKNOWN),
        (Outcome.ALLOWED, "error", Agreement.DIFFERS),
        (Outcome.DENIED, "dropped", Agreement.SAME),
        (Outcome.DENIED, "rejected", Agreement.SAME),
        (Outcome.DENIED, "open", Agreement.DIFFERS),
        (Outcome.DENIED, "refused", Agreement.DIFFERS),
        (Outcome.DENIED, "error", Agreement.DIFFERS),
        (Outcome.DEPENDS, "open", Agreement.UNKNOWN),
    ],
)
def test_when_they_differ(predicted: Outcome, result: str, agreement: Agreement) -> None:
    assert Row(Connection("a", "b", "1.1.1.1", Protocol.TCP, 1, predicted), result).agreement is agreement


def test_what_differs_comes_first() -> None:
    found = plan(cluster(), Selection(["default/a", "default/c"], ["default/b"]))
    rows = measured(found, [{"result": "open", "seconds": 0, "detail": ""}] * 2)
    assert [row.connection.source for row in rows] == ["default/c", "default/a"]


@pytest.mark.parametrize(("text", "port"), [("80", (Protocol.TCP, 80)), ("udp/53", (Protocol.UDP, 53))])
def test_ports(text: str, port: tuple[Protocol, int]) -> None:
    assert parse_port(text) == port


@pytest.mark.parametrize("text", ["", "http", "TCP/", "ICMP/1", "0", "65536", "SCTP/5"])
def test_what_is_no_port(text: str) -> None:
    with pytest.raises(ValueError, match=r"port|SCTP"):
        parse_port(text)


ROWS = (
    MatrixRow("c", "b", "1.1.1.1", "TCP 80", "denied", "open", True, False, ("default/p (ingress)",)),
    MatrixRow("a", "b", "1.1.1.1", "TCP 80", "allowed", "open", True, True),
    MatrixRow("a", "b", "1.1.1.1", "TCP 81", "denied", "dropped", False, True, ("default/p (ingress)",)),
    MatrixRow("a", "b", "1.1.1.1", "UDP 82", "allowed", "unknown", False, None),
)


def test_the_table_of_an_enforcing_network() -> None:
    assert as_table(ROWS, enforces=True).splitlines() == [
        "          FROM   TO   PORT     PREDICTED   MEASURED   POLICY",
        "DIFFERS   c      b    TCP 80   denied      open       default/p (ingress)",
        "          a      b    TCP 80   allowed     open       -",
        "          a      b    TCP 81   denied      dropped    default/p (ingress)",
        "          a      b    UDP 82   allowed     unknown    -",
        "",
        "4 connections: 2 open, 1 denied, 1 differ, 1 cannot be judged",
    ]


def test_the_table_of_a_flat_network_says_so() -> None:
    lines = as_table(ROWS[:1], enforces=False).splitlines()
    assert lines[1].startswith("NOT ENFORCED   c")
    assert lines[1].endswith("forbidden by default/p (ingress), reached")
    assert lines[-1] == (
        "Nothing enforces policies on this network: 1 connection that NetworkPolicies forbid reached their destination."
    )


def test_json_and_junit() -> None:
    assert json.loads(as_json(ROWS, enforces=True))["differ"] == 1
    suite = ElementTree.fromstring(as_junit(ROWS, enforces=True))
    assert suite.attrib["failures"] == "1"
    assert [len(case.findall("failure")) for case in suite] == [1, 0, 0, 0]
    assert len(suite.findall("testcase/skipped")) == 1
