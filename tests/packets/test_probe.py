"""The probe of a cluster, in a lab: by the lab's own means, from stand-ins, and from the pods themselves."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.endpoint import kubectl
from tests.packets.labs import Lab, lab_of

pytestmark = [pytest.mark.packets, pytest.mark.timeout(180)]
Json = dict[str, Any]


def deployment(name: str, replicas: int, ports: str) -> str:
    return f"""---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: shop}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec: {{containers: [{{name: c, image: none, ports: [{ports}]}}]}}
"""


SHOP = (
    "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
    + deployment("web", 1, "{containerPort: 80}")
    + deployment("db", 1, "{containerPort: 3306}, {containerPort: 53, protocol: UDP}")
    + """---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {selector: {app: db}, ports: [{port: 33, targetPort: 3306}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec: {podSelector: {matchLabels: {app: db}}, ingress: [{ports: [{port: 3306}, {port: 4000}]}]}
"""
)


@contextlib.contextmanager
def shop(user: str, network: str = "enforcing") -> Iterator[Lab]:
    with lab_of(user) as lab:
        lab.run("up", "--nodes", "2", "--network", network, "--no-kubeconfig", "-f", str(lab.file(SHOP)), timeout=100)
        yield lab


@pytest.fixture(scope="module", params=["root", "user"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with shop(request.param) as found:
        yield found


def started(lab: Lab, *arguments: str) -> subprocess.Popen[str]:
    command = [*lab.words, "probe", "--kubeconfig", str(lab.directory / "kubeconfig"), "-n", "shop", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=lab.environment, stdout=pipe, stderr=pipe, text=True)


def probe(lab: Lab, *arguments: str) -> tuple[int, str]:
    process = started(lab, *arguments)
    out, err = process.communicate(timeout=120)
    assert not err, err
    return process.returncode, out


def outcomes(out: str) -> dict[tuple[str, str, str], tuple[str, str]]:
    """(from, to, port) without the pods' suffixes to (predicted, measured)."""

    def short(name: str) -> str:
        return name if "/svc/" in name else name.removeprefix("shop/").split("-")[0]

    return {
        (short(one["source"]), short(one["destination"]), one["port"]): (one["predicted"], one["measured"])
        for one in json.loads(out)["rows"]
    }


def kube(lab: Lab, *arguments: str) -> str:
    config = lab.files / "config"
    config.write_text((lab.directory / "kubeconfig").read_text())
    return kubectl(config, *arguments, namespace="shop")


def left(lab: Lab) -> str:
    """What a probe may have left."""
    found = kube(lab, "get", "pods,configmaps", "-o", "name")
    return "\n".join(line for line in found.splitlines() if "gatewright-probe" in line)


EXPECTED = {
    ("web", "db", "TCP 3306"): ("allowed", "open"),
    ("web", "shop/svc/db", "TCP 33"): ("allowed", "open"),
    ("db", "web", "TCP 80"): ("allowed", "open"),
}


@pytest.mark.parametrize(("through", "silent"), [("inside", "dropped"), ("stand-ins", "unknown"), ("pods", "unknown")])
def test_what_is_measured_is_what_is_predicted(lab: Lab, through: str, silent: str) -> None:
    """A UDP port that is silent may just not answer; in the lab it is known that it would."""
    pods = kube(lab, "get", "pods", "-o", "name")
    code, out = probe(lab, "--through", through, "-o", "json", *(["--yes"] if through == "stand-ins" else []))
    assert code == 0, out
    assert outcomes(out) == EXPECTED | {("web", "db", "UDP 53"): ("denied", silent)}
    assert all(0 <= one["seconds"] < 5 for one in json.loads(out)["rows"])
    assert kube(lab, "get", "pods", "-o", "name") == pods
    assert left(lab) == ""


@pytest.mark.parametrize("through", ["inside", "stand-ins"])
def test_nobody_listening_is_not_denied(lab: Lab, through: str) -> None:
    wanted = ("--from", "deploy/web", "--to", "deploy/db", "--addresses", "--port", "4000", "--port", "4001")
    code, out = probe(lab, "--through", through, "--yes", *wanted, "-o", "json")
    assert (code, outcomes(out)) == (0, {
        ("web", "db", "TCP 4000"): ("allowed", "refused"), ("web", "db", "TCP 4001"): ("denied", "dropped"),
    })  # fmt: skip


def test_stand_ins_are_no_backends_and_are_not_adopted(lab: Lab) -> None:
    """While they run: the Service has its one backend, the Deployment its one pod."""
    process = started(lab, "--through", "stand-ins", "--yes", "--timeout", "3")
    deadline = time.monotonic() + 20
    while "pod/gatewright-probe" not in left(lab) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1.5)
    running = left(lab)
    slices = json.loads(kube(lab, "get", "endpointslices", "-o", "json"))["items"]
    replicas = json.loads(kube(lab, "get", "deployments", "-o", "json"))["items"]
    process.communicate(timeout=60)
    assert running.count("pod/") == 2
    serving = [one for each in slices for one in each["endpoints"] or () if one["conditions"]["ready"]]
    assert len({one["targetRef"]["name"] for one in serving}) == 1
    assert [one["status"]["readyReplicas"] for one in replicas] == [1, 1]
    assert left(lab) == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_probe_removes_its_stand_ins(lab: Lab, number: signal.Signals) -> None:
    process = started(lab, "--through", "stand-ins", "--yes")
    deadline = time.monotonic() + 20
    while "gatewright-probe" not in left(lab) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, "interrupted" in err) == (130, True), err
    assert left(lab) == ""


def test_what_a_killed_probe_left_the_next_one_removes(lab: Lab) -> None:
    process = started(lab, "--through", "stand-ins", "--yes")
    deadline = time.monotonic() + 20
    while "pod/gatewright-probe" not in left(lab) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    assert "gatewright-probe" in left(lab)
    assert probe(lab, "--through", "stand-ins", "--yes")[0] == 0
    assert left(lab) == ""


def test_differences_come_first_in_every_format() -> None:
    with shop("root", "flat") as lab:
        code, out = probe(lab, "--to", "deploy/db", "--addresses", "--port", "3306", "--port", "4001")
        assert code == 1
        assert out.splitlines()[1].startswith("NOT ENFORCED")
        assert "2 connections: 2 open, 0 denied, 1 differ" in out
        code, out = probe(lab, "--to", "deploy/db", "--addresses", "--port", "4001", "-o", "junit")
        suite = ET.fromstring(out)
        assert (code, suite.attrib["name"], suite.attrib["failures"]) == (1, "gatewright probe", "1")
