"""Rules compiled for some endpoints only are those that they have when everybody's are compiled, after every history.

Whom nobody asked about has no rules: asking is an error, never an answer. What a change touches is said completely.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any
from unittest import mock

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.engine import layers, selection
from gatewright.engine.compile import Compiled, NotASubject, compile_snapshot
from gatewright.engine.model import Direction, Endpoint
from gatewright.engine.snapshot import Changes, Snapshot
from gatewright.objects.core import Pod
from gatewright.objects.meta import Object
from tests.properties.test_incremental import histories, names, said

pytestmark = pytest.mark.timeout(600)
History = tuple[list[list[Object]], tuple[str, ...]]
NODES = ("here", "there", "")


def is_here(one: Endpoint) -> bool:
    """Who stands on one node."""
    return one.node == "here" and not one.host_network


@st.composite
def placed(draw: st.DrawFn) -> History:
    """Histories in which pods stand on nodes, and may be placed later than they are created."""
    states, pod_cidrs = draw(histories())
    made: dict[int, list[Object]] = {}
    for item in {id(item): item for state in states for item in state}.values():
        nodes = draw(st.lists(st.sampled_from(NODES), min_size=1, max_size=2))
        made[id(item)] = [_on(item, node) for node in nodes]
    return [[draw(st.sampled_from(made[id(item)])) for item in state] for state in states], pod_cidrs


def _on(item: Object, node: str) -> Object:
    if not isinstance(item, Pod):
        return item
    return msgspec.structs.replace(item, spec=msgspec.structs.replace(item.spec, node_name=node))


@given(placed())
def test_subjects_have_the_rules_that_everybody_has(history: History) -> None:
    follow(*history)


@given(placed())
def test_what_is_kept_on_top_is_folded_in_for_subjects_too(history: History) -> None:
    with (
        mock.patch.object(layers, "MOST_ON_TOP", 2),
        mock.patch.object(layers, "MOST_BETWEEN", 3),
        mock.patch.object(selection, "MOST_MOVED", 2),
    ):
        follow(*history)


def follow(states: list[list[Object]], pod_cidrs: tuple[str, ...]) -> None:
    """Go from state to state, and compare each with everybody's rules."""
    some = compile_snapshot(Snapshot.of(states[0], pod_cidrs=pod_cidrs), is_here)
    agree(some, compile_snapshot(Snapshot.of(states[0], pod_cidrs=pod_cidrs)))
    for old, new in pairwise((*states, states[0])):
        update = some.apply(changed(old, new))
        assert update.before is some
        for direction in Direction:
            before, after = some.classes(direction), update.compiled.classes(direction)
            differ = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
            assert differ <= update.touched[direction]
        some = update.compiled
        agree(some, compile_snapshot(Snapshot.of(new, pod_cidrs=pod_cidrs)))


def changed(old: list[Object], new: list[Object]) -> Changes:
    """What is different, and nothing else: a policy that is put again is drafted again, whatever it had asked."""
    before = {id(item) for item in old}
    keys = {item.key for item in new}
    gone = tuple(item.key for item in old if item.key not in keys)
    return Changes(tuple(item for item in new if id(item) not in before), gone)


def agree(some: Compiled, everybody: Compiled) -> None:
    """The subjects have the same rules in both, in the same classes, and nobody else has any."""
    for direction in Direction:
        assert told(some, direction) == told(everybody, direction)
        members = [names(some, one.members) for one in some.classes(direction).values()]
        assert sorted(name for each in members for name in each) == sorted(map(str, filter(is_here, some.endpoints)))
    for one in some.endpoints:
        assert some.is_subject(one.index) is is_here(one)
        if not is_here(one):
            with pytest.raises(NotASubject):
                some.rules(one.index, Direction.INGRESS)


def told(compiled: Compiled, direction: Direction) -> dict[str, Any]:
    """The rules of each subject, and who shares them, by name."""
    found: dict[str, Any] = {}
    here = frozenset(str(one) for one in compiled.endpoints if is_here(one))
    for one in filter(is_here, compiled.endpoints):
        own = compiled.class_of(one.index, direction)
        found[str(one)] = said(compiled, own.rules), names(compiled, own.members) & here
    return found
