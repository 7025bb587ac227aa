"""When a lab has settled, and what is said while it has not."""

from __future__ import annotations

from typing import Any

import pytest

from gatewright.lab import waiting

Tree = dict[str, Any]


def pod(name: str = "p", *, ready: str | None = "True", phase: str = "Running", **more: Any) -> Tree:
    conditions = [{"type": "Ready", "status": ready, "message": "not yet"}] if ready else []
    metadata = {"name": name, "namespace": "shop", **more.pop("metadata", {})}
    status = {"phase": phase, "conditions": conditions, **more}
    return {"kind": "Pod", "metadata": metadata, "spec": {"containers": [{"name": "c"}]}, "status": status}


@pytest.mark.parametrize(
    ("tree", "unready"),
    [
        (pod(), False),
        (pod(ready="False"), True),
        (pod(ready=None, phase="Pending"), True),
        (pod(ready="False", phase="Succeeded"), False),
        (pod(ready="False", phase="Failed"), True),
        (pod(ready="False", metadata={"deletionTimestamp": "now"}), False),
        ({"metadata": {"name": "new", "namespace": "shop"}, "spec": {}}, True),
    ],
)
def test_which_pods_are_waited_for(tree: Tree, unready: bool) -> None:
    assert (waiting.unready_pods([tree]) == [tree]) is unready


def test_why_names_the_container_that_cannot_start() -> None:
    state = {"name": "c", "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 4s"}}}
    assert waiting.why(pod(ready="False", containerStatuses=[state])) == "container c: back-off 4s"


def test_why_a_pod_has_no_node() -> None:
    tree = pod(ready=None, phase="Pending")
    tree["status"]["conditions"] = [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}]
    assert waiting.line_of(tree) == "pod shop/p is not ready: 0/3 nodes are available"


WORKLOADS: dict[str, tuple[str, Tree, Tree, bool]] = {
    "a Deployment that nobody has looked at": ("Deployment", {"replicas": 1}, {}, True),
    "a Deployment that is there": (
        "Deployment",
        {"replicas": 2},
        {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2},
        False,
    ),
    "a Deployment in the middle of a rollout": (
        "Deployment",
        {"replicas": 2},
        {"observedGeneration": 1, "replicas": 3, "updatedReplicas": 2, "availableReplicas": 2},
        True,
    ),
    "a Deployment of none": ("Deployment", {"replicas": 0}, {"observedGeneration": 1}, False),
    "a Deployment that is paused": ("Deployment", {"paused": True}, {"observedGeneration": 1}, False),
    "a StatefulSet on its way": ("StatefulSet", {"replicas": 2}, {"observedGeneration": 1, "replicas": 1}, True),
    "a StatefulSet that is there": (
        "StatefulSet",
        {"replicas": 2},
        {"observedGeneration": 1, "replicas": 2, "readyReplicas": 2},
        False,
    ),
    "a DaemonSet on its way": ("DaemonSet", {}, {"observedGeneration": 1, "desiredNumberScheduled": 3}, True),
    "a DaemonSet that is there": (
        "DaemonSet",
        {},
        {"observedGeneration": 1, "desiredNumberScheduled": 3, "numberReady": 3, "updatedNumberScheduled": 3},
        False,
    ),
    "a Job that has begun nothing": ("Job", {}, {}, True),
    "a Job at work": ("Job", {}, {"active": 1, "ready": 1}, False),
    "a Job that is done": ("Job", {}, {"conditions": [{"type": "Complete", "status": "True"}]}, False),
    "a Job that is suspended": ("Job", {"suspend": True}, {}, False),
    "what makes no pods": ("Service", {}, {}, False),
}


@pytest.mark.parametrize("case", WORKLOADS, ids=str)
def test_which_workloads_are_waited_for(case: str) -> None:
    kind, spec, status, expected = WORKLOADS[case]
    tree = {"kind": kind, "metadata": {"name": "w", "namespace": "shop", "generation": 1}, "spec": spec}
    assert waiting.unsettled(kind, {**tree, "status": status}) is expected


def test_what_leaves_is_not_waited_for() -> None:
    metadata = {"name": "w", "namespace": "shop", "generation": 1, "deletionTimestamp": "now"}
    assert not waiting.unsettled("Deployment", {"metadata": metadata, "spec": {"replicas": 1}})


def test_nodes_that_are_not_ready_are_named() -> None:
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    silent = {"status": {"conditions": [{"type": "Ready", "status": "Unknown", "message": "stopped posting"}]}}
    assert list(waiting.unready_nodes(["a", "b", "c"], {"a": ready, "b": silent})) == [
        "node b is not ready: stopped posting",
        "node c is not there yet",
    ]


AGENT = {"state": "in step", "behind": 0.0, "watched": [{"kind": "NetworkPolicy", "resourceVersion": "7"}]}


@pytest.mark.parametrize(
    ("agent", "newest", "expected"),
    [
        (AGENT, {"NetworkPolicy": 7}, ""),
        (AGENT, {}, ""),
        (AGENT, {"NetworkPolicy": 8}, "its agent has not heard of the newest NetworkPolicy yet"),
        (AGENT | {"behind": 0.2}, {}, "its agent is in step"),
        (AGENT | {"state": "failing", "problems": ["no nft"]}, {}, "its agent is failing: no nft"),
        ({}, {}, "its agent does not answer"),
    ],
)
def test_whether_an_agent_is_behind(agent: Tree, newest: dict[str, int], expected: str) -> None:
    assert waiting.behind(agent, newest) == expected
