"""The program of a node is a function of the cluster as it is: whatever happened before, in whatever order.

Changes of objects are split, squashed, reversed and repeated. Every way must end in the very program that compiling
from the beginning gives, and every change on the way, put on the program before it, must give the program after it.
Few pods stand on few addresses here, so that one address often has two owners, or passes from one to another.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.engine.compile import compile_snapshot
from gatewright.engine.model import Endpoint
from gatewright.engine.snapshot import Changes, Snapshot
from gatewright.kernel.delta import difference
from gatewright.kernel.node import NodeProgram
from gatewright.kernel.table import Program
from gatewright.objects.core import Pod, PodIP
from gatewright.objects.meta import Object
from gatewright.objects.read import decode
from tests.strategies import clusters

pytestmark = pytest.mark.timeout(600)
State = list[Object]
NODES = ("here", "there")
ADDRESSES = (("10.0.0.1",), ("10.0.0.2", "fd00::2"), ("10.0.0.3",), ("fd00::2",), ())


@st.composite
def placed(draw: st.DrawFn, item: Object) -> list[Object]:
    """A pod on one of two nodes, on one of a few addresses and then on another; other objects as they are."""
    if not isinstance(item, Pod):
        return [item]
    spec = msgspec.structs.replace(item.spec, node_name=draw(st.sampled_from(NODES)))
    found: list[Object] = [msgspec.structs.replace(item, spec=spec)]
    for ips in draw(st.lists(st.sampled_from(ADDRESSES), max_size=2)):
        listed = tuple(PodIP(ip=ip) for ip in ips)
        status = msgspec.structs.replace(item.status, pod_ip=ips[0] if ips else "", pod_ips=listed)
        found.append(msgspec.structs.replace(item, spec=spec, status=status))
    return found


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[State], tuple[str, ...]]:
    """The states of a cluster one after another: each has some of the objects, in one of several versions."""
    versions = [draw(clusters(max_pods=4) | clusters(max_pods=3, tiers=True)) for _ in range(draw(st.integers(2, 3)))]
    pool: dict[Any, State] = {}
    for cluster in versions:
        for item in filter(None, map(decode, cluster.objects)):
            pool.setdefault(item.key, []).extend(draw(placed(item)))
    states = []
    for _ in range(draw(st.integers(2, 4))):
        chosen = {key: draw(st.sampled_from((*each, None))) for key, each in pool.items()}
        states.append([item for item in chosen.values() if item is not None])
    return states, versions[0].pod_cidrs


def is_here(one: Endpoint) -> bool:
    """What a node's agent is about."""
    return one.node == "here" and not one.host_network


def scratch(state: State, pod_cidrs: tuple[str, ...]) -> Program:
    """The program from the beginning."""
    return NodeProgram.of(compile_snapshot(Snapshot.of(state, pod_cidrs=pod_cidrs), is_here))[1]


def steps(old: State, new: State, draw: Any) -> list[Changes]:
    """What leads from one state to another, in one step or in several, in any order, with repetitions."""
    before = {item.key: item for item in old}
    puts = [Changes((item,)) for item in new if item is not before.get(item.key) or draw(st.booleans())]
    keys = {item.key for item in new}
    single = draw(st.permutations([*puts, *(Changes(gone=(key,)) for key in before if key not in keys)]))
    cuts = sorted(draw(st.sets(st.integers(0, len(single)), max_size=3)) | {0, len(single)})
    parts = [single[first:last] for first, last in pairwise(cuts)]
    return [
        Changes(tuple(one for each in part for one in each.put), tuple(one for each in part for one in each.gone))
        for part in parts
    ]


@given(histories(), st.data())
def test_every_order_of_changes_ends_in_the_identical_program(
    history: tuple[list[State], tuple[str, ...]], data: st.DataObject
) -> None:
    states, pod_cidrs = history
    compiled = compile_snapshot(Snapshot.of(states[0], pod_cidrs=pod_cidrs), is_here)
    node, program = NodeProgram.of(compiled)
    there_and_back = [*states, states[0]]
    for old, new in pairwise(there_and_back):
        for changes in steps(old, new, data.draw):
            update = compiled.apply(changes)
            compiled = update.compiled
            node, change = node.after(update)
            program = change.after(program)
            assert program == node.program
        assert program == scratch(new, pod_cidrs)


@given(histories())
def test_a_change_is_exactly_what_is_different(history: tuple[list[State], tuple[str, ...]]) -> None:
    """Nothing is sent that the kernel holds already, and one value can go on twice."""
    states, pod_cidrs = history
    compiled = compile_snapshot(Snapshot.of(states[0], pod_cidrs=pod_cidrs), is_here)
    node, program = NodeProgram.of(compiled)
    keys = {item.key for item in states[0]}
    for state in states[1:]:
        gone = tuple(keys - {item.key for item in state})
        update = compiled.apply(Changes(tuple(state), gone))
        _, change = node.after(update)
        after = scratch(state, pod_cidrs)
        assert change.after(program) == after
        whole = difference(program, after)
        assert whole is not None
        assert change.element_count == whole.element_count
        assert {one.name for one in change.written} == {one.name for one in whole.written}
    assert node.program == program
