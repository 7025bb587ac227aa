"""When a lab has settled: everything runs that is to run, and every agent has the policies in the kernel. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from gatewright.lab.api.resources import Tree
from gatewright.lab.api.tables import cells
from gatewright.lab.views import is_ready

Json = Mapping[str, Any]


def unready_pods(pods: Iterable[Tree]) -> list[Tree]:
    """The pods that are still to become ready; those that have ended well or are leaving are not among them."""
    return [
        pod
        for pod in pods
        if not is_ready(pod)
        and (pod.get("status") or {}).get("phase") != "Succeeded"
        and not pod["metadata"].get("deletionTimestamp")
    ]


def is_hopeless(pod: Tree) -> bool:
    """Whether a pod will never become ready."""
    return bool((pod.get("status") or {}).get("phase") == "Failed")


def named(tree: Tree) -> str:
    """An object in a message: `Deployment shop/web`."""
    return f"{tree['kind']} {tree['metadata']['namespace']}/{tree['metadata']['name']}"


def line_of(pod: Tree) -> str:
    """A pod that is not ready, and why."""
    return f"pod {pod['metadata']['namespace']}/{pod['metadata']['name']} is not ready: {why(pod)}"


def why(pod: Tree) -> str:
    """Why a pod is not ready, in a few words."""
    status = pod.get("status") or {}
    for one in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (one.get("state") or {}).get("waiting") or {}
        if waiting.get("message"):
            return f"container {one['name']}: {waiting['message']}"
    conditions = {one["type"]: one for one in status.get("conditions") or ()}
    for kind in ("PodScheduled", "Ready", "ContainersReady"):
        if (found := conditions.get(kind)) and found["status"] != "True" and found.get("message"):
            return str(found["message"])
    return str(cells("Pod", pod)[2])


def unsettled(kind: str, tree: Tree) -> bool:
    """Whether a workload has not yet made the pods that it is to have."""
    check = _SETTLED.get(kind)
    metadata, status = tree["metadata"], tree.get("status") or {}
    if check is None or metadata.get("deletionTimestamp"):
        return False
    if status.get("observedGeneration", 0) < metadata.get("generation", 0) and kind != "Job":
        return True
    return not check(tree.get("spec") or {}, status)


def _replicas(spec: Tree) -> int:
    return int(spec.get("replicas", 1))


def _deployment(spec: Tree, status: Tree) -> bool:
    wanted = _replicas(spec)
    counts = [status.get(name) or 0 for name in ("updatedReplicas", "replicas", "availableReplicas")]
    return spec.get("paused", False) or counts == [wanted] * 3


def _replica_set(spec: Tree, status: Tree) -> bool:
    return int(status.get("readyReplicas") or 0) == _replicas(spec) == int(status.get("replicas") or 0)


def _stateful_set(spec: Tree, status: Tree) -> bool:
    return _replica_set(spec, status)


def _daemon_set(_: Tree, status: Tree) -> bool:
    wanted = status.get("desiredNumberScheduled") or 0
    return bool((status.get("numberReady") or 0) == wanted == (status.get("updatedNumberScheduled") or 0))


def _job(spec: Tree, status: Tree) -> bool:
    ended = any(one["status"] == "True" for one in status.get("conditions") or () if one["type"] in _JOB_ENDS)
    return bool(ended or spec.get("suspend") or (status.get("active") or 0) <= (status.get("ready") or 0) > 0)


_JOB_ENDS = ("Complete", "Failed", "SuccessCriteriaMet")
_SETTLED: dict[str, Callable[[Tree, Tree], bool]] = {
    "Deployment": _deployment,
    "ReplicaSet": _replica_set,
    "StatefulSet": _stateful_set,
    "DaemonSet": _daemon_set,
    "Job": _job,
}
WORKLOADS = tuple(_SETTLED)


def unready_nodes(names: Iterable[str], nodes: Mapping[str, Tree]) -> Iterator[str]:
    """A line for each node that is not ready."""
    for name in names:
        conditions = ((nodes.get(name) or {}).get("status") or {}).get("conditions") or ()
        ready = next((one for one in conditions if one["type"] == "Ready"), None)
        if ready is None:
            yield f"node {name} is not there yet"
        elif ready["status"] != "True":
            yield f"node {name} is not ready: {ready.get('message') or ready.get('reason') or 'it does not say why'}"


def behind(agent: Json, newest: Mapping[str, int]) -> str:
    """Why an agent's kernel is not known to hold the newest objects (resourceVersions by kind); empty where it is."""
    if not agent:
        return "its agent does not answer"
    if agent["state"] != "in step" or agent["behind"]:
        problems = agent.get("problems") or []
        return f"its agent is {agent['state']}" + (f": {problems[0]}" if problems else "")
    for one in agent["watched"]:
        seen = one.get("resourceVersion") or "0"
        if seen.isdigit() and int(seen) < newest.get(one["kind"], 0):
            return f"its agent has not heard of the newest {one['kind']} yet"
    return ""
