"""The life of nodes: one that is no longer heard of is unknown, is tainted, and loses its pods after a while.

A node is heard of by its Lease. What counts is when a new renewal was seen here, not what time it bears: so neither a
clock that jumps nor controllers that were away take a node for lost (KEP-589). Pods leave a node by its NoExecute
taints, each after the seconds it tolerates them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from gatewright.lab.api.resources import BY_PLURAL, Tree
from gatewright.lab.apiclient.following import Change
from gatewright.lab.apiclient.working import Cluster
from gatewright.lab.controllers.fitting import NOT_READY, UNREACHABLE, UNSCHEDULABLE, tolerates
from gatewright.lab.controllers.objects import (
    Key,
    condition,
    deleting,
    key_of,
    over,
    ready,
    seconds_of,
    soonest,
    stamp,
    status_of,
    uid_of,
    with_condition,
)
from gatewright.lab.controllers.owning import PODS, Order, tolerating
from gatewright.lab.controllers.scheduler import NODES

LEASES = BY_PLURAL["coordination.k8s.io", "leases"]
LEASE_NAMESPACE = "kube-node-lease"
GRACE = 40.0
"""Seconds without a renewal after which a node is unknown (node-monitor-grace-period)."""
_OWN = (NOT_READY, UNREACHABLE, UNSCHEDULABLE)


class Standing:
    """Which pods stand on which node, kept from changes."""

    def __init__(self) -> None:
        self._order = Order()
        self._nodes: dict[str, str] = {}
        self._keys: dict[str, set[Key]] = {}
        self._lock = threading.Lock()

    def heard(self, change: Change) -> str:
        """Learn from a pod's change; its node, empty where it has none."""
        uid = uid_of(change.tree)
        node: str = change.tree["spec"].get("nodeName") or ""
        with self._lock:
            if self._order.news(change):
                old = self._nodes.pop(uid, "")
                if old:
                    self._keys[old].discard(change.name)
                    if not self._keys[old]:
                        del self._keys[old]
                if node and change.after is not None:
                    self._nodes[uid] = node
                    self._keys.setdefault(node, set()).add(change.name)
        return node

    def on(self, cluster: Cluster, node: str) -> list[Tree]:
        """The pods of a node."""
        with self._lock:
            keys = sorted(self._keys.get(node, ()))
        found = (cluster.follower.get(PODS, *key) for key in keys)
        return [one for one in found if one is not None and one["spec"].get("nodeName") == node]

    def nodes(self) -> list[str]:
        """The nodes that have pods."""
        with self._lock:
            return list(self._keys)


def taints_for(node: Tree, now: str) -> list[Tree]:
    """A node's taints as its conditions want them; those of others, and times of those that stay, are kept."""
    present = list((node.get("spec") or {}).get("taints") or ())
    wanted: list[Tree] = []
    state = (condition(node, "Ready") or {}).get("status", "Unknown")
    if state != "True":
        key = NOT_READY if state == "False" else UNREACHABLE
        wanted += [{"key": key, "effect": "NoSchedule"}, {"key": key, "effect": "NoExecute"}]
    if (node.get("spec") or {}).get("unschedulable"):
        wanted.append({"key": UNSCHEDULABLE, "effect": "NoSchedule"})
    known = {(one["key"], one["effect"]): one for one in present}
    kept = [one for one in present if one["key"] not in _OWN]
    return kept + [known.get((one["key"], one["effect"]), {**one, "timeAdded": now}) for one in wanted]


