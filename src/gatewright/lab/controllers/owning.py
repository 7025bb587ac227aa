"""What the controllers of workloads share: which objects are theirs, adoption and release, status at a bounded pace.

An object belongs to the one whose uid its controller reference names; what has none and is selected is adopted, what is
no longer selected is released. Who owns what is kept from changes, so a change costs the same among ten thousand pods.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

from gatewright.lab.api.resources import BY_PLURAL, Resource, Tree
from gatewright.lab.apiclient.following import Change
from gatewright.lab.apiclient.working import Cluster
from gatewright.lab.apiclient.writing import Refused
from gatewright.lab.controllers.objects import (
    Canonical,
    Key,
    canonical,
    controller_of,
    controller_uid,
    deleting,
    key_of,
    labels_of,
    reference_to,
    selected,
    status_of,
    uid_of,
)

PODS = BY_PLURAL["", "pods"]
PACE = 0.1
"""Seconds at least between two writes of one object's status: a burst of its pods' changes leads to few writes."""
BATCH = 25
"""Pods that are made or deleted for one object before others have their turn."""
_REST = 0.0001
"""Seconds a child that an object is left alone after a look at it: looks at thousands take a bounded part."""
_REMEMBERED = 10_000
"""Objects that are gone and are remembered."""
_AGAIN = 0.05
"""Seconds after which a write is tried again that somebody else's write came before."""


class tolerating:  # noqa: N801 - reads as the statement that it is: with tolerating("NotFound")
    """Let these refusals pass: what was to be done is done, or no longer to be done."""

    def __init__(self, *reasons: str) -> None:
        self._reasons = reasons

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        return isinstance(error, Refused) and error.reason in self._reasons


class Order:
    """Lets through what is news: changes of one object may be told by several threads, a later one before an earlier.

    Uids never come again, so what is gone stays gone; the last of them are remembered.
    """

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()

    def news(self, change: Change) -> bool:
        """Whether a change tells more than those before."""
        uid = uid_of(change.tree)
        if uid in self._gone:
            return False
        if change.after is None:
            self._seen.pop(uid, None)
            self._gone[uid] = None
            if len(self._gone) > _REMEMBERED:
                self._gone.popitem(last=False)
            return True
        version = change.after["metadata"].get("resourceVersion", "")
        if not version.isdigit():
            return True
        if self._seen.get(uid, -1) >= int(version):
            return False
        self._seen[uid] = int(version)
        return True


class Children:
    """Objects of one resource by the uid of their controller (of one kind), and by namespace those without one."""

    def __init__(self, resource: Resource, kind: str) -> None:
        self.resource = resource
        self._kind = kind
        self._order = Order()
        self._places: dict[str, tuple[str, str]] = {}
        self._keys: dict[tuple[str, str], set[Key]] = {}
        self._lock = threading.Lock()

    def heard(self, change: Change) -> None:
        """Learn from a change of the resource."""
        tree = change.tree
        uid, key = uid_of(tree), key_of(tree)
        with self._lock:
            if not self._order.news(change):
                return
            old = self._places.pop(uid, None)
            new = self._place(tree) if change.after is not None else None
            if old is not None and old != new:
                self._keys[old].discard(key)
                if not self._keys[old]:
                    del self._keys[old]
            if new is not None:
                self._places[uid] = new
                self._keys.setdefault(new, set()).add(key)

    def _place(self, tree: Tree) -> tuple[str, str] | None:
        owner = controller_of(tree)
        if owner is None:
            return "free", tree["metadata"].get("namespace", "")
        return ("owned", owner["uid"]) if owner.get("kind") == self._kind else None

    def of(self, cluster: Cluster, uid: str) -> list[Tree]:
        """What the object with this uid controls, by name."""
        with self._lock:
            keys = sorted(self._keys.get(("owned", uid), ()))
        return [one for one in self._present(cluster, keys) if controller_uid(one) == uid]

    def count(self, uid: str) -> int:
        """How many objects the one with this uid controls."""
        return len(self._keys.get(("owned", uid), ()))

    def free(self, cluster: Cluster, namespace: str) -> list[Tree]:
        """What nobody controls, by name."""
        with self._lock:
            keys = sorted(self._keys.get(("free", namespace), ()))
        return [one for one in self._present(cluster, keys) if not controller_uid(one)]

    def _present(self, cluster: Cluster, keys: Iterable[Key]) -> Iterator[Tree]:
        for key in keys:
            if (tree := cluster.follower.get(self.resource, *key)) is not None:
                yield tree


