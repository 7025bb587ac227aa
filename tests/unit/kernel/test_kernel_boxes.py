"""What lies within what, held to all points."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.kernel import boxes
from gatewright.kernel.table import Element

spans = st.tuples(st.integers(0, 4), st.integers(0, 4)).map(sorted).map(tuple)
elements = st.lists(st.tuples(spans, spans).map(lambda two: (*two[0], *two[1])), max_size=5)


def points(found: list[Element]) -> set[tuple[int, int]]:
    return {point for a, b, c, d in found for point in product(range(a, b + 1), range(c, d + 1))}


@given(elements, elements)
def test_every_point_lies_in_another_box_or_one_does_not(some: list[Element], others: list[Element]) -> None:
    assert boxes.within(some, others) is (points(some) <= points(others))


def test_of_very_many_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxes, "MOST_COMPARED", 1)
    assert boxes.within([(1, 1)], [(1, 2)])
    assert not boxes.within([(1, 1)], [(1, 2), (3, 4)])
