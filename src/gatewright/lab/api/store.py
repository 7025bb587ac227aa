"""The objects of the endpoint and their recent past, in memory, with every change on the disk before anybody sees it.

A change is staged at once against the newest state, staged changes included, so writers never race. A group of staged
changes is written to the journal in one go; only then do readers, watchers and the client that asked see it. Nothing is
ever shown that a crash could take back, and no revision is shown twice.

All methods belong to the event loop's thread; only the journal's writing runs beside it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import msgspec

from gatewright.kubeapi.failure import expired, fail, too_large
from gatewright.lab.api.journal import Journal, Key, Row
from gatewright.lab.api.resources import BY_PLURAL, Resource, Tree

WINDOW = 10_000
"""Changes that are remembered for watches that begin in the past."""
WINDOW_BYTES = 32 * 1024 * 1024
"""What the remembered changes may take."""


@dataclass(slots=True)
class Entry:
    """An object at one revision: its JSON without `kind` and `apiVersion`, and what is asked of it often.

    `owners` are the uids of its owners, `deleting` says that its deletion has begun.
    """

    key: Key
    revision: int
    body: bytes
    labels: dict[str, str]
    fields: dict[str, str]
    uid: str = ""
    owners: tuple[str, ...] = ()
    deleting: bool = False
    line: tuple[str, bytes] | None = field(default=None, repr=False)
    """The line by which watches tell of it, kept for the watchers that come after the first."""

    def tree(self) -> Tree:
        """The object, made anew: the caller may change it."""
        tree: Tree = msgspec.json.decode(self.body)
        return tree


@dataclass(slots=True)
class Change:
    """One step of one object: what it was and what it is; None where it was not, or is no more."""

    revision: int
    key: Key
    before: Entry | None
    after: Entry | None
    _last: Entry | None = field(default=None, repr=False)

    @property
    def last(self) -> Entry:
        """The object as it was before the change, with the change's revision: what watchers get of one that leaves."""
        if self._last is None:
            assert self.before
            tree = self.before.tree()
            tree["metadata"]["resourceVersion"] = str(self.revision)
            self._last = entry_of(self.key, self.revision, tree)
        return self._last

    @property
    def size(self) -> int:
        """About how many bytes it keeps in memory."""
        return sum(len(entry.body) for entry in (self.before, self.after) if entry) + 200


Listener = Callable[[Change], None]


def resource_of(key: Key) -> Resource:
    """The resource of a key."""
    plural, _, group = key[0].partition(".")
    return BY_PLURAL[group, plural]


def key_of(resource: Resource, namespace: str, name: str) -> Key:
    """The key of an object."""
    return (f"{resource.plural}.{resource.group}", namespace, name)


def entry_of(key: Key, revision: int, tree: Tree, body: bytes | None = None) -> Entry:
    """The entry of an object's tree."""
    metadata = tree["metadata"]
    return Entry(
        key,
        revision,
        msgspec.json.encode(tree) if body is None else body,
        metadata.get("labels") or {},
        resource_of(key).fields(tree),
        metadata.get("uid", ""),
        tuple(owner.get("uid", "") for owner in metadata.get("ownerReferences") or ()),
        bool(metadata.get("deletionTimestamp")),
    )


def _entry(key: Key, revision: int, body: bytes) -> Entry:
    return entry_of(key, revision, msgspec.json.decode(body), body)


