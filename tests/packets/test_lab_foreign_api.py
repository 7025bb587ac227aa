"""The lab's nodes under an API server elsewhere: it is asked, obeyed and enforced like the lab's own."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.endpoint import Endpoint, kubectl, process
from tests.packets.labs import Lab, lab_of

pytestmark = [pytest.mark.packets, pytest.mark.timeout(180)]
PODS = """---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {nodeName: node-1, containers: [{name: main, image: none, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: server, labels: {app: server}}
spec: {containers: [{name: main, image: none, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: server}
spec: {selector: {app: server}, ports: [{port: 80}]}
"""
ISOLATE = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: isolate}
spec: {podSelector: {matchLabels: {app: server}}, policyTypes: [Ingress]}
"""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with process(tmp_path_factory.mktemp("api")) as found:
        yield found


@pytest.fixture(scope="module", params=["root", "user"])
def lab(request: pytest.FixtureRequest, api: Endpoint) -> Iterator[Lab]:
    with lab_of(request.param) as made:
        own = made.files / "api"
        own.write_text(api.kubeconfig.read_text())
        own.chmod(0o644)
        made.up(PODS, "--nodes", "2", "--api", str(own), "--controllers")
        yield made
        made.run("down")
        for node in ("node-1", "node-2"):
            kubectl(api.kubeconfig, "delete", "node", node)
        kubectl(api.kubeconfig, "delete", "pod,service", "--all", "--grace-period=0", "--force", expected=None)


def test_nodes_join_pods_run_and_policies_are_enforced(lab: Lab, api: Endpoint) -> None:
    nodes = kubectl(api.kubeconfig, "get", "nodes", "--no-headers").splitlines()
    assert [line.split()[:2] for line in nodes] == [["node-1", "Ready"], ["node-2", "Ready"]]
    assert lab.exec("client", "curl", "-s", "http://server/") == "default/server main 80 TCP\n"
    kubectl(api.kubeconfig, "create", "-f", "-", text=ISOLATE)
    lab.run("wait")
    assert not lab.reaches("client", "http://server/")
    kubectl(api.kubeconfig, "delete", "networkpolicy", "isolate")
    lab.run("wait")
    assert lab.reaches("client", "http://server/")


def test_the_labs_kubeconfig_leads_to_that_server(lab: Lab, api: Endpoint) -> None:
    path = Path(lab.run("kubeconfig", "--path").strip())
    assert api.url in path.read_text()
    assert "api" not in {one["name"] for one in lab.status()["components"]}


def test_a_killed_relay_comes_back(lab: Lab, api: Endpoint) -> None:
    """What carries the nodes' connections to the server: the parent starts it again."""
    found = subprocess.run(["pgrep", "-x", "lab-relay"], capture_output=True, text=True, check=False).stdout.split()
    children = [
        pid for pid in found if (Path("/proc") / pid / "stat").read_text().rpartition(")")[2].split()[1] in found
    ]
    for pid in children:
        subprocess.run(["kill", "-9", pid], check=True)
    deadline = time.monotonic() + 60
    kubectl(api.kubeconfig, "label", "pod", "client", f"again={int(deadline)}", "--overwrite")
    lab.run("wait", "--timeout", "60", timeout=90)
    assert lab.reaches("client", "http://server/")


@pytest.mark.parametrize("server", ["http://127.0.0.1:1", "https://127.0.0.1:1/path"])
def test_a_server_that_the_nodes_cannot_use_is_refused(server: str) -> None:
    with lab_of("root") as made:
        file = made.files / "api"
        file.write_text(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
            f"clusters: [{{name: c, cluster: {{server: '{server}'}}}}]\n"
            "users: [{name: c, user: {token: t}}]\ncontexts: [{name: c, context: {cluster: c, user: c}}]\n"
        )
        assert f"server {server}: " in made.error("up", "--api", str(file))
        assert not made.directory.exists()
