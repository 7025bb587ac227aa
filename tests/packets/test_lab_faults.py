"""Components that are killed: policies hold meanwhile, nothing acknowledged is lost, and all comes back by itself."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.packets.labs import Lab, lab_of, until

pytestmark = [pytest.mark.packets, pytest.mark.timeout(180)]

_KILL = "import sys; from gatewright.lab import client; client.kill(*sys.argv[1:])"


def on(node: str, name: str) -> str:
    return f"""---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec: {{nodeName: {node}, containers: [{{name: main, image: none, ports: [{{containerPort: 80}}]}}]}}
"""


CLUSTER = (
    on("node-1", "client")
    + on("node-2", "open")
    + on("node-1", "closed")
    + """---
apiVersion: v1
kind: Service
metadata: {name: open}
spec: {clusterIP: 10.96.7.7, selector: {app: open}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed}
spec: {podSelector: {matchLabels: {app: closed}}, policyTypes: [Ingress]}
"""
)
SERVICE = "http://10.96.7.7/"


@pytest.fixture(scope="module", params=["root", "user"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with lab_of(request.param) as made:
        made.run("up", "--nodes", "2", "-f", str(made.file(CLUSTER)))
        yield made


def kill(lab: Lab, component: str) -> None:
    words = [*lab.words[:-1], _KILL, lab.name, component]
    subprocess.run(words, env=lab.environment, check=True, timeout=30)


def process(lab: Lab, component: str) -> int:
    return int(next(one["pid"] for one in lab.status()["components"] if one["name"] == component))


def restarts(lab: Lab) -> dict[str, int]:
    return {pod["name"]: pod["restarts"] for pod in lab.status()["pods"]}


@contextlib.contextmanager
def attempts(lab: Lab, pod: str, url: str) -> Iterator[list[str]]:
    """The HTTP status of one connection after another while the block lasts, `000` for none."""
    loop = f"while :; do curl -s -o /dev/null -w '%{{http_code}}\\n' --max-time 0.2 {url}; sleep 0.01; done"
    words = [*lab.words, "lab", "exec", pod, "--", "sh", "-c", loop]
    environment = lab.environment | {"GATEWRIGHT_LAB": lab.name}
    found: list[str] = []
    with subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as tried:
        try:
            yield found
        finally:
            tried.terminate()
            found += (tried.communicate(timeout=10)[0] or "").split()


@pytest.mark.parametrize("component", ["api", "controllers", "node-1/agent", "node-1/proxy", "node-1/kubelet"])
def test_a_killed_component_comes_back_and_nothing_else_notices(lab: Lab, component: str) -> None:
    """Under traffic: what is denied stays denied, and Services go on. No pod is started again."""
    lab.run("wait")
    before, pid = restarts(lab), process(lab, component)
    denied = f"http://{lab.address('default/closed')}/"
    with attempts(lab, "client", denied) as closed, attempts(lab, "client", SERVICE) as served:
        time.sleep(0.5)
        kill(lab, component)
        time.sleep(2.5)
    assert len(closed) >= 5
    assert set(closed) == {"000"}, "a denied connection was let through"
    assert len(served) >= 20
    assert set(served) == {"200"}, "a Service did not go on"
    assert until(lambda: process(lab, component) not in (0, pid))
    lab.run("wait")
    assert restarts(lab) == before
    assert f"{component} was started again" in lab.run("status")


def test_an_agent_that_is_killed_again_and_again_never_opens(lab: Lab) -> None:
    denied = f"http://{lab.address('default/closed')}/"
    with attempts(lab, "open", denied) as closed:
        killed = 0
        for _ in range(60):
            with contextlib.suppress(subprocess.CalledProcessError):  # not started again yet
                kill(lab, "node-1/agent")
                killed += 1
            if killed == 6:
                break
            time.sleep(0.1)
    assert killed == 6
    assert len(closed) >= 10
    assert set(closed) == {"000"}
    lab.run("wait")


def test_what_the_api_has_acknowledged_is_there_after_kills(lab: Lab) -> None:
    for number in range(5):
        names = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: kept-{number}}}\n"
        lab.run("apply", "--no-wait", "-f", str(lab.file(names)))
        pid = process(lab, "api")
        kill(lab, "api")
        assert until(lambda gone=pid: lab.process("status").returncode == 0 and process(lab, "api") != gone)  # type: ignore[misc]
    for number in range(5):
        again = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: kept-{number}}}\n"
        assert "unchanged" in lab.run("apply", "--no-wait", "-f", str(lab.file(again)))


def test_pods_come_back_after_their_runtime_was_killed(lab: Lab) -> None:
    lab.run("wait")
    kill(lab, "node-2/runtime")
    assert until(lambda: lab.reaches("client", SERVICE))
    lab.run("wait")
    assert not lab.reaches("client", f"http://{lab.address('default/closed')}/")


def test_the_outside_host_comes_back(lab: Lab) -> None:
    assert until(lambda: lab.reaches("client", "http://203.0.113.10/"))
    kill(lab, "outside/runtime")
    assert until(lambda: lab.reaches("client", "http://203.0.113.10/"))


def test_a_component_that_is_not_there_is_named(lab: Lab) -> None:
    words = [*lab.words[:-1], _KILL, lab.name, "node-7/agent"]
    done = subprocess.run(words, env=lab.environment, capture_output=True, text=True, check=False, timeout=30)
    assert 'the lab has no component "node-7/agent"; it has: api, ' in done.stderr


def test_a_log_is_cut_while_its_component_runs(lab: Lab) -> None:
    log = lab.directory / "logs/node-1-proxy.log"
    with log.open("ab") as file:
        file.write(b"x" * (5 << 20))
    assert until(lambda: log.stat().st_size < 1 << 20)
    assert log.with_suffix(".log.1").stat().st_size == 1 << 20


def test_the_context_of_a_killed_lab_goes_when_it_comes_up_elsewhere() -> None:
    with lab_of("root") as lab:
        lab.run("up", "--nodes", "2", "-f", str(lab.file(CLUSTER)))
        first = lab.files / "kubeconfig"
        os.kill(lab.pid, 9)
        assert until(lambda: re.search(rf"^{lab.name}\b.*killed$", lab.run("list"), re.MULTILINE) is not None)
        lab.run("up", "--kubeconfig", str(lab.files / "second"))
        assert f"gatewright-{lab.name}" not in first.read_text()
        assert f"gatewright-{lab.name}" in (lab.files / "second").read_text()
        lab.run("down")
        assert f"gatewright-{lab.name}" not in (lab.files / "second").read_text()
