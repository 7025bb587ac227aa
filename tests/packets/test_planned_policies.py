"""From model to packets: the three-tier model is planned, applied in the lab, and asked of the kernel.

The application works, and every connection outside the model is refused: from every pod, a stranger among them, and
from outside, to every port that something listens on, by address and through Services.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from gatewright.cli.main import main
from tests.packets.labs import Lab, lab_of
from tests.packets.test_three_tier_application import EXAMPLE, PRODUCTS, Shop, missing

MODEL = EXAMPLE.parent / "traffic" / "three-tier.yaml"
STRANGER = """\
apiVersion: v1
kind: Namespace
metadata: {name: elsewhere}
---
apiVersion: v1
kind: Pod
metadata: {name: stranger, namespace: default}
spec: {containers: [{name: c, image: i, ports: [{containerPort: 8080}, {containerPort: 53, protocol: UDP}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: twin, namespace: elsewhere, labels: {name: api-pod}}
spec: {containers: [{name: c, image: i, ports: [{containerPort: 5000}]}]}
"""
FLOWS = {
    ("default/web", "default/api", "TCP 5000"),
    ("default/api", "default/db", "TCP 3306"),
    *((source, "default/web", "TCP 80") for source in ("outside", "default/stranger", "elsewhere/twin")),
}
"""Between pods and from outside, by the pods' ports: what the model says. Nobody is kept from calling strangers."""
COMPONENTS = ("default/web", "default/api", "default/db")

pytestmark = pytest.mark.packets


def planned(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """What `gatewright plan` writes."""
    with pytest.raises(SystemExit) as stop:
        main(["plan", str(MODEL), *options])
    captured = capsys.readouterr()
    assert stop.value.code == 0, captured.err
    return captured.out


@pytest.fixture(scope="module", params=["root", "user"])
def running(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with lab_of(request.param) as lab:
        lab.run("up", "-f", str(EXAMPLE), "-f", str(lab.file(STRANGER)))
        yield lab


@pytest.fixture(params=["component", "namespace"])
def lab(request: pytest.FixtureRequest, running: Lab, capsys: pytest.CaptureFixture[str]) -> Iterator[Lab]:
    policies = planned(capsys, "--style", request.param)
    running.run("apply", "-f", "-", stdin=policies)
    yield running
    running.run("delete", "-f", "-", stdin=policies)


def test_the_application_works_behind_its_plan(lab: Lab) -> None:
    if absent := missing():
        pytest.skip(f"the example's programs are not all installed: {', '.join(absent)}")
    assert Shop(lab, lab.node_address()).products() == PRODUCTS


def test_every_connection_outside_the_model_is_refused_by_the_kernel(lab: Lab, request: pytest.FixtureRequest) -> None:
    ports = [f"--port={port}" for port in ("80", "5000", "3306", "8080", "udp/53", "tcp/53")]
    report = json.loads(lab.run("probe", "-o", "json", *ports))
    component = components(lab)
    rows = [
        ((component(row["source"]), *to_component(component(row["destination"]), row["port"])), row["reached"])
        for row in report["rows"]
    ]
    asked = {row for row, _ in rows}
    reached = {row for row, got_through in rows if got_through}
    everybody = {*COMPONENTS, "default/stranger", "elsewhere/twin", "outside"}
    assert {one[:2] for one in asked} >= {(a, b) for a in everybody for b in COMPONENTS if a != b}
    closed = {"default/stranger"} if "namespace" in request.node.callspec.id else set()
    about_components = {one for one in reached if {one[0], one[1]} & {*COMPONENTS}}
    assert about_components == {flow for flow in FLOWS if flow[0] not in closed}


def components(lab: Lab) -> Callable[[str], str]:
    """From a pod's name to that of its Deployment, where it has one."""
    pods = [pod for pod in lab.status()["pods"] if pod["owner"]]
    owners = {f"{pod['namespace']}/{pod['name']}": f"{pod['namespace']}/{pod['owner'].split('/')[1]}" for pod in pods}
    return lambda name: owners.get(name, name)


def to_component(destination: str, port: str) -> tuple[str, str]:
    """A pod and its port, where the connection was opened through a Service."""
    name, _, way = destination.replace("/svc/", "/").partition(" ")
    return name, "TCP 80" if way == "(node port)" else port
