"""Going on from what is compiled gives what compiling from the beginning gives, whatever changes in whatever order.

The same for the connectivity of everything. Positions may differ (newcomers take what is free), so both are compared by
the names of endpoints; everything else must be equal.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.engine import address_index, layers, selection
from gatewright.engine.compile import Compiled, compile_snapshot
from gatewright.engine.connectivity import Connectivity, connections, connectivity
from gatewright.engine.model import Direction, DirectionRules, Rule
from gatewright.engine.podset import PodSet
from gatewright.engine.snapshot import Changes, Snapshot
from gatewright.objects.meta import Object
from gatewright.objects.read import decode
from tests.strategies import clusters

pytestmark = pytest.mark.timeout(600)
FAMILIES = (4, 6)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[list[Object]], tuple[str, ...]]:
    """The states of a cluster one after another: each has some of the objects, in one of several versions."""
    versions = [draw(clusters(max_pods=4) | clusters(max_pods=3, tiers=True)) for _ in range(draw(st.integers(2, 3)))]
    pool: dict[Any, list[Object]] = {}
    for cluster in versions:
        for item in filter(None, map(decode, cluster.objects)):
            pool.setdefault(item.key, []).append(item)
    states = []
    for _ in range(draw(st.integers(2, 5))):
        chosen = {key: draw(st.sampled_from((*each, None))) for key, each in pool.items()}
        states.append([item for item in chosen.values() if item is not None])
    return states, versions[0].pod_cidrs


def changes(old: list[Object], new: list[Object]) -> Changes:
    """What leads from one state to the next; objects that stay are put again, as an API tells of every write."""
    keys = {item.key for item in new}
    return Changes(tuple(new), tuple(item.key for item in old if item.key not in keys))


@given(histories())
def test_incremental_equals_from_scratch(history: tuple[list[list[Object]], tuple[str, ...]]) -> None:
    follow(*history)


@given(histories())
def test_what_is_kept_on_top_is_folded_in(history: tuple[list[list[Object]], tuple[str, ...]]) -> None:
    with (
        mock.patch.object(layers, "MOST_ON_TOP", 2),
        mock.patch.object(layers, "MOST_BETWEEN", 3),
        mock.patch.object(selection, "MOST_MOVED", 2),
        mock.patch.object(address_index, "MOST_MOVED", 2),
    ):
        follow(*history)


def follow(states: list[list[Object]], pod_cidrs: tuple[str, ...]) -> None:
    """Go from state to state, and compare each with one compiled from the beginning."""
    compiled = compile_snapshot(Snapshot.of(states[0], pod_cidrs=pod_cidrs))
    answers = [connectivity(compiled, family) for family in FAMILIES]
    for before, state in pairwise(states):
        update = compiled.apply(changes(before, state))
        compiled, answers = update.compiled, [answer.after(update) for answer in answers]
        scratch = compile_snapshot(Snapshot.of(state, pod_cidrs=pod_cidrs))
        assert rules_of(compiled) == rules_of(scratch)
        assert dict(compiled.snapshot.namespaces) == dict(scratch.snapshot.namespaces)
        assert compiled.snapshot.nodes_by_address == scratch.snapshot.nodes_by_address
        for family, answer in zip(FAMILIES, answers, strict=True):
            assert everything(answer) == everything(connectivity(scratch, family))
        assert [written(row) for row in connections(compiled)] == [written(row) for row in connections(scratch)]


@given(histories())
def test_a_state_is_not_changed_by_those_that_follow_it(history: tuple[list[list[Object]], tuple[str, ...]]) -> None:
    states, pod_cidrs = history
    compiled = compile_snapshot(Snapshot.of(states[0], pod_cidrs=pod_cidrs))
    answer = connectivity(compiled, 4)
    before = rules_of(compiled), everything(answer)
    for state in states[1:]:
        update = compiled.apply(changes(states[0], state))
        scratch = compile_snapshot(Snapshot.of(state, pod_cidrs=pod_cidrs))
        assert rules_of(update.compiled) == rules_of(scratch)
        assert everything(answer.after(update)) == everything(connectivity(scratch, 4))
    assert (rules_of(compiled), everything(answer)) == before


@given(histories())
def test_what_a_change_does_not_touch_stays_the_same_object(
    history: tuple[list[list[Object]], tuple[str, ...]],
) -> None:
    states, pod_cidrs = history
    compiled = compile_snapshot(Snapshot.of(states[0], pod_cidrs=pod_cidrs))
    again = compiled.apply(Changes(tuple(states[0]))).compiled
    for direction in Direction:
        rules = [{one.rules for one in state.classes(direction).values()} for state in (compiled, again)]
        assert rules[0] == rules[1]


def written(row: object) -> str:
    """A row by its words: endpoints are compared by identity, which two snapshots do not share."""
    return " ".join(str(getattr(row, name)) for name in ("source", "destination", "access", "family"))


def names(compiled: Compiled, pods: PodSet) -> frozenset[str]:
    """Endpoints by name; a position where nobody is means nothing."""
    roster = compiled.snapshot.roster
    there = {one.index: str(one) for one in roster}
    return frozenset(there[position] for position in pods if position in there)


def rules_of(compiled: Compiled) -> dict[tuple[str, str], Any]:
    """The rules of every endpoint, by its name; and what the endpoint is."""
    found: dict[tuple[str, str], Any] = {}
    for one in compiled.endpoints:
        assert compiled.at(one.index) is one
        for direction in Direction:
            found[str(one), direction] = said(compiled, compiled.rules(one.index, direction))
        found[str(one), "own"] = (one.labels, one.addresses, one.named_ports, one.ports, one.node, one.host_network)
    for direction in Direction:
        classes = compiled.classes(direction)
        members = [names(compiled, one.members) for one in classes.values()]
        assert sorted(name for each in members for name in each) == sorted(map(str, compiled.endpoints))
        found["classes", direction] = frozenset(members)
        for key, each in classes.items():
            assert all(compiled.class_of(position, direction) is each for position in each.members)
            assert each.key == key
    return found


def said(compiled: Compiled, rules: DirectionRules) -> list[Any]:
    """Rules with their peers by name."""

    def rule(one: Rule) -> tuple[Any, ...]:
        peers = one.peers
        who = (peers.everyone, names(compiled, peers.pods), peers.addresses, peers.names)
        return (*who, one.ports, one.action, one.origin)

    return [(tier.tier, [rule(one) for one in tier.rules], tier.policies) for tier in rules.tiers]


def everything(answer: Connectivity) -> set[Any]:
    """The whole answer, with pods by name."""
    compiled = answer.compiled
    found: set[Any] = set()
    for one in answer.rectangles:
        for source in names(compiled, one.sources):
            found |= {(source, target, one.access) for target in names(compiled, one.destinations)}
    for out in answer.outside:
        found |= {(pod, out.direction, out.addresses, out.access) for pod in names(compiled, out.pods)}
    for named in answer.named:
        found |= {(pod, named.name, named.access) for pod in names(compiled, named.pods)}
    return found
