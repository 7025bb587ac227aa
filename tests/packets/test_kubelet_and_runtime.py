"""The kubelet as a process of its own, with the runtime that runs pods, and the endpoint: real programs, real ports.

Everything of a test is in the node's network namespace, the test's own requests too.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gatewright.lab import linux
from gatewright.lab.network.rtnetlink import Netlink, address
from tests.cluster.endpoint import kubectl, process
from tests.cluster.nodes import MERGE, NODE, PODS, ApiPods, condition, container, ready, until
from tests.packets.runtimes import NodeOfRuntime, fetch, runtime_of

pytestmark = [pytest.mark.cluster, pytest.mark.packets]
ADDRESSES = ("172.31.255.1", "fd00:10:31::1")
RANGES = ["10.244.0.0/24", "fd00:10:244::/64"]
_KUBELET = """
import sys, threading
from pathlib import Path
from gatewright.lab.kubelet.kubelet import KubeletSettings
from gatewright.lab.kubelet.run import run_kubelet
from gatewright.sources.kubeconfig import Where
kubeconfig, socket, folder, authority, node, *addresses = sys.argv[1:]
run_kubelet(
    KubeletSettings(node, tuple(addresses), Where(kubeconfig), Path(socket), Path(folder), Path(authority)),
    threading.Event(),
)
"""


@dataclass
class Real(ApiPods):
    """A node whose kubelet is a process."""

    node: NodeOfRuntime
    folder: Path
    kubelet: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        given = [self.api.kubeconfig, self.node.path, self.folder / "kubelet", self.api.kubeconfig.parent, NODE]
        command = [sys.executable, "-c", _KUBELET, *map(str, given), *ADDRESSES]
        with (self.folder / "kubelet.log").open("ab") as log:
            self.kubelet = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self) -> None:
        self.kubelet.kill()
        self.kubelet.wait()


@contextlib.contextmanager
def inside_network(pid: int) -> Iterator[None]:
    """This thread, and what it starts, in the network of a process."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        linux.setns(there, linux.NEWNET)
        netlink = Netlink()
        lo = netlink.index("lo")
        netlink.run(address(lo, ipaddress.ip_address(one)) for one in ADDRESSES)
        netlink.close()
        yield
    finally:
        linux.setns(own, linux.NEWNET)
        os.close(own)
        os.close(there)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Real]:
    with runtime_of("root") as node, inside_network(node.pid), process(tmp_path / "api") as api:
        found = Real(api, node, tmp_path)
        found.start()
        try:
            until(lambda: api.request("GET", f"/api/v1/nodes/{NODE}").status == 200)
            ranges = {"spec": {"podCIDR": RANGES[0], "podCIDRs": RANGES}}
            assert api.request("PATCH", f"/api/v1/nodes/{NODE}", ranges, MERGE).status == 200
            yield found
        finally:
            found.kill()


def port(number: int) -> dict[str, Any]:
    return {"ports": [{"containerPort": number}]}


def test_a_stand_in_answers_on_the_pods_addresses(here: Real) -> None:
    here.create("web", [{"name": "c", **port(8080)}])
    status = here.wait_for("web", ready)["status"]
    assert [one["ip"] for one in status["podIPs"]] == ["10.244.0.1", "fd00:10:244::1"]
    assert fetch("10.244.0.1", 8080, text=b"x") == "default/web c 8080 TCP\n"
    assert fetch("fd00:10:244::1", 8080, 6, text=b"x") == "default/web c 8080 TCP\n"


def test_a_program_has_its_environment_files_and_logs(here: Real) -> None:
    maps = "/api/v1/namespaces/default/configmaps"
    here.api.request("POST", maps, {"metadata": {"name": "settings"}, "data": {"a": "first"}})
    script = "echo $GREETING; hostname; cat /settings/a /etc/resolv.conf; "
    script += "while sleep 0.1; do cat /settings/a > /tmp/a; done"
    env = [
        {"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "GREETING", "value": "hello $(WHO)"},
    ]
    mounts = [{"name": "v", "mountPath": "/settings"}]
    one = {"name": "c", "command": ["sh", "-c", script], "env": env, "volumeMounts": mounts}
    here.create("web", [one], volumes=[{"name": "v", "configMap": {"name": "settings"}}])
    here.wait_for("web", ready)
    said: list[str] = []

    def printed() -> bool:
        said[:] = [kubectl(here.api.kubeconfig, "logs", "web", expected=None)]
        return "nameserver 10.96.0.10" in said[0]

    until(printed)
    assert said[0].startswith("hello 10.244.0.1\nweb\nfirst")
    here.api.request("PATCH", f"{maps}/settings", {"data": {"a": "second"}}, MERGE)
    until(lambda: kubectl(here.api.kubeconfig, "exec", "web", "--", "cat", "/tmp/a", expected=None) == "second")


def test_probes_ask_programs_in_the_pod(here: Real) -> None:
    probe = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1, "failureThreshold": 1}
    here.create("web", [{"name": "c", "command": ["sleep", "100"], "readinessProbe": probe}])
    here.wait_for("web", lambda tree: tree["status"]["phase"] == "Running")
    kubectl(here.api.kubeconfig, "exec", "web", "--", "touch", "/tmp/ready")
    here.wait_for("web", ready)
    kubectl(here.api.kubeconfig, "exec", "web", "--", "rm", "/tmp/ready")
    here.wait_for("web", lambda tree: not ready(tree))


