"""Elements of sets with ranges as boxes: a range in each field, both ends included.

A set with ranges changes by whole elements, whatever changes in what it means: where one address joins two ranges, both
go and a longer one comes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from gatewright.kernel.table import Element

MOST_COMPARED = 10_000
"""Pairs of boxes beyond which nobody looks: then the answer is no."""


def within(boxes: Collection[Element], others: Collection[Element]) -> bool:
    """Whether every point of the boxes lies in one of the others."""
    if len(boxes) * len(others) > MOST_COMPARED:
        return False
    return all(_is_within(box, others) for box in boxes)


def _is_within(box: Element, others: Collection[Element]) -> bool:
    left = [box]
    for other in others:
        left = [piece for one in left for piece in _outside(one, other)]
        if not left:
            return True
    return False


def _outside(box: Element, other: Element) -> Iterator[Element]:
    """The parts of a box that lie outside of another one, as boxes."""
    fields = range(0, len(box), 2)
    if any(other[at + 1] < box[at] or other[at] > box[at + 1] for at in fields):
        yield box
        return
    rest = list(box)
    for at in fields:
        if rest[at] < other[at]:
            yield (*rest[: at + 1], other[at] - 1, *rest[at + 2 :])
            rest[at] = other[at]
        if rest[at + 1] > other[at + 1]:
            yield (*rest[:at], other[at + 1] + 1, *rest[at + 1 :])
            rest[at + 1] = other[at + 1]
