"""Connections that a change of policy no longer allows, or allows again: whom to look at, when, how they are judged.

Reading the kernel's connections costs tens of milliseconds however few there are, a change of policy one; so they are
read on a thread of its own, for all changes of a quarter of a second together, and only for pods that a change may
forbid something. A connection whose first packet passed in the very moment of the change can enter the kernel's table
after it was read: everybody is looked at once more a little later.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from gatewright.agent.desired import Desired
from gatewright.agent.log import Troubles
from gatewright.agent.parties import holder, party
from gatewright.engine.addresses import IPAddress
from gatewright.engine.compile import Compiled
from gatewright.engine.model import Direction
from gatewright.engine.verdict import Outcome, judge_side
from gatewright.kernel.conntrack import Flow, Revocation
from gatewright.kernel.cover import PROTOCOLS
from gatewright.kernel.errors import KernelError

PAUSE = 0.25
"""Seconds between two readings, at least."""
PUT_OFF = 1.0
"""Seconds until connections are looked at again that could not be read."""
ABOUT = "connections"
"""What its trouble is about."""
Revoke = Callable[[Callable[[Flow], bool], frozenset[IPAddress]], Revocation]
"""`agent.node.Node.revoke`."""
ONCE_MORE = 0.5
"""Seconds after which those that were looked at are looked at again."""


class Suspects:
    """The addresses of pods whose connections have to be looked at, and when. Changed in place."""

    def __init__(self) -> None:
        self._first: set[IPAddress] = set()
        self._again: list[tuple[float, frozenset[IPAddress]]] = []
        self._rested = 0.0

    def add(self, pods: Iterable[IPAddress]) -> None:
        """A change may forbid these pods something, or allow what was ended."""
        self._first.update(pods)

    @property
    def at(self) -> float | None:
        """The moment from which somebody has to be looked at; None while there is nobody."""
        if self._first:
            return self._rested
        return max(self._again[0][0], self._rested) if self._again else None

    def due(self, now: float) -> frozenset[IPAddress]:
        """Whom to look at now; they are not due any more, but for the second look."""
        if self.at is None or now < self.at:
            return frozenset()
        found = frozenset(self._first)
        self._first = set()
        second = [addresses for at, addresses in self._again if at <= now]
        self._again = [(at, addresses) for at, addresses in self._again if at > now]
        if found:
            self._again.append((now + ONCE_MORE, found))
        self._rested = now + PAUSE
        return found.union(*second)

    def put_off(self, pods: Iterable[IPAddress], until: float) -> None:
        """They could not be looked at; not before `until`."""
        self._first.update(pods)
        self._rested = max(self._rested, until)


class Connections:
    """Ends what is no longer allowed and lets go on what is again, on a thread of its own.

    The rules that it judges by are at least as new as the program that was in the kernel when a suspect was named.
    """

    def __init__(self, revoke: Revoke, rules: Callable[[], Desired], troubles: Troubles) -> None:
        """`revoke` reads and marks; `rules` gives what holds now; `troubles` is told of what goes wrong."""
        self.ended = self.failures = 0
        self.marked = True
        """Whether there may be ended connections, which have to go on when they are allowed again."""
        self._revoke, self._rules, self._troubles = revoke, rules, troubles
        self._suspects = Suspects()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="connections", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Look at nobody any more; returns when it is so."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def suspect(self, pods: Iterable[IPAddress]) -> None:
        """A change may forbid these pods something, or allow what was ended."""
        with self._changed:
            self._suspects.add(pods)
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._closing and not (pods := self._suspects.due(time.monotonic())):
                    at = self._suspects.at
                    self._changed.wait(None if at is None else max(0.0, at - time.monotonic()))
                if self._closing:
                    return
            self._look_at(pods)

    def _look_at(self, pods: frozenset[IPAddress]) -> None:
        desired = self._rules()
        compiled = desired.compiled
        if compiled is None:
            return
        everybody = pods.issuperset(desired.addresses)
        try:
            done = self._revoke(lambda tracked: is_allowed(compiled, tracked), pods)
        except KernelError as error:
            with self._changed:
                self._suspects.put_off(pods, time.monotonic() + PUT_OFF)
            self.failures += 1
            self._troubles.begin(ABOUT, str(error))
            return
        self._troubles.end(ABOUT)
        self.ended += done.revoked
        self.marked = done.marked > 0 or (self.marked and not everybody)


def is_allowed(compiled: Compiled, flow: Flow) -> bool:
    """Whether the rules of this node's pods allow a connection: those of the pod that opened it, of the other one."""
    protocol, family = PROTOCOLS.get(flow.protocol), flow.source.version
    sides = ((flow.source, flow.destination, Direction.EGRESS), (flow.destination, flow.source, Direction.INGRESS))
    for near, far, direction in sides:
        subject = holder(compiled, near)
        if subject is None or not compiled.is_subject(subject.index):
            continue
        side = judge_side(compiled, subject, party(compiled, far), direction, protocol, flow.port, family)
        if side.outcome is Outcome.DENIED:
            return False
    return True
