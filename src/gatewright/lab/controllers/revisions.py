"""The templates that a StatefulSet or a DaemonSet has had, as ControllerRevisions: `kubectl rollout undo` reads them.

A template that comes back is the newest again under its old name, so that pods which still have it need not go.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gatewright.lab.api.resources import BY_PLURAL, Resource, Tree
from gatewright.lab.apiclient.following import Change
from gatewright.lab.apiclient.working import Cluster
from gatewright.lab.apiclient.writing import Refused
from gatewright.lab.controllers.objects import (
    bare,
    controller_of,
    hash_of,
    key_of,
    labels_of,
    reference_to,
    status_of,
    uid_of,
)
from gatewright.lab.controllers.owning import Children, tolerating

REVISIONS = BY_PLURAL["apps", "controllerrevisions"]
HASH = "controller-revision-hash"


class Revisions:
    """The revisions of the objects of one resource."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource
        self._children = Children(REVISIONS, resource.kind)

    def heard(self, change: Change) -> None:
        """Learn from a change of a ControllerRevision."""
        self._children.heard(change)

    def known(self, cluster: Cluster, owner: Tree) -> list[Tree]:
        """An object's revisions, the oldest first."""
        found = self._children.of(cluster, uid_of(owner))
        return sorted(found, key=lambda one: (one["revision"], one["metadata"]["name"]))

    def newest(self, cluster: Cluster, owner: Tree, known: Sequence[Tree]) -> Tree:
        """The revision of the present template, made or brought to the front where it is not the newest."""
        wanted = bare(data_of(owner))
        same = [one for one in known if bare(one["data"]) == wanted]
        if not same:
            return self._make(cluster, owner, known)
        if same[-1]["revision"] == known[-1]["revision"]:
            return same[-1]
        number = known[-1]["revision"] + 1
        return cluster.writer.update(REVISIONS, {**same[-1], "revision": number})

    def _make(self, cluster: Cluster, owner: Tree, known: Sequence[Tree]) -> Tree:
        data = data_of(owner)
        short = hash_of(bare(data), status_of(owner).get("collisionCount", 0))
        namespace, name = key_of(owner)
        tree: Tree = {
            "metadata": {
                "name": f"{name}-{short}",
                "labels": {**((owner["spec"]["template"].get("metadata") or {}).get("labels") or {}), HASH: short},
                "ownerReferences": [reference_to(self._resource, owner)],
            },
            "data": data,
            "revision": known[-1]["revision"] + 1 if known else 1,
        }
        try:
            return cluster.writer.create(REVISIONS, namespace, tree)
        except Refused as refused:
            if refused.reason != "AlreadyExists":
                raise
            return self._taken(cluster, owner, tree, refused)

    def _taken(self, cluster: Cluster, owner: Tree, tree: Tree, refused: Refused) -> Tree:
        """What has the name: the same template that nobody owns is taken over; else the next attempt takes another."""
        there = cluster.writer.get(REVISIONS, owner["metadata"]["namespace"], tree["metadata"]["name"])
        if bare(there["data"]) == bare(tree["data"]) and controller_of(there) is None:
            patch = {"metadata": {"uid": uid_of(there), "ownerReferences": tree["metadata"]["ownerReferences"]}}
            return cluster.writer.patch(REVISIONS, *key_of(there), patch, kind="strategic")
        status = {**status_of(owner), "collisionCount": status_of(owner).get("collisionCount", 0) + 1}
        cluster.writer.update(self._resource, {**owner, "status": status}, "status")
        raise refused

    def forget(self, cluster: Cluster, owner: Tree, known: Sequence[Tree], used: Collection[str]) -> None:
        """Delete the oldest beyond revisionHistoryLimit that are not in use (by name)."""
        limit = owner["spec"].get("revisionHistoryLimit", 10)
        spare = [one for one in known if one["metadata"]["name"] not in used]
        for one in spare[: max(0, len(spare) - limit)]:
            with tolerating("NotFound", "Conflict"):
                cluster.writer.delete(REVISIONS, *key_of(one), uid=uid_of(one))


def data_of(owner: Tree) -> Tree:
    """A patch that brings the present template back."""
    return {"spec": {"template": {**owner["spec"]["template"], "$patch": "replace"}}}


def template_of(revision: Tree) -> Tree:
    """The template that a revision holds."""
    template = revision["data"]["spec"]["template"]
    return {name: value for name, value in template.items() if name != "$patch"}


def hash_label(revision: Tree) -> str:
    """The short form of a revision, which names of pods and labels carry."""
    return labels_of(revision).get(HASH, "")
