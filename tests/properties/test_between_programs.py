"""What a packet can meet while a change is made lies between the program before and the one after.

Rules, maps and hash sets change at one moment; each set with ranges that is in use is seen a little later, for itself.
So every state in which some of these are still as they were has to pass nothing that both programs forbid, and drop
nothing that both let pass, and the same holds between the transactions of a change that takes several. Changes of which
this cannot be said are torn, and another table stands in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations, product

import msgspec
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from gatewright.engine.model import Direction, DirectionRules
from gatewright.kernel.change import Change
from gatewright.kernel.delta import difference
from gatewright.kernel.node import node_program
from gatewright.kernel.table import TCP, Program
from tests.unit.kernel.cases import POLICY, accept, isolated, outcome, pod, tcp, world

pytestmark = pytest.mark.timeout(900)
COUNT, POLICIES = 4, 3
PODS = frozenset(range(COUNT))
PORTS = {"single": tcp(80), "range": tcp((80, 90))}
TRAFFIC = ((TCP, 80), (TCP, 85))
most = st.sets(st.sampled_from(sorted(PODS)), max_size=2).map(PODS.difference)


@dataclass(frozen=True)
class Situation:
    """Who is there, which policy each pod has in each direction, and whom each policy allows on which ports."""

    there: frozenset[int]
    chosen: tuple[tuple[int | None, int | None], ...]
    peers: tuple[tuple[tuple[str, frozenset[int]], ...], ...]

    def program(self) -> Program:
        """The program of the pods that are there."""
        sides: list[dict[int, DirectionRules]] = []
        for side, direction in enumerate(Direction):
            made = [self._rules(direction, number) for number in range(POLICIES)]
            names = {index: self.chosen[index][side] for index in self.there}
            sides.append({index: made[number] for index, number in names.items() if number is not None})
        found = dict(zip(Direction, sides, strict=True))
        where = world(COUNT, ingress=found[Direction.INGRESS], egress=found[Direction.EGRESS])
        return node_program(where, self.there)

    def _rules(self, direction: Direction, number: int) -> DirectionRules:
        origin = msgspec.structs.replace(POLICY, name=f"policy-{number}")
        rules = [(ports, tuple(sorted(pods & self.there))) for ports, pods in self.peers[number]]
        allowing = [accept(PORTS[ports], pods=pods, origin=origin) for ports, pods in rules if pods]
        return isolated(direction, *allowing, origin=origin)


policies = st.lists(st.tuples(st.sampled_from(sorted(PORTS)), most), max_size=2).map(tuple)
numbers = st.sampled_from((*range(POLICIES), None))
situations = st.builds(
    Situation,
    most,
    st.tuples(*[st.tuples(numbers, numbers)] * COUNT),
    st.tuples(*[policies] * POLICIES),
)


@st.composite
def changes(draw: st.DrawFn) -> tuple[Situation, Situation]:
    """Pods come or go, a policy is written anew, or anything."""
    before = draw(situations)
    what = draw(st.sampled_from(("comes", "goes", "go", "policy", "comes, policy", "goes, policy", "anything")))
    event(what)
    if what.endswith(", policy"):
        one, peers = {draw(st.integers(0, COUNT - 1))}, (draw(policies), *before.peers[1:])
        with_it, without = before.there | one, before.there - one
        if what == "comes, policy":
            return replace(before, there=without), replace(before, there=with_it, peers=peers)
        return replace(before, there=with_it), replace(before, there=without, peers=peers)
    if what == "comes":
        return before, replace(before, there=before.there | {draw(st.integers(0, COUNT - 1))})
    if what in ("goes", "go"):
        gone = draw(st.sets(st.integers(0, COUNT - 1), min_size=1, max_size=1 if what == "goes" else 2))
        return replace(before, there=before.there | gone), replace(before, there=before.there - gone)
    if what == "policy":
        return before, replace(before, peers=(draw(policies), *before.peers[1:]))
    return before, draw(situations)


def met(program: Program, change: Change) -> Iterator[Program]:
    """What may be met while the change is made in a program, the end of each transaction included."""
    for part in change.in_steps():
        late = sorted(edit.part.name for edit in part.sets if edit.part.interval)
        before = {one.name: one for one in program.sets}
        program = part.after(program)
        for count in range(len(late) + 1):
            for behind in combinations(late, count):
                sets = tuple(before[one.name] if one.name in behind else one for one in program.sets)
                yield replace(program, sets=sets)


@settings(max_examples=1000)
@given(changes())
def test_whatever_a_packet_meets_lies_between_before_and_after(change_of: tuple[Situation, Situation]) -> None:
    before, after = (one.program() for one in change_of)
    change = difference(before, after)
    assert change is not None
    if change.is_torn:
        event("torn")
        return
    between = [one for one in met(before, change) if one not in (before, after)]
    for source, destination, traffic in product(sorted(PODS), sorted(PODS), TRAFFIC if between else ()):
        for ends in zip(pod(source).addresses, pod(destination).addresses, strict=True):
            allowed = {outcome(program, *ends, traffic) for program in (before, after)}
            for program in between:
                assert outcome(program, *ends, traffic) in allowed, (ends, traffic)
