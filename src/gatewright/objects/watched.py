"""Objects as a node watches them: each slim, with its key, its version, and what to do where it cannot be read.

Lists and watch events hold the same objects, and one reader a kind reads both. An object that cannot be read hides no
other and is never passed over in silence: it says why, and brings what may stand for it where nothing better is known.
Only what names no object at all is no answer of an API server (`NotAList`, `NotAnEvent`).
"""

from __future__ import annotations

import sys
from typing import Protocol

import msgspec

from gatewright.objects.api import NotAList, fault_text, read_item, unknown_text
from gatewright.objects.closed import fail_closed
from gatewright.objects.core import Pod, PodIP, PodStatus
from gatewright.objects.kinds import KINDS, Kind, scoped
from gatewright.objects.meta import Key, Lenient, Object
from gatewright.objects.names import is_address
from gatewright.objects.slim import Name, Slimming, Unusual, WirePod

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
"""The annotation of the bookmark after which a streaming list is complete (KEP-3157)."""


class NotAnEvent(ValueError):
    """A line that is no watch event, or an event whose object names nothing. The text says why."""


class Item(msgspec.Struct, frozen=True, gc=False):
    """One object of a list or an event.

    `object` is None where it cannot be read: then `problems` say why, and `closed` may stand for it, which allows no
    more than it would. Beside an object, `problems` say what of it is read as matching nothing.
    """

    key: Key
    resource_version: str
    object: Object | None
    problems: tuple[str, ...] = ()
    closed: Object | None = None
    created: str = ""


