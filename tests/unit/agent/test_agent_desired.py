"""What a node should hold, from what watches deliver: nothing before everything is listed, then a function of it."""

from __future__ import annotations

from gatewright.agent.desired import Desired
from gatewright.engine.compile import compile_snapshot
from gatewright.engine.snapshot import Snapshot
from gatewright.kernel.guards import Guards
from gatewright.kernel.node import NodeProgram
from gatewright.kernel.options import Options
from gatewright.objects.meta import Object
from tests.unit.agent.clusters import KINDS, NODE, delivery, everything, node, pod, policy

OPTIONS = Options(start_closed=True)
P0, P1, FAR = pod("p0", "10.0.0.1"), pod("p1", "10.0.0.2"), pod("p2", "10.0.9.1", node="node-2")
DB = policy("db", "p1", ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "p0"}}}]}])


def desired(*objects: Object) -> Desired:
    one = Desired(NODE, KINDS, OPTIONS)
    for each in everything(*objects):
        one.take(each)
    return one


def scratch(*objects: Object) -> object:
    here = compile_snapshot(Snapshot.of(objects), subjects=lambda one: one.node == NODE)
    return NodeProgram.of(here, OPTIONS)[1]


def test_nothing_is_said_before_every_kind_has_been_listed() -> None:
    one = Desired(NODE, KINDS, OPTIONS)
    for each in everything(P0, P1, DB)[:-1]:
        one.take(each)
        assert one.advance() is None
    assert one.missing == (KINDS[-1],)
    one.take(delivery(KINDS[-1]))
    first = one.advance()
    assert first is not None
    assert first.change is None
    assert one.program is not None
    assert one.program.program == scratch(P0, P1, DB)
    assert one.advance() is None


def test_what_came_together_is_one_step_of_the_last_states() -> None:
    one = desired(P0, P1, FAR)
    one.advance()
    one.take(delivery("NetworkPolicy", DB, at=5.0))
    one.take(delivery("Pod", gone=(P0.key,), at=6.0))
    one.take(delivery("NetworkPolicy", gone=(DB.key,), at=7.0))
    one.take(delivery("NetworkPolicy", DB, at=8.0))
    assert [one.waiting_since] == [5.0]
    step = one.advance()
    assert step is not None
    assert step.arrived == 5.0
    assert step.moved
    assert [one.waiting_since] == [None]
    assert one.program is not None
    assert one.program.program == scratch(P1, FAR, DB)


def test_a_change_elsewhere_changes_nothing_here() -> None:
    one = desired(P0, P1, FAR)
    one.advance()
    one.take(delivery("NetworkPolicy", policy("far", "p2")))
    step = one.advance()
    assert step is not None
    assert not step.change
    assert not step.moved


def test_beginning_anew_comes_to_the_same() -> None:
    one = desired(P0, P1, DB)
    one.advance()
    one.take(delivery("Pod", FAR))
    one.begin_anew()
    assert one.compiled is None
    step = one.advance()
    assert step is not None
    assert step.change is None
    assert one.program is not None
    assert one.program.program == scratch(P0, P1, FAR, DB)


def test_the_guards_are_a_change_of_the_program() -> None:
    one = desired(P0, node("10.0.0.0/24"))
    one.advance()
    assert one.program is not None
    before = one.program.program
    change, after = one.guard(Guards(known=frozenset(one.addresses)))
    assert change.after(before) == after.program
    assert [str(address) for address in one.addresses] == ["10.0.0.1"]


def test_a_closed_program_is_made_of_the_node_alone() -> None:
    one = Desired(NODE, KINDS, OPTIONS)
    assert one.closed() is None
    one.take(delivery("Node", node("10.0.0.0/24", "fd00::/64")))
    closed = one.closed()
    assert closed is not None
    ranges = {each.name: len(each.elements) for each in closed.sets if "ranges" in each.name}
    assert ranges == {"guard/ranges4": 1, "guard/ranges6": 1}
