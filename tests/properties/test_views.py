"""A view by workload says about each pair of pods what the view by pod says: nothing is lost, nothing is made up."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st

from gatewright.engine.connectivity import connections
from gatewright.engine.parts import Access
from gatewright.engine.view import End, Group, Row, View, by_pod, by_workload, telling_labels
from tests.strategies import Cluster, clusters
from tests.subjects import Engine

Place = tuple[object, object, int | None]


@st.composite
def owned_clusters(draw: st.DrawFn) -> Cluster:
    """A cluster whose pods mostly belong to a few StatefulSets."""
    cluster = draw(clusters())
    objects: list[dict[str, Any]] = []
    for item in copy.deepcopy(list(cluster.objects)):
        if item["kind"] == "Pod" and (owner := draw(st.sampled_from(("one", "one", "two", "")))):
            reference = {
                "apiVersion": "apps/v1",
                "kind": "StatefulSet",
                "name": owner,
                "uid": owner,
                "controller": True,
            }
            item["metadata"]["ownerReferences"] = [reference]
            slots = draw(st.lists(st.booleans(), max_size=3))
            objects += [_replica(item, number, slot=slot) for number, slot in enumerate(slots)]
        objects.append(item)
    return cluster.with_objects(objects)


def _replica(pod: dict[str, Any], number: int, *, slot: bool) -> dict[str, Any]:
    """Another pod like one, whose address is not known yet; with a label of its own where it has a slot."""
    found = copy.deepcopy(pod)
    found["metadata"]["name"] += f"-{number}"
    if slot:
        found["metadata"]["labels"] = {**(found["metadata"].get("labels") or {}), "slot": str(number)}
    for field in ("podIP", "podIPs"):
        (found.get("status") or {}).pop(field, None)
    return found


def expanded(view: View) -> dict[Place, Access]:
    """The view as pairs of endpoints, addresses and names."""
    return {place: row.access for row in view.rows for place in _pairs(row)}


def _pairs(row: Row) -> Iterator[Place]:
    for source in _members(row.source):
        for destination in _members(row.destination):
            if source != destination or (isinstance(row.source, Group) and len(row.source.members) == 1):
                yield source, destination, row.family


def _members(end: End) -> list[object]:
    return [member.path for member in end.members] if isinstance(end, Group) else [end]


@given(owned_clusters())
def test_collapsed_and_expanded_again_it_is_the_view_by_pod(cluster: Cluster) -> None:
    compiled = Engine(cluster.objects, cluster.pod_cidrs).compiled
    rows = connections(compiled)
    view, pods = by_workload(compiled), by_pod(compiled, rows)
    event("some pods share a line" if len(view.groups) < len(pods.groups) else "no pods share a line")
    event("some are told apart" if telling_labels(view) else "none are told apart")
    assert expanded(view) == expanded(pods)
    assert len({str(group) for group in view.groups}) == len(view.groups)


@given(owned_clusters(), st.randoms(use_true_random=False))
def test_the_view_does_not_depend_on_the_order_of_the_input(cluster: Cluster, random: Any) -> None:
    shuffled = list(cluster.objects)
    random.shuffle(shuffled)
    views = []
    for objects in (cluster.objects, shuffled):
        compiled = Engine(objects, cluster.pod_cidrs).compiled
        views.append(by_workload(compiled))
    assert views[0] == views[1]
