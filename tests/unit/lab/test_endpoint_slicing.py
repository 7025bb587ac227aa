"""EndpointSlices and Endpoints of a Service, case by case, and how few writes lead there."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.lab.controllers.legacy_endpoints import differs, endpoints
from gatewright.lab.controllers.slicing import Writes, plan, selects, wanted

Tree = dict[str, Any]
_NUMBERS = itertools.count()
"""What ends the names that a server makes: none comes twice."""


def service(**spec: Any) -> Tree:
    made: Tree = {"clusterIP": "10.96.0.50", "ipFamilies": ["IPv4"], "selector": {"app": "web"}}
    made |= {"ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]} | spec
    labels = {"team": "a", "endpointslice.kubernetes.io/managed-by": "nobody"}
    metadata = {"name": "web", "namespace": "default", "uid": "u-web", "labels": labels}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": made}


def pod(number: int, *, ready: bool = True, phase: str = "Running", ending: bool = False, **spec: Any) -> Tree:
    addresses = [f"10.244.{number // 200}.{number % 200 + 1}", f"fd00:10:244::{number + 1:x}"]
    metadata: Tree = {"name": f"web-{number:03}", "namespace": "default", "uid": f"u-{number}"}
    if ending:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    status = {
        "phase": phase,
        "podIP": addresses[0],
        "podIPs": [{"ip": one} for one in addresses],
        "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
    }
    container = {"name": "c", "ports": [{"name": "http", "containerPort": 8080 + number % 2}]}
    return {"metadata": metadata, "spec": {"nodeName": "n1", "containers": [container], **spec}, "status": status}


def grown(writes: Writes, existing: Sequence[Tree]) -> list[Tree]:
    """The slices after the writes, as a server keeps them."""
    found = {tree["metadata"]["name"]: tree for tree in existing}
    for tree in writes.deleted:
        del found[tree["metadata"]["name"]]
    for tree in writes.updated:
        assert tree["metadata"]["name"] in found
        found[tree["metadata"]["name"]] = copy.deepcopy(tree)
    for tree in writes.created:
        made = copy.deepcopy(tree)
        made["metadata"]["name"] = f"{made['metadata'].pop('generateName')}{next(_NUMBERS)}"
        found[made["metadata"]["name"]] = made
    return list(found.values())


def made(of: Tree, pods: Sequence[Tree], existing: Sequence[Tree] = ()) -> tuple[Writes, list[Tree]]:
    writes = plan(of, wanted(of, pods), existing)
    return writes, grown(writes, existing)


def test_a_slice_as_the_api_has_it() -> None:
    (found,) = made(service(), [pod(0)])[1]
    metadata = found.pop("metadata")
    assert found == {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": ["10.244.0.1"],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "targetRef": {"kind": "Pod", "namespace": "default", "name": "web-000", "uid": "u-0"},
                "nodeName": "n1",
            }
        ],
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
    }
    assert metadata["labels"] == {
        "team": "a",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    (owner,) = metadata["ownerReferences"]
    assert owner["uid"] == "u-web"
    assert owner["controller"]


@pytest.mark.parametrize(
    ("one", "published", "conditions"),
    [
        (pod(0), False, (True, True, False)),
        (pod(0, ready=False), False, (False, False, False)),
        (pod(0, ending=True), False, (False, True, True)),
        (pod(0, ready=False, ending=True), False, (False, False, True)),
        (pod(0, ready=False), True, (True, True, False)),
        (pod(0, ending=True), True, (True, True, True)),
        (pod(0, phase="Succeeded"), False, None),
        (pod(0, phase="Failed"), True, None),
        ({**pod(0), "status": {"phase": "Pending"}}, False, None),
        ({**pod(0), "status": {"phase": "Running", "podIP": "10.244.0.1"}}, False, (False, False, False)),
        (pod(0, hostNetwork=True), False, (True, True, False)),
    ],
)
def test_conditions(one: Tree, published: bool, conditions: tuple[bool, ...] | None) -> None:
    groups = wanted(service(publishNotReadyAddresses=published), [one])
    found = [tuple(each["conditions"].values()) for own in groups.values() for each in own]
    assert found == ([conditions] if conditions else [])


@pytest.mark.parametrize(
    ("spec", "types"),
    [
        ({}, ["IPv4"]),
        ({"ipFamilies": ["IPv6"]}, ["IPv6"]),
        ({"ipFamilies": ["IPv6", "IPv4"]}, ["IPv6", "IPv4"]),
        ({"ipFamilies": None, "clusterIPs": ["10.96.0.1", "fd00::1"]}, ["IPv4", "IPv6"]),
        ({"ipFamilies": None, "clusterIP": "None"}, ["IPv4"]),
        ({"type": "ExternalName"}, []),
    ],
)
def test_families(spec: Tree, types: list[str]) -> None:
    for pods in ([pod(0)], []):
        assert sorted(family for family, _ in wanted(service(**spec), pods)) == sorted(types)


def test_pods_that_mean_other_numbers_by_a_name_stand_apart() -> None:
    named = service(ports=[{"name": "http", "port": 80, "targetPort": "http"}])
    found = made(named, [pod(0), pod(1), pod(2)])[1]
    assert sorted((one["ports"][0]["port"], len(one["endpoints"])) for one in found) == [(8080, 2), (8081, 1)]


@pytest.mark.parametrize(
    ("port", "numbers"),
    [
        ({"port": 80}, [80]),
        ({"port": 80, "targetPort": 9}, [9]),
        ({"port": 80, "targetPort": "9"}, [9]),
        ({"port": 80, "targetPort": "http"}, [8080]),
        ({"port": 80, "targetPort": "http", "protocol": "UDP"}, []),
        ({"port": 80, "targetPort": "absent"}, []),
    ],
)
def test_target_ports(port: Tree, numbers: list[int]) -> None:
    ((_, ports),) = wanted(service(ports=[port]), [pod(0)])
    assert [one[2] for one in ports] == numbers


def test_a_sidecars_port_counts_and_an_init_containers_does_not() -> None:
    named = service(ports=[{"port": 80, "targetPort": "side"}])
    container = {"ports": [{"name": "side", "containerPort": 15}]}
    for policy, numbers in (("Always", [15]), (None, [])):
        one = pod(0, initContainers=[{**container, "restartPolicy": policy}])
        ((_, ports),) = wanted(named, [one])
        assert [own[2] for own in ports] == numbers


def test_a_pod_has_its_own_name_where_it_asks_for_one_here() -> None:
    for subdomain, expected in (("web", "a"), ("other", None)):
        (found,) = made(service(), [pod(0, hostname="a", subdomain=subdomain)])[1]
        assert found["endpoints"][0].get("hostname") == expected


def test_without_endpoints_there_is_one_empty_slice_that_is_used_later() -> None:
    writes, existing = made(service(), [])
    (empty,) = existing
    assert (empty["endpoints"], empty["ports"]) == ([], [])
    assert not plan(service(), wanted(service(), []), existing)
    writes, existing = made(service(), [pod(0)], existing)
    assert (len(writes.created), len(writes.updated), len(writes.deleted)) == (0, 1, 0)
    assert existing[0]["ports"] == [{"name": "http", "protocol": "TCP", "port": 8080}]
    writes, existing = made(service(), [], existing)
    assert (len(writes.created), len(writes.updated), len(writes.deleted)) == (0, 1, 0)


def test_headless_slices_say_so() -> None:
    (found,) = made(service(clusterIP="None"), [])[1]
    assert found["metadata"]["labels"]["service.kubernetes.io/headless"] == ""


def test_nothing_is_written_where_all_is_well() -> None:
    pods = [pod(number) for number in range(250)]
    _, existing = made(service(ipFamilies=["IPv4", "IPv6"]), pods)
    assert sorted(len(one["endpoints"]) for one in existing) == [50, 50, 100, 100, 100, 100]
    assert not plan(service(ipFamilies=["IPv4", "IPv6"]), wanted(service(ipFamilies=["IPv4", "IPv6"]), pods), existing)


def test_a_pod_that_changes_changes_one_slice() -> None:
    pods = [pod(number) for number in range(250)]
    _, existing = made(service(), pods)
    for changed in ([*pods[:120], pod(120, ready=False), *pods[121:]], pods[:-1], pods[1:], [*pods, pod(300)]):
        writes, _ = made(service(), changed, existing)
        assert (len(writes.created), len(writes.updated), len(writes.deleted)) == (0, 1, 0)


def test_labels_of_the_service_are_those_of_its_slices() -> None:
    _, existing = made(service(), [pod(0)])
    other = service()
    other["metadata"]["labels"] = {"team": "b"}
    writes, existing = made(other, [pod(0)], existing)
    assert len(writes.updated) == 1
    assert existing[0]["metadata"]["labels"]["team"] == "b"


@given(st.lists(st.sets(st.integers(0, 260)), min_size=1, max_size=5))
def test_after_any_changes_each_endpoint_stands_once_in_a_slice_of_its_own_ports(states: list[set[int]]) -> None:
    named = service(ports=[{"name": "http", "port": 80, "targetPort": "http"}])
    existing: list[Tree] = []
    for numbers in states:
        pods = [pod(number) for number in sorted(numbers)]
        _, existing = made(named, pods, existing)
        held = [(one["targetRef"]["name"], tree["ports"][0]["port"]) for tree in existing for one in tree["endpoints"]]
        assert sorted(held) == [(f"web-{number:03}", 8080 + number % 2) for number in sorted(numbers)]
        assert all(len(tree["endpoints"]) <= 100 for tree in existing)
        assert all(tree["endpoints"] for tree in existing) or len(existing) == 1
        assert not plan(named, wanted(named, pods), existing)


@pytest.mark.parametrize(
    ("selector", "labels", "expected"),
    [
        ({"app": "web"}, {"app": "web", "x": "y"}, True),
        ({"app": "web", "x": "y"}, {"app": "web"}, False),
        ({"app": "web"}, {}, False),
        ({}, {"app": "web"}, False),
        (None, {"app": "web"}, False),
    ],
)
def test_selection(selector: Tree | None, labels: Tree, expected: bool) -> None:
    assert selects(service(selector=selector), labels) is expected


# --- Endpoints --------------------------------------------------------------------------------------------------------


def test_endpoints_as_the_api_has_them() -> None:
    found = endpoints(service(), [pod(1, ready=False), pod(0), pod(2, ending=True), pod(3, phase="Failed")])
    reference = {"kind": "Pod", "namespace": "default"}
    assert found["subsets"] == [
        {
            "addresses": [
                {"ip": "10.244.0.1", "targetRef": {**reference, "name": "web-000", "uid": "u-0"}, "nodeName": "n1"}
            ],
            "notReadyAddresses": [
                {"ip": "10.244.0.2", "targetRef": {**reference, "name": "web-001", "uid": "u-1"}, "nodeName": "n1"}
            ],
            "ports": [{"port": 8080, "protocol": "TCP", "name": "http"}],
        }
    ]
    assert found["metadata"]["labels"]["endpoints.kubernetes.io/managed-by"] == "endpoint-controller"


def test_endpoints_have_the_first_family_only() -> None:
    (subset,) = endpoints(service(ipFamilies=["IPv6", "IPv4"]), [pod(0)])["subsets"]
    assert [one["ip"] for one in subset["addresses"]] == ["fd00:10:244::1"]


def test_endpoints_that_are_published_before_they_are_ready() -> None:
    pods = [pod(0, ready=False), pod(1, ending=True)]
    (subset,) = endpoints(service(publishNotReadyAddresses=True), pods)["subsets"]
    assert len(subset["addresses"]) == 2


def test_endpoints_end_at_a_thousand_and_say_so() -> None:
    found = endpoints(service(), [pod(number) for number in range(1001)])
    assert len(found["subsets"][0]["addresses"]) == 1000
    assert found["metadata"]["annotations"] == {"endpoints.kubernetes.io/over-capacity": "truncated"}


def test_endpoints_differ_by_what_they_say() -> None:
    one = endpoints(service(), [pod(0)])
    kept = {**one, "metadata": {**one["metadata"], "uid": "x", "resourceVersion": "7"}}
    assert not differs(kept, one)
    assert differs(kept, endpoints(service(), []))
    assert not differs(endpoints(service(), []), endpoints(service(), []))
    assert differs({**kept, "metadata": {**kept["metadata"], "labels": {}}}, one)
