"""A live cluster as it changes: every watched kind followed by a thread of its own, for as long as the program runs.

What is asked next and what an answer means is decided by `kubeapi.reflector`; here are sockets, threads and time.
Every fault of a connection, of credentials or of a server is recorded, waited out and tried again: a watch ends only
when it is stopped. What was delivered stays true until the next delivery says otherwise.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gatewright.engine.snapshot import Changes
from gatewright.errors import Problem, line
from gatewright.kubeapi.backoff import retry_after
from gatewright.kubeapi.reflector import Reflector, Request
from gatewright.kubeapi.updates import Update
from gatewright.objects.kinds import POLICY_GROUP
from gatewright.objects.meta import Key
from gatewright.objects.watched import ItemReader, Reader
from gatewright.sources.connection import HEADERS, extensions, told
from gatewright.sources.kubeconfig import ClusterUnavailable, Where
from gatewright.sources.session import Access, KeptClient, Session

if TYPE_CHECKING:
    import httpx2 as httpx

NODE_KINDS = (
    ("", "Node"),
    ("", "Namespace"),
    ("", "Pod"),
    ("networking.k8s.io", "NetworkPolicy"),
    (POLICY_GROUP, "ClusterNetworkPolicy"),
    (POLICY_GROUP, "AdminNetworkPolicy"),
    (POLICY_GROUP, "BaselineAdminNetworkPolicy"),
)
"""(API group, kind) of all that decides what a node enforces."""
RUNNING_PODS = {"Pod": "status.phase!=Succeeded,status.phase!=Failed"}
"""Field selectors that leave out pods which have finished: no policy is about them, and jobs leave many behind."""

MOST_PROBLEMS = 100
"""Objects that cannot be read and are named in a status, which is made after every event."""
CONNECTING = 5.0
"""Seconds until a connection is there. The longest that `stop` may take, but for a login program that is running."""
_KEEP_ALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
"""A peer that is gone without a word is noticed within a minute, also where nothing is to be said."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became different of one kind. A first list, and a list after changes were missed, is one delivery.

    `complete` says that the kind has been listed as a whole at least once, this delivery included; a kind that the
    cluster does not have is complete with nothing. `received` is `time.monotonic` when the bytes had arrived. `created`
    are the creation times (seconds since 1970, whole ones as the API gives them) of objects that came while watching.
    """

    kind: str
    changes: Changes
    complete: bool
    received: float
    created: tuple[tuple[Key, float], ...] = ()


@dataclass(frozen=True, slots=True)
class KindStatus:
    """How it stands with one kind. Times are of `time.monotonic`.

    `connected` is whether a watch is open, since when (`since`) it is or is not. `absent` is whether the cluster does
    not have the kind. `last_error` is empty while all is well. `problems` are objects that cannot be read whole.
    `ended` says that nobody follows the kind any more: it was stopped, or what received the deliveries raised an error.
    """

    kind: str
    complete: bool
    connected: bool
    absent: bool
    since: float
    last_event: float | None
    resource_version: str
    objects: int
    relists: int
    reconnects: int
    last_error: str
    problems: tuple[Problem, ...]
    ended: bool


class ClusterWatch:
    """Follows the kinds of a cluster. `deliver` is called by several threads, for each kind in order.

    What `deliver` raises is a fault of the program: it ends that kind's thread, and `status` says so.
    """

    def __init__(
        self,
        where: Where,
        kinds: Iterable[tuple[str, str] | ItemReader],
        deliver: Callable[[Delivery], None],
        *,
        fields: Mapping[str, str] = RUNNING_PODS,
        streaming: bool = True,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`kinds` are (API group, kind), or readers of what is no object of the product's; `fields` selectors by kind.

        Kinds of custom resources may be missing in the cluster. `streaming` False asks for pages from the start.
        """
        session = Session(where)
        self._stopping = threading.Event()
        self._watchers = []
        for kind in kinds:
            reader = Reader(*kind) if isinstance(kind, tuple) else kind
            optional, selector = reader.group == POLICY_GROUP, fields.get(reader.name, "")
            reflector = Reflector(reader, chance, optional=optional, streaming=streaming, fields=selector)
            self._watchers.append(_Watcher(reader.name, reflector, session, deliver, self._stopping))

    def start(self) -> None:
        """Begin, without waiting for anything."""
        for watcher in self._watchers:
            watcher.thread.start()

    def stop(self) -> None:
        """End every connection and thread. Nothing is delivered after it returns."""
        self._stopping.set()
        for watcher in self._watchers:
            watcher.connection.hang_up()
        for watcher in self._watchers:
            if watcher.thread.is_alive():
                watcher.thread.join()

    def status(self) -> tuple[KindStatus, ...]:
        """How it stands with each kind, in the order in which they were named."""
        return tuple(watcher.status for watcher in self._watchers)


