"""What a lab lives through: any of its components killed, nodes cut off, stopped and added, another lab beside it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.packets.labs import Lab, lab_of

pytestmark = [pytest.mark.packets, pytest.mark.timeout(240)]
KUBECTL = Path(sys.executable).with_name("kubectl")
WITHIN = 60.0
COMPONENTS = ("api", "controllers", "node-1/agent", "node-1/proxy", "node-1/kubelet", "node-1/runtime")

CLUSTER = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: server}
spec:
  replicas: 3
  selector: {matchLabels: {app: server}}
  template:
    metadata: {labels: {app: server}}
    spec:
      containers: [{name: main, image: none, ports: [{containerPort: 80}]}]
      tolerations: [{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 1}]
---
apiVersion: v1
kind: Service
metadata: {name: server}
spec: {selector: {app: server}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: friend, labels: {app: friend}}
spec: {nodeName: node-1, containers: [{name: main, image: none, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: stranger, labels: {app: stranger}}
spec: {nodeName: node-1, containers: [{name: main, image: none, ports: [{containerPort: 80}]}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: friends}
spec:
  podSelector: {matchLabels: {app: server}}
  ingress: [{from: [{podSelector: {matchLabels: {app: friend}}}]}]
"""


class Traffic:
    """Connections from two pods to the Service all the while: the stranger's must never get through."""

    def __init__(self, lab: Lab) -> None:
        self._lab, self._stop = lab, threading.Event()
        self.intruded: list[str] = []
        self.answered = 0
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        addresses = [self._lab.address(f"default/{pod['name']}") for pod in servers(self._lab)]
        loop = "; ".join(f"curl -s --max-time 0.3 http://{one}/" for one in addresses)
        while not self._stop.is_set():
            self.intruded += self._lab.exec("stranger", "sh", "-c", loop, code=None).splitlines()
            self.answered += bool(
                self._lab.exec("friend", "curl", "-s", "--max-time", "1", "http://server/", code=None)
            )

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def servers(lab: Lab) -> list[dict[str, Any]]:
    return [pod for pod in lab.status()["pods"] if pod["owner"] == "Deployment/server" and pod["isReady"]]


def until(holds: Callable[[], bool], what: str, within: float = WITHIN) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def component(lab: Lab, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in lab.status()["components"] if one["name"] == name)
    return found


def kill(lab: Lab, name: str) -> None:
    """As a crash would; returns when it runs again."""
    before = component(lab, name)["restarts"]
    code = f"from gatewright.lab import client; client.kill({lab.name!r}, {name!r})"
    subprocess.run([*lab.words[:-1], code], env=lab.environment, check=True, timeout=30)

    def again() -> bool:
        try:
            now = component(lab, name)
        except AssertionError:  # nobody answers for the API while it is away
            return False
        return now["restarts"] > before and bool(now["pid"])

    until(again, f"{name} is started again")


