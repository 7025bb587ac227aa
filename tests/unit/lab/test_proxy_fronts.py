"""Which endpoints a node's proxy leads to, case by case, and which UDP entries it ends."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from gatewright.engine.snapshot import Changes
from gatewright.kernel.conntrack import Flow, Way
from gatewright.lab.backing import Backing
from gatewright.lab.proxy.fronts import Front, Target, fronts
from gatewright.lab.proxy.stale import is_stale, leave_behind, places
from tests.unit.lab.serving import HTTP, HTTP_BACKEND, Json, endpoint, endpoint_slice, service

NODE = "node-1"
V4, V6 = "10.96.0.50", "fd00:10:96::50"
READY: Json = {"ready": True, "serving": True, "terminating": False}
WAITING: Json = {"ready": False, "serving": False, "terminating": False}
ENDING: Json = {"ready": False, "serving": True, "terminating": True}
ENDED: Json = {"ready": False, "serving": False, "terminating": True}


def front(*endpoints: tuple[str, str, Json], **spec: Any) -> Front:
    own = endpoint_slice("web", [HTTP_BACKEND], *(endpoint(ip, node, **said) for ip, node, said in endpoints))
    (found,) = fronts(service("web", [V4], HTTP, **spec), [own], NODE, (4, 6))
    return found


def texts(targets: tuple[Target, ...]) -> list[str]:
    return [str(one.address) for one in targets]


@pytest.mark.parametrize(
    ("endpoints", "everyone", "local"),
    [
        ([], [], []),
        ([("10.0.0.1", NODE, READY), ("10.0.0.2", "node-2", READY)], ["10.0.0.1", "10.0.0.2"], ["10.0.0.1"]),
        ([("10.0.0.1", NODE, WAITING), ("10.0.0.2", "node-2", READY)], ["10.0.0.2"], []),
        ([("10.0.0.1", NODE, ENDING), ("10.0.0.2", "node-2", READY)], ["10.0.0.2"], ["10.0.0.1"]),
        ([("10.0.0.1", NODE, ENDING), ("10.0.0.2", "node-2", ENDING)], ["10.0.0.1", "10.0.0.2"], ["10.0.0.1"]),
        ([("10.0.0.1", NODE, ENDED), ("10.0.0.2", "node-2", ENDING)], ["10.0.0.2"], []),
        ([("10.0.0.1", NODE, WAITING)], [], []),
        ([("10.0.0.1", NODE, {})], ["10.0.0.1"], ["10.0.0.1"]),
        ([("10.0.0.1", NODE, {"ready": True, "terminating": True})], ["10.0.0.1"], ["10.0.0.1"]),
        ([("10.0.0.10", NODE, READY), ("10.0.0.9", NODE, READY)], ["10.0.0.9", "10.0.0.10"], ["10.0.0.9", "10.0.0.10"]),
    ],
)
def test_who_gets_connections(endpoints: list[tuple[str, str, Json]], everyone: list[str], local: list[str]) -> None:
    found = front(*endpoints)
    assert (texts(found.everyone), texts(found.local)) == (everyone, local)


@pytest.mark.parametrize(
    ("spec", "inside", "outside"),
    [
        ({}, 2, 2),
        ({"internalTrafficPolicy": "Local"}, 1, 2),
        ({"externalTrafficPolicy": "Local"}, 2, 1),
    ],
)
def test_traffic_policies(spec: Json, inside: int, outside: int) -> None:
    found = front(("10.0.0.1", NODE, READY), ("10.0.0.2", "node-2", READY), **spec)
    assert (len(found.inside), len(found.outside)) == (inside, outside)


@pytest.mark.parametrize(
    ("spec", "seconds"),
    [
        ({}, 0),
        ({"sessionAffinity": "None"}, 0),
        ({"sessionAffinity": "ClientIP"}, 10800),
        ({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 7}}}, 7),
        ({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": None}}, 10800),
    ],
)
def test_affinity(spec: Json, seconds: int) -> None:
    assert front(**spec).affinity == seconds


@pytest.mark.parametrize(
    ("spec", "versions"),
    [
        ({}, [4, 6]),
        ({"clusterIP": "None", "clusterIPs": ["None"]}, []),
        ({"type": "ExternalName"}, []),
        ({"clusterIPs": [V6], "clusterIP": V6}, [6]),
        ({"clusterIPs": []}, [4]),
        ({"clusterIP": "", "clusterIPs": []}, []),
        ({"clusterIPs": ["nonsense", V6]}, [6]),
    ],
)
def test_families_come_from_the_addresses(spec: Json, versions: list[int]) -> None:
    assert [one.version for one in fronts(service("web", [V4, V6], HTTP, **spec), [], NODE, (4, 6))] == versions


def test_a_family_that_the_node_does_not_have_is_left_out() -> None:
    assert [one.version for one in fronts(service("web", [V4, V6], HTTP), [], NODE, (4,))] == [4]


def test_a_node_port_counts_only_where_the_type_has_one() -> None:
    port = {**HTTP, "nodePort": 30080}
    for kind, expected in (("ClusterIP", 0), ("NodePort", 30080), ("LoadBalancer", 30080)):
        (found,) = fronts(service("web", [V4], port, type=kind), [], NODE, (4,))
        assert found.node_port == expected


def test_an_endpoint_in_two_slices_counts_once_and_as_the_readier_one() -> None:
    old = endpoint_slice("web", [HTTP_BACKEND], endpoint("10.0.0.1", NODE, **ENDING), name="a")
    new = endpoint_slice("web", [HTTP_BACKEND], endpoint("10.0.0.1", NODE, **READY), name="b")
    for order in ([old, new], [new, old]):
        (found,) = fronts(service("web", [V4], HTTP), order, NODE, (4,))
        assert texts(found.everyone) == ["10.0.0.1"]


def test_ports_are_found_by_name_and_protocol() -> None:
    other = {**HTTP_BACKEND, "protocol": "UDP"}
    unnamed = {"port": 8080, "protocol": "TCP"}
    for port in (other, unnamed, {"name": "http", "protocol": "TCP"}):
        own = endpoint_slice("web", [port], endpoint("10.0.0.1"))
        (found,) = fronts(service("web", [V4], HTTP), [own], NODE, (4,))
        assert found.everyone == ()


# --- what a watch tells -----------------------------------------------------------------------------------------------


def test_services_are_told_of_that_a_change_is_about() -> None:
    backing = Backing()
    web, own = service("web", [V4], HTTP), endpoint_slice("web", [HTTP_BACKEND], endpoint("10.0.0.1"), name="s")
    assert backing.take(Changes((web, own))) == {("default", "web")}
    moved = endpoint_slice("other", [HTTP_BACKEND], endpoint("10.0.0.1"), name="s")
    assert backing.take(Changes((moved,))) == {("default", "web"), ("default", "other")}
    assert backing.slices(("default", "web")) == []
    assert backing.slices(("default", "other")) == [moved]
    assert backing.take(Changes((), (moved.key,))) == {("default", "other")}
    assert backing.take(Changes((), (web.key,))) == {("default", "web")}
    assert backing.service(("default", "web")) is None
    assert backing.take(Changes((), (moved.key,))) == set()
    assert backing.take(Changes((endpoint_slice("", [HTTP_BACKEND], name="loose"),))) == set()


# --- UDP --------------------------------------------------------------------------------------------------------------


def way(source: str, destination: str, source_port: int, destination_port: int) -> Way:
    return Way(ipaddress.ip_address(source), ipaddress.ip_address(destination), source_port, destination_port)


def flow(to: str, port: int, answers: str, answers_port: int) -> Flow:
    return Flow(17, way("10.9.9.9", to, 999, port), way(answers, "10.9.9.9", answers_port, 999), 0, False, b"")


DNS: Json = {"name": "dns", "port": 53, "protocol": "UDP", "nodePort": 30053}
DNS_BACKEND: Json = {"name": "dns", "port": 5353, "protocol": "UDP"}


def reached(*endpoints: Json) -> dict[Target, frozenset[Target]]:
    own = endpoint_slice("dns", [DNS_BACKEND, HTTP_BACKEND], *endpoints)
    spec: Json = {"type": "NodePort", "externalIPs": ["198.51.100.7"]}
    found = fronts(service("dns", [V4], DNS, HTTP, **spec), [own], NODE, (4,))
    return places(found, [ipaddress.ip_address("172.31.255.11")])


@pytest.mark.parametrize(
    ("one", "stale"),
    [
        (flow(V4, 53, "10.0.0.1", 5353), False),
        (flow(V4, 53, "10.0.0.3", 5353), False),
        (flow(V4, 53, "10.0.0.2", 5353), True),
        (flow(V4, 53, "10.0.0.1", 53), True),
        (flow(V4, 53, V4, 53), True),
        (flow("172.31.255.11", 30053, "10.0.0.2", 5353), True),
        (flow("172.31.255.11", 30053, "10.0.0.1", 5353), False),
        (flow("198.51.100.7", 53, "10.0.0.2", 5353), True),
        (flow(V4, 54, V4, 54), False),
        (flow("10.0.0.2", 5353, "10.0.0.2", 5353), False),
    ],
)
def test_entries_that_end_at_no_endpoint_are_stale(one: Flow, stale: bool) -> None:
    assert is_stale(one, reached(endpoint("10.0.0.1", **READY), endpoint("10.0.0.3", **ENDING))) is stale


def test_without_any_endpoint_an_entry_stays() -> None:
    assert not is_stale(flow(V4, 53, "10.0.0.2", 5353), reached())


def test_only_what_can_leave_entries_behind_is_worth_a_look() -> None:
    one, two = endpoint("10.0.0.1", **READY), endpoint("10.0.0.2", **READY)
    assert leave_behind({}, reached(one))
    assert leave_behind(reached(), reached(one))
    assert leave_behind(reached(one, two), reached(one))
    assert not leave_behind(reached(one), reached(one, two))
    assert not leave_behind(reached(one), reached(one))
    assert not leave_behind(reached(one), {})