class _Watcher:
    """One kind and its thread."""

    def __init__(
        self,
        kind: str,
        reflector: Reflector,
        session: Session,
        deliver: Callable[[Delivery], None],
        stopping: threading.Event,
    ) -> None:
        self.kind = kind
        self.connection = _Connection(stopping)
        self.thread = threading.Thread(target=self._run, name=f"watch {kind}", daemon=True)
        self._reflector = reflector
        self._session = session
        self._deliver = deliver
        self._stopping = stopping
        self._since = time.monotonic()
        self._ended = False
        self.status = self._report()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                request = self._reflector.request()
                if not self._stopping.wait(max(0.0, request.due - time.monotonic())):
                    self._ask(request)
        except BaseException as error:
            self._reflector.failed(f"a fault of this program: {type(error).__name__}: {line(error)}", time.monotonic())
            raise
        finally:
            self.connection.close()
            self._ended = True
            self._publish()

    def _ask(self, request: Request) -> None:
        """One request with all that comes of it."""
        try:
            access = self._session.access()
            with self.connection.get(access, request) as answer:
                self._read(answer, access, request)
        except ClusterUnavailable as error:
            if not self._stopping.is_set():
                silent = type(error.__cause__).__name__ == "ReadTimeout"
                self._reflector.failed(line(error), time.monotonic(), silent=silent)
                self._publish()

    def _read(self, answer: httpx.Response, access: Access, request: Request) -> None:
        reflector = self._reflector
        asked = retry_after(answer.headers.get("Retry-After"))
        reflector.answered(answer.status_code, asked, time.monotonic())
        if answer.status_code == 401:
            self._session.refused(access)
        self._publish()
        for chunk in _chunks(answer, access, request):
            now = time.monotonic()
            self._hand_on(reflector.received(chunk, now), now)
            if not reflector.wants_more or self._stopping.is_set():
                return
        now = time.monotonic()
        self._hand_on(reflector.ended(now), now)

    def _hand_on(self, updates: list[Update], now: float) -> None:
        self._publish()
        for update in updates:
            if self._stopping.is_set():
                return
            created = tuple((key, at) for key, text in update.created if (at := _seconds(text)) is not None)
            self._deliver(Delivery(self.kind, update.changes, self._reflector.complete, now, created))

    def _publish(self) -> None:
        if self._reflector.connected != self.status.connected:
            self._since = time.monotonic()
        self.status = self._report()

    def _report(self) -> KindStatus:
        one = self._reflector
        return KindStatus(
            self.kind,
            one.complete,
            one.connected,
            one.absent,
            self._since,
            one.last_event,
            one.resource_version,
            len(one.held.versions),
            one.relists,
            one.reconnects,
            one.last_error,
            _problems(self.kind, one.held.problems),
            self._ended,
        )


class _Connection:
    """The one connection of a thread, which another thread may break off."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._client = KeptClient(CONNECTING)

    @contextlib.contextmanager
    def get(self, access: Access, request: Request) -> Iterator[httpx.Response]:
        """The head of an answer. Raises ClusterUnavailable for all that goes wrong on the way to it."""
        import httpx2 as httpx

        config = access.config
        timeout = httpx.Timeout(CONNECTING, read=request.patience)
        more = {**extensions(config), "trace": self._trace}
        with contextlib.ExitStack() as stack:
            with told(config, request.patience):
                answering = self._client.of(access).stream(
                    "GET", request.path, params=request.query, headers=HEADERS, extensions=more, timeout=timeout
                )
                answer = stack.enter_context(answering)
            yield answer  # what goes wrong with its content is no fault of the connection

    def hang_up(self) -> None:
        """Break off whatever is under way; the thread that waits for it goes on at once."""
        with self._lock:
            if self._socket is not None:
                _shut(self._socket)

    def close(self) -> None:
        """Leave nothing open."""
        self._client.close()

    def _trace(self, event: str, info: dict[str, Any]) -> None:
        """Learn of the socket when it is there, and again when TLS has taken it over."""
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            with self._lock:
                self._socket = info["return_value"].get_extra_info("socket")
                if event.endswith(".connect_tcp.complete"):
                    for option in _KEEP_ALIVE:
                        self._socket.setsockopt(*option)
                if self._stopping.is_set():
                    _shut(self._socket)


def _problems(kind: str, found: Mapping[Key, tuple[str, ...]]) -> tuple[Problem, ...]:
    """What is wrong with objects, by name; of very many the first, and how many more there are."""
    told = [
        Problem("", f"{kind} {'/'.join(filter(None, path))}: {what}")
        for (_, *path), whats in itertools.islice(found.items(), MOST_PROBLEMS)
        for what in whats
    ]
    if len(found) > MOST_PROBLEMS:
        told.append(Problem("", f"{kind}: {len(found) - MOST_PROBLEMS} more objects cannot be read whole"))
    return tuple(told)


def _chunks(answer: httpx.Response, access: Access, request: Request) -> Iterator[bytes]:
    """The body of an answer as it comes. Raises ClusterUnavailable where the connection breaks."""
    with told(access.config, request.patience):
        yield from answer.iter_bytes()


def _shut(one: socket.socket) -> None:
    """End a connection in both directions: whoever waits for bytes gets the end of it."""
    with contextlib.suppress(OSError):  # it may be closed by now
        socket.socket.shutdown(one, socket.SHUT_RDWR)  # that of TLS would take the session from the waiting thread


def _seconds(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