def silent(node: Tree, now: str) -> list[Tree]:
    """The conditions of a node that is no longer heard of: nothing is known of it."""
    said = {"status": "Unknown", "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}
    conditions: list[Tree] = list(status_of(node).get("conditions") or ())
    for kind in dict.fromkeys([*(one["type"] for one in conditions), "Ready"]):
        before = next((one for one in conditions if one["type"] == kind), {})
        if before.get("status") != "Unknown":
            conditions = with_condition(conditions, {**before, "type": kind, **said}, now)
    return conditions


def leaves_in(pod: Tree, taints: Sequence[tuple[Tree, float]], now: float) -> float | None:
    """Seconds until a pod must leave a node with these NoExecute taints (each with when it came); None: it may stay."""
    times: list[float | None] = []
    for taint, since in taints:
        covering = [one for one in pod["spec"].get("tolerations") or () if tolerates(one, taint)]
        if not covering:
            return 0.0
        limits = [one["tolerationSeconds"] for one in covering if one.get("tolerationSeconds") is not None]
        times.append(max(0.0, since + max(0, min(limits)) - now) if limits else None)
    return soonest(times)


class NodeLife:
    """Watches over nodes."""

    name = "node-controller"
    resources = (NODES, LEASES, PODS)

    def __init__(self, grace: float = GRACE) -> None:
        self._grace = grace
        self._standing = Standing()
        self._tainted: set[str] = set()
        self._renewals: dict[str, tuple[str, float]] = {}
        self._since: dict[tuple[str, str], float] = {}

    def keys(self, change: Change) -> Iterable[Key]:
        """The node that a change is about; of its pods only while it is tainted."""
        if change.resource == NODES:
            return (change.name,)
        if change.resource == LEASES:
            return (("", change.name[1]),) if change.name[0] == LEASE_NAMESPACE else ()
        node = self._standing.heard(change)
        return (("", node),) if node in self._tainted and change.after is not None else ()

    def reconcile(self, cluster: Cluster, key: Key) -> float | None:
        """Look after one node; seconds until its lease would run out, or a pod must leave."""
        node = cluster.follower.get(NODES, *key)
        if node is None:
            self._forget(key[1])
            return None
        now = cluster.now()
        left = self._heard_until(cluster, key[1], now) - now
        with tolerating("NotFound", "Conflict"):
            if left <= 0 and (condition(node, "Ready") or {}).get("status") != "Unknown":
                node = self._lost(cluster, node, stamp(now))
            if (condition(node, "Ready") or {}).get("status") == "Unknown":
                self._doubt(cluster, key[1], stamp(now))
            taints = taints_for(node, stamp(now))
            if taints != ((node.get("spec") or {}).get("taints") or []):
                changed = {**node, "spec": {**(node.get("spec") or {}), "taints": taints}}
                node = cluster.writer.update(NODES, changed)
        return soonest((left if left > 0 else None, self._evict(cluster, node, now)))

    def _forget(self, name: str) -> None:
        self._renewals.pop(name, None)
        self._tainted.discard(name)
        self._since = {one: at for one, at in self._since.items() if one[0] != name}

    def _heard_until(self, cluster: Cluster, name: str, now: float) -> float:
        """Until when a node counts as heard of."""
        lease = cluster.follower.get(LEASES, LEASE_NAMESPACE, name)
        renewal = str(((lease or {}).get("spec") or {}).get("renewTime") or "")
        before = self._renewals.get(name)
        if before is None or before[0] != renewal or before[1] > now:
            before = self._renewals[name] = (renewal, now)
        return before[1] + self._grace

    def _lost(self, cluster: Cluster, node: Tree, now: str) -> Tree:
        """Tell that a node is no longer heard of."""
        status = {**status_of(node), "conditions": silent(node, now)}
        node = cluster.writer.update(NODES, {**node, "status": status}, "status")
        name = node["metadata"]["name"]
        cluster.event(node, "Normal", "NodeNotReady", f"Node {name} status is now: NodeNotReady")
        return node

    def _doubt(self, cluster: Cluster, name: str, now: str) -> None:
        """Tell of the pods of a node that is not heard of that they are not to be relied on."""
        for pod in self._standing.on(cluster, name):
            if ready(pod):
                about = {"type": "Ready", "status": "False"}
                conditions = with_condition(status_of(pod)["conditions"], about, now)
                with tolerating("NotFound", "Conflict"):
                    changed = {**pod, "status": {**status_of(pod), "conditions": conditions}}
                    cluster.writer.update(PODS, changed, "status")

    def _evict(self, cluster: Cluster, node: Tree, now: float) -> float | None:
        name = node["metadata"]["name"]
        taints = [one for one in (node.get("spec") or {}).get("taints") or () if one.get("effect") == "NoExecute"]
        if not taints:
            self._tainted.discard(name)
            self._since = {one: at for one, at in self._since.items() if one[0] != name}
            return None
        self._tainted.add(name)
        dated = []
        for taint in taints:
            place = (name, f"{taint['key']}={taint.get('value') or ''}")
            dated.append((taint, self._since.setdefault(place, seconds_of(taint.get("timeAdded")) or now)))
        waits: list[float] = []
        for pod in self._standing.on(cluster, name):
            if deleting(pod) or over(pod):
                continue
            left = leaves_in(pod, dated, now)
            if left is not None and left <= 0:
                said = f"Marking for deletion Pod {'/'.join(key_of(pod))}"
                cluster.event(pod, "Normal", "TaintManagerEviction", said)
                with tolerating("NotFound", "Conflict"):
                    cluster.writer.delete(PODS, *key_of(pod), uid=uid_of(pod))
            elif left is not None:
                waits.append(left)
        return soonest(waits)