class Owning:
    """A controller of objects that own others. Subclasses name the resources and make it so."""

    name: str
    resource: Resource
    child: Resource = PODS
    resources: tuple[Resource, ...]

    def __init__(self) -> None:
        self.children = Children(self.child, self.resource.kind)
        self._selectors: dict[str, dict[str, Canonical]] = {}
        self._written: dict[Key, float] = {}
        self._rest: dict[Key, float] = {}
        self._lock = threading.Lock()

    # Which objects a change concerns.

    def keys(self, change: Change) -> Iterable[Key]:
        """The object itself; of a child, who controls it now or did so before, and who could adopt it."""
        if change.resource == self.resource:
            return self._own(change)
        if change.resource == self.child:
            self.children.heard(change)
            return self._concerned(change)
        return self.other_keys(change)

    def other_keys(self, change: Change) -> Iterable[Key]:
        """The objects that a change of a third resource concerns."""
        return ()

    def _own(self, change: Change) -> Iterable[Key]:
        tree = change.tree
        key = key_of(tree)
        with self._lock:
            if change.after is None:
                self._selectors.get(key[0], {}).pop(key[1], None)
                self._written.pop(key, None)
                self._rest.pop(key, None)
            else:
                self._selectors.setdefault(key[0], {})[key[1]] = canonical(tree["spec"].get("selector"))
        return (key,)

    def _concerned(self, change: Change) -> set[Key]:
        found: set[Key] = set()
        for tree in (change.before, change.after):
            owner = controller_of(tree) if tree else None
            if tree and owner and owner.get("kind") == self.resource.kind:
                found.add((tree["metadata"].get("namespace", ""), owner["name"]))
        free = change.after
        if free is not None and not controller_uid(free) and not deleting(free):
            namespace, labels = free["metadata"].get("namespace", ""), labels_of(free)
            with self._lock:
                mine = list(self._selectors.get(namespace, {}).items())
            found |= {(namespace, name) for name, selector in mine if selector and selected(selector, labels)}
        return found

    def everything(self) -> list[Key]:
        """All objects that are known."""
        with self._lock:
            return [(namespace, name) for namespace, names in self._selectors.items() for name in names]

    # Making it so.

    def reconcile(self, cluster: Cluster, key: Key) -> float | None:
        """Make one object's dependents what it asks for."""
        owner = cluster.follower.get(self.resource, *key)
        if owner is None:
            return None
        if 0 < (left := self._rest.get(key, 0.0) - cluster.now()) <= PACE:
            return left
        try:
            again = self.make_so(cluster, owner)
        except Refused as refused:
            if refused.reason == "Conflict":
                return _AGAIN
            if refused.reason == "Forbidden" and namespace_ends(refused):
                return None
            raise
        size = self.children.count(uid_of(owner))
        self._rest[key] = cluster.now() + min(PACE, size * _REST) if again != 0 else 0.0
        return again

    def make_so(self, cluster: Cluster, owner: Tree) -> float | None:
        """Do what is to be done for an object; seconds until it must be looked at again."""
        raise NotImplementedError

    def claimed(self, cluster: Cluster, owner: Tree) -> list[Tree]:
        """The children of an object, after those were adopted that it selects and released that it does not."""
        selector = canonical(owner["spec"].get("selector"))
        mine = []
        for tree in self.children.of(cluster, uid_of(owner)):
            if selected(selector, labels_of(tree)):
                mine.append(tree)
            elif not deleting(owner) and not deleting(tree):
                self._release(cluster, owner, tree)
        if not deleting(owner) and selector:
            free = self.children.free(cluster, owner["metadata"]["namespace"])
            wanted = [one for one in free if not deleting(one) and selected(selector, labels_of(one))]
            if wanted and self._stands(cluster, owner):
                mine += [one for tree in wanted for one in self._adopt(cluster, owner, tree)]
        return mine

    def _stands(self, cluster: Cluster, owner: Tree) -> bool:
        """Whether the object is really there: what is adopted for one that has gone would be deleted with it."""
        try:
            found = cluster.writer.get(self.resource, *key_of(owner))
        except Refused as refused:
            if refused.reason == "NotFound":
                return False
            raise
        return uid_of(found) == uid_of(owner) and not deleting(found)

    def _adopt(self, cluster: Cluster, owner: Tree, tree: Tree) -> list[Tree]:
        metadata = {"uid": uid_of(tree), "ownerReferences": [reference_to(self.resource, owner)]}
        with tolerating("NotFound", "Conflict", "Invalid"):
            return [cluster.writer.patch(self.child, *key_of(tree), {"metadata": metadata}, kind="strategic")]
        return []

    def _release(self, cluster: Cluster, owner: Tree, tree: Tree) -> None:
        gone = {"$patch": "delete", "uid": uid_of(owner)}
        patch = {"metadata": {"uid": uid_of(tree), "ownerReferences": [gone]}}
        with tolerating("NotFound", "Conflict", "Invalid"):
            cluster.writer.patch(self.child, *key_of(tree), patch, kind="strategic")

    def make_child(self, cluster: Cluster, owner: Tree, tree: Tree) -> Tree:
        """Create a child in its owner's namespace. Raises Refused after telling of it in an Event."""
        namespace = owner["metadata"].get("namespace", "")
        try:
            return cluster.writer.create(self.child, namespace, tree)
        except Refused as refused:
            if refused.reason != "AlreadyExists" and not namespace_ends(refused):
                cluster.event(owner, "Warning", "FailedCreate", f"Error creating: {refused}")
            raise

    def remove_child(self, cluster: Cluster, tree: Tree) -> None:
        """Delete a child, and no other of its name."""
        with tolerating("NotFound", "Conflict"):
            cluster.writer.delete(self.child, *key_of(tree), uid=uid_of(tree))

    def report(self, cluster: Cluster, owner: Tree, status: Tree) -> float | None:
        """Write a status that differs; seconds to wait where the last write was just now, None where it is written."""
        if status == status_of(owner):
            return None
        key, now = key_of(owner), cluster.now()
        left = self._written.get(key, 0.0) + PACE - now
        if 0 < left <= PACE:
            return left
        with tolerating("NotFound"):
            cluster.writer.update(self.resource, {**owner, "status": status}, "status")
        self._written[key] = now
        return None


def namespace_ends(refused: Refused) -> bool:
    """Whether something was refused because its namespace is being deleted: then there is nothing to make."""
    details = refused.status.details
    return refused.reason == "NotFound" or any(
        cause.reason == "NamespaceTerminating" for cause in (details.causes if details else ())
    )


def pod_of(resource: Resource, owner: Tree, template: Tree, **metadata: Any) -> Tree:
    """A pod as a workload's template describes it; labels and annotations given are added to the template's."""
    own = template.get("metadata") or {}
    together: Tree = {
        **metadata,
        "labels": {**(own.get("labels") or {}), **metadata.get("labels", {})},
        "ownerReferences": [reference_to(resource, owner)],
    }
    if annotations := {**(own.get("annotations") or {}), **metadata.get("annotations", {})}:
        together["annotations"] = annotations
    if finalizers := [*(own.get("finalizers") or ()), *metadata.get("finalizers", ())]:
        together["finalizers"] = finalizers
    return {"metadata": together, "spec": template["spec"]}


def without_zeros(status: Tree, *kept: str) -> Tree:
    """A status as servers keep it: counts of zero are left out, but for those of these names."""
    return {name: value for name, value in status.items() if value not in (0, None, [], {}) or name in kept}
