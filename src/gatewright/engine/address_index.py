"""Which endpoints have an address in a set: one sorted list a family, searched by bisection.

Endpoints whose address is not known yet are answered by where it may lie: surely inside, surely outside, or unsure.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from gatewright.engine.addresses import ALL_ADDRESSES, AddressSet
from gatewright.engine.model import Endpoint
from gatewright.engine.podset import NO_PODS, PodSet
from gatewright.engine.ports import Ranges, intersect


class AddressIndex:
    """The endpoints of a snapshot by address, in one family. `pod_range` is empty where it is not known."""

    def __init__(self, endpoints: Sequence[Endpoint], pod_range: AddressSet, family: int) -> None:
        self.family = family
        placed: list[tuple[int, int]] = []
        without_pods: list[int] = []
        without_hosts: list[int] = []
        for endpoint in endpoints:
            if not endpoint.addresses:
                (without_hosts if endpoint.host_network else without_pods).append(endpoint.index)
            elif (address := endpoint.address(family)) is not None:
                placed.append((int(address), endpoint.index))
        placed.sort()
        self._numbers = [number for number, _ in placed]
        self._positions = [position for _, position in placed]
        everywhere = ALL_ADDRESSES.ranges(family)
        self._unplaced = (
            (PodSet.of(without_pods), pod_range.ranges(family) if pod_range else everywhere),
            (PodSet.of(without_hosts), everywhere),
        )
        self.present = PodSet.of(self._positions) | self._unplaced[0][0] | self._unplaced[1][0]
        self._answers: dict[Ranges, tuple[PodSet, PodSet]] = {}

    def within(self, ranges: Ranges) -> tuple[PodSet, PodSet]:
        """The endpoints whose address lies in the ranges: (surely, perhaps)."""
        if ranges not in self._answers:
            self._answers[ranges] = self._search(ranges)
        return self._answers[ranges]

    def _search(self, ranges: Ranges) -> tuple[PodSet, PodSet]:
        found: list[int] = []
        for first, last in ranges:
            found += self._positions[bisect_left(self._numbers, first) : bisect_right(self._numbers, last)]
        sure, unsure = PodSet.of(found), NO_PODS
        for endpoints, possible in self._unplaced:
            if endpoints and (shared := intersect(ranges, possible)):
                if shared == possible:
                    sure |= endpoints
                else:
                    unsure |= endpoints
        return sure, unsure
