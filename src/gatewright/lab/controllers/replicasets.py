"""The ReplicaSet controller: as many pods as asked, the least useful deleted first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from gatewright.lab.api.resources import BY_PLURAL, Tree
from gatewright.lab.apiclient.following import Change
from gatewright.lab.apiclient.working import Cluster
from gatewright.lab.apiclient.writing import Refused
from gatewright.lab.controllers.objects import (
    Key,
    active,
    available_in,
    controller_uid,
    deleting,
    labels_of,
    ready,
    soonest,
    stamp,
    status_of,
    uid_of,
    victims_first,
    with_condition,
)
from gatewright.lab.controllers.owning import BATCH, PODS, Children, Owning, namespace_ends, pod_of, without_zeros

REPLICA_SETS = BY_PLURAL["apps", "replicasets"]
_FAILURE = "ReplicaFailure"


class ReplicaSets(Owning):
    """Keeps the number of pods."""

    name = "replicaset-controller"
    resource = REPLICA_SETS
    resources = (REPLICA_SETS, PODS)

    def __init__(self) -> None:
        super().__init__()
        self._of_deployments = Children(REPLICA_SETS, "Deployment")

    def keys(self, change: Change) -> Iterable[Key]:
        """As every owner; which ReplicaSets share a Deployment is kept beside."""
        if change.resource == REPLICA_SETS:
            self._of_deployments.heard(change)
        return super().keys(change)

    def make_so(self, cluster: Cluster, owner: Tree) -> float | None:
        """Create or delete pods, then tell how many there are."""
        pods = [one for one in self.claimed(cluster, owner) if active(one)]
        failed: Refused | None = None
        more = owner["spec"]["replicas"] - len(pods)
        if not deleting(owner):
            try:
                self._create(cluster, owner, pods, min(more, BATCH))
            except Refused as refused:
                failed = refused
            for pod in (gone := self._surplus(cluster, owner, pods, min(-more, BATCH))):
                self.remove_child(cluster, pod)
            uids = {uid_of(one) for one in gone}
            pods = [one for one in pods if uid_of(one) not in uids]
        now, least = cluster.now(), owner["spec"].get("minReadySeconds", 0)
        wait = self.report(cluster, owner, status_from(owner, pods, failed, now))
        if failed is not None and not namespace_ends(failed):
            raise failed
        soon = soonest(left for one in pods if (left := available_in(one, least, now)))
        return soonest((wait, soon, 0.0 if abs(more) > BATCH and failed is None else None))

    def _create(self, cluster: Cluster, owner: Tree, pods: list[Tree], count: int) -> None:
        for _ in range(count):
            tree = pod_of(REPLICA_SETS, owner, owner["spec"]["template"], generateName=f"{owner['metadata']['name']}-")
            pods.append(self.make_child(cluster, owner, tree))

    def _surplus(self, cluster: Cluster, owner: Tree, pods: Sequence[Tree], count: int) -> list[Tree]:
        """The pods to delete. How crowded a node is, counts the pods of all ReplicaSets of the Deployment."""
        if count <= 0:
            return []
        related = list(pods)
        for other in self._of_deployments.of(cluster, controller_uid(owner)):
            if uid_of(other) != uid_of(owner):
                related += [one for one in self.children.of(cluster, uid_of(other)) if active(one)]
        crowds = Counter(one["spec"].get("nodeName", "") for one in related)
        now = cluster.now()
        ranked = sorted(pods, key=lambda one: victims_first(one, crowds[one["spec"].get("nodeName", "")], now))
        return ranked[:count]


def status_from(owner: Tree, pods: Sequence[Tree], failed: Refused | None, now: float) -> Tree:
    """What is told of a ReplicaSet with these pods, of which one could not be made where `failed` says so."""
    template = (owner["spec"]["template"].get("metadata") or {}).get("labels") or {}
    least = owner["spec"].get("minReadySeconds", 0)
    before = status_of(owner).get("conditions") or []
    conditions = [one for one in before if one.get("type") != _FAILURE]
    if failed is not None:
        new = {"type": _FAILURE, "status": "True", "reason": "FailedCreate", "message": str(failed)}
        conditions = with_condition(before, new, stamp(now))
    return without_zeros(
        {
            "replicas": len(pods),
            "fullyLabeledReplicas": sum(template.items() <= labels_of(one).items() for one in pods),
            "readyReplicas": sum(ready(one) for one in pods),
            "availableReplicas": sum(available_in(one, least, now) == 0 for one in pods),
            "observedGeneration": owner["metadata"].get("generation", 0),
            "conditions": conditions,
        },
        "replicas",
    )
