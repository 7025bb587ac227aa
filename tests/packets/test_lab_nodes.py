"""Nodes that are added, stopped, started, removed, cut off and healed, and two labs side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packets.labs import Lab, lab_of, until

pytestmark = [pytest.mark.packets, pytest.mark.timeout(180)]

WEB = """---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      tolerations:
        - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
        - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
      containers: [{name: main, image: none, ports: [{containerPort: 80}]}]
"""


def on(node: str, name: str) -> str:
    return f"""---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec: {{nodeName: {node}, containers: [{{name: main, image: none, ports: [{{containerPort: 80}}]}}]}}
"""


CLOSE = """---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: close}
spec: {podSelector: {matchLabels: {app: two}}, policyTypes: [Ingress]}
"""


@pytest.fixture(scope="module", params=["root", "user"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with lab_of(request.param) as made:
        made.run("up", "--nodes", "2", "-f", str(made.file(WEB + on("node-1", "one") + on("node-2", "two"))))
        yield made


def nodes(lab: Lab) -> dict[str, str]:
    return {one["name"]: one["state"] for one in lab.status()["nodes"]}


def places(lab: Lab) -> dict[str, str]:
    return {one["name"]: one["node"] for one in lab.status()["pods"]}


def test_a_node_is_added_runs_pods_and_is_removed(lab: Lab) -> None:
    assert lab.run("add-node", "--label", "disk=fast") == "node node-3 is running\n"
    added = next(one for one in lab.status()["nodes"] if one["name"] == "node-3")
    lab.apply(on("node-3", "three"))
    assert lab.reaches("one", f"http://{lab.address('default/three')}/")
    assert "in the lab already" in lab.error("add-node", "node-3")
    assert lab.run("remove-node", "node-3") == "node node-3 is removed\n"
    assert "node-3" not in nodes(lab)
    assert "node-3" not in lab.exec("one", "cat", "/proc/self/mountinfo")
    assert not (lab.directory / "nodes/node-3").exists()
    assert not list((lab.directory / "logs").glob("node-3-*"))
    assert "has no node" in lab.error("stop-node", "node-3")
    assert until(lambda: "three" not in places(lab)), "the pods of a node that is gone are gone"
    lab.run("add-node")
    again = next(one for one in lab.status()["nodes"] if one["name"] == "node-3")
    assert (again["number"], again["addresses"]) == (added["number"], added["addresses"])
    lab.apply(on("node-3", "three"))
    assert lab.reaches("one", f"http://{lab.address('default/three')}/")
    lab.run("remove-node", "node-3")


def test_a_stopped_node_is_started_again(lab: Lab) -> None:
    address = lab.address("default/two")
    assert lab.reaches("one", f"http://{address}/")
    assert lab.run("stop-node", "node-2") == "node node-2 is stopped\n"
    assert not lab.reaches("one", f"http://{address}/")
    assert "is stopped already" in lab.error("stop-node", "node-2")
    assert "start it first" in lab.error("cut", "node-2")
    assert nodes(lab) == {"node-1": "running", "node-2": "stopped"}
    assert lab.run("start-node", "node-2") == "node node-2 is running\n"
    assert "is running already" in lab.error("start-node", "node-2")
    assert until(lambda: lab.reaches("one", f"http://{lab.address('default/two')}/"))


def test_a_cut_node_cannot_be_reached_and_learns_what_it_missed(lab: Lab) -> None:
    address, other = lab.address("default/two"), lab.address("default/one")
    assert until(lambda: lab.reaches("one", f"http://{address}/"))
    assert lab.run("cut", "node-2") == "node node-2 is cut\n"
    assert not lab.reaches("one", f"http://{address}/")
    assert not lab.reaches("two", f"http://{other}/")
    assert lab.reaches("two", f"http://{address}/"), "what is on it goes on"
    lab.run("apply", "--no-wait", "-f", str(lab.file(CLOSE)))
    assert lab.run("heal") == "node node-2 is running\n"
    assert until(lambda: lab.reaches("two", f"http://{other}/"))
    lab.run("wait")
    assert not lab.reaches("one", f"http://{address}/"), "the policy that came meanwhile counts"
    lab.run("delete", "-f", str(lab.file(CLOSE)))
    assert until(lambda: lab.reaches("one", f"http://{address}/"))


def test_a_node_that_cannot_be_is_refused(lab: Lab) -> None:
    assert "lower-case" in lab.error("add-node", "Node_1")
    assert "the host outside" in lab.error("add-node", "outside")
    assert nodes(lab) == {"node-1": "running", "node-2": "running"}


def test_two_labs_side_by_side_do_not_see_each_other() -> None:
    with lab_of("root") as first, lab_of("root") as second:
        first.up(on("node-1", "one"))
        second.run("up", "-f", str(second.file(on("node-1", "other"))))
        listed = first.run("list")
        assert first.name in listed
        assert second.name in listed
        assert not first.reaches("one", f"http://{_unlike(second, first)}/")
        processes = first.exec("one", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
        assert second.name not in processes
        for lab, missing in ((first, second), (second, first)):
            config = json.loads(lab.run("kubeconfig"))
            assert config["current-context"] == f"gatewright-{lab.name}"
            assert missing.name not in json.dumps(config)
        second.run("down")
        assert first.reaches("one", f"http://{first.address('default/one')}/")


def _unlike(lab: Lab, other: Lab) -> str:
    """The address of the lab's pod, moved to one that the other lab has not: both have the same plan."""
    names = "\n".join(on("node-1", f"more-{number}") for number in range(3))
    lab.apply(names)
    taken = {address for pod in other.status()["pods"] for address in pod["addresses"]}
    found = (one["addresses"][0] for one in lab.status()["pods"] if one["name"].startswith("more-"))
    return str(next(address for address in found if address not in taken))


def test_a_lab_file_names_nodes_and_manifests(tmp_path: Path) -> None:
    with lab_of("root") as lab:
        (tmp_path / "pods.yaml").write_text(on("blue", "one"))
        file = tmp_path / "lab.yaml"
        file.write_text("nodes: [{name: blue, labels: {a: b}}, {name: green}]\nnetwork: flat\nmanifests: [pods.yaml]\n")
        lab.run("up", "--config", str(file))
        assert nodes(lab) == {"blue": "running", "green": "running"}
        assert lab.status()["network"] == "flat"
        assert places(lab)["one"] == "blue"
        context = (lab.files / "kubeconfig").read_text()
        assert f"gatewright-{lab.name}" in context
        lab.run("down")
        assert f"gatewright-{lab.name}" not in (lab.files / "kubeconfig").read_text()
