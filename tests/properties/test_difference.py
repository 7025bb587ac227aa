"""Laws of the difference between two answers, and of the views it is made from."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from hypothesis import given, settings

from gatewright.engine.addresses import FAMILIES, AddressSet
from gatewright.engine.connectivity import connections
from gatewright.engine.difference import NOTHING, Change, difference
from gatewright.engine.parts import Access
from gatewright.engine.view import End, Group, Row, View, by_pod
from tests.strategies import Cluster, clusters
from tests.subjects import Engine

Place = tuple[str, str, int]


def view_of(cluster: Cluster) -> View:
    compiled = Engine(cluster.objects, cluster.pod_cidrs).compiled
    return by_pod(compiled, connections(compiled))


def places(row: Row | Change, outside: list[str]) -> Iterator[Place]:
    families = (row.family,) if row.family else FAMILIES
    for family in families:
        for source in names(row.source, outside, family):
            for destination in names(row.destination, outside, family):
                yield source, destination, family


def names(end: End, outside: list[str], family: int) -> list[str]:
    if isinstance(end, AddressSet):
        found = [ipaddress.ip_address(text) for text in outside]
        return [str(one) for one in found if one.version == family and end.contains(one)]
    return [str(end)]


def table(view: View, outside: list[str]) -> dict[Place, Access]:
    return {place: row.access for row in view.rows for place in places(row, outside)}


@given(clusters())
def test_nothing_differs_from_itself(cluster: Cluster) -> None:
    view = view_of(cluster)
    assert not difference(view, view)


@settings(max_examples=50)
@given(clusters(), clusters())
def test_turned_round_it_says_the_opposite(one: Cluster, other: Cluster) -> None:
    old, new = view_of(one), view_of(other)
    there, back = difference(old, new), difference(new, old)
    assert (there.new, there.gone) == (back.gone, back.new)
    turned = {(c.source, c.destination, c.family, c.after, c.before) for c in back.changes}
    assert {(c.source, c.destination, c.family, c.before, c.after) for c in there.changes} == turned


@settings(max_examples=50)
@given(clusters(), clusters())
def test_the_old_answer_with_the_changes_is_the_new_one(one: Cluster, other: Cluster) -> None:
    old, new = view_of(one), view_of(other)
    outside = sorted({"192.0.2.1", "2001:db8::1", *one.outside, *other.outside})
    found, wanted = table(old, outside), table(new, outside)
    for change in difference(old, new).changes:
        for place in places(change, outside):
            assert found.get(place, NOTHING) == change.before
            found[place] = change.after
    assert {place: access for place, access in found.items() if access} == wanted


@settings(max_examples=50)
@given(clusters(), clusters())
def test_workloads_of_one_state_alone_are_named(one: Cluster, other: Cluster) -> None:
    old, new = view_of(one), view_of(other)
    found = difference(old, new)
    assert {str(group) for group in found.new} == {str(g) for g in new.groups} - {str(g) for g in old.groups}
    ends = {end for change in found.changes for end in (change.source, change.destination) if isinstance(end, Group)}
    assert ends <= {*old.groups, *new.groups}
