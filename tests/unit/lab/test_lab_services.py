"""Services: what they are given, whom they lead to, and the nftables text for it."""

from __future__ import annotations

import ipaddress

import pytest

from gatewright.lab.services import Allocation, Backend, allocate, program, serving, target_port
from gatewright.objects.core import Pod, Service
from tests.unit.lab.clusters import backend, objects, one, pod, service

WEB = "selector: {app: x}, ports: [{port: 80, targetPort: http}]"


def given(*texts: str, before: dict[str, Allocation] | None = None) -> tuple[dict[str, list[str]], list[str]]:
    found = [item for text in texts for item in objects(text) if isinstance(item, Service)]
    allocations, problems = allocate(found, before or {}, (4, 6))
    return {key: list(map(str, one.addresses)) for key, one in allocations.items()}, [one.what for one in problems]


@pytest.mark.parametrize(
    ("spec", "addresses"),
    [
        (WEB, ["10.96.0.32"]),
        (f"clusterIP: 10.96.7.7, {WEB}", ["10.96.7.7"]),
        (f"clusterIP: None, {WEB}", []),
        ("type: ExternalName, externalName: example.org", []),
        (f"ipFamilyPolicy: PreferDualStack, {WEB}", ["10.96.0.32", "fd00:10:96::20"]),
        (f"ipFamilies: [IPv6], {WEB}", ["fd00:10:96::20"]),
    ],
    ids=["one", "given", "headless", "external name", "dual stack", "IPv6"],
)
def test_addresses(spec: str, addresses: list[str]) -> None:
    assert given(service("web", spec)) == ({"default/web": addresses}, [])


def test_an_address_stays_and_a_given_one_is_not_taken() -> None:
    before = {"default/web": Allocation((ipaddress.ip_address("10.96.0.50"),), (0,))}
    found, _ = given(service("web", WEB), service("other", f"clusterIP: 10.96.0.32, {WEB}"), before=before)
    assert found == {"default/web": ["10.96.0.50"], "default/other": ["10.96.0.32"]}


@pytest.mark.parametrize(
    ("specs", "problem"),
    [
        ([f"clusterIP: 10.1.1.1, {WEB}"], "not in the Service ranges of the lab"),
        ([f"clusterIP: 10.96.0.10, {WEB}"], "provided IP is already allocated"),
        ([f"clusterIP: 10.96.0.99, {WEB}"] * 2, "provided IP is already allocated"),
        (["type: NodePort, ports: [{port: 80, nodePort: 80}]"], "not in the valid range 30000-32767"),
        (["type: NodePort, ports: [{port: 80, nodePort: 30000}]"] * 2, "provided port is already allocated"),
    ],
)
def test_what_cannot_be_given(specs: list[str], problem: str) -> None:
    _, problems = given(*(service(f"s{number}", spec) for number, spec in enumerate(specs)))
    assert len(problems) == 1
    assert problem in problems[0]


@pytest.mark.parametrize(
    ("port", "ports", "number"),
    [
        ("port: 80", "[{containerPort: 1}]", 80),
        ("port: 80, targetPort: 8080", "[]", 8080),
        ("port: 80, targetPort: http", "[{containerPort: 9, name: http, protocol: UDP}]", None),
        ("port: 80, targetPort: http", "[{containerPort: 9, name: http}]", 9),
    ],
    ids=["absent: the port itself", "a number", "a name of another protocol", "a name"],
)
def test_target_ports(port: str, ports: str, number: int | None) -> None:
    found, target = one(service("s", f"ports: [{{{port}}}]")), one(pod("p", ports))
    assert isinstance(found, Service)
    assert isinstance(target, Pod)
    assert target_port(found.spec.ports[0], target) == number


def test_only_ready_pods_of_the_namespace_serve() -> None:
    found = one(service("s", WEB))
    assert isinstance(found, Service)
    known = [
        backend(pod("ready"), "10.0.0.1"),
        backend(pod("starting"), "10.0.0.2", ready=False),
        backend(pod("other", labels="app: other"), "10.0.0.3"),
        backend(pod("elsewhere").replace("namespace: default", "namespace: shop"), "10.0.0.4"),
    ]
    assert [one.pod.name for one in serving(found, known)] == ["ready"]


def text_of(spec: str, *known: Backend) -> str:
    found = one(service("web", spec))
    assert isinstance(found, Service)
    allocations, _ = allocate([found], {}, (4, 6))
    return program([found], allocations, known, (4, 6))


def test_one_backend_is_translated_to_directly() -> None:
    text = text_of(WEB, backend(pod("a"), "10.244.0.1"))
    assert "10.96.0.32 . tcp . 80 : goto service_0_0_v4" in text
    assert "meta l4proto tcp dnat ip to 10.244.0.1:80" in text
    assert "10.244.0.1 . 10.244.0.1" in text


def test_several_backends_are_chosen_from_at_random() -> None:
    text = text_of(WEB, backend(pod("a"), "10.244.0.1"), backend(pod("b"), "10.244.0.2"))
    choice = "numgen random mod 2 map { 0 : 10.244.0.1 . 80, 1 : 10.244.0.2 . 80 }"
    assert f"dnat ip addr . port to {choice}" in text


@pytest.mark.parametrize(("policy", "masked"), [("Cluster", True), ("Local", False)])
def test_a_node_port_hides_the_client_unless_the_policy_is_local(policy: str, masked: bool) -> None:
    spec = f"type: NodePort, externalTrafficPolicy: {policy}, selector: {{app: x}}, ports: [{{port: 80}}]"
    text = text_of(spec, backend(pod("a"), "10.244.0.1"))
    assert ("tcp . 30000 : goto external_service_0_0_v4" in text) is masked
    assert ("tcp . 30000 : goto service_0_0_v4" in text) is not masked


def test_without_backends_nothing_is_translated_and_the_node_port_refuses() -> None:
    text = text_of("type: NodePort, selector: {app: x}, ports: [{port: 80}]")
    assert "goto service_" not in text
    assert "elements = { tcp . 30000 }" in text
