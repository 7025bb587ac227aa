"""The connections that a change of policies can touch: nothing else has to be compared again after it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gatewright.engine.addresses import AddressSet
from gatewright.engine.model import Direction
from gatewright.engine.podset import PodSet


@dataclass(frozen=True, slots=True)
class Region:
    """Whatever `senders` open and `receivers` receive, from and to whomever."""

    senders: PodSet
    receivers: PodSet

    def pods(self, direction: Direction) -> PodSet:
        """The pods of which a direction is in it."""
        return self.senders if direction is Direction.EGRESS else self.receivers

    def touches(self, pods: PodSet) -> bool:
        """Whether something that some endpoints open or receive may be in it."""
        return bool(pods & self.senders or pods & self.receivers)

    def meets(self, sources: PodSet, destinations: PodSet) -> bool:
        """Whether some connection between two sets of endpoints is in it."""
        return bool(sources & self.senders or destinations & self.receivers)

    def holds(self, source: PodSet | AddressSet, destination: PodSet | AddressSet) -> bool:
        """Whether every connection between two ends is in it."""
        sent = isinstance(source, PodSet) and not source - self.senders
        return sent or (isinstance(destination, PodSet) and not destination - self.receivers)

    def cut(self, sources: PodSet, destinations: PodSet) -> Iterator[tuple[PodSet, PodSet]]:
        """The connections between two sets of endpoints that are in it, none twice."""
        if sending := sources & self.senders:
            yield sending, destinations
        others, receiving = sources - self.senders, destinations & self.receivers
        if others and receiving:
            yield others, receiving
