"""The next steps of StatefulSets and DaemonSets, as tables."""

from __future__ import annotations

from typing import Any

import pytest

from gatewright.lab.controllers import daemonsets, statefulsets

Tree = dict[str, Any]
NOW = 1_000_000.0


def pod(name: str, state: str = "ready", revision: str = "new", node: str = "") -> Tree:
    """`state`: ready, broken, pending, failed, or leaving (its deletion has begun)."""
    about: Tree = {"name": name, "uid": name, "labels": {"controller-revision-hash": revision}}
    if state == "leaving":
        about["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    phase = {"pending": "Pending", "failed": "Failed"}.get(state, "Running")
    ready = "True" if state in ("ready", "leaving") else "False"
    conditions = [{"type": "Ready", "status": ready, "lastTransitionTime": "1970-01-01T00:00:00Z"}]
    return {"metadata": about, "spec": {"nodeName": node}, "status": {"phase": phase, "conditions": conditions}}


def stateful_set(replicas: int, **spec: Any) -> Tree:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
    return {"metadata": {"name": "db"}, "spec": {"replicas": replicas, "updateStrategy": strategy, **spec}}


def states(text: str) -> dict[int, Tree]:
    """`0:ready 1:broken:old`."""
    found = {}
    for one in text.split():
        number, state, revision = (*one.split(":"), "new")[:3]
        found[int(number)] = pod(f"db-{number}", state, revision)
    return found


PARALLEL = {"podManagementPolicy": "Parallel"}
PARTITION = {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}}
ON_DELETE = {"updateStrategy": {"type": "OnDelete"}}


@pytest.mark.parametrize(
    ("replicas", "more", "pods", "create", "delete"),
    [
        (3, {}, "", [0], []),
        (3, {}, "0:ready", [1], []),
        (3, {}, "0:broken", [], []),
        (3, {}, "0:pending", [], []),
        (3, {}, "0:ready 1:leaving", [], []),
        (3, {}, "0:ready 2:ready", [1], []),
        (3, {}, "0:ready 1:failed 2:ready", [], ["db-1"]),
        (3, PARALLEL, "0:broken", [1, 2], []),
        (3, PARALLEL, "1:failed 2:ready", [0], ["db-1"]),
        (1, {}, "0:ready 1:ready 2:ready", [], ["db-2"]),
        (1, {}, "0:ready 1:ready 2:leaving", [], []),
        (1, {}, "0:broken 1:ready 2:ready", [], []),
        (1, PARALLEL, "0:broken 1:ready 2:ready", [], ["db-2", "db-1"]),
        (2, {"ordinals": {"start": 5}}, "5:ready", [6], []),
        (2, {"ordinals": {"start": 5}}, "0:ready 5:ready 6:ready", [], ["db-0"]),
        (3, {}, "0:ready:old 1:ready:old 2:ready:old", [], ["db-2"]),
        (3, {}, "0:ready:old 1:ready:old 2:leaving:old", [], []),
        (3, {}, "0:ready:old 1:ready:old 2:ready", [], ["db-1"]),
        (3, PARALLEL, "0:ready:old 1:ready:old 2:broken", [], []),
        (3, PARTITION, "0:ready:old 1:ready:old 2:ready:old", [], ["db-2"]),
        (3, PARTITION, "0:ready:old 1:ready:old 2:ready", [], []),
        (2, ON_DELETE, "0:ready:old 1:ready:old", [], []),
        (0, {}, "0:ready", [], ["db-0"]),
    ],
)
def test_the_next_step_of_a_stateful_set(
    replicas: int, more: Tree, pods: str, create: list[int], delete: list[str]
) -> None:
    step = statefulsets.plan(stateful_set(replicas, **more), states(pods), "new", NOW)
    assert list(step.create) == create
    assert [one["metadata"]["name"] for one in step.delete] == delete


def test_a_pod_counts_as_healthy_only_after_min_ready_seconds() -> None:
    owner = stateful_set(2, minReadySeconds=10)
    pods = states("0:ready")
    assert statefulsets.plan(owner, pods, "new", 5.0).create == ()
    assert statefulsets.plan(owner, pods, "new", 10.0).create == (1,)


@pytest.mark.parametrize(
    ("name", "number"),
    [("db-0", 0), ("db-12", 12), ("db-01", None), ("db-x", None), ("other-0", None), ("db--1", None)],
)
def test_which_names_are_a_stateful_sets(name: str, number: int | None) -> None:
    assert statefulsets.ordinal_of(stateful_set(1), pod(name)) == number


def test_an_update_that_is_through_becomes_the_current_revision() -> None:
    owner = stateful_set(2)
    half = statefulsets.status_from(owner, list(states("0:ready:old 1:ready").values()), "old", "new", NOW)
    assert (half["currentRevision"], half["currentReplicas"], half["updatedReplicas"]) == ("old", 1, 1)
    full = statefulsets.status_from(owner, list(states("0:ready 1:ready").values()), "old", "new", NOW)
    assert (full["currentRevision"], full["currentReplicas"], full["updatedReplicas"]) == ("new", 2, 2)
    waiting = statefulsets.status_from(owner, list(states("0:ready 1:broken").values()), "old", "new", NOW)
    assert waiting["currentRevision"] == "old"