def kubectl(lab: Lab, *words: str) -> str:
    done = subprocess.run(
        [KUBECTL, *words], env=lab.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with lab_of("root") as made:
        made.up(CLUSTER, "--nodes", "3")
        yield made


def reaches(lab: Lab, pod: str) -> bool:
    return lab.reaches(pod, "http://server/")


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_component_that_is_killed_comes_back_and_nothing_opens(lab: Lab, name: str) -> None:
    pods = {pod["name"]: pod["addresses"] for pod in lab.status()["pods"]}
    with Traffic(lab) as traffic:
        kill(lab, name)
        lab.run("wait", "--timeout", "60", timeout=90)
        until(lambda: traffic.answered > 2, "the friend is answered")
    assert traffic.intruded == []
    assert reaches(lab, "friend")
    assert not lab.reaches("stranger", "http://server/")
    assert {pod["name"]: pod["addresses"] for pod in lab.status()["pods"]} == pods
    assert f"Note: {name} was started again" in lab.run("status")


def test_a_killed_kubelet_restarts_no_container_and_a_killed_runtime_all_of_its_node(lab: Lab) -> None:
    def restarts() -> dict[str, int]:
        return {pod["name"]: pod["restarts"] for pod in lab.status()["pods"] if pod["node"] == "node-2"}

    before = restarts()
    kill(lab, "node-2/kubelet")
    lab.run("wait", timeout=90)
    assert restarts() == before
    kill(lab, "node-2/runtime")
    until(lambda: restarts() == {name: count + 1 for name, count in before.items()}, "one restart more")
    lab.run("wait", timeout=90)


def test_what_was_acknowledged_is_there_after_the_endpoint_was_killed(lab: Lab) -> None:
    for number in range(3):
        kubectl(lab, "create", "configmap", f"kept-{number}", "--from-literal=a=1")
        kill(lab, "api")
    assert kubectl(lab, "get", "configmap", "-o", "name").count("configmap/kept-") == 3


def test_a_policy_that_changes_while_an_agent_is_away_is_in_force_when_it_is_back(lab: Lab) -> None:
    policy = list(yaml.safe_load_all(CLUSTER))[-1]
    policy["spec"]["ingress"] = []
    kill(lab, "node-1/agent")
    kubectl_apply = lab.run("apply", "-f", "-", stdin=yaml.safe_dump(policy), timeout=90)
    assert "configured" in kubectl_apply
    assert not reaches(lab, "friend")
    policy["spec"]["ingress"] = [{"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}]}]
    lab.run("apply", "-f", "-", stdin=yaml.safe_dump(policy), timeout=90)
    assert reaches(lab, "friend")


def test_a_node_that_is_cut_off_is_reached_by_nobody_and_heals(lab: Lab) -> None:
    far = next(pod for pod in servers(lab) if pod["node"] == "node-3")
    url = f"http://{far['addresses'][0]}/"
    assert lab.reaches("friend", url)
    assert "node node-3 is cut" in lab.run("cut", "node-3")
    assert not lab.reaches("friend", url)
    assert next(one["state"] for one in lab.status()["nodes"] if one["name"] == "node-3") == "cut"
    assert "node node-3 is running" in lab.run("heal")
    assert lab.reaches("friend", url)
    lab.run("wait", "--timeout", "90", timeout=120)


def test_a_node_is_added_stopped_and_started_and_pods_move(lab: Lab) -> None:
    assert "node spare is running" in lab.run("add-node", "spare", "--label", "tier=spare", timeout=90)
    assert "spare" in kubectl(lab, "get", "nodes", "-l", "tier=spare", "-o", "name")
    patch = {"spec": {"template": {"spec": {"nodeSelector": {"tier": "spare"}}}}}
    kubectl(lab, "patch", "deployment", "server", "-p", json.dumps(patch))
    kubectl(lab, "rollout", "status", "deployment/server", "--timeout=60s")
    assert {pod["node"] for pod in servers(lab)} == {"spare"}
    assert reaches(lab, "friend")
    assert not reaches(lab, "stranger")
    assert "node spare is stopped" in lab.run("stop-node", "spare")
    assert not lab.reaches("friend", "http://server/")
    assert "stopped already" in lab.error("stop-node", "spare")
    assert "node spare is running" in lab.run("start-node", "spare", timeout=130)
    assert reaches(lab, "friend")
    assert not reaches(lab, "stranger")
    assert 'has no node "nowhere"; it has: node-1' in lab.error("cut", "nowhere")


def test_two_labs_with_the_same_addresses_do_not_see_each_other(lab: Lab) -> None:
    with lab_of("root") as other:
        other.up(CLUSTER, "--pod-cidr", "10.244.0.0/16")
        assert {one["name"] for one in other.status()["nodes"]} == {"node-1"}
        listed = lab.run("list")
        assert lab.name in listed
        assert other.name in listed
        contexts = subprocess.run(
            [KUBECTL, "config", "get-contexts", "-o", "name"],
            env=other.environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert contexts.split() == [f"gatewright-{other.name}"]
        mine, theirs = (
            lab.exec("friend", "curl", "-s", "http://server/"),
            other.exec("friend", "curl", "-s", "http://server/"),
        )
        names = {pod["name"] for pod in lab.status()["pods"]}
        assert mine.split()[0].split("/")[1] in names
        assert theirs.split()[0].split("/")[1] not in names


def test_the_context_is_gone_with_the_lab_and_a_stopped_supervisor_takes_all_along() -> None:
    with lab_of("root") as made:
        made.up(CLUSTER)
        config = Path(made.environment["KUBECONFIG"])
        assert yaml.safe_load(config.read_text())["current-context"] == f"gatewright-{made.name}"
        os.kill(made.pid, signal.SIGKILL)
        until(lambda: made.process("status").returncode == 2, "the lab is gone")
        made.run("down")
        assert yaml.safe_load(config.read_text())["contexts"] == []