def test_a_pod_ends_in_order(here: Real) -> None:
    script = "trap 'echo bye; exit 0' TERM; while true; do sleep 0.05; done"
    here.create("web", [{"name": "c", "command": ["sh", "-c", script]}])
    here.wait_for("web", ready)
    began = time.monotonic()
    here.delete("web")
    here.wait_gone("web")
    assert time.monotonic() - began < 15


def test_a_pod_that_takes_no_notice_ends_when_its_grace_is_made_shorter(here: Real) -> None:
    script = "trap '' TERM; while true; do sleep 0.05; done"
    here.create("web", [{"name": "c", "command": ["sh", "-c", script]}], terminationGracePeriodSeconds=60)
    here.wait_for("web", ready)
    here.delete("web")
    time.sleep(0.5)
    assert here.get("web")
    here.delete("web", 1)
    here.wait_gone("web", 5)


def test_a_killed_kubelet_leaves_pods_running_and_the_next_finds_them(here: Real) -> None:
    here.create("web", [{"name": "c", "command": ["sleep", "1000"]}])
    here.create("stand", [{"name": "c", **port(80)}])
    here.create("crash", [{"name": "c", "command": ["sh", "-c", "exit 3"]}])
    before = {name: here.wait_for(name, ready) for name in ("web", "stand")}
    here.wait_for("crash", lambda tree: container(tree, "c").get("restartCount") == 1)
    here.kill()
    assert fetch("10.244.0.2", 80, text=b"x")
    here.create("new", [{"name": "c", **port(80)}])
    here.delete("stand", 0)
    here.start()
    given = here.wait_for("new", ready)["status"]["podIP"]
    assert given not in [one["status"]["podIP"] for one in before.values()]
    after = here.wait_for("web", ready)
    assert after["status"] == before["web"]["status"]
    here.wait_for("crash", lambda tree: container(tree, "c").get("restartCount") == 2)
    until(lambda: isinstance(fetch("10.244.0.2", 80, text=b"x"), int))


def test_with_the_api_away_nothing_stops_and_all_is_told_later(here: Real, tmp_path: Path) -> None:
    here.create("web", [{"name": "c", "command": ["sh", "-c", "sleep 2; exit 1"], **port(80)}])
    here.create("stand", [{"name": "c", **port(80)}])
    here.wait_for("stand", ready)
    number = int(here.api.url.rpartition(":")[2])
    assert here.api.process
    here.api.process.kill()
    here.api.process.wait()
    time.sleep(4)
    assert fetch("10.244.0.2", 80, text=b"x") == "default/stand c 80 TCP\n"
    with process(tmp_path / "api", number) as again:
        here.api = again
        here.wait_for("web", lambda tree: container(tree, "c").get("restartCount", 0) >= 1)
        here.create("later", [{"name": "c", **port(80)}])
        here.wait_for("later", ready)


def test_a_runtime_that_was_killed_has_its_pods_made_anew(here: Real) -> None:
    here.create("web", [{"name": "c", **port(80)}])
    before = here.wait_for("web", ready)
    here.node.kill_runtime()
    here.node.start_runtime()
    after = here.wait_for("web", lambda tree: ready(tree) and container(tree, "c")["restartCount"] == 1)
    assert after["status"]["podIP"] == before["status"]["podIP"]
    until(lambda: fetch("10.244.0.1", 80, text=b"x") == "default/web c 80 TCP\n")


def test_thirty_four_pods_are_ready_within_seconds(here: Real) -> None:
    began = time.monotonic()
    for number in range(34):
        here.create(f"p{number}", [{"name": "c", **port(8080)}])
    items: list[Any] = []

    def all_ready() -> bool:
        items[:] = here.api.request("GET", PODS).json()["items"]
        return all(condition(one, "Ready").get("status") == "True" for one in items)

    until(all_ready, 20)
    took = time.monotonic() - began
    print(f"34 pods ready after {took:.2f} s")
    assert took < 10
