"""Whose connections are looked at, when, and how one is judged."""

from __future__ import annotations

import ipaddress

import pytest

from gatewright.agent.connections import ONCE_MORE, PAUSE, Suspects, is_allowed
from gatewright.engine.compile import compile_snapshot
from gatewright.engine.snapshot import Snapshot
from gatewright.kernel.conntrack import Flow, Way
from tests.unit.agent.clusters import NODE, pod, policy

A, B = ipaddress.ip_address("10.0.0.1"), ipaddress.ip_address("10.0.0.2")


def test_who_is_suspected_is_looked_at_now_and_once_more() -> None:
    suspects = Suspects()
    assert [suspects.at] == [None]
    suspects.add([A])
    assert suspects.due(100.0) == {A}
    assert suspects.due(100.0 + PAUSE) == set()
    assert suspects.at == 100.0 + ONCE_MORE
    assert suspects.due(100.0 + ONCE_MORE) == {A}
    assert suspects.at is None


def test_between_two_readings_there_is_a_pause() -> None:
    suspects = Suspects()
    suspects.add([A])
    suspects.due(100.0)
    suspects.add([B])
    assert suspects.due(100.0 + PAUSE / 2) == set()
    assert suspects.due(100.0 + PAUSE) == {B}
    assert suspects.due(100.0 + ONCE_MORE) == {A}
    assert suspects.due(100.0 + PAUSE + ONCE_MORE) == {B}


def test_who_could_not_be_looked_at_comes_again() -> None:
    suspects = Suspects()
    suspects.add([A])
    suspects.put_off(suspects.due(100.0), 105.0)
    assert suspects.due(104.0) == set()
    assert A in suspects.due(105.0)


@pytest.mark.parametrize(
    ("source", "destination", "port", "allowed"),
    [
        ("10.0.0.1", "10.0.0.2", 80, True),
        ("10.0.0.1", "10.0.0.2", 81, False),
        ("10.0.9.9", "10.0.0.2", 80, False),
        ("198.51.100.1", "10.0.0.2", 80, False),
        ("10.0.0.2", "10.0.0.1", 81, True),
        ("10.0.0.2", "198.51.100.1", 81, True),
        ("10.0.0.1", "10.0.9.9", 80, True),
        ("10.0.0.3", "10.0.0.1", 80, False),
        ("10.0.0.2", "10.0.0.2", 80, False),
    ],
)
def test_a_connection_is_judged_by_the_sides_that_stand_here(
    source: str, destination: str, port: int, allowed: bool
) -> None:
    """p1 lets p0 in on 80; p3 may not open anything; a pod elsewhere is its own agent's business."""
    rules = {"from": [{"podSelector": {"matchLabels": {"app": "p0"}}}], "ports": [{"port": 80}]}
    objects = [
        pod("p0", "10.0.0.1"),
        pod("p1", "10.0.0.2"),
        pod("p3", "10.0.0.3"),
        pod("far", "10.0.9.9", node="node-2"),
        policy("db", "p1", ingress=[rules]),
        policy("out", "p3", policyTypes=["Egress"]),
        policy("elsewhere", "far"),
    ]
    compiled = compile_snapshot(Snapshot.of(objects), subjects=lambda one: one.node == NODE)
    first, second = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    one = Flow(6, Way(first, second, 40000, port), Way(second, first, port, 40000), 0, False, b"")
    assert is_allowed(compiled, one) is allowed