def node(name: str, ready: str = "True", *taints: Tree, **labels: str) -> Tree:
    status = {"conditions": [{"type": "Ready", "status": ready}]}
    return {"metadata": {"name": name, "labels": labels}, "spec": {"taints": list(taints)}, "status": status}


def daemon_set(unavailable: Any = 1, surge: Any = 0, kind: str = "RollingUpdate", **pod_spec: Any) -> Tree:
    strategy: Tree = {"type": kind}
    if kind == "RollingUpdate":
        strategy["rollingUpdate"] = {"maxUnavailable": unavailable, "maxSurge": surge}
    template = {"spec": {"containers": [], **pod_spec}}
    return {"metadata": {"name": "agent"}, "spec": {"updateStrategy": strategy, "template": template}}


def steps(owner: Tree, nodes: list[Tree], text: str) -> tuple[list[str], list[str]]:
    """(nodes that get a pod, pods that go), for pods such as `a:ready:old a:ready b:failed`, named as they stand."""
    pods: dict[str, list[Tree]] = {}
    for place, one in enumerate(text.split()):
        where, state, revision = (*one.split(":"), "new")[:3]
        pods.setdefault(where, []).append(pod(f"{where}{place}", state, revision, where))
    step = daemonsets.plan(owner, nodes, pods, "new", NOW)
    return step.create, [one["metadata"]["name"] for one in step.delete]


THREE = [node("a"), node("b"), node("c")]
TAINT = {"key": "team", "value": "red", "effect": "NoSchedule"}
EXECUTE = {"key": "team", "value": "red", "effect": "NoExecute"}


@pytest.mark.parametrize(
    ("owner", "nodes", "pods", "create", "delete"),
    [
        (daemon_set(), THREE, "", ["a", "b", "c"], []),
        (daemon_set(), THREE, "a:ready b:broken c:leaving", [], []),
        (daemon_set(), THREE, "a:failed b:ready c:ready", [], ["a0"]),
        (daemon_set(), THREE, "a:ready a:ready b:ready c:ready", [], ["a1"]),
        (daemon_set(), THREE, "a:ready b:ready c:ready gone:ready", [], ["gone3"]),
        (daemon_set(nodeSelector={"x": "1"}), [node("a", x="1"), node("b")], "b:ready", ["a"], ["b0"]),
        (daemon_set(), [node("a", "True", TAINT)], "", [], []),
        (daemon_set(), [node("a", "True", TAINT)], "a:ready", [], []),
        (daemon_set(), [node("a", "True", EXECUTE)], "a:ready", [], ["a0"]),
        (daemon_set(), [node("a", "Unknown")], "", [], []),
        (daemon_set(), [node("a", "Unknown")], "a:ready", [], []),
        (daemon_set(), THREE, "a:ready:old b:ready:old c:ready:old", [], ["a0"]),
        (daemon_set(2), THREE, "a:ready:old b:ready:old c:ready:old", [], ["a0", "b1"]),
        (daemon_set("100%"), THREE, "a:ready:old b:ready:old c:ready:old", [], ["a0", "b1", "c2"]),
        (daemon_set(), THREE, "a:broken b:ready:old c:ready:old", [], []),
        (daemon_set(), THREE, "a:broken:old b:ready:old c:ready:old", [], ["a0"]),
        (daemon_set(kind="OnDelete"), THREE, "a:ready:old b:ready:old c:ready:old", [], []),
        (daemon_set(0, 1), THREE, "a:ready:old b:ready:old c:ready:old", ["a"], []),
        (daemon_set(0, 1), THREE, "a:ready:old a:broken b:ready:old c:ready:old", [], []),
        (daemon_set(0, 1), THREE, "a:ready:old a:ready b:ready:old c:ready:old", [], ["a0"]),
    ],
)
def test_the_next_step_of_a_daemon_set(
    owner: Tree, nodes: list[Tree], pods: str, create: list[str], delete: list[str]
) -> None:
    assert steps(owner, nodes, pods) == (create, delete)


def test_a_cordoned_node_has_daemons() -> None:
    cordoned = {**node("a"), "spec": {"unschedulable": True}}
    assert steps(daemon_set(), [cordoned], "") == (["a"], [])


def test_a_daemon_is_bound_to_its_node_beside_what_its_template_asks() -> None:
    term = {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    spec = daemonsets.daemon_spec({"affinity": {"nodeAffinity": required}}, "n1")
    [made] = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert made["matchExpressions"] == term["matchExpressions"]
    assert made["matchFields"] == [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]
    assert daemonsets.node_of({"spec": spec}) == "n1"


def test_what_is_told_of_a_daemon_set_counts_nodes() -> None:
    pods = {"a": [pod("1", "ready", "new", "a")], "b": [pod("2", "broken", "old", "b")]}
    status = daemonsets.status_from(daemon_set(), THREE, pods, "new", NOW)
    assert status == {
        "currentNumberScheduled": 2,
        "numberMisscheduled": 0,
        "desiredNumberScheduled": 3,
        "numberReady": 1,
        "updatedNumberScheduled": 1,
        "numberAvailable": 1,
        "numberUnavailable": 2,
    }
