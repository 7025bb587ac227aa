"""Whoever a change forbids something is among those it says it affects: else a connection would live on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.engine.model import Action, Direction, DirectionRules, Tier, TierRules
from gatewright.kernel.delta import difference
from gatewright.kernel.node import NodeProgram
from tests.unit.kernel import cases
from tests.unit.kernel.cases import World, accept, isolated, tcp, world

pytestmark = pytest.mark.timeout(600)
COUNT = 4
IN, OUT = Direction.INGRESS, Direction.EGRESS
DENY, PASS = Action.DENY, Action.PASS
FRIEND, OTHER = accept(tcp(80), pods=(1,)), accept(tcp(80), pods=(2,))


def affected(old: World, new: World) -> set[int]:
    """The pods, by number."""
    program, after = NodeProgram.of(old)[1], NodeProgram.of(new)
    change = difference(program, after[1])
    assert change is not None
    found = after[0].affected(change)
    return {index for index in range(COUNT) if found.intersection(cases.pod(index).addresses)}


@given(cases.worlds(COUNT), cases.worlds(COUNT), st.sampled_from(tuple(cases.traffics())))
def test_every_newly_forbidden_connection_is_of_a_pod_that_is_affected(
    old: World, new: World, asked: cases.Traffic
) -> None:
    program, (node, later) = NodeProgram.of(old)[1], NodeProgram.of(new)
    change = difference(program, later)
    assert change is not None
    found = node.affected(change)
    addresses = [*cases.NODE, *(address for index in range(COUNT) for address in cases.pod(index).addresses)]
    for source in addresses:
        for destination in addresses:
            if source.version == destination.version and source != destination:
                was = cases.connects(old, source, destination, asked)
                forbidden = was and not cases.connects(new, source, destination, asked)
                assert not forbidden or not found.isdisjoint({source, destination})


def tiers(*rules: tuple[Action, int]) -> DirectionRules:
    """An Admin tier with a rule for all TCP ports of each of these pods."""
    made = tuple(accept(tcp(80), pods=(pod,), action=action) for action, pod in rules)
    return DirectionRules(IN, (TierRules(Tier.ADMIN, made),))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param(isolated(IN, FRIEND), isolated(IN, FRIEND, OTHER), set(), id="one more is allowed"),
        pytest.param(isolated(IN, FRIEND, OTHER), isolated(IN, FRIEND), {0}, id="one fewer is allowed"),
        pytest.param(DirectionRules(IN), isolated(IN, FRIEND), {0}, id="the pod becomes isolated"),
        pytest.param(isolated(IN, FRIEND), DirectionRules(IN), set(), id="the pod is isolated no more"),
        pytest.param(tiers((DENY, 1)), tiers((DENY, 1), (DENY, 2)), {0}, id="one more is denied"),
        pytest.param(tiers((DENY, 1), (DENY, 2)), tiers((DENY, 1)), set(), id="one fewer is denied"),
        pytest.param(tiers((PASS, 1), (PASS, 2)), tiers((PASS, 1)), {0}, id="one fewer passes"),
    ],
)
def test_a_change_that_only_allows_affects_nobody(
    before: DirectionRules, after: DirectionRules, expected: set[int]
) -> None:
    assert affected(world(COUNT, ingress={0: before}), world(COUNT, ingress={0: after})) == expected


def test_only_the_class_that_changes_is_affected() -> None:
    old = world(COUNT, ingress={0: isolated(IN, FRIEND, OTHER)}, egress={3: isolated(OUT, accept(pods=(0,)))})
    new = world(COUNT, ingress={0: isolated(IN, FRIEND)}, egress={3: isolated(OUT, accept(pods=(0,)))})
    assert affected(old, new) == {0}
    assert affected(old, replace(old)) == set()