class Store:
    """Made in a running loop; `close` waits for what is staged."""

    def __init__(self, journal: Journal, window: int = WINDOW) -> None:
        self._journal = journal
        self._window = window
        self._kept: dict[str, dict[tuple[str, str], Entry]] = {}
        self._order: dict[str, list[tuple[str, str]]] = {}
        self._pending: dict[Key, Entry | None] = {}
        self._staged: list[tuple[Change, asyncio.Future[Change]]] = []
        self._history: deque[Change] = deque()
        self._history_bytes = 0
        self._listeners: dict[str, set[Listener]] = {}
        self._closing = False
        self._load()
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "journal")
        self._task = asyncio.get_running_loop().create_task(self._commit())

    def _load(self) -> None:
        for key, revision, body in self._journal.objects():
            self._kept.setdefault(key[0], {})[key[1:]] = _entry(key, revision, body)
        self.compacted = self.revision = 0
        for row in self._journal.changes():
            if not self._history:
                self.compacted = row.revision - 1
            before = _entry(row.key, row.before_revision, row.before) if row.before else None
            after = _entry(row.key, row.revision, row.after) if row.after else None
            self._remember(Change(row.revision, row.key, before, after))
            self.revision = row.revision
        self._next = self.revision + 1

    # Reading: what is on the disk.

    def get(self, key: Key) -> Entry | None:
        """The object, if there is one."""
        return self._kept.get(key[0], {}).get(key[1:])

    def objects(self, resource: Resource, namespace: str = "", revision: int | None = None) -> list[Entry]:
        """The objects of a resource by namespace and name, now or at a revision. Raises Failure (410, 504)."""
        name = f"{resource.plural}.{resource.group}"
        kept = self._kept.get(name, {})
        if revision is not None and revision != self.revision:
            kept = self._past(name, kept, revision)
            order = sorted(kept)
        else:
            order = self._order.get(name) or self._order.setdefault(name, sorted(kept))
        if namespace:
            begin, end = bisect_right(order, (namespace, "")), bisect_right(order, (namespace + "\0", ""))
            order = order[begin:end]
        return [kept[one] for one in order]

    def _past(self, name: str, kept: dict[tuple[str, str], Entry], revision: int) -> dict[tuple[str, str], Entry]:
        self.require(revision)
        kept = dict(kept)
        for change in reversed(self._history):
            if change.revision <= revision:
                break
            if change.key[0] == name:
                if change.before is None:
                    del kept[change.key[1:]]
                else:
                    kept[change.key[1:]] = change.before
        return kept

    def require(self, revision: int) -> None:
        """Raises Failure when a revision is not remembered any more (410) or not there yet (504)."""
        if revision > self.revision:
            raise too_large(revision, self.revision)
        if revision < self.compacted:
            raise expired(f"too old resource version: {revision} ({self.compacted})")

    def since(self, resource: Resource, revision: int) -> Iterator[Change]:
        """The changes of a resource after a revision, oldest first. Raises Failure (410, 504)."""
        self.require(revision)
        name = f"{resource.plural}.{resource.group}"
        return (change for change in tuple(self._history) if change.revision > revision and change.key[0] == name)

    def everything(self) -> Iterator[Entry]:
        """All objects of all resources."""
        for kept in self._kept.values():
            yield from kept.values()

    def listen(self, resource: Resource | None, listener: Listener) -> Callable[[], None]:
        """Call the listener with every change of a resource (None: of all) from now on; the result stops that."""
        listeners = self._listeners.setdefault(f"{resource.plural}.{resource.group}" if resource else "", set())
        listeners.add(listener)
        return lambda: listeners.discard(listener)

    def listening(self, resource: Resource) -> int:
        """How many listen to a resource."""
        return len(self._listeners.get(f"{resource.plural}.{resource.group}", ()))

    # Writing: what is staged counts.

    def newest(self, key: Key) -> Entry | None:
        """The object with what is staged: what a writer has to start from."""
        return self._pending[key] if key in self._pending else self.get(key)

    def newest_all(self, resource: Resource, namespace: str = "") -> list[Entry]:
        """All objects of a resource with what is staged."""
        found = {entry.key: entry for entry in self.objects(resource, namespace)}
        name = f"{resource.plural}.{resource.group}"
        for key, entry in self._pending.items():
            if key[0] == name and namespace in ("", key[1]):
                if entry is None:
                    found.pop(key, None)
                else:
                    found[key] = entry
        return [found[key] for key in sorted(found)]

    def stage(self, key: Key, tree: Tree | None) -> asyncio.Future[Change]:
        """Change an object (None: delete it) and get the change when it is on the disk.

        The tree gets its resourceVersion. The future raises Failure (503) when the disk refuses.
        """
        revision = self._next
        self._next += 1
        before = self.newest(key)
        after = None
        if tree is not None:
            tree["metadata"]["resourceVersion"] = str(revision)
            after = entry_of(key, revision, tree)
        change = Change(revision, key, before, after)
        self._pending[key] = after
        future: asyncio.Future[Change] = asyncio.get_running_loop().create_future()
        self._staged.append((change, future))
        self._wake.set()
        return future

    async def _commit(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            group, self._staged = self._staged, []
            if not group:
                if self._closing:
                    return
                continue
            rows = [_row(change) for change, _ in group]
            try:
                await loop.run_in_executor(self._thread, self._journal.write, rows, self.compacted)
            except sqlite3.Error as error:
                self._abandon(group, error)
            else:
                for change, future in group:
                    self._publish(change)
                    if not future.done():
                        future.set_result(change)
            if self._closing:
                self._wake.set()

    def _abandon(self, group: list[tuple[Change, asyncio.Future[Change]]], error: sqlite3.Error) -> None:
        """Nothing of the group happened, nor what was staged on top of it meanwhile."""
        refused = group + self._staged
        self._staged = []
        self._pending.clear()
        for _, future in refused:
            if not future.done():
                future.set_exception(fail(503, f"the change could not be written to disk: {error}"))

    def _publish(self, change: Change) -> None:
        name = change.key[0]
        kept = self._kept.setdefault(name, {})
        if change.after is None:
            kept.pop(change.key[1:], None)
        else:
            kept[change.key[1:]] = change.after
        if change.before is None or change.after is None:
            self._order.pop(name, None)
        if change.key in self._pending and self._pending[change.key] is change.after:
            del self._pending[change.key]
        self.revision = change.revision
        self._remember(change)
        for listener in (*self._listeners.get(name, ()), *self._listeners.get("", ())):
            listener(change)

    def _remember(self, change: Change) -> None:
        self._history.append(change)
        self._history_bytes += change.size
        while len(self._history) > 1 and (len(self._history) > self._window or self._history_bytes > WINDOW_BYTES):
            gone = self._history.popleft()
            self._history_bytes -= gone.size
            self.compacted = gone.revision

    async def close(self) -> None:
        """Write what is staged, then let go of the files."""
        self._closing = True
        self._wake.set()
        await self._task
        self._thread.shutdown()
        self._journal.close()


def _row(change: Change) -> Row:
    before, after = change.before, change.after
    return Row(
        change.revision,
        change.key,
        before.revision if before else 0,
        before.body if before else None,
        after.body if after else None,
    )
