"""Connections that a change of policy no longer allows: whom to look at, when, and how they are judged.

Reading the kernel's connections costs milliseconds, a change of policy less than one; so the reading comes after the
change, for all changes of a tenth of a second together, and only for pods that a change may forbid something. A
connection whose first packet passed in the very moment of the change can enter the kernel's table after it was read:
everybody is looked at once more a little later.
"""

from __future__ import annotations

from collections.abc import Iterable

from gatewright.agent.parties import PROTOCOLS, holder, party
from gatewright.engine.addresses import IPAddress
from gatewright.engine.compile import Compiled
from gatewright.engine.model import Direction, Endpoint
from gatewright.engine.verdict import Outcome, judge_side
from gatewright.kernel.conntrack import Flow

PAUSE = 0.1
"""Seconds between two readings, at least."""
ONCE_MORE = 0.5
"""Seconds after which those that were looked at are looked at again."""


class Suspects:
    """The addresses of pods whose connections have to be looked at, and when. Changed in place."""

    def __init__(self) -> None:
        self._first: set[IPAddress] = set()
        self._again: list[tuple[float, frozenset[IPAddress]]] = []
        self._rested = 0.0

    def add(self, pods: Iterable[Endpoint]) -> None:
        """A change may forbid these pods something."""
        for one in pods:
            self._first.update(one.addresses)

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
