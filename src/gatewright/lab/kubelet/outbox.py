"""What a kubelet has to tell the API: heartbeats first, then pods, then Events; by one thread and one connection.

Of what is to be told of a pod only the newest waits. While the API is away everything waits; nothing is lost but Events
beyond a bound. What the API refuses is logged and let go: the next change is told again.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from gatewright.kubeapi.backoff import delay
from gatewright.lab.api.resources import BY_PLURAL, Tree
from gatewright.lab.apiclient.events import Recorder
from gatewright.lab.apiclient.writing import Refused, Writer
from gatewright.lab.kubelet.podstatus import beside_others, difference
from gatewright.sources.kubeconfig import ClusterUnavailable

PODS = BY_PLURAL["", "pods"]
MOST_EVENTS = 5000
LONGEST_PAUSE = 3.0
"""Seconds between two attempts while the API is away, at most: a lab's API is on this machine."""
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Waiting:
    """What is to be told of a pod: its status, and that it has ended."""

    pod: Tree
    status: Tree | None = None
    ended: bool = False


class Outbox:
    """For any thread but `run`, which is the thread that writes."""

    def __init__(self, writer: Writer, recorder: Recorder, newest: Callable[[str, str], Tree | None]) -> None:
        """`newest` is a pod by namespace and name as the API has it, as far as is known; what is written is known."""
        self._writer, self._recorder, self._newest = writer, recorder, newest
        self._changed = threading.Condition()
        self._stopped = False
        self._first: OrderedDict[str, Callable[[Writer], None]] = OrderedDict()
        self._pods: OrderedDict[str, _Waiting] = OrderedDict()
        self._events: deque[tuple[Tree, str, str, str]] = deque(maxlen=MOST_EVENTS)

    def first(self, name: str, work: Callable[[Writer], None]) -> None:
        """Write something before all else; of what has the same name the newest counts."""
        with self._changed:
            self._first[name] = work
            self._changed.notify()

    def status(self, pod: Tree, status: Tree) -> None:
        """Tell a pod's status, where the API has another."""
        with self._changed:
            self._waiting(pod).status = status
            self._changed.notify()

    def ended(self, pod: Tree) -> None:
        """Tell that nothing of a pod that is being deleted is left: the API lets it go."""
        with self._changed:
            self._waiting(pod).ended = True
            self._changed.notify()

    def event(self, about: Tree, kind: str, reason: str, message: str) -> None:
        """Tell an Event (`kind`: Normal or Warning), when there is nothing more important to tell."""
        with self._changed:
            self._events.append((about, kind, reason, message))
            self._changed.notify()

    def forget(self, uid: str) -> None:
        """A pod is gone from the API: there is nothing to tell of it."""
        with self._changed:
            self._pods.pop(uid, None)

    def stop(self) -> None:
        """Let `run` return."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def run(self) -> None:
        """Write until stopped."""
        failures = 0
        while (work := self._next(failures)) is not None:
            try:
                work()
                failures = 0
            except ClusterUnavailable as error:
                failures += 1
                if failures == 1:
                    _log.warning("the API is away, everything goes on: %s", error)
        self._writer.close()

    def _waiting(self, pod: Tree) -> _Waiting:
        uid = pod["metadata"]["uid"]
        found = self._pods.setdefault(uid, _Waiting(pod))
        found.pod = pod
        return found

    def _next(self, failures: int) -> Callable[[], None] | None:
        with self._changed:
            if failures and not self._stopped:
                self._changed.wait_for(lambda: self._stopped, min(LONGEST_PAUSE, delay(failures, random.random())))
            while not self._stopped:
                if self._first:
                    return lambda: self._write_first(next(iter(self._first)))
                if self._pods:
                    return lambda: self._write_pod(next(iter(self._pods)))
                if self._events:
                    return self._write_event
                self._changed.wait()
        return None

    def _write_first(self, name: str) -> None:
        work = self._first[name]
        try:
            work(self._writer)
        except Refused as error:
            _log.warning("%s: %s", name, error)
        with self._changed:
            if self._first.get(name) is work:
                del self._first[name]

    def _write_pod(self, uid: str) -> None:
        with self._changed:
            waiting = self._pods.pop(uid, None)
        if waiting is None:
            return
        try:
            self._tell(uid, waiting)
        except ClusterUnavailable:
            with self._changed:  # what was said meanwhile is newer
                newer = self._pods.setdefault(uid, waiting)
                newer.status = newer.status or waiting.status
                newer.ended |= waiting.ended
                self._pods.move_to_end(uid, last=False)
            raise
        except Refused as error:
            level = logging.DEBUG if error.reason in ("NotFound", "Conflict") else logging.WARNING
            _log.log(level, "pod %s: %s", waiting.pod["metadata"]["name"], error)

    def _tell(self, uid: str, waiting: _Waiting) -> None:
        metadata = waiting.pod["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        if waiting.status is not None:
            known = self._newest(namespace, name)
            same = known is not None and known["metadata"]["uid"] == uid
            before = known if known is not None and same else waiting.pod
            there = before.get("status") or {}
            if patch := difference(there, beside_others(waiting.status, there)):
                body = {"metadata": {"uid": uid}, "status": patch}
                self._writer.patch(PODS, namespace, name, body, "status")
        if waiting.ended:
            self._writer.delete(PODS, namespace, name, uid=uid, grace=0)

    def _write_event(self) -> None:
        with self._changed:
            event = self._events.popleft() if self._events else None
        if event is not None:
            self._recorder.record(*event)


def quietly(work: Callable[[], object], *reasons: str) -> bool:
    """Do something that the API may refuse for one of these reasons; whether it did not. Raises GatewrightError."""
    try:
        work()
    except Refused as error:
        if error.reason not in reasons:
            raise
        return False
    return True
