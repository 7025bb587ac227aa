"""Nodes without a machine: a thread registers them, renews their leases, and says of bound pods what a kubelet would.

What a pod does follows from the image of its first container: `runs` is running and ready at once, `broken` never gets
ready, `ends:0` succeeds and `ends:1` fails as soon as it runs. Pods that are deleted are gone at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from gatewright.lab.api.resources import BY_PLURAL, Resource
from gatewright.lab.apiclient.following import Change, Name
from gatewright.lab.apiclient.working import Cluster, Workers
from gatewright.lab.apiclient.writing import Refused, Writer
from gatewright.sources.kubeconfig import ClusterUnavailable, Where

PODS, NODES, LEASES = BY_PLURAL["", "pods"], BY_PLURAL["", "nodes"], BY_PLURAL["coordination.k8s.io", "leases"]
Tree = dict[str, Any]


def stamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def node(name: str, pods: int = 500, **labels: str) -> Tree:
    given = {"kubernetes.io/hostname": name, **{key.replace("_", "-"): value for key, value in labels.items()}}
    condition = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastTransitionTime": stamp()}
    room = {"pods": str(pods)}
    status = {"capacity": room, "allocatable": room, "conditions": [condition]}
    return {"metadata": {"name": name, "labels": given}, "status": status}


class Kubelet:
    """One controller plays the kubelets of all nodes."""

    name = "kubelet"
    resources: tuple[Resource, ...] = (PODS,)

    def keys(self, change: Change) -> Iterable[Name]:
        pod = change.after
        return (change.name,) if pod is not None and pod["spec"].get("nodeName") else ()

    def reconcile(self, cluster: Cluster, key: Name) -> float | None:
        pod = cluster.follower.get(PODS, *key)
        if pod is None:
            return None
        try:
            if pod["metadata"].get("deletionTimestamp"):
                if pod["metadata"].get("deletionGracePeriodSeconds") or not pod["metadata"].get("finalizers"):
                    cluster.writer.delete(PODS, *key, grace=0, uid=pod["metadata"]["uid"])
            elif (pod.get("status") or {}).get("phase", "Pending") == "Pending":
                cluster.writer.update(PODS, {**pod, "status": told(pod)}, "status")
        except Refused as refused:
            if refused.reason not in ("NotFound", "Conflict"):
                raise
        return None


def told(pod: Tree) -> Tree:
    image = pod["spec"]["containers"][0]["image"]
    phase = {"ends:0": "Succeeded", "ends:1": "Failed"}.get(image, "Running")
    ready = "True" if image.startswith("runs") else "False"
    conditions = [one for one in pod["status"].get("conditions") or () if one["type"] != "Ready"]
    conditions.append({"type": "Ready", "status": ready, "lastTransitionTime": stamp()})
    return {**pod["status"], "phase": phase, "startTime": stamp(), "conditions": conditions}


@contextmanager
def kubelets(where: Where, *nodes: Tree, renew: float = 1.0) -> Iterator[Writer]:
    """These nodes, for as long as the block lasts; they stay as objects, silent, afterwards."""
    stop = threading.Event()
    writer = Writer(where)
    for one in nodes:
        writer.create(NODES, "", one)
    names = [one["metadata"]["name"] for one in nodes]
    threads = [
        threading.Thread(target=Workers(where, [Kubelet()], "kubelet").run, args=(stop,), daemon=True),
        threading.Thread(target=renewing, args=(where, names, stop, renew), daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        yield writer
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)
        writer.close()


def renewing(where: Where, names: list[str], stop: threading.Event, every: float) -> None:
    writer = Writer(where)
    while not stop.is_set():
        for name in names:
            spec = {
                "holderIdentity": name,
                "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                "leaseDurationSeconds": 40,
            }
            lease = {"metadata": {"name": name}, "spec": spec}
            with suppress(ClusterUnavailable):  # an API that is away is asked again at the next turn
                try:
                    writer.create(LEASES, "kube-node-lease", lease)
                except Refused:
                    writer.patch(LEASES, "kube-node-lease", name, {"spec": spec})
        stop.wait(every)
    writer.close()


def within(seconds: float, holds: Any) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.02)
