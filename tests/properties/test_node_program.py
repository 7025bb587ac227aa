"""The program of a node is a function of the cluster as it is: whatever happened before, in whatever order.

Changes of objects are split, squashed, reversed and repeated. Every way must end in the very program that compiling
from the beginning gives, and every change on the way, put on the program before it, must give the program after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.engine.compile import compile_snapshot
from gatewright.engine.podset import PodSet
from gatewright.engine.snapshot import Changes, Snapshot
from gatewright.kernel import node as node_module
from gatewright.kernel.change import without
from gatewright.kernel.delta import difference
from gatewright.kernel.node import NodeProgram
from gatewright.kernel.spares import Keep
from tests.histories import State, histories, is_here, scratch, steps

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(autouse=True, scope="module")
def blocks_of_one() -> Iterator[None]:
    """Every position is a block of its own, or a small cluster were one, in which no class is ever overlooked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PodSet, "blocks", property(list))
        patch.setattr(node_module, "MOST_FORGOTTEN", 0)
        yield


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


keeps = st.builds(Keep, smallest=st.sampled_from((1, 3)), most=st.sampled_from((4, 1000)), moves=st.integers(0, 3))


@given(histories(), st.data(), keeps)
def test_sets_that_stay_beside_a_program_change_nothing_in_it(
    history: tuple[list[State], tuple[str, ...]], data: st.DataObject, keep: Keep
) -> None:
    """What is kept of classes that are gone is named by no rule, bounded, and mended when the class comes back."""
    states, pod_cidrs = history
    compiled = compile_snapshot(Snapshot.of(states[0], pod_cidrs=pod_cidrs), is_here)
    node, program = NodeProgram.of(compiled, keep=keep)
    for old, new in pairwise([*states, *states]):
        for changes in steps(old, new, data.draw):
            update = compiled.apply(changes)
            compiled = update.compiled
            node, change = node.after(update)
            program = change.after(program)
            assert program == node.program
            assert sum(len(one.elements) for one in program.sets if one.name in node.spares) <= keep.most
        assert replace(program, sets=tuple(without(program.sets, node.spares))) == scratch(new, pod_cidrs)
