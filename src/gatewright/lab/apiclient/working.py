"""Controllers: each makes its objects be what they say, one at a time, whenever something about them has changed.

Level-triggered: a controller is told which object to look at, never what happened, and works from the cluster as it is.
So a change that was missed, a crash in the middle and a second look do no harm.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from gatewright.kubeapi.backoff import delay
from gatewright.lab.api.resources import Resource, Tree
from gatewright.lab.apiclient.events import Recorder
from gatewright.lab.apiclient.following import Change, Follower, Name
from gatewright.lab.apiclient.writing import Refused, Writer
from gatewright.sources.kubeconfig import ClusterUnavailable, Where

_log = logging.getLogger(__name__)

LONGEST_WAIT = 5.0
"""Seconds a worker that has nothing to do sleeps at a time."""
SETTLING = 0.005
"""Seconds that a look is put off: what comes in a burst is looked at once."""


class Cluster:
    """What a controller works with. `now` is the wall clock, in seconds since 1970."""

    def __init__(self, follower: Follower, writer: Writer, recorder: Recorder, now: Callable[[], float]) -> None:
        self.follower = follower
        self.writer = writer
        self.now = now
        self._recorder = recorder

    def event(self, about: Tree, kind: str, reason: str, message: str) -> None:
        """Record a Kubernetes Event (`kind`: Normal or Warning) about an object; what cannot be recorded is let go."""
        self._recorder.record(about, kind, reason, message)


class Controller(Protocol):
    """What looks after the objects of one resource."""

    @property
    def name(self) -> str:
        """What logs and Events call it."""

    @property
    def resources(self) -> tuple[Resource, ...]:
        """What it has to know."""

    def keys(self, change: Change) -> Iterable[Name]:
        """Which of its objects a change is about. Called by several threads."""

    def reconcile(self, cluster: Cluster, key: Name) -> float | None:
        """Make it so. Seconds until it must be looked at again, whatever happens; None: not until something does."""


class Queue:
    """What is to be looked at, and when. No object stands in it twice; the earlier time counts. For several threads."""

    def __init__(self) -> None:
        self._due: dict[tuple[int, Name], float] = {}
        self._heap: list[tuple[float, int, tuple[int, Name]]] = []
        self._count = itertools.count()
        self._changed = threading.Condition()

    def add(self, items: Iterable[tuple[int, Name]], at: float) -> None:
        """Look at these at a time."""
        with self._changed:
            for item in items:
                if item not in self._due or at < self._due[item]:
                    self._due[item] = at
                    heapq.heappush(self._heap, (at, next(self._count), item))
            self._changed.notify()

    def take(self, patience: float) -> tuple[int, Name] | None:
        """The next that is due, waiting no longer than that; None where nothing is."""
        until = time.monotonic() + patience
        with self._changed:
            while True:
                now = time.monotonic()
                while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
                    heapq.heappop(self._heap)
                if self._heap and self._heap[0][0] <= now:
                    _, _, item = heapq.heappop(self._heap)
                    del self._due[item]
                    return item
                if now >= until:
                    return None
                self._changed.wait(min(until, self._heap[0][0] if self._heap else until) - now)

    def wake(self) -> None:
        """Let whoever waits look again."""
        with self._changed:
            self._changed.notify_all()


class Workers:
    """Controllers at work on one cluster, by one thread: no two of their writes cross."""

    def __init__(self, where: Where, controllers: Sequence[Controller], component: str) -> None:
        self._controllers = tuple(controllers)
        self._queue = Queue()
        self._failures: dict[tuple[int, Name], int] = {}
        resources = dict.fromkeys(one for controller in controllers for one in controller.resources)
        self._interested = {
            one: [index for index, controller in enumerate(controllers) if one in controller.resources]
            for one in resources
        }
        self.follower = Follower(where, resources, self._heard)
        self._writer = Writer(where, self.follower, component)
        self._cluster = Cluster(self.follower, self._writer, Recorder(self._writer, component, time.time), time.time)

    def run(self, stop: threading.Event, ready: Callable[[], None] | None = None) -> None:
        """Work until `stop` is set; `ready` is called once everything has been listed."""
        self.follower.start()
        try:
            while not stop.is_set() and not self.follower.wait(0.2):
                pass
            if ready is not None and not stop.is_set():
                ready()
            while not stop.is_set():
                item = self._queue.take(min(LONGEST_WAIT, 0.5))
                if item is not None:
                    self._work(item)
        finally:
            self.follower.stop()
            self._writer.close()

    def _heard(self, changes: list[Change]) -> None:
        items = [
            (index, key)
            for change in changes
            for index in self._interested[change.resource]
            for key in self._controllers[index].keys(change)
        ]
        if items:
            self._queue.add(items, time.monotonic() + SETTLING)

    def _work(self, item: tuple[int, Name]) -> None:
        controller = self._controllers[item[0]]
        try:
            again = controller.reconcile(self._cluster, item[1])
        except (Refused, ClusterUnavailable) as error:
            failures = self._failures[item] = self._failures.get(item, 0) + 1
            level = logging.DEBUG if isinstance(error, Refused) and error.reason == "Conflict" else logging.WARNING
            _log.log(level, "%s: %s: %s", controller.name, "/".join(filter(None, item[1])), error)
            again = 0.02 if failures == 1 else delay(failures - 1, random.random())
        else:
            self._failures.pop(item, None)
        if again is not None:
            self._queue.add([item], time.monotonic() + again)


def run_controllers(
    where: Where,
    controllers: Sequence[Controller],
    stop: threading.Event,
    ready: Callable[[], None] | None = None,
    component: str = "gatewright-lab",
) -> None:
    """Run controllers until `stop` is set."""
    Workers(where, controllers, component).run(stop, ready)
