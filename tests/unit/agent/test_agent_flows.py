"""A logged packet in words, who hears of it, and which become Events."""

from __future__ import annotations

import ipaddress
import warnings
from typing import Any

import pytest

from gatewright.agent import flows as flows_module
from gatewright.agent.client import Wanted
from gatewright.agent.events import ALIKE, MOST, PERIOD, Quota, event
from gatewright.agent.flows import End, Flow, Flows, flow
from gatewright.engine.compile import Compiled, compile_snapshot
from gatewright.engine.model import Direction
from gatewright.engine.snapshot import Snapshot
from gatewright.kernel.denylog import Denied, Packet
from gatewright.report.agent import flow_line
from tests.unit.agent.clusters import NODE, made, pod, policy

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import kubernetes_validate  # type: ignore[import-untyped]

DENY = made(
    {
        "apiVersion": "policy.networking.k8s.io/v1alpha2",
        "kind": "ClusterNetworkPolicy",
        "metadata": {"name": "guard"},
        "spec": {
            "tier": "Admin",
            "priority": 1,
            "subject": {"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "p0"}}}},
            "egress": [{"action": "Deny", "to": [{"networks": ["198.51.100.0/24"]}]}],
        },
    }
)


def cluster() -> Compiled:
    objects = [pod("p0", "10.0.0.1"), pod("p1", "10.0.0.2"), policy("db", "p1"), DENY]
    return compile_snapshot(Snapshot.of(objects), subjects=lambda one: one.node == NODE)


def denied(source: str, destination: str, direction: Direction = Direction.INGRESS, **more: Any) -> Denied:
    ends = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    packet = Packet(*ends, more.pop("protocol", 6), more.pop("source_port", 40000), more.pop("port", 80))
    fields = {"where": "ingress/shop/db", "why": "policy", "audit": False, **more}
    return Denied(direction=direction, packet=packet, time=0.0, in_link=None, out_link=None, **fields)


def test_a_drop_names_pod_peer_port_and_the_policies_that_isolate() -> None:
    one = flow(denied("10.0.0.1", "10.0.0.2"), cluster())
    assert (one.pod, one.source, one.destination) == (
        "shop/p1",
        End("10.0.0.1", "shop/p0", 40000),
        End("10.0.0.2", "shop/p1", 80),
    )
    assert (one.reason, one.policies) == ("isolated, and no rule matches", ("NetworkPolicy shop/db",))


def test_a_rule_that_denies_is_named() -> None:
    one = flow(denied("10.0.0.1", "198.51.100.7", Direction.EGRESS), cluster())
    assert one.pod == "shop/p0"
    assert (one.reason, one.rule) == ("a rule denies it", "ClusterNetworkPolicy guard spec.egress[0]")


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (denied("10.0.0.9", "10.0.0.2", Direction.EGRESS, why="spoofed"), "the source address is not the pod's own"),
        (denied("10.0.0.1", "10.0.0.7", why="unknown"), "no policy is in the kernel for this pod yet"),
        (denied("10.0.0.1", "10.0.0.7"), "denied by ingress/shop/db"),
        (denied("10.0.0.2", "10.0.0.1"), flows_module.STALE),
    ],
)
def test_what_rules_do_not_explain_is_said_as_it_is(packet: Denied, reason: str) -> None:
    assert flow(packet, cluster()).reason == reason


def test_before_anything_is_listed_the_class_is_all_there_is() -> None:
    assert flow(denied("10.0.0.1", "10.0.0.2"), None).reason == "denied by ingress/shop/db"


@pytest.mark.parametrize(("number", "name"), [(6, "TCP"), (132, "SCTP"), (1, "ICMP"), (47, "protocol 47")])
def test_protocols_have_their_names(number: int, name: str) -> None:
    assert flow(denied("10.0.0.1", "10.0.0.2", protocol=number), cluster()).protocol == name


FLOW = Flow(
    "2026-11-26T10:00:00.000Z", "dropped", "Ingress", "shop/p1", End("fd00::1", "shop/p0", 40000),
    End("fd00::2", "shop/p1", 80), "TCP", "isolated, and no rule matches", ("NetworkPolicy shop/db",),
)  # fmt: skip


def test_a_flow_is_one_line() -> None:
    import msgspec

    assert flow_line(msgspec.to_builtins(FLOW)) == (
        "2026-11-26T10:00:00.000Z DROPPED ingress TCP shop/p0 ([fd00::1]:40000) -> shop/p1 ([fd00::2]:80) "
        "(isolated, and no rule matches: NetworkPolicy shop/db)"
    )


def test_a_slow_listener_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows_module, "BACKLOG", 2)
    hub = Flows()
    with hub.listening() as (kept, coming):
        assert kept == ()
        for _ in range(5):
            hub.tell(FLOW)
        assert coming.qsize() == 2
        assert hub.missed == 3
    with hub.listening() as (kept, _):
        assert len(kept) == 5


def test_listeners_are_let_go_at_the_end() -> None:
    hub = Flows()
    with hub.listening() as (_, coming):
        hub.end()
        assert coming.get_nowait() is None
    with hub.listening() as (_, coming):
        assert coming.get_nowait() is None


@pytest.mark.parametrize(
    ("wanted", "holds"),
    [(Wanted(), True), (Wanted("shop"), True), (Wanted("sho"), False), (Wanted(None, "p0"), True),
     (Wanted(None, "shop/p1"), True), (Wanted(None, "p2"), False), (Wanted("other", "p0"), False)],
)  # fmt: skip
def test_flows_are_chosen_by_namespace_and_pod(wanted: Wanted, holds: bool) -> None:
    import msgspec

    assert wanted.holds(msgspec.to_builtins(FLOW)) is holds


def test_an_event_is_right_by_the_published_schema() -> None:
    made_event = event(FLOW, NODE, "0123456789abcdef")
    kubernetes_validate.validate(made_event, kubernetes_validate.latest_version(), strict=True)
    assert made_event["note"] == (
        "TCP connection from shop/p0 to port 80 dropped: isolated, and no rule matches (NetworkPolicy shop/db)"
    )


def test_alike_flows_make_one_event_in_a_while_and_all_together_not_many() -> None:
    import msgspec

    quota = Quota()
    assert quota.admits(FLOW, 0.0)
    assert not quota.admits(msgspec.structs.replace(FLOW, source=End("fd00::1", "shop/p0", 40001)), ALIKE - 1)
    assert quota.admits(FLOW, ALIKE)
    others = [msgspec.structs.replace(FLOW, destination=End("fd00::2", "shop/p1", port)) for port in range(MOST + 5)]
    assert sum(quota.admits(one, 10_000.0) for one in others) == MOST
    assert quota.admits(msgspec.structs.replace(FLOW, protocol="UDP"), 10_000.0 + PERIOD)
    assert not quota.admits(msgspec.structs.replace(FLOW, pod=""), 20_000.0)
