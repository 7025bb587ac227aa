"""Whole objects from lists and watches, as trees: controllers copy what they do not know, so nothing is left out."""

from __future__ import annotations

from typing import Any

import msgspec

from gatewright.lab.api.resources import Resource, Tree
from gatewright.objects.api import NotAList
from gatewright.objects.meta import Key, Object
from gatewright.objects.watched import INITIAL_EVENTS_END, Event, Item, ItemPage, NotAnEvent

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError, AttributeError)


class Whole(Object, frozen=True):
    """One object as it is in the API. Nobody changes a tree in place: it is shared."""

    tree: Tree = {}
    whose: Key = ("", "", "")

    @property
    def key(self) -> Key:
        """Its kind, namespace and name."""
        return self.whose


class TreeReader:
    """Reads the lists and events of one resource; what `sources.watch.ClusterWatch` follows it with."""

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self.name, self.group, self.version = resource.kind, resource.group, resource.version

    @property
    def path(self) -> str:
        """Where an API server serves all objects of the resource."""
        return f"{self.resource.prefix}/{self.resource.plural}"

    @property
    def group_path(self) -> str:
        """Where an API server says in which versions it serves the group."""
        return f"/apis/{self.group}"

    def versions(self, data: bytes | bytearray) -> tuple[str, ...]:
        """The versions that an answer from there names. Raises NotAList."""
        try:
            return tuple(str(one["version"]) for one in msgspec.json.decode(data)["versions"])
        except _UNREADABLE as error:
            raise NotAList(f"not a group as API servers tell of one: {error}") from error

    def page(self, data: bytes | bytearray) -> ItemPage:
        """One page of a list. Raises NotAList."""
        try:
            page = msgspec.json.decode(data)
            metadata = page["metadata"]
            items = [self._item(tree) for tree in page["items"] or ()]
            return ItemPage(items, metadata.get("continue") or "", metadata.get("resourceVersion") or "")
        except _UNREADABLE as error:
            raise NotAList(f"not a list as API servers give it: {error}") from error

    def event(self, line: bytes) -> Event:
        """One line of a watch. Raises NotAnEvent."""
        try:
            read = msgspec.json.decode(line)
            what, tree = read["type"], read["object"]
            if what in ("ADDED", "MODIFIED", "DELETED"):
                item = self._item(tree)
                return Event(what, item, item.resource_version)
            if what == "BOOKMARK":
                metadata = tree["metadata"]
                end = (metadata.get("annotations") or {}).get(INITIAL_EVENTS_END) == "true"
                return Event(what, None, metadata["resourceVersion"], end)
        except _UNREADABLE as error:
            raise NotAnEvent(f"not an event as API servers give it: {error}") from error
        if what != "ERROR":
            raise NotAnEvent(f"not an event as API servers give it: type {what!r}")
        return Event(what, status=msgspec.Raw(msgspec.json.encode(tree)))

    def _item(self, tree: dict[str, Any]) -> Item:
        tree.setdefault("apiVersion", self.resource.api_version)
        tree.setdefault("kind", self.resource.kind)
        metadata = tree["metadata"]
        key = (self.name, metadata.get("namespace") or "", metadata["name"])
        return Item(
            key,
            metadata.get("resourceVersion") or "",
            Whole(tree=tree, whose=key),
            created=metadata.get("creationTimestamp") or "",
        )
