"""Sets of connections as boxes: everybody of one set to everybody of another, on some ports.

Gaps are such boxes. Whether a change mends one and opens no other is asked in them.
"""

from __future__ import annotations

from collections.abc import Iterable

from gatewright.engine.addresses import AddressSet
from gatewright.engine.podset import PodSet
from gatewright.engine.ports import PortSet
from gatewright.intent.compare import Gap, Kind
from gatewright.intent.parties import Need

End = PodSet | AddressSet
Box = tuple[End, End, PortSet]
Label = tuple[Kind, Need | None, int]


def by_label(gaps: Iterable[Gap]) -> dict[Label, list[Box]]:
    """The boxes of gaps by what they break, and in which address family."""
    found: dict[Label, list[Box]] = {}
    for gap in gaps:
        found.setdefault((gap.kind, gap.need, gap.family), []).append((gap.source, gap.destination, gap.ports))
    return found


class Known:
    """Boxes that were there before, made ready to be asked for many others."""

    def __init__(self, gaps: Iterable[Gap]) -> None:
        """Keep the boxes of some gaps."""
        self._boxes = by_label(gaps)
        self._same = {label: set(boxes) for label, boxes in self._boxes.items()}

    def cover(self, boxes: dict[Label, list[Box]]) -> bool:
        """Whether everything in some boxes is in known ones of the same label. Most are known as they are."""
        for label, own in boxes.items():
            same = self._same.get(label, set())
            left = [box for box in own if box not in same]
            if left and _without(left, self._boxes.get(label, ())):
                return False
        return True


def touch(boxes: dict[Label, list[Box]], others: dict[Label, list[Box]]) -> bool:
    """Whether some boxes share a connection with others of the same label."""
    return any(
        _shared(own[0], other[0]) and _shared(own[1], other[1]) and own[2] & other[2]
        for label, mine in boxes.items()
        for own in mine
        for other in others.get(label, ())
    )


def _without(boxes: list[Box], taken: Iterable[Box]) -> list[Box]:
    left = boxes
    for source, destination, ports in taken if boxes else ():
        cut: list[Box] = []
        for own_source, own_destination, own_ports in left:
            sources, destinations = _shared(own_source, source), _shared(own_destination, destination)
            if not sources or not destinations or not own_ports & ports:
                cut.append((own_source, own_destination, own_ports))
                continue
            cut.append((_rest(own_source, sources), own_destination, own_ports))
            cut.append((sources, _rest(own_destination, destinations), own_ports))
            cut.append((sources, destinations, own_ports - ports))
        left = [box for box in cut if all(box)]
    return left


def _shared(left: End, right: End) -> End:
    if isinstance(left, PodSet) and isinstance(right, PodSet):
        return left & right
    if isinstance(left, AddressSet) and isinstance(right, AddressSet):
        return left & right
    return PodSet()


def _rest(whole: End, part: End) -> End:
    if isinstance(whole, PodSet) and isinstance(part, PodSet):
        return whole - part
    if isinstance(whole, AddressSet) and isinstance(part, AddressSet):
        return whole - part
    return whole
