"""How people name endpoints, and what they are told when nothing has the name."""

from __future__ import annotations

import pytest

from gatewright.engine.ask import NotASource, ask
from gatewright.engine.backends import target_ports
from gatewright.engine.compile import Compiled, compile_snapshot
from gatewright.engine.ports import Protocol
from gatewright.engine.snapshot import Snapshot
from gatewright.engine.targets import BadPort, UnknownTarget, find, parse_port, service_port
from gatewright.objects.core import Service
from gatewright.objects.read import parse

NOTHING_BEHIND = "has no selector and no EndpointSlice, hence nothing behind it: name an address instead"
OBJECTS = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: c, image: i, ports: [{name: http, containerPort: 8080}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: other, labels: {app: web}}
spec: {containers: [{name: c, image: i}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  template:
    metadata: {labels: {app: api, tier: back, example.com/part: api}}
    spec: {containers: [{name: c, image: i}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: api}
spec: {template: {metadata: {labels: {app: migrate}}, spec: {containers: [{name: c, image: i}]}}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {selector: {app: web}, clusterIP: None, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: elsewhere}
spec: {ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: way}
spec: {defaultBackend: {service: {name: web, port: {number: 80}}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: nowhere}
spec: {defaultBackend: {service: {name: elsewhere, port: {number: 80}}}}
"""


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    return compile_snapshot(Snapshot.of(parse(OBJECTS, "f.yaml").require()))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("web", ["default/web[Pod]"]),
        ("other/web", ["other/web[Pod]"]),
        ("pod/web", ["default/web[Pod]"]),
        ("other/po/web", ["other/web[Pod]"]),
        ("deploy/api", ["default/api[Deployment]"]),
        ("Jobs/api", ["default/api[Job]"]),
        ("app=web", ["default/web[Pod]"]),
        ("app=api,tier=back", ["default/api[Deployment]"]),
        ("other/app==web", ["other/web[Pod]"]),
        ("example.com/part=api", ["default/api[Deployment]"]),
        ("default/example.com/part=api", ["default/api[Deployment]"]),
        ("ing/way", ["default/web[Pod]"]),
        ("svc/web", ["default/web[Pod]"]),
        ("10.0.0.7", ["10.0.0.7"]),
        ("fd00::1", ["fd00::1"]),
    ],
)
def test_names(compiled: Compiled, text: str, found: list[str]) -> None:
    assert [str(party) for party in find(compiled, text).parties] == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("wbe", "'wbe' names no pod or workload; namespace default has api, web"),
        ("empty/web", "'empty/web' names no pod or workload; namespace empty has none (namespaces: default, other)"),
        ("api", "'api' names more than one endpoint: write one of deployment/api, job/api"),
        ("sts/api", "'sts/api' names no pod or workload; namespace default has api, web"),
        ("a/b/c", "'a/b/c' names nothing: write NAME, NAMESPACE/NAME, KIND/NAME, an address, or key=value"),
        ("svc/wbe", "'svc/wbe' names no Service; namespace default has elsewhere, headless, web"),
        (
            "svc/elsewhere",
            "'svc/elsewhere' has no selector and no EndpointSlice, hence nothing behind it: name an address instead",
        ),
        ("ing/wya", "'ing/wya' names no Ingress; namespace default has nowhere, way"),
        ("ing/nowhere", "'ing/nowhere' leads to no pod; `gatewright exposure` says why"),
        ("app=none", "no pod or workload of namespace default has the labels app=none"),
    ],
)
def test_names_of_nothing(compiled: Compiled, text: str, said: str) -> None:
    with pytest.raises(UnknownTarget) as raised:
        find(compiled, text)
    assert str(raised.value) == said


@pytest.mark.parametrize(
    ("text", "port"), [("80", (Protocol.TCP, 80)), ("udp/53", (Protocol.UDP, 53)), ("ICMP", (None, 0))]
)
def test_ports(text: str, port: tuple[Protocol | None, int]) -> None:
    assert parse_port(text) == port


@pytest.mark.parametrize("text", ["", "http", "0", "65536", "icmp/1", "/80", "80/tcp", "-1", "٣"])
def test_no_ports(text: str) -> None:
    with pytest.raises(BadPort, match="is not a port"):
        parse_port(text)


def test_a_service_leads_to_the_target_port_of_each_backend(compiled: Compiled) -> None:
    target = find(compiled, "svc/web")
    assert isinstance(target.service, Service)
    (backend,) = (endpoint for endpoint in compiled.endpoints if str(endpoint) == "default/web[Pod]")
    assert target_ports(target.service, service_port(target.service, Protocol.TCP, 80), backend) == (8080,)
    with pytest.raises(BadPort, match="Service default/web has no port TCP 443; it has TCP 80"):
        service_port(target.service, Protocol.TCP, 443)


def test_an_ingress_leads_to_the_ports_its_controller_calls(compiled: Compiled) -> None:
    (one,) = ask(compiled, "deploy/api", "ing/way", "443")
    assert (str(one.destination), one.port) == ("default/web[Pod]", 8080)
    for port in ("8080", "udp/443"):
        with pytest.raises(BadPort, match="ing/way: an Ingress is called on TCP 80 or 443"):
            ask(compiled, "deploy/api", "ing/way", port)
    with pytest.raises(NotASource, match="ing/way: an Ingress opens no connections; name a pod or workload"):
        ask(compiled, "ing/way", "web", "80")


def test_a_headless_service_translates_nothing(compiled: Compiled) -> None:
    service = find(compiled, "svc/headless").service
    assert service is not None
    assert target_ports(service, service_port(service, Protocol.TCP, 80), compiled.endpoints[0]) == (80,)
