"""Every order of a set of changes ends in the identical program, read back from a real kernel."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from gatewright.engine.compile import compile_snapshot
from gatewright.engine.snapshot import Changes, Snapshot
from gatewright.kernel.apply import apply_change, replace
from gatewright.kernel.change import without
from gatewright.kernel.nft import Nft
from gatewright.kernel.node import NodeProgram
from gatewright.kernel.readback import read_back
from gatewright.kernel.spares import NOTHING, Keep
from gatewright.kernel.table import Program
from tests.histories import WAYS, State, histories, is_here, scratch
from tests.packets.netns import Namespace

pytestmark = pytest.mark.packets
EXAMPLES = 25


def walked(
    start: State, pod_cidrs: tuple[str, ...], way: list[Changes], keep: Keep = NOTHING
) -> Iterator[tuple[NodeProgram, Program | None]]:
    """After each change the program that the agent has, and the one that the kernel has."""
    compiled = compile_snapshot(Snapshot.of(start, pod_cidrs=pod_cidrs), is_here)
    node, program = NodeProgram.of(compiled, keep=keep)
    nft = Nft()
    replace(nft, program)
    for changes in way:
        update = compiled.apply(changes)
        compiled = update.compiled
        node, change = node.after(update)
        apply_change(nft, change)
        yield node, read_back(nft)


@pytest.mark.parametrize("name", WAYS)
def test_every_way_ends_in_the_program_of_the_last_state(empty: Namespace, name: str) -> None:
    ended = 0

    @seed(20)
    @settings(max_examples=EXAMPLES, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(histories())
    def walk(history: tuple[list[State], tuple[str, ...]]) -> None:
        nonlocal ended
        states, pod_cidrs = history
        way = [changes for old, new in pairwise(states) for changes in WAYS[name](old, new)]
        steps = empty.run(lambda: list(walked(states[0], pod_cidrs, way)))
        assert all(held == meant.program for meant, held in steps)
        if steps:
            assert steps[-1][1] == scratch(states[-1], pod_cidrs)
            ended += bool(steps[-1][0].element_count)

    walk()
    assert ended >= EXAMPLES / 4


def test_sets_that_stay_beside_the_program_are_in_the_kernel_and_change_nothing(empty: Namespace) -> None:
    stayed = 0

    @seed(20)
    @settings(max_examples=EXAMPLES, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(histories())
    def walk(history: tuple[list[State], tuple[str, ...]]) -> None:
        nonlocal stayed
        states, pod_cidrs = history
        way = [changes for old, new in pairwise([*states, *states]) for changes in WAYS["split"](old, new)]
        steps = empty.run(lambda: list(walked(states[0], pod_cidrs, way, Keep(smallest=1))))
        for meant, held in steps:
            assert held == meant.program
            stayed += len(meant.spares)
        if steps:
            last, held = steps[-1]
            assert held is not None
            bare = dataclasses.replace(held, sets=tuple(without(held.sets, last.spares)))
            assert bare == scratch(states[-1], pod_cidrs)

    walk()
    assert stayed >= EXAMPLES
