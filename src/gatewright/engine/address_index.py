"""Which endpoints have an address in a set: one sorted list a family, searched by bisection.

Endpoints whose address is not known yet are answered by where it may lie: surely inside, surely outside, or unsure.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from gatewright.engine.addresses import ALL_ADDRESSES, IPAddress
from gatewright.engine.layers import variant
from gatewright.engine.model import Endpoint
from gatewright.engine.podset import NO_PODS, PodSet
from gatewright.engine.ports import Ranges, contains, intersect
from gatewright.engine.roster import Move
from gatewright.engine.snapshot import Snapshot

MOST_MOVED = 2048
"""Endpoints whose place may differ from the first list's before the list is made anew."""


class AddressIndex:
    """The endpoints of a snapshot by address, in one family. A value: `step` gives that of another snapshot."""

    def __init__(self, snapshot: Snapshot, family: int) -> None:
        self.family = family
        self._snapshot = snapshot
        placed: list[tuple[int, int]] = []
        waiting: dict[bool, list[int]] = {False: [], True: []}
        for endpoint in snapshot.roster:
            if not endpoint.addresses:
                waiting[endpoint.host_network].append(endpoint.index)
            else:
                index = endpoint.index
                placed += [(int(address), index) for address in endpoint.addresses if address.version == family]
        placed.sort()
        self._numbers = [number for number, _ in placed]
        self._positions = [position for _, position in placed]
        self._moved: dict[int, _Place] = {}
        self._waiting = {host: PodSet.of(positions) for host, positions in waiting.items()}
        self._possible: dict[bool, Ranges] = {}
        self._nodes: Mapping[IPAddress, str] = {}
        self.present = PodSet.of(self._positions) | self._waiting[False] | self._waiting[True]
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
        if self._moved:
            now = [one for one, place in self._moved.items() if isinstance(place, int) and contains(ranges, place)]
            sure = sure - PodSet.of(list(self._moved)) | PodSet.of(now)
        for host, waiting in self._waiting.items():
            if waiting:
                match = self._may_lie(host, ranges)
                sure, unsure = sure | waiting if match else sure, unsure | waiting if match is None else unsure
        return sure, unsure

    def _may_lie(self, host: bool, ranges: Ranges) -> bool | None:
        """Whether an address that is not known yet will lie in the ranges; None where it may."""
        possible = self._possible_ranges(host)
        shared = intersect(ranges, possible)
        return False if not shared else True if shared == possible else None

    def _possible_ranges(self, host: bool) -> Ranges:
        """Where an address that is not known yet may lie."""
        if host not in self._possible:
            self._nodes = self._snapshot.nodes_by_address
            possible = ALL_ADDRESSES if host else self._snapshot.own_addresses
            self._possible[host] = possible.ranges(self.family)
        return self._possible[host]

    def step(self, moves: Iterable[Move], after: Snapshot) -> tuple[AddressIndex, set[Ranges]]:
        """The index of another snapshot, and the ranges asked so far whose answers are no longer the same."""
        if self._possible and self._nodes is not after.nodes_by_address:
            following = AddressIndex(after, self.family)
            return following, {ranges for ranges, old in self._answers.items() if following.within(ranges) != old}
        following = variant(self)
        following._snapshot, following._possible = after, dict(self._possible)
        places = [(move.position, self._place(move.before), self._place(move.after)) for move in moves]
        places = [place for place in places if place[1] != place[2]]
        if not places:
            return following, set()
        following._moved = self._moved | {position: new for position, _, new in places}
        following._answers, following._waiting = dict(self._answers), dict(self._waiting)
        changed = set()
        for position, old, new in places:
            following._put(position, old, new)
            for ranges in following._concerned(old, new):
                was, now = following._lies_in(old, ranges), following._lies_in(new, ranges)
                if was is not now:
                    sure, unsure = following._answers[ranges]
                    following._answers[ranges] = (sure.put(position, now is True), unsure.put(position, now is None))
                    changed.add(ranges)
        if len(following._moved) > MOST_MOVED:
            fresh = AddressIndex(after, self.family)
            following._numbers, following._positions, following._moved = fresh._numbers, fresh._positions, {}
        return following, changed

    def _place(self, one: Endpoint | None) -> _Place:
        if one is None:
            return None
        if not one.addresses:
            return _Waiting(one.host_network)
        address = one.address(self.family)
        return None if address is None else int(address)

    def _concerned(self, *places: _Place) -> list[Ranges]:
        """The ranges asked so far that may hold one of the places, and perhaps others."""
        edges = [place for place in places if isinstance(place, int)]
        for waiting in (place for place in places if isinstance(place, _Waiting)):
            edges += [edge for one in self._possible_ranges(waiting.host_network) for edge in one]
        low, high = min(edges, default=1), max(edges, default=0)
        return [ranges for ranges in self._answers if ranges[0][0] <= high and low <= ranges[-1][1]]

    def _lies_in(self, place: _Place, ranges: Ranges) -> bool | None:
        if isinstance(place, int):
            return contains(ranges, place)
        return self._may_lie(place.host_network, ranges) if place else False

    def _put(self, position: int, old: _Place, new: _Place) -> None:
        for place, there in ((old, False), (new, True)):
            if isinstance(place, _Waiting):
                host = place.host_network
                self._waiting[host] = self._waiting[host].put(position, there)
        self.present = self.present.put(position, new is not None)


class _Waiting(NamedTuple):
    """Somebody whose address is not known yet."""

    host_network: bool


_Place = int | _Waiting | None
"""Where an endpoint stands in a family: at the number of its address, somewhere, or nowhere."""
