"""Pods become what their specs say: the kubelet with the real endpoint, and a runtime that runs nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.endpoint import Endpoint, endpoint
from tests.cluster.nodes import NODE, PODS, Node, condition, container, node, ready, until

pytestmark = pytest.mark.cluster
MERGE = "application/merge-patch+json"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Endpoint]:
    with endpoint(tmp_path / "api") as found:
        yield found


@pytest.fixture
def here(api: Endpoint, tmp_path: Path) -> Iterator[Node]:
    with node(api, tmp_path) as found:
        yield found


def port(number: int) -> dict[str, Any]:
    return {"ports": [{"containerPort": number}]}


def test_a_node_registers_itself_and_renews_its_lease(api: Endpoint, here: Node) -> None:
    tree = api.request("GET", f"/api/v1/nodes/{NODE}").json()
    until(
        lambda: (
            api.request("GET", f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{NODE}").status == 200
        )
    )
    assert tree["metadata"]["labels"]["kubernetes.io/hostname"] == NODE
    until(lambda: condition(api.request("GET", f"/api/v1/nodes/{NODE}").json(), "Ready").get("status") == "True")


def test_a_node_that_is_said_to_be_lost_is_told_anew_at_once(api: Endpoint, here: Node) -> None:
    def well() -> bool:
        return condition(api.request("GET", f"/api/v1/nodes/{NODE}").json(), "Ready").get("status") == "True"

    until(well)
    lost = [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]
    api.request("PATCH", f"/api/v1/nodes/{NODE}/status", {"status": {"conditions": lost}}, MERGE)
    until(well, 5)


def test_a_pod_becomes_ready_with_an_address_of_its_node(here: Node) -> None:
    here.create("web", [{"name": "c", **port(8080)}])
    tree = here.wait_for("web", ready)
    status = tree["status"]
    assert status["phase"] == "Running"
    assert status["podIP"] == "127.77.1.1"
    assert status["podIPs"] == [{"ip": "127.77.1.1"}]
    assert status["hostIP"] == "127.0.0.1"
    assert status["qosClass"] == "BestEffort"
    made = container(tree, "c")
    assert (made["ready"], made["started"], made["restartCount"]) == (True, True, 0)
    assert made["imageID"] == "gatewright://stand-in"
    assert "running" in made["state"]
    assert {one["type"] for one in status["conditions"] if one["status"] == "True"} == {
        "PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled",
    }  # fmt: skip
    until(lambda: {"Pulled", "Created", "Started", "StandIn"} <= {reason for reason, _ in here.events("web")})


def test_a_pod_is_written_at_most_three_times_until_it_is_ready(here: Node) -> None:
    created = here.create("web", [{"name": "c", **port(8080)}])
    tree = here.wait_for("web", ready)
    managed = int(tree["metadata"]["resourceVersion"]) - int(created["metadata"]["resourceVersion"])
    events = len(here.events("web"))
    assert managed - events <= 3


def test_a_pod_is_not_ready_before_its_port_accepts(here: Node) -> None:
    here.create("web", [{"name": "c", "command": ["sleeps"], **port(8080)}])
    here.wait_for("web", lambda tree: tree["status"]["phase"] == "Running")
    time.sleep(0.5)
    tree = here.wait_for("web", lambda tree: True)
    assert not ready(tree)
    assert condition(tree, "Ready")["message"] == "containers with unready status: [c]"


def test_a_gone_pods_address_is_not_given_again_soon(here: Node) -> None:
    here.create("a", [{"name": "c"}])
    first = here.wait_for("a", ready)["status"]["podIP"]
    here.delete("a", 0)
    until(lambda: not here.runner.table)
    here.create("a", [{"name": "c"}])
    assert here.wait_for("a", ready)["status"]["podIP"] != first


def test_host_network_pods_have_the_nodes_addresses(here: Node) -> None:
    here.create("host", [{"name": "c"}], hostNetwork=True)
    assert here.wait_for("host", ready)["status"]["podIP"] == "127.0.0.1"
    assert here.pod("host").setup.link == ""


def test_init_containers_run_in_order_before_the_rest(here: Node) -> None:
    inits = [{"name": "i1", "command": ["exit", "0", "0.2"]}, {"name": "i2", "command": ["exit", "0"]}]
    here.create("web", [{"name": "c"}], initContainers=inits)
    here.wait_for("web", ready)
    assert [line for line in here.runner.told if "start" in line] == [
        "start web/i1#0",
        "start web/i2#0",
        "start web/c#0",
    ]


def test_a_failed_init_container_is_run_again(here: Node) -> None:
    here.create("web", [{"name": "c"}], initContainers=[{"name": "i", "command": ["exit", "1"]}])
    tree = here.wait_for("web", lambda tree: container(tree, "i").get("restartCount") == 1)
    assert tree["status"]["phase"] == "Pending"
    assert condition(tree, "Initialized")["status"] == "False"


def test_a_failed_init_container_of_a_pod_that_never_restarts_fails_it(here: Node) -> None:
    inits = [{"name": "i", "command": ["exit", "1"]}]
    here.create("web", [{"name": "c"}], initContainers=inits, restartPolicy="Never")
    here.wait_for("web", lambda tree: tree["status"]["phase"] == "Failed")


def test_a_sidecar_starts_first_and_ends_last(here: Node) -> None:
    inits = [{"name": "side", "restartPolicy": "Always"}, {"name": "i", "command": ["exit", "0"]}]
    here.create("job", [{"name": "c", "command": ["exit", "0", "0.5"]}], initContainers=inits, restartPolicy="Never")
    here.wait_for("job", lambda tree: tree["status"]["phase"] == "Succeeded")
    assert [line for line in here.runner.told if "start" in line] == [
        "start job/side#0",
        "start job/i#0",
        "start job/c#0",
    ]
    assert [name for name, _ in here.runner.stopped] == ["side"]


def test_a_container_that_crashes_waits_longer_each_time(here: Node) -> None:
    here.create("web", [{"name": "c", "command": ["exit", "3"]}])
    tree = here.wait_for("web", lambda tree: container(tree, "c").get("restartCount") == 2)
    tree = here.wait_for("web", lambda tree: "waiting" in container(tree, "c")["state"])
    made = container(tree, "c")
    assert made["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert made["lastState"]["terminated"]["exitCode"] == 3
    assert tree["status"]["phase"] == "Running"
    until(lambda: "BackOff" in {reason for reason, _ in here.events("web")})


@pytest.mark.parametrize(
    ("policy", "code", "phase"), [("Never", 1, "Failed"), ("OnFailure", 0, "Succeeded"), ("Never", 0, "Succeeded")]
)
def test_a_pod_that_ends(here: Node, policy: str, code: int, phase: str) -> None:
    here.create("job", [{"name": "c", "command": ["exit", str(code), "0.1"]}], restartPolicy=policy)
    tree = here.wait_for("job", lambda tree: tree["status"]["phase"] == phase)
    assert container(tree, "c")["state"]["terminated"]["exitCode"] == code
    assert condition(tree, "Ready").get("reason") == "PodCompleted"


def test_a_terminating_pod_runs_on_until_its_grace_is_over(here: Node) -> None:
    here.create("web", [{"name": "c", "command": ["stubborn"]}], terminationGracePeriodSeconds=2)
    before = here.wait_for("web", ready)
    here.delete("web")
    began = time.monotonic()
    time.sleep(0.7)
    tree = here.get("web")
    assert tree
    assert tree["metadata"]["deletionTimestamp"]
    assert tree["status"]["podIP"] == before["status"]["podIP"]
    assert ready(tree)
    here.wait_gone("web")
    assert 0.9 < time.monotonic() - began < 15
    assert not here.runner.table


def test_a_pod_of_the_same_name_waits_for_the_old_one(here: Node) -> None:
    here.create("web", [{"name": "c", "command": ["stubborn"]}], terminationGracePeriodSeconds=30)
    here.wait_for("web", ready)
    here.delete("web", 0)
    here.create("web", [{"name": "c"}])
    here.wait_for("web", ready)
    assert here.runner.told.index("remove web") < len(here.runner.told) - 2


def test_a_pre_stop_hook_runs_before_the_end(here: Node) -> None:
    hook = {"lifecycle": {"preStop": {"exec": {"command": ["true", "stop"]}}}}
    here.create("web", [{"name": "c", "command": ["serve"], **hook}])
    here.wait_for("web", ready)
    here.delete("web")
    here.wait_gone("web")
    assert ("c", ("true", "stop")) in here.runner.executed


def test_a_pod_fails_when_its_deadline_is_over(here: Node) -> None:
    here.create("web", [{"name": "c"}], activeDeadlineSeconds=1)
    tree = here.wait_for("web", lambda tree: tree["status"]["phase"] == "Failed")
    assert tree["status"]["reason"] == "DeadlineExceeded"


def test_a_readiness_probe_may_change_its_mind(here: Node) -> None:
    probe = {"exec": {"command": ["probe"]}, "periodSeconds": 1, "failureThreshold": 1}
    here.runner.answers["probe"] = 1
    here.create("web", [{"name": "c", "command": ["serve"], "readinessProbe": probe}])
    here.wait_for("web", lambda tree: tree["status"]["phase"] == "Running")
    time.sleep(0.3)
    tree = here.get("web")
    assert tree
    assert not ready(tree)
    here.runner.answers["probe"] = 0
    here.wait_for("web", ready)
    here.runner.answers["probe"] = 1
    here.wait_for("web", lambda tree: not ready(tree))
    until(lambda: "Unhealthy" in {reason for reason, _ in here.events("web")})


def test_a_container_that_was_never_ready_is_asked_sooner_than_its_probe_says(here: Node) -> None:
    probe = {"exec": {"command": ["probe"]}, "periodSeconds": 60}
    here.runner.answers["probe"] = 1
    here.create("web", [{"name": "c", "command": ["serve"], "readinessProbe": probe}])
    until(lambda: "Unhealthy" in {reason for reason, _ in here.events("web")})
    here.runner.answers["probe"] = 0
    here.wait_for("web", ready)


def test_a_failing_liveness_probe_restarts_the_container(here: Node) -> None:
    probe = {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1, "failureThreshold": 2}
    ports = [{"containerPort": 8080, "name": "http"}]
    here.create("web", [{"name": "c", "command": ["serve"], "ports": ports, "livenessProbe": probe}])
    here.wait_for("web", ready)
    here.runner.answers["http"] = 503
    here.wait_for("web", lambda tree: container(tree, "c")["restartCount"] == 1)
    messages = [message for _, message in here.events("web")]
    assert "Liveness probe failed: HTTP probe failed with statuscode: 503" in messages
    until(
        lambda: "Container c failed liveness probe, will be restarted" in [message for _, message in here.events("web")]
    )


def test_a_startup_probe_holds_the_others_back(here: Node) -> None:
    startup = {"exec": {"command": ["startup"]}, "periodSeconds": 1, "failureThreshold": 30}
    live = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
    here.runner.answers["startup"] = 1
    here.create("web", [{"name": "c", "command": ["serve"], "startupProbe": startup, "livenessProbe": live}])
    here.wait_for("web", lambda tree: tree["status"]["phase"] == "Running")
    time.sleep(1.2)
    tree = here.get("web")
    assert tree
    assert (container(tree, "c")["started"], container(tree, "c")["restartCount"]) == (False, 0)
    here.runner.answers["startup"] = 0
    here.wait_for("web", lambda tree: container(tree, "c")["restartCount"] == 1)


def test_a_grpc_probe_is_told_to_be_left_out(here: Node) -> None:
    here.create("web", [{"name": "c", "readinessProbe": {"grpc": {"port": 8080}}, **port(8080)}])
    here.wait_for("web", ready)
    until(lambda: "ProbeReplaced" in {reason for reason, _ in here.events("web")})


def test_a_missing_config_map_is_waited_for(api: Endpoint, here: Node) -> None:
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    volume = {"name": "v", "configMap": {"name": "settings"}}
    here.create("web", [{"name": "c", **mount}], volumes=[volume])
    until(lambda: "FailedMount" in {reason for reason, _ in here.events("web")})
    maps = "/api/v1/namespaces/default/configmaps"
    api.request("POST", maps, {"metadata": {"name": "settings"}, "data": {"a": "1"}})
    here.wait_for("web", ready, 3)
    files = here.pod("web").setup.volumes["v"].files
    assert files is not None
    assert files["a"].data == b"1"
    api.request("PATCH", f"{maps}/settings", {"data": {"a": "2"}}, MERGE)

    def changed() -> bool:
        now = here.pod("web").setup.volumes["v"].files
        return now is not None and now["a"].data == b"2"

    until(changed)


def test_an_environment_that_leads_nowhere_is_told(api: Endpoint, here: Node) -> None:
    variable = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "a"}}}
    here.create("web", [{"name": "c", "env": [variable]}])
    tree = here.wait_for(
        "web",
        lambda tree: (
            "reason" in container(tree, "c").get("state", {}).get("waiting", {})
            and container(tree, "c")["state"]["waiting"]["reason"] == "CreateContainerConfigError"
        ),
    )
    assert container(tree, "c")["state"]["waiting"]["message"] == 'secret "keys" not found'
    api.request("POST", "/api/v1/namespaces/default/secrets", {"metadata": {"name": "keys"}, "stringData": {"a": "x"}})
    here.wait_for("web", ready)
    assert here.pod("web").containers["c"].setup.environment["A"] == "x"


def test_a_status_that_others_have_changed_is_set_right(api: Endpoint, here: Node) -> None:
    here.create("web", [{"name": "c", **port(8080)}])
    conditions = here.wait_for("web", ready)["status"]["conditions"]
    wrong = [{**one, "status": "False"} if one["type"] == "Ready" else one for one in conditions]
    wrong.append({"type": "example.com/Own", "status": "True"})
    api.request("PATCH", f"{PODS}/web/status", {"status": {"conditions": wrong}}, MERGE)
    here.wait_for("web", lambda tree: ready(tree) and condition(tree, "example.com/Own"))


def test_a_sandbox_that_dies_is_made_anew(here: Node) -> None:
    here.create("web", [{"name": "c", **port(8080)}])
    address = here.wait_for("web", ready)["status"]["podIP"]
    uid = next(iter(here.runner.table))
    here.do(lambda: here.runner.die(uid))
    tree = here.wait_for("web", lambda tree: ready(tree) and container(tree, "c")["restartCount"] == 1)
    assert tree["status"]["podIP"] == address


def test_a_sandbox_that_dies_fails_a_pod_that_never_restarts(here: Node) -> None:
    here.create("job", [{"name": "c"}], restartPolicy="Never")
    here.wait_for("job", ready)
    here.do(lambda: here.runner.die(next(iter(here.runner.table))))
    tree = here.wait_for("job", lambda tree: tree["status"]["phase"] == "Failed")
    assert container(tree, "c")["state"]["terminated"]["exitCode"] == 137
    assert [line for line in here.runner.told if "create" in line] == ["create job"]


def test_a_container_that_is_done_is_not_run_again_in_a_new_sandbox(here: Node) -> None:
    done, runs = {"name": "done", "command": ["exit", "0"]}, {"name": "runs"}
    here.create(
        "job", [done, runs], restartPolicy="OnFailure", initContainers=[{"name": "i", "command": ["exit", "0"]}]
    )
    here.wait_for("job", lambda tree: container(tree, "done").get("state", {}).get("terminated"))
    here.do(lambda: here.runner.die(next(iter(here.runner.table))))
    here.wait_for("job", lambda tree: container(tree, "runs")["restartCount"] == 1)
    starts = [line for line in here.runner.told if "start" in line]
    assert "start job/i#1" in starts
    assert "start job/done#1" not in starts


def test_a_sandbox_that_cannot_be_made_is_tried_again(here: Node) -> None:
    here.runner.broken = "no space left"
    here.create("web", [{"name": "c"}])
    until(lambda: "FailedCreatePodSandBox" in {reason for reason, _ in here.events("web")})
    here.runner.broken = ""
    here.wait_for("web", ready)


def test_a_kubelet_that_is_started_again_changes_nothing(here: Node) -> None:
    here.create("web", [{"name": "c", **port(8080)}])
    here.create("crash", [{"name": "c", "command": ["exit", "1"]}])
    before = here.wait_for("web", ready)
    here.wait_for("crash", lambda tree: container(tree, "c").get("restartCount") == 1)
    here.stop()
    here.runner.told.clear()
    here.start()
    time.sleep(1.0)
    after = here.wait_for("web", ready)
    assert after["status"] == before["status"]
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert not [line for line in here.runner.told if "web" in line]
    here.create("new", [{"name": "c"}])
    assert here.wait_for("new", ready)["status"]["podIP"] != before["status"]["podIP"]
    here.wait_for("crash", lambda tree: container(tree, "c").get("restartCount") == 2)


def test_what_changed_while_the_kubelet_was_away_is_made_up_for(here: Node) -> None:
    for name in ("gone", "going", "ends"):
        here.create(name, [{"name": "c"}], restartPolicy="Never")
        here.wait_for(name, ready)
    here.stop()
    here.delete("gone", 0)
    here.delete("going")
    here.do(lambda: here.runner.end("ends", "c", 0))
    here.start()
    here.wait_gone("going")
    here.wait_for("ends", lambda tree: tree["status"]["phase"] == "Succeeded")
    until(lambda: [pod.setup.name for pod in here.runner.table.values()] == ["ends"])


def test_fifty_pods_are_ready_soon(here: Node) -> None:
    began = time.monotonic()
    for number in range(50):
        here.create(f"p{number}", [{"name": "c", **port(8080)}])
    items: list[Any] = []

    def all_ready() -> bool:
        items[:] = here.api.request("GET", PODS).json()["items"]
        return all(map(ready, items))

    until(all_ready, 20)
    took = time.monotonic() - began
    assert len({one["status"]["podIP"] for one in items}) == 50
    assert took < 15


def test_a_pod_takes_the_name_of_one_that_went_while_the_kubelet_was_away(here: Node) -> None:
    here.create("web", [{"name": "c"}])
    here.wait_for("web", ready)
    here.stop()
    here.delete("web", 0)
    here.create("web", [{"name": "c"}])
    here.runner.told.clear()
    here.start()
    here.wait_for("web", ready)
    assert here.runner.told == ["remove web", "create web", "start web/c#0"]