class ItemPage(msgspec.Struct, frozen=True, gc=False):
    """One page of a list: its objects, the token of the next page, and the version of the list."""

    items: list[Item]
    following: str
    resource_version: str


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event of a watch. `type` is ADDED, MODIFIED, DELETED (these have an item), BOOKMARK or ERROR.

    `initial_events_end` marks the bookmark that ends a streaming list; `status` is the Status of an ERROR.
    """

    type: str
    item: Item | None = None
    resource_version: str = ""
    initial_events_end: bool = False
    status: msgspec.Raw = msgspec.Raw()


class ItemReader(Protocol):
    """Reads the lists and events of one resource: what a watch has to know of what it follows."""

    name: str
    """The kind."""
    group: str
    version: str

    @property
    def path(self) -> str:
        """Where an API server serves all objects of the kind."""

    @property
    def group_path(self) -> str:
        """Where an API server says in which versions it serves the group."""

    def versions(self, data: bytes | bytearray) -> tuple[str, ...]:
        """The versions that an answer from there names. Raises NotAList."""

    def page(self, data: bytes | bytearray) -> ItemPage:
        """One page of a list. Raises NotAList."""

    def event(self, line: bytes) -> Event:
        """One line of a watch. Raises NotAnEvent."""


class _Meta(Lenient, frozen=True):
    name: Name
    namespace: str | None = ""
    resource_version: str | None = ""
    creation_timestamp: str | None = ""


class _Named(Lenient, frozen=True):
    metadata: _Meta


class _BookmarkMeta(Lenient, frozen=True):
    resource_version: str
    annotations: dict[str, str] | None = None


class _Bookmark(Lenient, frozen=True):
    metadata: _BookmarkMeta


class _ListMeta(Lenient, frozen=True):
    continue_: str | None = msgspec.field(default=None, name="continue")
    resource_version: str | None = None


class _List(Lenient, frozen=True):
    items: list[msgspec.Raw] | None
    metadata: _ListMeta = _ListMeta()


class _PodList(Lenient, frozen=True):
    items: list[WirePod]
    metadata: _ListMeta = _ListMeta()


class _Version(msgspec.Struct, frozen=True):
    version: str


class _Group(msgspec.Struct, frozen=True):
    versions: tuple[_Version, ...]


class _Line(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


def _work_out(*types: type[msgspec.Struct]) -> None:
    """Let msgspec look at types now, where one thread makes the readers of all.

    Else it does so at their first use, without a lock: several streams that begin at once would end the process.
    """
    for one in types:
        msgspec.json.Decoder(one)


_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, Unusual)


class Reader:
    """Reads the lists and events of one kind. One for each stream, since it remembers what objects share."""

    def __init__(self, group: str, name: str) -> None:
        """`group` and `name` are of a kind that the product reads."""
        self.kind: Kind = KINDS[group, name]
        self.name = name
        self.group = group
        self.version = self.kind.served[0]
        self._api_version = f"{group}/{self.version}" if group else self.version
        self._slimming = Slimming()
        _work_out(_Group, _List, _Line, _Bookmark, _Named, _PodList, WirePod, self.kind.struct)

    @property
    def path(self) -> str:
        """Where an API server serves all objects of the kind."""
        root = f"/apis/{self._api_version}" if self.group else f"/api/{self._api_version}"
        return f"{root}/{self.kind.plural}"

    @property
    def group_path(self) -> str:
        """Where an API server says in which versions it serves the group."""
        return f"/apis/{self.group}"

    def versions(self, data: bytes | bytearray) -> tuple[str, ...]:
        """The versions that an answer from there names. Raises NotAList."""
        try:
            return tuple(one.version for one in msgspec.json.decode(data, type=_Group).versions)
        except _UNREADABLE as error:
            raise NotAList(f"not a group as API servers tell of one: {error}") from error

    def page(self, data: bytes | bytearray) -> ItemPage:
        """One page of a list. Raises NotAList."""
        if self.kind.struct is Pod:
            try:
                return self._usual_pods(data)
            except _UNREADABLE:
                pass  # one of them is not as pods usually are: read each by itself
        try:
            page = msgspec.json.decode(data, type=_List)
            items = [self.item(raw) for raw in page.items or ()]
        except _UNREADABLE as error:
            raise NotAList(f"not a list as API servers give it: {error}") from error
        return ItemPage(items, page.metadata.continue_ or "", page.metadata.resource_version or "")

    def event(self, line: bytes) -> Event:
        """One line of a watch. Raises NotAnEvent."""
        try:
            read = msgspec.json.decode(line, type=_Line)
            if read.type in ("ADDED", "MODIFIED", "DELETED"):
                item = self.item(read.object)
                return Event(read.type, item, item.resource_version)
            if read.type == "BOOKMARK":
                metadata = msgspec.json.decode(read.object, type=_Bookmark).metadata
                end = (metadata.annotations or {}).get(INITIAL_EVENTS_END) == "true"
                return Event(read.type, None, metadata.resource_version, end)
        except _UNREADABLE as error:
            raise NotAnEvent(f"not an event as API servers give it: {error}") from error
        if read.type != "ERROR":
            raise NotAnEvent(f"not an event as API servers give it: type {read.type!r}")
        return Event(read.type, status=read.object)

    def item(self, raw: msgspec.Raw) -> Item:
        """One object. Raises msgspec.DecodeError where not even its name can be read."""
        if self.kind.struct is Pod:
            try:
                return self._usual_pod(msgspec.json.decode(raw, type=WirePod))
            except _UNREADABLE:
                pass
        metadata = msgspec.json.decode(raw, type=_Named).metadata
        namespace = (metadata.namespace or "default") if self.kind.namespaced else ""
        key = (self.name, namespace, metadata.name)
        version, created = metadata.resource_version or "", metadata.creation_timestamp or ""
        item, faults, unknown = read_item(raw, self.kind)
        problems = [unknown_text(path) for path in unknown] or [fault_text(fault) for fault in faults]
        if item is not None:
            return Item(key, version, self._named(item), tuple(problems), None, created)
        return Item(key, version, None, tuple(problems), self._closed(raw), created)

    def _named(self, item: Object) -> Object:
        """The object, slim, by its kind and in its namespace."""
        item = msgspec.structs.replace(scoped(item, self.kind), kind=self.name, api_version=self._api_version)
        return self._slimming.of(item)

    def _closed(self, raw: msgspec.Raw) -> Object | None:
        """What may stand for an object that cannot be used."""
        try:
            closed = fail_closed(msgspec.json.decode(raw), self.kind)
        except _UNREADABLE:
            return None
        if isinstance(closed, Pod):
            closed = _without_what_is_no_address(closed)
        return None if closed is None else self._named(closed)

    def _usual_pods(self, data: bytes | bytearray) -> ItemPage:
        page = msgspec.json.decode(data, type=_PodList)
        items = [self._usual_pod(wire) for wire in page.items]
        return ItemPage(items, page.metadata.continue_ or "", page.metadata.resource_version or "")

    def _usual_pod(self, wire: WirePod) -> Item:
        metadata = wire.metadata
        namespace = sys.intern(metadata.namespace or "default")
        key = (self.name, namespace, metadata.name)
        pod = self._slimming.pod(wire, namespace)
        return Item(key, metadata.resource_version, pod, created=metadata.creation_timestamp)


def _without_what_is_no_address(pod: Pod) -> Pod:
    def kept(texts: tuple[str, ...]) -> tuple[PodIP, ...]:
        return tuple([PodIP(ip=text) for text in texts if is_address(text)])

    status = PodStatus(phase=pod.status.phase, pod_ips=kept(pod.ips), host_ips=kept(pod.host_ips))
    return msgspec.structs.replace(pod, status=status)
