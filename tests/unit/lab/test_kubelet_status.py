"""The status that a kubelet writes: phases, conditions, states of containers as cases; what is told, and how often."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from gatewright.kubeapi.status import Status
from gatewright.lab.api.resources import Resource
from gatewright.lab.apiclient.events import Recorder
from gatewright.lab.apiclient.writing import Refused, Writer
from gatewright.lab.kubelet.machine import Run, View
from gatewright.lab.kubelet.node import node_object, node_status
from gatewright.lab.kubelet.outbox import Outbox
from gatewright.lab.kubelet.podspec import PodSpec, read_pod, stamp_of
from gatewright.lab.kubelet.podstatus import Known, beside_others, difference, pod_status
from gatewright.lab.kubelet.probes import Probe, Tally, awaited_ports, counted, pause, probe_of
from gatewright.sources.kubeconfig import ClusterUnavailable

Tree = dict[str, Any]
NOW = 1_700_000_000.0
UP = Run(0, True, NOW - 50, runs="command")
STAND_IN = Run(0, True, NOW - 50, runs="stand-in")
WELL = Run(0, False, NOW - 50, NOW - 10, 0, "command")
ILL = Run(2, False, NOW - 50, NOW - 10, 3, "command")


def pod(mains: str = "c", inits: str = "", **spec: Any) -> PodSpec:
    initial = [{"name": one, "image": "i", **({"restartPolicy": "Always"} if one.isupper() else {})} for one in inits]
    containers = [{"name": one, "image": "i"} for one in mains]
    metadata = {"uid": "u", "name": "p", "namespace": "n"}
    status = spec.pop("status", {})
    return read_pod({
        "metadata": metadata, "status": status, "spec": {"containers": containers, "initContainers": initial, **spec},
    })  # fmt: skip


def status(spec: PodSpec, runs: dict[str, Run], **known: Any) -> Tree:
    view = View(spec, runs, known.pop("started", frozenset()), ending=known.pop("ending", False))
    return pod_status(Known(view, known.pop("stands", True), NOW - 60, ("10.0.0.1",), ("192.0.2.1",), **known), NOW)


def conditions(tree: Tree) -> dict[str, str]:
    return {one["type"]: one["status"] for one in tree["conditions"]}


def state(tree: Tree, index: int = 0, field: str = "containerStatuses") -> Tree:
    found: Tree = tree[field][index]["state"]
    return found


PHASES: dict[str, tuple[Tree, str]] = {
    "nothing runs yet": (status(pod(), {}), "Pending"),
    "an init container runs": (status(pod(inits="i"), {"i": UP}), "Pending"),
    "a container runs": (status(pod(), {"c": UP}), "Running"),
    "a container waits for its back-off": (status(pod(), {"c": ILL}), "Running"),
    "one has ended well, the other runs": (status(pod("ab", restartPolicy="Never"), {"a": WELL, "b": UP}), "Running"),
    "all have ended well": (status(pod(restartPolicy="Never"), {"c": WELL}, over=True), "Succeeded"),
    "one has failed": (status(pod("ab", restartPolicy="Never"), {"a": WELL, "b": ILL}, over=True), "Failed"),
    "an init container has failed for good": (
        status(pod(inits="i", restartPolicy="Never"), {"i": ILL}, over=True),
        "Failed",
    ),
    "its time was over": (
        status(pod(), {"c": WELL}, over=True, ending=True, failure=("DeadlineExceeded", "")),
        "Failed",
    ),
    "it was deleted and ended well": (status(pod(), {"c": WELL}, over=True, ending=True), "Succeeded"),
    "it was deleted before anything ran": (status(pod(), {}, over=True, ending=True), "Failed"),
}


@pytest.mark.parametrize("name", PHASES)
def test_phases(name: str) -> None:
    tree, wanted = PHASES[name]
    assert tree["phase"] == wanted


ALL = {"PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"}
CONDITIONS: dict[str, tuple[Tree, set[str]]] = {
    "before the sandbox stands": (status(pod(), {}, stands=False), {"Initialized", "PodScheduled"}),
    "the sandbox stands": (status(pod(), {}), ALL - {"Ready", "ContainersReady"}),
    "an init container runs": (
        status(pod(inits="i"), {"i": UP}),
        {"PodReadyToStartContainers", "PodScheduled"},
    ),
    "one of two is ready": (
        status(pod("ab"), {"a": UP, "b": UP}, ready=frozenset("a")),
        ALL - {"Ready", "ContainersReady"},
    ),
    "all are ready": (status(pod("ab"), {"a": UP, "b": UP}, ready=frozenset("ab")), ALL),
    "a sidecar is not ready": (
        status(pod(inits="S"), {"S": UP, "c": UP}, ready=frozenset("c"), started=frozenset("S")),
        ALL - {"Ready", "ContainersReady"},
    ),
    "a gate is shut": (
        status(pod(readinessGates=[{"conditionType": "x/y"}]), {"c": UP}, ready=frozenset("c")),
        ALL - {"Ready"},
    ),
    "a gate is open": (
        status(
            pod(readinessGates=[{"conditionType": "x/y"}], status={"conditions": [{"type": "x/y", "status": "True"}]}),
            {"c": UP},
            ready=frozenset("c"),
        ),
        ALL | {"x/y"},
    ),
    "it is over": (status(pod(restartPolicy="Never"), {"c": WELL}, over=True), {"Initialized", "PodScheduled"}),
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_conditions(name: str) -> None:
    tree, wanted = CONDITIONS[name]
    assert {kind for kind, value in conditions(tree).items() if value == "True"} == wanted


def test_a_condition_keeps_its_time_while_it_is_the_same() -> None:
    before = [{"type": kind, "status": "True", "lastTransitionTime": "2001-01-01T00:00:00Z"} for kind in ALL]
    tree = status(pod(status={"conditions": before}), {"c": UP})
    times = {one["type"]: one["lastTransitionTime"] for one in tree["conditions"]}
    assert times["Initialized"] == "2001-01-01T00:00:00Z"
    assert times["Ready"] == stamp_of(NOW)


def test_what_a_pod_is_not_ready_for_is_told() -> None:
    told = {one["type"]: one for one in status(pod("ab", "i"), {"i": UP}, ready=frozenset("a"))["conditions"]}
    assert told["Ready"]["message"] == "containers with unready status: [b]"
    assert told["Initialized"]["message"] == "containers with incomplete status: [i]"


def test_a_running_container() -> None:
    tree = status(pod(), {"c": STAND_IN}, ready=frozenset("c"), started=frozenset("c"))["containerStatuses"][0]
    assert tree == {
        "name": "c",
        "image": "i",
        "imageID": "gatewright://stand-in",
        "containerID": "gatewright://u/c/0",
        "ready": True,
        "started": True,
        "restartCount": 0,
        "state": {"running": {"startedAt": stamp_of(NOW - 50)}},
        "lastState": {},
    }


def test_a_container_that_crashes() -> None:
    tree = status(pod(), {"c": ILL})["containerStatuses"][0]
    assert tree["state"]["waiting"] == {
        "reason": "CrashLoopBackOff",
        "message": "back-off restarting failed container=c pod=p_n(u)",
    }
    assert tree["lastState"]["terminated"]["exitCode"] == 3
    assert (tree["restartCount"], tree["ready"], tree["started"]) == (2, False, False)


def test_a_container_that_runs_again_tells_how_the_last_run_ended() -> None:
    tree = status(pod(), {"c": Run(3, True, NOW)}, last={"c": ILL})["containerStatuses"][0]
    assert tree["lastState"]["terminated"] == {
        "exitCode": 3,
        "reason": "Error",
        "startedAt": stamp_of(NOW - 50),
        "finishedAt": stamp_of(NOW - 10),
        "containerID": "gatewright://u/c/2",
    }


@pytest.mark.parametrize(
    ("spec", "runs", "known", "wanted"),
    [
        (pod(), {}, {}, "ContainerCreating"),
        (pod(inits="i"), {"i": UP}, {}, "PodInitializing"),
        (pod(), {}, {"waiting": {"c": ("CreateContainerConfigError", "why")}}, "CreateContainerConfigError"),
    ],
)
def test_what_a_container_waits_for(spec: PodSpec, runs: dict[str, Run], known: Tree, wanted: str) -> None:
    assert state(status(spec, runs, **known))["waiting"]["reason"] == wanted


def test_an_ended_init_container_is_ready() -> None:
    tree = status(pod(inits="i"), {"i": WELL, "c": UP})["initContainerStatuses"][0]
    assert (tree["ready"], tree["state"]["terminated"]["reason"]) == (True, "Completed")


def test_a_container_that_is_not_started_again_has_ended() -> None:
    tree = status(pod(restartPolicy="Never"), {"c": ILL}, over=True)
    assert state(tree)["terminated"]["exitCode"] == 3


def test_a_sidecar_that_ended_after_the_containers_is_not_waited_for() -> None:
    tree = status(pod(inits="S", restartPolicy="Never"), {"S": ILL, "c": WELL})
    assert state(tree, field="initContainerStatuses")["terminated"]["exitCode"] == 3


def test_a_signal_is_told_as_a_shell_tells_it() -> None:
    tree = status(pod(restartPolicy="Never"), {"c": Run(0, False, NOW, NOW, -9)}, over=True)
    assert state(tree)["terminated"]["exitCode"] == 137


def test_only_what_differs_is_written() -> None:
    assert difference({"a": 1, "b": [1], "others": 1}, {"a": 1, "b": [2]}) == {"b": [2]}
    assert difference({"a": 1}, {"a": 1}) == {}


# Probes.


def probe(**fields: Any) -> Probe:
    spec = pod()
    tree = {**spec.parts[0].tree, "readinessProbe": {"exec": {"command": ["x"]}, **fields}}
    found = probe_of(read_pod({**spec.tree, "spec": {"containers": [tree]}}).parts[0], "readiness")
    assert found
    return found


def test_a_probe_has_the_defaults_of_the_api() -> None:
    found = probe()
    assert (found.delay, found.period, found.timeout, found.successes, found.failures) == (0, 10, 1, 1, 3)
    assert (found.kind, found.grace) == ("exec", None)


@pytest.mark.parametrize(
    ("answers", "passed"),
    [
        ("", None),
        ("+", None),
        ("++", True),
        ("++-", True),
        ("++--", True),
        ("++---", False),
        ("---", False),
        ("++---+", False),
    ],
)
def test_a_probe_changes_its_mind_at_its_thresholds(answers: str, passed: bool | None) -> None:
    asked, tally = probe(successThreshold=2, failureThreshold=3), Tally()
    for answer in answers:
        tally = counted(tally, asked, answer == "+")
    assert tally.passed is passed


def test_only_tcp_ports_are_awaited() -> None:
    ports = [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}, {"containerPort": 81, "protocol": "TCP"}]
    assert awaited_ports({"ports": ports}) == {80, 81}


def test_looks_at_ports_become_slow_soon() -> None:
    waits = [pause(looks) for looks in range(20)]
    assert waits == sorted(waits)
    assert waits[0] < 0.05
    assert waits[-1] == 1.0


# Nodes.


def test_a_node_says_what_it_is() -> None:
    made = node_object("n1", {"zone": "a"})
    assert made["metadata"]["labels"]["zone"] == "a"
    tree = node_status("n1", ("192.0.2.1", "2001:db8::1"), 10250, NOW, {})
    assert tree["addresses"][-1] == {"type": "Hostname", "address": "n1"}
    assert tree["capacity"]["pods"] == "500"
    assert conditions(tree)["Ready"] == "True"


def test_a_node_keeps_the_conditions_of_others() -> None:
    before = [
        {"type": "Own", "status": "True"},
        {"type": "Ready", "status": "True", "lastTransitionTime": "2001-01-01T00:00:00Z"},
        {"type": "DiskPressure", "status": "Unknown", "lastTransitionTime": "2001-01-01T00:00:00Z"},
    ]
    told = {one["type"]: one for one in node_status("n1", (), 1, NOW, {"conditions": before})["conditions"]}
    assert "Own" in told
    assert told["Ready"]["lastTransitionTime"] == "2001-01-01T00:00:00Z"
    assert told["DiskPressure"]["lastTransitionTime"] == stamp_of(NOW)


# What is told.


class FakeWriter:
    """Keeps what is written; `away` and `refuses` say what goes wrong."""

    def __init__(self) -> None:
        self.written: list[tuple[str, str]] = []
        self.away, self.refuses = 0, ""
        self.pods: dict[str, Tree] = {}

    def patch(self, resource: Resource, namespace: str, name: str, patch: Tree, subresource: str = "") -> Tree:
        self._write("patch", name, patch["status"])
        self.pods[name] = {
            "metadata": {"uid": name},
            "status": {**self.pods.get(name, {}).get("status", {}), **patch["status"]},
        }
        return {}

    def delete(self, resource: Resource, namespace: str, name: str, *, uid: str, grace: int) -> None:
        self._write("delete", name, (uid, grace))

    def record(self, about: Tree, kind: str, reason: str, message: str) -> None:
        self.written.append(("event", reason))

    def close(self) -> None:
        """Nothing is open."""

    def _write(self, what: str, name: str, _: object) -> None:
        if self.away:
            self.away -= 1
            raise ClusterUnavailable("away")
        self.written.append((what, name))
        if self.refuses:
            raise Refused(what, Status(reason=self.refuses, code=409))


class Told:
    """An outbox whose thread has been run until everything was written."""

    def __init__(self) -> None:
        self.writer = FakeWriter()
        self.box = Outbox(
            cast("Writer", self.writer), cast("Recorder", self.writer), lambda _, name: self.writer.pods.get(name)
        )

    def tree(self, name: str) -> Tree:
        return {"metadata": {"name": name, "namespace": "n", "uid": name}, "status": {}}

    def run(self) -> list[tuple[str, str]]:
        self.box.event(self.tree("last"), "Normal", "End", "")
        thread = threading.Thread(target=self.box.run, daemon=True)
        thread.start()
        while ("event", "End") not in self.writer.written:
            thread.join(0.01)
        self.box.stop()
        thread.join(10)
        assert not thread.is_alive()
        return self.writer.written[:-1]


def test_pods_are_told_before_events_and_heartbeats_before_pods() -> None:
    told = Told()
    told.box.event(told.tree("a"), "Normal", "Created", "")
    told.box.status(told.tree("a"), {"phase": "Running"})
    told.box.first("beat", lambda writer: writer.delete(cast("Resource", None), "", "beat", uid="", grace=0))
    assert told.run() == [("delete", "beat"), ("patch", "a"), ("event", "Created")]


def test_of_a_pod_only_the_newest_is_told() -> None:
    told = Told()
    for phase in ("Pending", "Running"):
        told.box.status(told.tree("a"), {"phase": phase})
    assert told.run() == [("patch", "a")]
    assert told.writer.pods["a"]["status"] == {"phase": "Running"}


def test_what_the_api_has_already_is_not_told() -> None:
    told = Told()
    told.writer.pods["a"] = {"metadata": {"uid": "a"}, "status": {"phase": "Running"}}
    told.box.status(told.tree("a"), {"phase": "Running"})
    assert told.run() == []


def test_another_pod_of_the_name_is_no_measure() -> None:
    told = Told()
    told.writer.pods["a"] = {"metadata": {"uid": "other"}, "status": {"phase": "Running"}}
    told.box.status(told.tree("a"), {"phase": "Running"})
    assert told.run() == [("patch", "a")]


def test_an_ended_pod_is_told_with_its_last_status() -> None:
    told = Told()
    told.box.status(told.tree("a"), {"phase": "Failed"})
    told.box.ended(told.tree("a"))
    assert told.run() == [("patch", "a"), ("delete", "a")]


def test_while_the_api_is_away_nothing_is_lost() -> None:
    told = Told()
    told.writer.away = 2
    told.box.status(told.tree("a"), {"phase": "Running"})
    told.box.ended(told.tree("b"))
    assert sorted(told.run()) == [("delete", "b"), ("patch", "a")]


def test_what_is_refused_is_let_go() -> None:
    told = Told()
    told.writer.refuses = "Conflict"
    told.box.status(told.tree("a"), {"phase": "Running"})
    told.box.status(told.tree("b"), {"phase": "Running"})
    assert told.run() == [("patch", "a"), ("patch", "b")]


def test_a_pod_that_is_gone_is_told_no_more() -> None:
    told = Told()
    told.box.status(told.tree("a"), {"phase": "Running"})
    told.box.forget("a")
    assert told.run() == []


def test_conditions_of_others_are_those_that_the_api_has_now() -> None:
    """A status that was made before others wrote theirs neither takes them away nor brings back what they took away."""
    own, newer, older = ({"type": one, "status": "True"} for one in ("Ready", "example.com/New", "example.com/Old"))
    told = beside_others({"phase": "Running", "conditions": [own, older]}, {"conditions": [newer]})
    assert told == {"phase": "Running", "conditions": [own, newer]}
    assert beside_others({"phase": "Running"}, {"conditions": [newer]}) == {"phase": "Running"}
