"""The objects of some resources as they are now, kept up to date by watches and by one's own writes.

What a component has written it sees at once (`put`, `drop`): the next decision never waits for the watch, and nothing
is made twice. The watch then brings the same versions, or newer ones.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from gatewright.lab.api.resources import Resource, Tree
from gatewright.lab.apiclient.reading import TreeReader, Whole
from gatewright.sources.kubeconfig import Where
from gatewright.sources.watch import ClusterWatch, Delivery, KindStatus

_REMEMBERED = 4096
"""How many of the objects that are gone are remembered: a write of theirs may still be on its way back."""
Name = tuple[str, str]
"""(namespace, name); the namespace is empty for what is cluster-wide."""


@dataclass(frozen=True, slots=True)
class Change:
    """What became different of one object. `before` None: it is new; `after` None: it is gone."""

    resource: Resource
    before: Tree | None
    after: Tree | None

    @property
    def tree(self) -> Tree:
        """The object, as it is or was."""
        found = self.after if self.after is not None else self.before
        assert found is not None
        return found

    @property
    def name(self) -> Name:
        """Which object."""
        return name_of(self.tree)


def name_of(tree: Tree) -> Name:
    """(namespace, name) of an object."""
    metadata = tree["metadata"]
    return metadata.get("namespace") or "", metadata["name"]


class Follower:
    """Follows resources. `get`, `all`, `put` and `drop` are for any thread; nobody changes a tree that they give.

    `heard` is told of every change: by the watching threads, one list at a time a resource, and by whoever writes.
    """

    def __init__(
        self,
        where: Where,
        resources: Iterable[Resource],
        heard: Callable[[list[Change]], None],
        *,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        """`fields` are field selectors by kind."""
        self._resources = {one.kind: one for one in resources}
        self._trees: dict[str, dict[Name, Tree]] = {kind: {} for kind in self._resources}
        self._spaces: dict[str, dict[str, dict[Name, Tree]]] = {kind: {} for kind in self._resources}
        self._gone: dict[str, None] = {}
        self._complete: set[str] = set()
        self._whole = threading.Event()
        self._lock = threading.Lock()
        self._heard = heard
        readers = [TreeReader(one) for one in self._resources.values()]
        self._watch = ClusterWatch(where, readers, self._deliver, fields=fields or {})

    def start(self) -> None:
        """Begin, without waiting for anything."""
        self._watch.start()

    def stop(self) -> None:
        """End; nothing is told afterwards."""
        self._watch.stop()

    def status(self) -> tuple[KindStatus, ...]:
        """How it stands with each resource."""
        return self._watch.status()

    @property
    def complete(self) -> bool:
        """Whether everything has been listed once."""
        return self._whole.is_set()

    def wait(self, timeout: float) -> bool:
        """Wait until everything has been listed once; whether it has."""
        return self._whole.wait(timeout)

    def follows(self, resource: Resource) -> bool:
        """Whether it follows this resource."""
        return resource.kind in self._trees

    def get(self, resource: Resource, namespace: str, name: str) -> Tree | None:
        """One object, None where there is none."""
        return self._trees[resource.kind].get((namespace, name))

    def all(self, resource: Resource, namespace: str | None = None) -> list[Tree]:
        """The objects of a resource: in one namespace, or all."""
        with self._lock:
            if namespace is None:
                return list(self._trees[resource.kind].values())
            return list(self._spaces[resource.kind].get(namespace, {}).values())

    def put(self, resource: Resource, tree: Tree) -> None:
        """What a server answered to a write. Of a resource that is not followed it is let go.

        So is what is known to be gone: the watch can be quicker than the answer, of which it would be the end.
        """
        if resource.kind in self._trees and tree["metadata"].get("uid") not in self._gone:
            self._tell([self._put(resource, tree)])

    def drop(self, resource: Resource, tree: Tree) -> None:
        """What a server said is gone."""
        if resource.kind in self._trees:
            self._tell([self._drop(resource, name_of(tree), tree["metadata"].get("uid"))])

    def _deliver(self, delivery: Delivery) -> None:
        resource = self._resources[delivery.kind]
        changes = [self._drop(resource, (key[1], key[2])) for key in delivery.changes.gone]
        for one in delivery.changes.put:
            assert isinstance(one, Whole)
            changes.append(self._put(resource, one.tree))
        self._tell(changes)
        if delivery.complete and delivery.kind not in self._complete:
            with self._lock:
                self._complete.add(delivery.kind)
                if len(self._complete) == len(self._resources):
                    self._whole.set()

    def _tell(self, changes: list[Change | None]) -> None:
        if told := [one for one in changes if one is not None]:
            self._heard(told)

    def _put(self, resource: Resource, tree: Tree) -> Change | None:
        name = name_of(tree)
        with self._lock:
            trees = self._trees[resource.kind]
            before = trees.get(name)
            if before is not None and not _newer(tree, before):
                return None
            trees[name] = tree
            self._spaces[resource.kind].setdefault(name[0], {})[name] = tree
        return Change(resource, before, tree)

    def _drop(self, resource: Resource, name: Name, uid: str | None = None) -> Change | None:
        with self._lock:
            trees = self._trees[resource.kind]
            before = trees.get(name)
            if before is None or (uid is not None and before["metadata"].get("uid") != uid):
                return None
            self._remember(before)
            del trees[name]
            space = self._spaces[resource.kind][name[0]]
            del space[name]
            if not space:
                del self._spaces[resource.kind][name[0]]
        return Change(resource, before, None)

    def _remember(self, gone: Tree) -> None:
        """Note that an object is gone. Under the lock."""
        if uid := gone["metadata"].get("uid"):
            self._gone[uid] = None
            if len(self._gone) > _REMEMBERED:
                del self._gone[next(iter(self._gone))]


def _newer(tree: Tree, than: Tree) -> bool:
    """Whether this state of an object is a later one (KEP-5504: versions are numbers that grow).

    Of versions that are no numbers every other one counts as later: the watch tells them in order.
    """
    new, old = tree["metadata"].get("resourceVersion", ""), than["metadata"].get("resourceVersion", "")
    if new.isdigit() and old.isdigit():
        return int(new) > int(old)
    return bool(new != old)
