"""Pods that nobody looks after any more: on nodes that are gone, deleted before they had a node, over for long."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from gatewright.lab.apiclient.following import Change
from gatewright.lab.apiclient.working import Cluster
from gatewright.lab.controllers.nodelife import Standing
from gatewright.lab.controllers.objects import Key, created, deleting, key_of, over, status_of, uid_of
from gatewright.lab.controllers.owning import PODS, tolerating
from gatewright.lab.controllers.scheduler import NODES

QUARANTINE = 40.0
"""Seconds that a node must be missing (pkg/controller/podgc)."""
MOST_OVER = 12_500
"""Pods that are over and are kept (terminated-pod-gc-threshold)."""
_OVER: Key = ("", "")
"""The key of what concerns no single node: names of nodes are not empty."""


class PodGC:
    """Deletes what is left over."""

    name = "pod-garbage-collector"
    resources = (PODS, NODES)

    def __init__(self, quarantine: float = QUARANTINE, most_over: int = MOST_OVER) -> None:
        self._quarantine = quarantine
        self._most = most_over
        self._standing = Standing()
        self._missing: dict[str, float] = {}
        self._over: dict[Key, None] = {}
        self._lock = threading.Lock()

    def keys(self, change: Change) -> Iterable[Key]:
        """The node of a pod that is new there or of one that is gone; the pods that are over when they are too many."""
        if change.resource == NODES:
            return (change.name,) if change.before is None or change.after is None else ()
        node = self._standing.heard(change)
        found = set()
        if change.after is None:
            with self._lock:
                self._over.pop(change.name, None)
            return ()
        if node and (change.before is None or not change.before["spec"].get("nodeName")):
            found.add(("", node))
        if over(change.after):
            with self._lock:
                self._over[change.name] = None
                if len(self._over) > self._most:
                    found.add(_OVER)
        return found

    def reconcile(self, cluster: Cluster, key: Key) -> float | None:
        """Look after the pods of one node, or after those that are over."""
        if key == _OVER:
            self._drop_oldest(cluster)
            return None
        name, now = key[1], cluster.now()
        if cluster.follower.get(NODES, "", name) is not None:
            self._missing.pop(name, None)
            return None
        pods = self._standing.on(cluster, name)
        if not pods:
            self._missing.pop(name, None)
            return None
        left = self._missing.setdefault(name, now) + self._quarantine - now
        if left > 0:
            return left
        for pod in pods:
            with tolerating("NotFound", "Conflict"):
                if not over(pod):
                    status = {**status_of(pod), "phase": "Failed"}
                    cluster.writer.update(PODS, {**pod, "status": status}, "status")
                cluster.writer.delete(PODS, *key_of(pod), uid=uid_of(pod), grace=0)
        return self._quarantine

    def _drop_oldest(self, cluster: Cluster) -> None:
        with self._lock:
            keys = list(self._over)
        found = [one for key in keys if (one := cluster.follower.get(PODS, *key)) is not None and not deleting(one)]
        for pod in sorted(found, key=created)[: max(0, len(found) - self._most)]:
            with tolerating("NotFound", "Conflict"):
                cluster.writer.delete(PODS, *key_of(pod), uid=uid_of(pod), grace=0)
