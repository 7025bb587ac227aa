"""What stands behind each kind of Service."""

from __future__ import annotations

import json

import pytest

from gatewright.engine.backends import Backends
from gatewright.engine.compile import Compiled, compile_snapshot
from gatewright.engine.snapshot import Snapshot
from gatewright.engine.targets import UnknownTarget, find
from gatewright.objects.core import Service
from gatewright.objects.read import parse

OBJECTS = """
{apiVersion: v1, kind: Pod, metadata: {name: a, labels: {app: web}}, status: {podIP: 10.0.0.1},
 spec: {containers: [{image: i, ports: [{name: http, containerPort: 8080}]}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: b, labels: {app: web}}, status: {podIP: 10.0.0.2},
 spec: {containers: [{image: i}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: done, labels: {app: web}}, status: {podIP: 10.0.0.1, phase: Failed},
 spec: {containers: [{image: i}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4,
 metadata: {name: manual-1, labels: {kubernetes.io/service-name: manual}},
 endpoints: [{addresses: [10.0.0.2, 192.0.2.1]},
   {addresses: [10.9.9.9], targetRef: {kind: Pod, namespace: default, name: a}}],
 ports: [{name: "", protocol: TCP, port: 9000}, {name: other, port: 1}]}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: FQDN, endpoints: [{addresses: [db.example]}],
 metadata: {name: manual-2, labels: {kubernetes.io/service-name: manual}}, ports: [{port: 9000}]}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, endpoints: [{addresses: [10.0.0.1]}],
 metadata: {name: stale, labels: {kubernetes.io/service-name: named}}, ports: [{port: 1}]}
"""


def service(name: str, **spec: object) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})


SERVICES = {
    "selected": service("selected", selector={"app": "web"}, ports=[{"port": 80, "targetPort": 8080}]),
    "named": service("named", selector={"app": "web"}, ports=[{"port": 80, "targetPort": "http"}]),
    "headless": service(
        "headless", clusterIP="None", selector={"app": "web"}, ports=[{"port": 80, "targetPort": 8080}]
    ),
    "manual": service("manual", ports=[{"port": 80, "targetPort": 1234}]),
    "outside": service("outside", type="ExternalName", externalName="db.example", ports=[{"port": 80}]),
    "nothing": service("nothing", ports=[{"port": 80}]),
}
DOORS = {
    "selected": [("a", 8080), ("b", 8080)],
    "named": [("a", 8080)],
    "headless": [("a", 80), ("b", 80)],
    "manual": [("b", 9000), ("a", 9000)],
    "outside": [],
    "nothing": [],
}


@pytest.fixture
def compiled() -> Compiled:
    text = "\n---\n".join([OBJECTS, *SERVICES.values()])
    return compile_snapshot(Snapshot.of(parse(text, "services.yaml").require()))


@pytest.mark.parametrize("name", DOORS)
def test_where_connections_to_a_service_end(compiled: Compiled, name: str) -> None:
    item = compiled.snapshot.objects["Service", "default", name]
    assert isinstance(item, Service)
    backends = Backends(compiled)
    assert [(pod.name, port) for pod, port in backends.doors(item, item.spec.ports[0])] == DOORS[name]
    assert {pod.name for pod, _ in backends.doors(item, item.spec.ports[0])} <= {pod.name for pod in backends.of(item)}


def test_a_listed_service_is_a_target(compiled: Compiled) -> None:
    assert [str(party) for party in find(compiled, "svc/manual").parties] == ["default/a[Pod]", "default/b[Pod]"]
    with pytest.raises(UnknownTarget, match=r"is a name for db.example, outside: name an address instead"):
        find(compiled, "svc/outside")
