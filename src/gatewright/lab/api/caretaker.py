"""What a cluster's controllers do for every object: namespaces are emptied, dependents follow their owners.

Level-triggered: a change only says where to look. What is done follows from the objects as they are, so that the work
goes on after a restart where it stopped.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from gatewright.kubeapi.failure import Failure
from gatewright.lab.api import lifecycle
from gatewright.lab.api.defaults import admit
from gatewright.lab.api.journal import Key
from gatewright.lab.api.lifecycle import FOREGROUND, ORPHAN
from gatewright.lab.api.options import Chosen, DeleteOptions
from gatewright.lab.api.resources import NAMESPACES, RESOURCES, Tree
from gatewright.lab.api.store import Change, Entry, resource_of
from gatewright.lab.api.verbs import SYSTEM_NAMESPACES, Target, Verbs

_MANAGER = "gatewright-lab"
_BACKGROUND = DeleteOptions(False, None, "Background", None, None)
_log = logging.getLogger(__name__)


class Caretaker:
    """Looks after the objects of one store, in a task of its own."""

    def __init__(self, verbs: Verbs) -> None:
        self._verbs = verbs
        self._uids: dict[str, Key] = {}
        self._dependents: dict[str, set[Key]] = {}
        self._waiting: deque[Key] = deque()
        self._known: set[Key] = set()
        self._wake = asyncio.Event()
        for entry in verbs.store.everything():
            self._learn(entry)
        for key in list(self._uids.values()):
            self._look(key)
        self._stop = verbs.store.listen(None, self._heard)
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Stop; what is unfinished goes on at the next start."""
        self._stop()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def _learn(self, entry: Entry) -> None:
        self._uids[entry.uid] = entry.key
        for owner in entry.owners:
            self._dependents.setdefault(owner, set()).add(entry.key)

    def _forget(self, entry: Entry) -> None:
        for owner in entry.owners:
            dependents = self._dependents.get(owner, set())
            dependents.discard(entry.key)
            if not dependents:
                self._dependents.pop(owner, None)
        self._uids.pop(entry.uid, None)

    def _look(self, key: Key) -> None:
        if key not in self._known:
            self._known.add(key)
            self._waiting.append(key)
            self._wake.set()

    def _heard(self, change: Change) -> None:
        before, after = change.before, change.after
        owners = before.owners if before else ()
        if before and (after is None or after.owners != before.owners):
            self._forget(before)
        if after:
            self._learn(after)
            if after.owners or after.deleting:
                self._look(change.key)
        elif before:
            for dependent in self._dependents.get(before.uid, ()):
                self._look(dependent)
            for owner in owners:
                if owner in self._uids:
                    self._look(self._uids[owner])
            namespace = (f"{NAMESPACES.plural}.", "", change.key[1])
            if change.key[1]:
                self._look(namespace)

    async def _run(self) -> None:
        while True:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
            key = self._waiting.popleft()
            self._known.discard(key)
            try:
                await self._care(key)
            except Failure as refused:
                _log.info("%s: %s", "/".join(part for part in key if part), refused)
                if refused.status.code == 503:
                    await asyncio.sleep(1)
                    self._look(key)

    async def _care(self, key: Key) -> None:
        entry = self._verbs.store.get(key)
        if entry is None:
            return
        if entry.owners and not entry.deleting and not any(owner in self._uids for owner in entry.owners):
            await self._verbs.delete(_target(key), _BACKGROUND)
        elif entry.owners and not entry.deleting and not all(owner in self._uids for owner in entry.owners):
            await self._drop_owners(key, frozenset(owner for owner in entry.owners if owner not in self._uids))
        if entry.deleting:
            await self._bury(entry)

    async def _bury(self, entry: Entry) -> None:
        tree = entry.tree()
        finalizers = tree["metadata"].get("finalizers") or []
        if lifecycle.finished(tree) and self._verbs.store.newest(entry.key):
            await self._verbs.store.stage(entry.key, None)
            return
        if ORPHAN in finalizers:
            for dependent in tuple(self._dependents.get(entry.uid, ())):
                await self._drop_owners(dependent, frozenset((entry.uid,)))
            await self._drop_finalizer(entry.key, ORPHAN)
        elif FOREGROUND in finalizers:
            for dependent in tuple(self._dependents.get(entry.uid, ())):
                if (found := self._verbs.store.get(dependent)) and not found.deleting:
                    options = DeleteOptions(False, None, "Foreground", found.uid, None)
                    await self._verbs.delete(_target(dependent), options)
            if not self._dependents.get(entry.uid):
                await self._drop_finalizer(entry.key, FOREGROUND)
        if resource_of(entry.key) is NAMESPACES:
            await self._empty(entry)

    async def _empty(self, entry: Entry) -> None:
        """Delete what a namespace holds; when nothing is left, let it go."""
        name = entry.key[2]
        left = 0
        for resource in RESOURCES:
            if resource.namespaced:
                await self._verbs.delete_all(Chosen(resource, name), _BACKGROUND)
                left += len(self._verbs.store.newest_all(resource, name))

        def release(tree: Tree) -> None:
            tree["spec"]["finalizers"] = [one for one in tree["spec"].get("finalizers") or () if one != "kubernetes"]

        if not left and self._verbs.store.newest(entry.key):
            await self._verbs.mutate(_target(entry.key), release, _MANAGER)

    async def _drop_owners(self, key: Key, gone: frozenset[str]) -> None:
        def drop(tree: Tree) -> None:
            owners = tree["metadata"].get("ownerReferences") or []
            tree["metadata"]["ownerReferences"] = [one for one in owners if one.get("uid") not in gone]
            if not tree["metadata"]["ownerReferences"]:
                del tree["metadata"]["ownerReferences"]

        if self._verbs.store.newest(key):
            await self._verbs.mutate(_target(key), drop, _MANAGER)

    async def _drop_finalizer(self, key: Key, name: str) -> None:
        def drop(tree: Tree) -> None:
            left = [one for one in tree["metadata"].get("finalizers") or () if one != name]
            tree["metadata"]["finalizers"] = left
            if not left:
                del tree["metadata"]["finalizers"]

        if self._verbs.store.newest(key):
            await self._verbs.mutate(_target(key), drop, _MANAGER)


def _target(key: Key) -> Target:
    return Target(resource_of(key), key[1], key[2])


async def found_cluster(verbs: Verbs) -> None:
    """Make the namespaces that every cluster has, where they are missing."""
    for name in SYSTEM_NAMESPACES:
        target = Target(NAMESPACES, "", name)
        if verbs.store.newest(target.key) is None:
            tree = lifecycle.born(NAMESPACES, {"metadata": {"name": name}}, "")
            admit(NAMESPACES.kind, tree)
            await verbs.store.stage(target.key, tree)
