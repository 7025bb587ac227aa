"""Interchangeable nodes of a graph."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from gatewright.engine.twins import Relations

Edges = dict[tuple[int, int], str]
NODES = range(5)
edges = st.dictionaries(st.tuples(st.sampled_from(NODES), st.sampled_from(NODES)), st.sampled_from("ab"), max_size=25)


def test_leaves_of_a_star_are_twins() -> None:
    star: Edges = {(1, 0): "a", (2, 0): "a", (3, 0): "b"}
    assert Relations(star).classes(range(4)) == [(0,), (1, 2), (3,)]


def test_all_of_a_clique_are_twins_whether_or_not_they_reach_themselves() -> None:
    clique: Edges = dict.fromkeys(itertools.permutations(range(4), 2), "a") | {(2, 2): "a"}
    assert Relations(clique).classes(range(4)) == [(0, 1, 2, 3)]


def test_who_reaches_itself_alone_is_no_twin_of_one_that_does_not() -> None:
    assert Relations({(0, 0): "a"}).classes(range(2)) == [(0,), (1,)]


@given(edges)
def test_every_member_of_a_class_stands_to_everything_as_the_others_do(found: Edges) -> None:
    classes = Relations(found).classes(NODES)
    assert sorted(node for one in classes for node in one) == list(NODES)
    for one, other in itertools.product(classes, classes):
        values = {found.get((a, b)) for a in one for b in other if a != b}
        assert len(values) <= 1, (one, other)


@given(edges, st.permutations(NODES))
def test_classes_do_not_depend_on_the_order(found: Edges, order: list[int]) -> None:
    relations = Relations(found)
    assert set(map(frozenset, relations.classes(order))) == set(map(frozenset, relations.classes(NODES)))
