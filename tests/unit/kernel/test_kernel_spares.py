"""Sets of classes that are gone: which stay, what happens when the class comes back, and when they go."""

from __future__ import annotations

from typing import Any

from gatewright.engine.compile import Compiled, compile_snapshot
from gatewright.engine.model import Endpoint
from gatewright.engine.snapshot import Changes, Snapshot
from gatewright.kernel.change import Change
from gatewright.kernel.node import NodeProgram
from gatewright.kernel.spares import Keep
from gatewright.objects.meta import Object
from tests.unit.agent.clusters import NODE, pod, policy

DB, WEB = pod("db", "10.0.0.1"), pod("web", "10.0.0.2")
PEERS = [pod(f"peer-{number}", f"10.0.1.{number}", node="other", app="peer") for number in range(1, 7)]
FROM_PEERS = {"from": [{"podSelector": {"matchLabels": {"app": "peer"}}}], "ports": [{"port": 80}]}
RANGES = {"from": [{"ipBlock": {"cidr": "10.9.0.0/16"}}], "ports": [{"port": 80}]}
SET = "ingress/shop/db/ports4"
KEEP = Keep(smallest=6, most=6, moves=2)


def is_here(one: Endpoint) -> bool:
    return one.node == NODE


class Following:
    """A node's program, and the one that its changes alone lead to."""

    def __init__(self, *policies: Object, keep: Keep = KEEP) -> None:
        self.rules: Compiled = compile_snapshot(Snapshot.of([DB, WEB, *PEERS, *policies]), is_here)
        self.node, self.program = NodeProgram.of(self.rules, keep=keep)

    def step(self, *put: Object, gone: tuple[Object, ...] = ()) -> Change:
        update = self.rules.apply(Changes(put, tuple(one.key for one in gone)))
        self.rules = update.compiled
        self.node, change = self.node.after(update)
        self.program = change.after(self.program)
        assert self.program == self.node.program
        return change


def isolating(app: str, *ingress: dict[str, Any]) -> Object:
    return policy(app, app, ingress=list(ingress))


def elements(program: Following, name: str = SET) -> set[int]:
    """The last bytes of the addresses in a set."""
    (found,) = (one for one in program.program.sets if one.name == name)
    return {element[0] & 255 for element in found.elements}


def test_the_large_sets_of_a_class_stay_when_its_last_pod_leaves() -> None:
    one = Following(isolating("db", FROM_PEERS))
    change = one.step(gone=(DB,))
    assert change.gone_chains == ("ingress/shop/db",)
    assert change.gone_sets == ()
    assert one.node.spares == {SET}
    assert not list(one.node.classes)


def test_a_class_that_comes_back_gets_what_is_different_alone() -> None:
    one = Following(isolating("db", FROM_PEERS))
    one.step(gone=(DB,))
    one.step(pod("peer-9", "10.0.1.9", node="other", app="peer"), gone=(PEERS[0],))
    assert elements(one) == {1, 2, 3, 4, 5, 6}
    change = one.step(DB)
    assert change.new_sets == ()
    (edit,) = change.sets
    assert (len(edit.gone), len(edit.added)) == (1, 1)
    assert change.new_chains == {"ingress/shop/db"}
    assert elements(one) == {2, 3, 4, 5, 6, 9}
    assert one.node.spares == frozenset()
    assert {str(address) for address in one.node.affected(change)} == {"10.0.0.1"}


def test_a_policy_that_was_rewritten_meanwhile_is_the_one_that_holds() -> None:
    one = Following(isolating("db", FROM_PEERS))
    one.step(gone=(DB,))
    one.step(isolating("db", {"from": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"port": 80}]}))
    one.step(DB)
    assert elements(one) == {2}


def test_a_class_that_comes_back_with_nothing_allowed_has_no_set() -> None:
    one = Following(isolating("db", FROM_PEERS))
    one.step(gone=(DB,))
    one.step(isolating("db"))
    assert one.step(DB).gone_sets == (SET,)


def test_small_sets_and_sets_with_ranges_go_with_their_class() -> None:
    few = Following(isolating("db", FROM_PEERS), keep=Keep(smallest=7))
    assert few.step(gone=(DB,)).gone_sets == (SET,)
    ranges = Following(isolating("db", FROM_PEERS, RANGES), keep=Keep(smallest=6))
    assert set(ranges.step(gone=(DB,)).gone_sets) == {SET, "ingress/shop/db/ranges4"}


def test_what_went_first_is_let_go_where_there_is_too_much() -> None:
    one = Following(isolating("db", FROM_PEERS), isolating("web", FROM_PEERS))
    one.step(gone=(DB,))
    assert one.step(gone=(WEB,)).gone_sets == (SET,)
    assert one.node.spares == {"ingress/shop/web/ports4"}


def test_what_is_too_far_behind_is_let_go() -> None:
    one = Following(isolating("db", FROM_PEERS))
    one.step(gone=(DB,))
    assert not one.step(gone=(PEERS[0],)).gone_sets
    assert one.step(gone=(PEERS[1],)).gone_sets == (SET,)


def test_nothing_stays_unless_it_is_asked_for() -> None:
    rules = compile_snapshot(Snapshot.of([DB, *PEERS, isolating("db", FROM_PEERS)]), is_here)
    update = rules.apply(Changes(gone=(DB.key,)))
    node, change = NodeProgram.of(rules)[0].after(update)
    assert change.gone_sets == (SET,)
    assert node.spares == frozenset()


def test_who_makes_the_table_anew_keeps_no_set_that_no_rule_uses() -> None:
    one = Following(isolating("db", FROM_PEERS))
    one.step(gone=(DB,))
    one.node = one.node.tidied()
    assert one.node.spares == frozenset()
    one.program = one.node.program
    assert one.program.sets == ()
    change = one.step(DB)
    assert [part.name for part in change.new_sets] == [SET]
