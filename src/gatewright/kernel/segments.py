"""Ranges of addresses with what is covered there: disjoint, in order, and as few as there can be.

What the sets with ranges hold follows from them, so one address more or less must not mean making all of them again: a
class may name fifty thousand pods with a range of ports each. `patched` makes only the neighbours again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping

from gatewright.engine.ports import NO_TRAFFIC, PortSet, Ranges

Segment = tuple[int, int, PortSet]
"""(first address, last address, what is covered between them). Neighbours that touch cover something else."""
Segments = list[Segment]


def disjoint(spans: Mapping[PortSet, Ranges]) -> Segments:
    """Overlapping ranges, each with its ports, as segments, each with the union of the ports."""
    changes: defaultdict[int, list[PortSet]] = defaultdict(list)
    for ports, ranges in spans.items():
        for first, last in ranges:
            changes[first].append(ports)
            changes[last + 1].append(ports)
    segments: Segments = []
    active: set[PortSet] = set()
    union, start = NO_TRAFFIC, 0
    for place in sorted(changes):
        active.symmetric_difference_update(changes[place])
        following = NO_TRAFFIC
        for ports in active:
            following |= ports
        if following != union:
            if union:
                segments.append((start, place - 1, union))
            union, start = following, place
    return segments


def patched(old: Segments, covered: Mapping[int, PortSet]) -> tuple[Segments, set[Segment], set[Segment]]:
    """The segments where these addresses cover something else; what goes, and what comes."""
    new, gone, added = old.copy(), set[Segment](), set[Segment]()
    for address, ports in covered.items():
        near = slice(_first_from(new, address - 1), bisect_right(new, address + 1, key=_start))
        before = new[near]
        after = _joined(_around(before, address, ports))
        new[near] = after
        gone |= set(before) - added
        added = added.difference(before) | set(after)
    return new, gone - added, added - gone


def _start(segment: Segment) -> int:
    return segment[0]


def _first_from(segments: Segments, address: int) -> int:
    """The place of the first segment that does not end before an address."""
    place = bisect_right(segments, address, key=_start)
    return place - 1 if place and segments[place - 1][1] >= address else place


def _around(near: Segments, address: int, ports: PortSet) -> Iterable[Segment]:
    """The segments near an address, cut there, with what that address covers now."""
    pieces = [(first, min(last, address - 1), own) for first, last, own in near if first < address]
    if ports:
        pieces.append((address, address, ports))
    return pieces + [(max(first, address + 1), last, own) for first, last, own in near if last > address]


def _joined(pieces: Iterable[Segment]) -> Segments:
    """Neighbours that touch and cover the same become one."""
    found: Segments = []
    for first, last, ports in pieces:
        if found and found[-1][1] + 1 == first and found[-1][2] == ports:
            found[-1] = (found[-1][0], last, ports)
        else:
            found.append((first, last, ports))
    return found
