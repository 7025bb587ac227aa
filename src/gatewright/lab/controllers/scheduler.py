"""The scheduler: binds each pod without a node to the one that suits it best, and says so where none does."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

from gatewright.lab.api.resources import BY_PLURAL, Tree
from gatewright.lab.apiclient.following import Change, Follower
from gatewright.lab.apiclient.working import Cluster
from gatewright.lab.apiclient.writing import Refused
from gatewright.lab.controllers.census import Census, affinity_terms, placed
from gatewright.lab.controllers.objects import (
    Key,
    condition,
    deleting,
    is_true,
    key_of,
    labels_of,
    over,
    stamp,
    status_of,
    uid_of,
    with_condition,
)
from gatewright.lab.controllers.owning import PODS, Order, tolerating
from gatewright.lab.controllers.placing import choose

NODES = BY_PLURAL["", "nodes"]
NAMESPACES = BY_PLURAL["", "namespaces"]
_SCHEDULER = "default-scheduler"


class Scheduler:
    """Binds pods, one at a time. What it has bound counts at once, before the API tells of it."""

    name = _SCHEDULER
    resources = (PODS, NODES, NAMESPACES)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._order = Order()
        self._follower: Follower | None = None
        self._census = Census(self._labels)
        self._waiting: dict[Key, bool] = {}
        """Pods that no node suits, and whether they ask for other pods near them."""

    def _labels(self, namespace: str) -> Mapping[str, str]:
        tree = self._follower.get(NAMESPACES, "", namespace) if self._follower else None
        return labels_of(tree) if tree else {}

    def keys(self, change: Change) -> Iterable[Key]:
        """A pod without a node; every pod that waits, when there may be room for it now."""
        with self._lock:
            if change.resource == PODS:
                return self._pod(change)
            if change.resource == NODES:
                return list(self._waiting) if _matters(change) else ()
            if change.before is None or change.after is None or labels_of(change.before) != labels_of(change.after):
                self._census.namespaces_changed()
            return ()

    def _pod(self, change: Change) -> list[Key]:
        if not self._order.news(change):
            return []
        pod, key = change.after, change.name
        if pod is None or over(pod):
            self._waiting.pop(key, None)
            return list(self._waiting) if self._census.remove(uid_of(change.tree)) else []
        if node := pod["spec"].get("nodeName"):
            self._waiting.pop(key, None)
            self._census.put(placed(pod, node))
            return [one for one, asks_others in self._waiting.items() if asks_others]
        return [] if deleting(pod) or pod["spec"].get("schedulerName") != _SCHEDULER else [key]

    def reconcile(self, cluster: Cluster, key: Key) -> float | None:
        """Bind one pod."""
        pod = cluster.follower.get(PODS, *key)
        if pod is None or pod["spec"].get("nodeName") or deleting(pod):
            return None
        if pod["spec"].get("schedulingGates"):
            said = "Scheduling is blocked due to non-empty scheduling gates"
            self._tell(cluster, pod, "SchedulingGated", said)
            return None
        self._follower = cluster.follower
        nodes = [one for one in cluster.follower.all(NODES) if not deleting(one)]
        with self._lock:
            if uid_of(pod) in self._census:
                return None
            node, why = choose(pod, nodes, self._census, self._labels)
            if node is None:
                self._waiting[key] = bool(affinity_terms(pod, "podAffinity"))
            else:
                self._waiting.pop(key, None)
                self._census.put(placed(pod, node))
        if node is None:
            self._tell(cluster, pod, "Unschedulable", why)
        else:
            self._bind(cluster, pod, node)
        return None

    def _bind(self, cluster: Cluster, pod: Tree, node: str) -> None:
        """Bind a pod that is counted as bound already; it is not, where anything goes wrong."""
        namespace, name = key_of(pod)
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"namespace": namespace, "name": name, "uid": uid_of(pod)},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        done = False
        try:
            cluster.writer.post(PODS, namespace, name, "binding", body)
            done = True
        except Refused as refused:
            if refused.reason not in ("NotFound", "Conflict"):
                raise
        finally:
            if not done:
                self._unbound(cluster, pod)

    def _unbound(self, cluster: Cluster, pod: Tree) -> None:
        """Count a pod no longer, unless somebody else has bound it."""
        now = cluster.follower.get(PODS, *key_of(pod))
        with self._lock:
            if now is None or uid_of(now) != uid_of(pod) or not now["spec"].get("nodeName"):
                self._census.remove(uid_of(pod))

    def _tell(self, cluster: Cluster, pod: Tree, reason: str, message: str) -> None:
        before = condition(pod, "PodScheduled") or {}
        if (before.get("reason"), before.get("message")) == (reason, message):
            return
        new = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
        conditions = with_condition(status_of(pod).get("conditions") or (), new, stamp(cluster.now()))
        status = {**status_of(pod), "conditions": conditions}
        with tolerating("NotFound", "Conflict"):
            cluster.writer.update(PODS, {**pod, "status": status}, "status")
            if reason == "Unschedulable":
                cluster.event(pod, "Warning", "FailedScheduling", message)


def _matters(change: Change) -> bool:
    """Whether a node's change may let a pod in that waits."""
    if change.before is None or change.after is None:
        return change.after is not None
    return _what_counts(change.before) != _what_counts(change.after)


def _what_counts(node: Tree) -> tuple[object, ...]:
    return node.get("spec"), labels_of(node), status_of(node).get("allocatable"), is_true(node, "Ready")
