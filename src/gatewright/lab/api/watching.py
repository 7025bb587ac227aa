"""One watch: a bounded queue of changes between the store and a client, and the lines that it becomes.

A client that reads too slowly costs a bounded amount of memory: when its queue is full it is emptied, and the next
thing the client gets is the ERROR 410 that tells it to list again. Nobody misses an event without being told.

Changes that come close together are sent together, so that many watchers of many changes cost few system calls: after
something was sent, what follows within a pause goes as one piece. The pause is longer the more watchers there are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from gatewright.kubeapi.failure import Failure, expired
from gatewright.kubeapi.selectors import fields_match, matches
from gatewright.kubeapi.status import encode
from gatewright.lab.api import forms
from gatewright.lab.api.forms import Form
from gatewright.lab.api.options import Chosen, ListOptions, WatchOptions
from gatewright.lab.api.store import Change, Entry
from gatewright.lab.api.verbs import Verbs

PAUSE = 0.001
"""Seconds between two pieces for each watcher of the resource, so that all of them get about a thousand a second."""
LONGEST_PAUSE = 0.05
MOST_WAITING = 2_000
"""Changes that may wait for one client."""
MOST_WAITING_BYTES = 16 * 1024 * 1024
LARGEST_PIECE = 256 * 1024
"""Bytes that are handed to the transport at once; it waits when the client does not read."""
BOOKMARK_EVERY = 60.0
"""Seconds between bookmarks."""
LONGEST = 1800.0
"""Seconds of a watch whose client names none; a cluster ends them after 30 to 60 minutes."""

Step = tuple[str, Entry]


class Watch:
    """The watch of one client. `lines` is its stream."""

    def __init__(self, verbs: Verbs, what: Chosen, options: WatchOptions, form: Form) -> None:
        """Begins to listen at once. Raises Failure (410, 504) where it cannot begin from that revision."""
        self._verbs, self._what, self._options, self._form = verbs, what, options, form
        self._queue: deque[Step] = deque()
        self._bytes = 0
        self._cut: Failure | None = None
        self._over = False
        self._wake = asyncio.Event()
        self._first = True
        self._all = not (what.namespace or what.selective)
        store = verbs.store
        self._began = store.revision
        revision = options.revision
        self._from_state = options.initial or not revision
        self._begin: list[Entry] = []
        if self._from_state:
            self._begin = verbs.page(what, ListOptions(revision or None, "", None, None)).entries
        else:
            for change in store.since(what.resource, revision or 0):
                self._offer(change, bounded=False)
        self._stop = store.listen(what.resource, self._offer)

    def close(self) -> None:
        """Listen no more, and end the stream."""
        self._stop()
        self._over = True
        self._wake.set()

    def _offer(self, change: Change, bounded: bool = True) -> None:
        step = self._step(change)
        if step is None or self._cut:
            return
        self._queue.append(step)
        self._bytes += len(step[1].body)
        if bounded and (len(self._queue) > MOST_WAITING or self._bytes > MOST_WAITING_BYTES):
            self._queue.clear()
            self._bytes = 0
            self._cut = expired("the client reads its watch too slowly and missed changes: list again")
        self._wake.set()

    def _step(self, change: Change) -> Step | None:
        """What a change is for this watch: objects enter and leave what it selects."""
        before, after = change.before, change.after
        if self._all:
            was, is_ = before is not None, after is not None
        else:
            was, is_ = self._selects(before), self._selects(after)
        if is_ and after:
            return ("MODIFIED" if was else "ADDED"), after
        return ("DELETED", change.last) if was else None

    def _selects(self, entry: Entry | None) -> bool:
        if entry is None or (self._what.namespace and entry.key[1] != self._what.namespace):
            return False
        return matches(self._what.labels, entry.labels) and fields_match(self._what.fields, entry.fields)

    async def lines(self) -> AsyncIterator[bytes]:
        """Pieces of whole lines until the time is over or the watch is cut."""
        loop = asyncio.get_running_loop()
        end = loop.time() + min(self._options.timeout or LONGEST, LONGEST)
        mark = loop.time() + BOOKMARK_EVERY if self._options.bookmarks else end
        alarm = loop.call_at(min(end, mark), self._wake.set)
        try:
            for piece in self._initial():
                yield piece
            while True:
                self._wake.clear()
                sent = False
                for piece in self._waiting():
                    yield piece
                    sent = True
                if self._cut:
                    yield forms.line("ERROR", encode(self._cut.status).rstrip())
                    return
                now = loop.time()
                if (now >= end or self._over) and not self._queue:
                    return
                if now >= mark and not self._queue and self._options.bookmarks:
                    mark = now + BOOKMARK_EVERY
                    yield self._bookmark()
                if now >= alarm.when():
                    alarm = loop.call_at(max(now + 0.01, min(end, mark)), self._wake.set)
                if sent:
                    await asyncio.sleep(min(PAUSE * self._verbs.store.listening(self._what.resource), LONGEST_PAUSE))
                await self._wake.wait()
        finally:
            alarm.cancel()

    def _bookmark(self) -> bytes:
        """Nothing waits, so everything up to the newest revision was sent."""
        return forms.bookmark(self._what.resource, self._verbs.store.revision, self._form, initial_end=False)

    def _initial(self) -> list[bytes]:
        steps = deque(("ADDED", entry) for entry in self._begin)
        self._begin = []
        pieces = list(self._pieces(steps))
        if self._options.initial and self._options.bookmarks:
            pieces.append(forms.bookmark(self._what.resource, self._began, self._form, initial_end=True))
        return pieces

    def _waiting(self) -> list[bytes]:
        steps, self._queue, self._bytes = self._queue, deque(), 0
        return list(self._pieces(steps))

    def _pieces(self, steps: deque[Step]) -> list[bytes]:
        pieces: list[bytes] = []
        lines: list[bytes] = []
        size = 0
        for kind, entry in steps:
            line = self._line(kind, entry)
            lines.append(line)
            size += len(line)
            if size > LARGEST_PIECE:
                pieces.append(b"".join(lines))
                lines, size = [], 0
        return [*pieces, b"".join(lines)] if lines else pieces

    def _line(self, kind: str, entry: Entry) -> bytes:
        if self._form.view:
            line = forms.event(self._what.resource, kind, entry, self._form, self._first)
            self._first = False
            return line
        if entry.line is None or entry.line[0] != kind:
            entry.line = (kind, forms.event(self._what.resource, kind, entry, self._form, first=False))
        return entry.line[1]
