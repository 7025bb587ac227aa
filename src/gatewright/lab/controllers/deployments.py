"""The Deployment controller: a ReplicaSet for each template, sized step by step, and conditions that tell of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gatewright.lab.api.resources import BY_PLURAL, Tree
from gatewright.lab.apiclient.following import Change
from gatewright.lab.apiclient.working import Cluster
from gatewright.lab.apiclient.writing import Refused
from gatewright.lab.controllers import rollouts
from gatewright.lab.controllers.deployment_status import complete, progressed, status_from
from gatewright.lab.controllers.objects import (
    Key,
    annotations_of,
    controller_of,
    deleting,
    hash_of,
    key_of,
    over,
    reference_to,
    soonest,
    status_of,
    uid_of,
)
from gatewright.lab.controllers.owning import PODS, Children, Owning, tolerating
from gatewright.lab.controllers.replicasets import REPLICA_SETS
from gatewright.lab.controllers.rollouts import DESIRED, HASH, HISTORY, LARGEST, REVISION, Sizes, replicas_of

DEPLOYMENTS = BY_PLURAL["apps", "deployments"]
_OWN = frozenset((REVISION, HISTORY, DESIRED, LARGEST, "kubectl.kubernetes.io/last-applied-configuration"))
"""Annotations that ReplicaSets do not take over from their Deployment."""


class Deployments(Owning):
    """Rolls templates out."""

    name = "deployment-controller"
    resource = DEPLOYMENTS
    child = REPLICA_SETS
    resources = (DEPLOYMENTS, REPLICA_SETS, PODS)

    def __init__(self) -> None:
        super().__init__()
        self._pods = Children(PODS, "ReplicaSet")
        self._owners: dict[str, Key] = {}

    def keys(self, change: Change) -> Iterable[Key]:
        """As every owner; which ReplicaSet belongs to which Deployment is kept beside, for its pods."""
        if change.resource == REPLICA_SETS:
            owner = controller_of(change.tree)
            if change.after is None or owner is None:
                self._owners.pop(uid_of(change.tree), None)
            else:
                self._owners[uid_of(change.tree)] = change.name[0], owner["name"]
        return super().keys(change)

    def other_keys(self, change: Change) -> Iterable[Key]:
        """A pod matters to the strategy Recreate, which waits until old pods are gone or over."""
        self._pods.heard(change)
        owner = controller_of(change.tree)
        if owner is not None and (change.after is None or over(change.after)):
            key = self._owners.get(owner["uid"])
            return (key,) if key else ()
        return ()

    def make_so(self, cluster: Cluster, owner: Tree) -> float | None:
        """One step of a rollout, of scaling or of none; then what is to be told."""
        sets = self.claimed(cluster, owner)
        new = rollouts.newest(owner, sets)
        old = [one for one in sets if new is None or uid_of(one) != uid_of(new)]
        if not deleting(owner):
            if owner["spec"].get("paused"):
                new, old = self._scale(cluster, owner, new, old)
                self._forget(cluster, owner, old)
            elif rollouts.is_scaled(owner, sets):
                new, old = self._scale(cluster, owner, new, old)
            else:
                new, old = self._roll(cluster, owner, new, old)
            owner = self._with_revision(cluster, owner, new)
        now = cluster.now()
        status, look = progressed(owner, new, old, status_from(owner, new, old, now), now)
        return soonest((self.report(cluster, owner, status), look))

    # Steps.

    def _roll(self, cluster: Cluster, owner: Tree, new: Tree | None, old: list[Tree]) -> tuple[Tree | None, list[Tree]]:
        if (owner["spec"].get("strategy") or {}).get("type") == "Recreate":
            stopped = self._resize(cluster, owner, old, {uid_of(one): 0 for one in old if replicas_of(one)})
            if stopped != old or self._running(cluster, old):
                return (self._known(cluster, owner, new, old) if new else None), stopped
        new = self._known(cluster, owner, new, old)
        size = rollouts.grown(owner, replicas_of(new), rollouts.total([new, *old]))
        if size != replicas_of(new):
            [new] = self._resize(cluster, owner, [new], {uid_of(new): size})
            return new, old
        shrunk = self._resize(cluster, owner, old, rollouts.shrunk(owner, new, old))
        if shrunk == old and complete(owner, status_from(owner, new, old, cluster.now())):
            self._forget(cluster, owner, old)
        return new, shrunk

    def _scale(
        self, cluster: Cluster, owner: Tree, new: Tree | None, old: list[Tree]
    ) -> tuple[Tree | None, list[Tree]]:
        sizes = rollouts.scaled(owner, new, old)
        every = self._resize(cluster, owner, [*([new] if new else []), *old], sizes)
        every = [self._annotated(cluster, owner, one) if replicas_of(one) else one for one in every]
        return (every[0], every[1:]) if new else (None, every)

    def _running(self, cluster: Cluster, sets: Sequence[Tree]) -> bool:
        return any(not over(pod) for one in sets for pod in self._pods.of(cluster, uid_of(one)))

    def _forget(self, cluster: Cluster, owner: Tree, old: Sequence[Tree]) -> None:
        for one in rollouts.history_to_drop(owner, old):
            self.remove_child(cluster, one)

    # ReplicaSets.

    def _known(self, cluster: Cluster, owner: Tree, new: Tree | None, old: Sequence[Tree]) -> Tree:
        """The ReplicaSet of the present template, made where there is none, with the newest revision."""
        revision = max((rollouts.number(one, REVISION) for one in old), default=0) + 1
        if new is None:
            return self._make(cluster, owner, old, revision)
        wanted = _annotations(owner, new, revision)
        least = owner["spec"].get("minReadySeconds", 0)
        if wanted == annotations_of(new) and new["spec"].get("minReadySeconds", 0) == least:
            return new
        changed = {**new, "metadata": {**new["metadata"], "annotations": wanted}}
        changed["spec"] = {**new["spec"], "minReadySeconds": least}
        return cluster.writer.update(REPLICA_SETS, changed)

    def _make(self, cluster: Cluster, owner: Tree, old: Sequence[Tree], revision: int) -> Tree:
        spec, name = owner["spec"], owner["metadata"]["name"]
        short = hash_of(rollouts.without_hash(spec["template"]), status_of(owner).get("collisionCount", 0))
        selector = spec["selector"]
        metadata = spec["template"].get("metadata") or {}
        labels = {**(metadata.get("labels") or {}), HASH: short}
        tree: Tree = {
            "metadata": {
                "name": f"{name}-{short}",
                "labels": labels,
                "annotations": _annotations(owner, None, revision),
                "ownerReferences": [reference_to(DEPLOYMENTS, owner)],
            },
            "spec": {
                "replicas": rollouts.grown(owner, 0, rollouts.total(old)),
                "minReadySeconds": spec.get("minReadySeconds", 0),
                "selector": {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), HASH: short}},
                "template": {**spec["template"], "metadata": {**metadata, "labels": labels}},
            },
        }
        try:
            made = self.make_child(cluster, owner, tree)
        except Refused as refused:
            if refused.reason == "AlreadyExists":
                self._collided(cluster, owner)
            raise
        if size := replicas_of(made):
            _tell(cluster, owner, made, 0, size)
        return made

    def _collided(self, cluster: Cluster, owner: Tree) -> None:
        """Another object has the name: the next attempt takes another one."""
        status = {**status_of(owner), "collisionCount": status_of(owner).get("collisionCount", 0) + 1}
        cluster.writer.update(DEPLOYMENTS, {**owner, "status": status}, "status")

    def _resize(self, cluster: Cluster, owner: Tree, sets: Sequence[Tree], sizes: Sizes) -> list[Tree]:
        """The ReplicaSets with their new sizes."""
        result = []
        for one in sets:
            size = sizes.get(uid_of(one), replicas_of(one))
            if size == replicas_of(one):
                result.append(one)
                continue
            annotations = {**annotations_of(one), **_sizes(owner)}
            changed = {**one, "metadata": {**one["metadata"], "annotations": annotations}}
            changed["spec"] = {**one["spec"], "replicas": size}
            result.append(cluster.writer.update(REPLICA_SETS, changed))
            _tell(cluster, owner, one, replicas_of(one), size)
        return result

    def _annotated(self, cluster: Cluster, owner: Tree, one: Tree) -> Tree:
        """A ReplicaSet that says what its Deployment wanted when it was last given its size."""
        annotations = {**annotations_of(one), **_sizes(owner)}
        if annotations == annotations_of(one):
            return one
        return cluster.writer.update(REPLICA_SETS, {**one, "metadata": {**one["metadata"], "annotations": annotations}})

    def _with_revision(self, cluster: Cluster, owner: Tree, new: Tree | None) -> Tree:
        revision = annotations_of(new).get(REVISION) if new else None
        if revision is None or annotations_of(owner).get(REVISION) == revision:
            return owner
        patch = {"metadata": {"annotations": {REVISION: revision}, "uid": uid_of(owner)}}
        with tolerating("NotFound"):
            return cluster.writer.patch(DEPLOYMENTS, *key_of(owner), patch)
        return owner


def _sizes(owner: Tree) -> Mapping[str, str]:
    wanted = owner["spec"]["replicas"]
    return {DESIRED: str(wanted), LARGEST: str(wanted + rollouts.limits(owner)[0])}


def _annotations(owner: Tree, new: Tree | None, revision: int) -> dict[str, str]:
    """A new ReplicaSet's annotations: the Deployment's, its sizes, its revision and those it had before."""
    had = dict(annotations_of(new)) if new else {}
    given = {key: value for key, value in annotations_of(owner).items() if key not in _OWN}
    found = {**had, **given, **_sizes(owner)}
    before = rollouts.number(new, REVISION) if new else 0
    if before < revision:
        found[REVISION] = str(revision)
        if before:
            found[HISTORY] = ",".join(filter(None, (had.get(HISTORY), str(before))))
    return found


def _tell(cluster: Cluster, owner: Tree, one: Tree, before: int, after: int) -> None:
    way = "up" if after > before else "down"
    message = f"Scaled {way} replica set {one['metadata']['name']} from {before} to {after}"
    cluster.event(owner, "Normal", "ScalingReplicaSet", message)
