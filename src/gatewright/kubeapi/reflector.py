r"""List and watch of one kind, as a state machine: answers of an API server in, the next request and changes out.

The theory, from the API concepts of Kubernetes ("Efficient detection of changes", KEP-3157) and from what a server said
when it was asked:

- A list is a state of the whole at one resourceVersion; a watch from there tells every later change in order. So what
  is held is always the state at `resource_version`, and a broken watch goes on from there without a new list.
- 410 (an HTTP status, or an ERROR event) says that the server no longer knows the changes since. Then a new list is
  compared with what is held, and the difference is handed on, deletions included.
- A streaming list is a watch that begins with the state of the whole, one ADDED event an object, and a bookmark that
  says where it ends. Servers that do not have it refuse it (400, 422, an ERROR event) or ignore it; then pages are
  asked for.
- Nothing that is cut counts: a page counts when all of it has come, an event with its newline, a list with its end.
- 404 of a kind that a CustomResourceDefinition brings says that there is none: complete, with nothing. Where objects
  are held it has to be said again, because a server behind a balancer may have said it by mistake. From then on the
  versions of its group are asked for every 30 seconds: a cluster that has the kind in newer ones alone must say so.

========== ========================== ============================================================
phase      asks for                   goes on to
========== ========================== ============================================================
STREAMING  a watch with the state     WATCHING at the end bookmark; LISTING where refused or ignored
LISTING    a page                     LISTING with the next page; WATCHING after the last
WATCHING   a watch from a version     WATCHING when it ends; STREAMING or LISTING after 410
ABSENT     versions of the group      LISTING once the version is there
========== ========================== ============================================================

The caller sends `request()` when it is due, and tells what comes of it: `answered`, then `received` for each chunk,
then `ended`; or `failed` at any point. Once `wants_more` is false the rest of an answer is of no use. Times are seconds
of any clock that never goes back; chance is passed in.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from gatewright.errors import line
from gatewright.kubeapi.backoff import delay
from gatewright.kubeapi.framing import Lines, LineTooLong
from gatewright.kubeapi.held import Gathering, Held
from gatewright.kubeapi.status import Status, decode, failure, said
from gatewright.kubeapi.updates import Update, Updates
from gatewright.objects.api import NotAList
from gatewright.objects.watched import Event, Item, ItemReader, NotAnEvent

PAGE = 500
"""Objects of one page, as kubectl and client-go ask for them."""
LARGEST_PAGE = 512 * 1024 * 1024
"""Bytes. An object has at most about a megabyte, so no honest page is larger."""
LARGEST_STATUS = 1024 * 1024
"""Bytes of a refusal that are read."""
WATCH_SECONDS = 300
"""A watch is asked to end after this time and up to twice of it, so that watches move to other servers in time."""
PATIENCE = 30.0
"""Seconds without a byte of a list before the connection counts as dead, or a streaming list as not understood."""
WATCH_PATIENCE = 90.0
"""The same of a watch: API servers send a bookmark every minute."""
ABSENT_FOR = 30.0
"""Seconds on average until a kind that is not there is asked for again; a quarter more or less."""
ABSENT_CONFIRMED = 10.0
"""Seconds for which there must be no answer but 404 until it is believed of a kind whose objects are held."""
STEADY = 10.0
"""Seconds after which a watch counts as working, and earlier failures no more."""
SHORTEST = 1.0
"""Seconds. A watch that ends sooner has failed."""
BROKEN_STREAMS = 2
"""Streaming lists in a row that may break off before pages are asked for."""
BROKEN_WATCHES = 3
"""Watches in a row from one version that may go wrong before everything is listed again."""
STREAM_AGAIN = 3600.0
"""Seconds after which a server that refused a streaming list may have learned it."""


class Phase(enum.Enum):
    """What is asked for next, or being answered."""

    STREAMING = "streaming"
    LISTING = "listing"
    WATCHING = "watching"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Request:
    """A GET that is due at a time. `patience` is how many seconds it may be silent."""

    path: str
    query: dict[str, str]
    due: float
    patience: float


class Reflector:
    """The state machine of one kind. Not for several threads."""

    def __init__(
        self,
        reader: ItemReader,
        chance: Callable[[], float],
        *,
        optional: bool,
        streaming: bool = True,
        fields: str = "",
    ) -> None:
        """`chance` gives numbers in [0, 1); `optional` kinds may not be there; `fields` is a field selector."""
        self.held = Held()
        self.phase = Phase.STREAMING if streaming else Phase.LISTING
        self.complete = False
        self.resource_version = ""
        self.last_event: float | None = None
        self.connected = False
        self.relists = 0
        self.reconnects = 0
        self.last_error = ""
        self.wants_more = False
        self._reader = reader
        self._chance = chance
        self._optional = optional
        self._fields = {"fieldSelector": fields} if fields else {}
        self._streams_again = 0.0 if streaming else float("inf")
        self._due = 0.0
        self._failures = 0
        self._broken = 0
        self._missing: float | None = None
        self._limit = PAGE
        self._following = ""
        self._gathering: Gathering | None = None
        self._status = 0
        self._asked: float | None = None
        self._opened = 0.0
        self._body = bytearray()
        self._lines = Lines()

    @property
    def absent(self) -> bool:
        """Whether the server does not have the kind."""
        return self.phase is Phase.ABSENT

    def request(self) -> Request:
        """What to ask next, and when."""
        query, patience = dict(self._fields), PATIENCE
        if self.phase is Phase.ABSENT:
            return Request(self._reader.group_path, {}, self._due, patience)
        if self.phase is Phase.LISTING:
            query |= {"limit": str(self._limit)} if self._limit else {}
            query |= {"continue": self._following} if self._following else {}
        else:
            seconds = int(WATCH_SECONDS * (1 + self._chance()))
            query |= {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
            if self.phase is Phase.STREAMING:
                query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
            else:
                query |= {"resourceVersion": self.resource_version}
                patience = WATCH_PATIENCE
        return Request(self._reader.path, query, self._due, patience)

    def answered(self, status: int, asked: float | None, now: float) -> None:
        """The head of an answer has come. `asked` is its Retry-After in seconds."""
        self._status, self._asked, self._opened = status, asked, now
        self._body, self._lines = bytearray(), Lines()
        self.wants_more = True
        if status == 200:
            self._missing = None
            if self.phase is Phase.WATCHING:
                self.connected, self.last_error = True, ""
            elif self.phase is Phase.STREAMING:
                self._gathering = Gathering(self.held)

    def received(self, data: bytes, now: float) -> list[Update]:
        """A chunk of the body, cut anywhere."""
        if not self.wants_more:
            return []
        if self._status != 200 or self.phase in (Phase.LISTING, Phase.ABSENT):
            self._body += data
            if len(self._body) > (LARGEST_PAGE if self._status == 200 else LARGEST_STATUS):
                self._retry("an answer that does not end", now)
            return []
        self.last_event = now
        updates = Updates()
        try:
            for one in self._lines.feed(data):
                if not self._take(self._reader.event(one), updates, now):
                    break
        except (LineTooLong, NotAnEvent) as error:
            self._went_wrong(line(error), now)
        return updates.finish()

    def ended(self, now: float) -> list[Update]:
        """The body has come to its end."""
        if not self.wants_more:
            return []
        if self._status != 200:
            return self._refused(said(bytes(self._body), self._status), now)
        if self.phase is Phase.LISTING:
            return self._page(now)
        if self.phase is Phase.ABSENT:
            self._served(now)
        elif self.phase is Phase.STREAMING:
            self._stream_broke("the streaming list ended before its end", now)
        elif now - self._opened < SHORTEST:
            self._retry("the watch ended at once", now)
        else:
            self._again(now)
        return []

    def failed(self, what: str, now: float, *, silent: bool = False) -> None:
        """The connection could not be made, broke off, or (`silent`) was silent for longer than the patience."""
        answering = self.wants_more
        if answering and self.phase is Phase.STREAMING and self._status == 200:
            self._stream_broke(what, now)
        elif answering and silent and self.phase is Phase.WATCHING:
            self._went_wrong(what, now)  # what lies between may keep the events back
        else:
            self._retry(what, now)

    # What the server said no to.

    def _refused(self, status: Status, now: float) -> list[Update]:
        what = line(f"{status.message or status.reason} ({status.code})")
        if status.code == 404:
            return self._not_there(what, now)
        if status.expired:
            self._expired(what, now)
        elif self.phase is Phase.STREAMING and status.code in (400, 405, 422):
            self._list_by_pages(now)
        elif self.phase is Phase.LISTING and self._following and status.code == 400:
            self._list_by_pages(now)
            self._retry(what, now)
        elif self.phase is Phase.STREAMING and status.code in (500, 504):
            self._stream_broke(what, now)
        elif self.phase is Phase.WATCHING and status.too_large:
            self._went_wrong(what, now, status.retry_after)
        else:
            self._retry(what, now, self._asked if self._asked is not None else status.retry_after)
            if self.phase is Phase.ABSENT and status.code == 403:  # who may not ask for versions asks for objects
                self._restart(Phase.LISTING)
        return []

    def _not_there(self, what: str, now: float) -> list[Update]:
        if not self._optional:
            self._retry(f"not a Kubernetes API: {what}", now)
            return []
        self._missing = now if self._missing is None else self._missing
        if self.held.versions and now - self._missing < ABSENT_CONFIRMED:
            self._retry(what, now)
            return []
        self._hang_up()
        first, self.complete = not self.complete, True
        changes = self.held.clear()
        self._restart(Phase.ABSENT)
        self.resource_version, self.last_error, self._failures = "", "", 0
        self._due = now if first else self._later(now)
        return [Update(changes)] if first or changes.gone else []

    def _served(self, now: float) -> None:
        """The versions of the group of an absent kind have come."""
        try:
            versions = self._reader.versions(self._body)
        except NotAList as error:
            self._retry(line(error), now)
            return
        self._hang_up()
        if self._reader.version in versions:
            self._restart(Phase.LISTING)
            self.last_error, self._due = "", now
            return
        named = ", ".join(versions)
        what = f"{self._reader.group} is served in {named} alone, which this version of gatewright does not know"
        self.last_error, self._due = f"{what}: its policies are not enforced", self._later(now)

    def _later(self, now: float) -> float:
        """When to ask again for what is not there."""
        return now + ABSENT_FOR * (0.75 + self._chance() / 2)

    def _expired(self, what: str, now: float) -> None:
        """What was asked from is too old. A list whose pages expire is asked for in larger ones, at last in one."""
        if self.phase is Phase.LISTING and self._following:
            limit = self._limit * 10 if self._limit < 20 * PAGE else 0
            self._retry(what, now)
            self._restart(Phase.LISTING)
            self._limit = limit
        else:
            self._list_again(what, now)

    # Pages.

    def _page(self, now: float) -> list[Update]:
        self.wants_more = False
        try:
            page = self._reader.page(self._body)
        except NotAList as error:
            html = self._body[:1024].lstrip().startswith(b"<")
            what = "an HTML page instead of a list, as proxies and login pages give it" if html else line(error)
            self._retry(what, now)
            return []
        finally:
            self._body = bytearray()
        if not page.resource_version or (page.following and page.following == self._following):
            what = "a list that does not come to an end" if page.resource_version else "a list without resourceVersion"
            self._retry(what, now)
            self._restart(Phase.LISTING)
            return []
        if self._gathering is None:
            anew = _older(page.resource_version, self.resource_version)
            self._gathering = Gathering(self.held, anew=anew)
        for item in page.items:
            self._gathering.put(item)
        self._following, self._due = page.following, now
        return [] if page.following else [self._whole(self._gathering, page.resource_version)]

    def _whole(self, gathering: Gathering, version: str) -> Update:
        """A list is whole: it takes the place of what was held, and the watch goes on from it."""
        changes = gathering.finish()
        self.resource_version, self.complete, self.last_error = version, True, ""
        self._restart(Phase.WATCHING)
        self._broken = 0
        return Update(changes)

    # Events.

    def _take(self, event: Event, updates: Updates, now: float) -> bool:
        """Take over one event. Whether the next one counts."""
        if event.type == "ERROR":
            self._error(decode(event.status) or failure(500, "an ERROR event without a Status"), now)
        elif self.phase is Phase.STREAMING:
            self._gather(event, updates, now)
        elif event.item is None:
            self._advance(event.resource_version)
        else:
            self._change(event.type, event.item, updates, now)
        return self.wants_more

    def _gather(self, event: Event, updates: Updates, now: float) -> None:
        """An event of a streaming list that is not yet whole."""
        assert self._gathering is not None
        if event.item is not None:
            if event.type == "DELETED":
                self._gathering.drop(event.item.key)
            else:
                self._gathering.put(event.item)
        elif event.initial_events_end:
            if _older(event.resource_version, self.resource_version):  # only pages say so before their objects
                self._list_by_pages(now)
                return
            updates.whole(self._whole(self._gathering, event.resource_version))
            self.connected, self._opened = True, now

    def _change(self, kind: str, item: Item, updates: Updates, now: float) -> None:
        """An event after the list. What is repeated changes nothing; what is older than what is held is not true."""
        held = self.held.versions.get(item.key)
        deleted = kind == "DELETED"
        if held is None if deleted else held == item.resource_version:
            return
        if _older(item.resource_version, (held or "") if deleted else self.resource_version):
            self._list_again(f"{' '.join(item.key)}: an event older than what is known", now)
            return
        if deleted:
            self.held.drop(item.key)
            updates.gone(item.key)
        elif (found := self.held.put(item)) is not None:
            updates.put(found, item.created if held is None else "")
        self._advance(item.resource_version)

    def _advance(self, version: str) -> None:
        if not _older(version, self.resource_version):
            self.resource_version = version
        self._broken = 0

    def _error(self, status: Status, now: float) -> None:
        what = line(f"{status.message or status.reason} ({status.code})")
        if status.expired:
            self._list_again(what, now)
        elif self.phase is Phase.STREAMING and status.code not in (429, 503):
            self._list_by_pages(now)
        else:
            self._went_wrong(what, now, status.retry_after)

    # Where to go on.

    def _went_wrong(self, what: str, now: float, asked: float | None = None) -> None:
        """A watch that said nothing, or nothing of use: from the same version again, at last everything again."""
        if self.phase is Phase.STREAMING:
            self._stream_broke(what, now)
            return
        self._broken += 1
        if self._broken >= BROKEN_WATCHES:
            self._list_again(what, now)
        else:
            self._retry(what, now, asked)

    def _stream_broke(self, what: str, now: float) -> None:
        self._broken += 1
        self._retry(what, now)
        if self._broken >= BROKEN_STREAMS:
            self._list_by_pages(now)

    def _list_by_pages(self, now: float) -> None:
        self._hang_up()
        self._restart(Phase.LISTING)
        self._streams_again = max(self._streams_again, now + STREAM_AGAIN)
        self._broken = 0
        self._due = max(self._due, now)

    def _list_again(self, what: str, now: float) -> None:
        self._retry(what, now)
        self.relists += 1
        self._restart(Phase.STREAMING if now >= self._streams_again else Phase.LISTING)
        self._broken = 0

    def _again(self, now: float) -> None:
        """The watch goes on with the next request, at once."""
        if now - self._opened >= STEADY:
            self._failures = 0
        self._hang_up()
        self.reconnects += 1
        self._due = now

    def _retry(self, what: str, now: float, asked: float | None = None) -> None:
        """Something failed: the same again, later."""
        if self.connected and now - self._opened >= STEADY:
            self._failures = 0
        self._hang_up()
        self._failures += 1
        if self.phase is Phase.WATCHING:
            self.reconnects += 1
        self.last_error = what
        self._due = now + delay(self._failures, self._chance(), asked)

    def _restart(self, phase: Phase) -> None:
        """Begin a phase; whatever was gathered is forgotten."""
        self.phase = phase
        self._gathering, self._following, self._limit = None, "", PAGE

    def _hang_up(self) -> None:
        self.wants_more = self.connected = False
        self._body = bytearray()


def _older(version: str, than: str) -> bool:
    """Whether a resourceVersion is the older one. They are decimal numbers (KEP-5504); others cannot be compared."""
    if not (version.isdecimal() and than.isdecimal()):
        return False
    return int(version) < int(than)
