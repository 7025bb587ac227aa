"""What a watcher has handed on: the version of every object, so that the next list tells what to hand on instead.

Objects themselves are not kept. Of one that cannot be read the last good version stays in force; where there is none,
what may stand for it is handed on (`Item.closed`). A list is gathered beside what is held and takes its place as a
whole: a list that breaks off leaves no trace.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gatewright.engine.snapshot import Changes
from gatewright.objects.meta import Key, Object
from gatewright.objects.watched import Item


@dataclass(slots=True)
class Held:
    """Versions by key, what is wrong with some of the objects, and which of those have no good version in force."""

    versions: dict[Key, str] = field(default_factory=dict)
    problems: dict[Key, tuple[str, ...]] = field(default_factory=dict)
    poor: set[Key] = field(default_factory=set)

    def put(self, item: Item) -> Object | None:
        """Take over an object. What to hand on for it; None where that which is in force stays."""
        known = item.key in self.versions and item.key not in self.poor
        self.versions[item.key] = item.resource_version
        if item.problems:
            self.problems[item.key] = item.problems
        else:
            self.problems.pop(item.key, None)
        if item.object is not None:
            self.poor.discard(item.key)
            return item.object
        if known:
            return None
        self.poor.add(item.key)
        return item.closed

    def drop(self, key: Key) -> None:
        """Take out an object."""
        self.versions.pop(key, None)
        self.problems.pop(key, None)
        self.poor.discard(key)

    def clear(self) -> Changes:
        """Take out everything."""
        gone = tuple(self.versions)
        self.versions, self.problems, self.poor = {}, {}, set()
        return Changes(gone=gone)


class Gathering:
    """A list on its way, held against what is held."""

    def __init__(self, held: Held, *, anew: bool = False) -> None:
        """`anew`: versions say nothing any more (the server went back in time), so that everything is handed on."""
        self._held = held
        self._anew = anew
        self._versions: dict[Key, str] = {}
        self._different: dict[Key, Item] = {}

    def put(self, item: Item) -> None:
        """An object of the list."""
        self._versions[item.key] = item.resource_version
        if self._anew or self._held.versions.get(item.key) != item.resource_version:
            self._different[item.key] = item
        else:
            self._different.pop(item.key, None)

    def drop(self, key: Key) -> None:
        """An object that was deleted while the list was on its way."""
        self._versions.pop(key, None)
        self._different.pop(key, None)

    def finish(self) -> Changes:
        """Let the list take the place of what was held. What is different."""
        gone = tuple([key for key in self._held.versions if key not in self._versions])
        for key in gone:
            self._held.drop(key)
        put = [self._held.put(item) for item in self._different.values()]
        self._held.versions = self._versions
        return Changes(tuple([item for item in put if item is not None]), gone)
