"""What a watch hands on: the difference that a list made, or that the events of one chunk made together."""

from __future__ import annotations

from dataclasses import dataclass

from gatewright.engine.snapshot import Changes
from gatewright.objects.meta import Key, Object


@dataclass(frozen=True, slots=True)
class Update:
    """What became different. `created` says of objects that came while watching when they were created (RFC 3339)."""

    changes: Changes
    created: tuple[tuple[Key, str], ...] = ()


class Updates:
    """What the events of one chunk come to: of several that are about one object the last counts."""

    def __init__(self) -> None:
        self._done: list[Update] = []
        self._objects: dict[Key, Object | None] = {}
        self._created: dict[Key, str] = {}

    def put(self, item: Object, created: str) -> None:
        """An object is new or different; `created` says when it was made, where that is news."""
        self._objects[item.key] = item
        if created:
            self._created[item.key] = created

    def gone(self, key: Key) -> None:
        """An object is gone."""
        self._objects[key] = None
        self._created.pop(key, None)

    def whole(self, update: Update) -> None:
        """A list has become whole."""
        self._done.append(update)

    def finish(self) -> list[Update]:
        """A list that became whole first, then what came behind it."""
        if self._objects:
            put = tuple([item for item in self._objects.values() if item is not None])
            gone = tuple([key for key, item in self._objects.items() if item is None])
            self._done.append(Update(Changes(put, gone), tuple(self._created.items())))
        return self._done
