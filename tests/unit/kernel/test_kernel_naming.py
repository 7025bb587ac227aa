"""Which classes are looked at when a pod moves: all that name it, whatever became of the cell they stand in."""

from __future__ import annotations

import pytest

from gatewright.engine.podset import PodSet
from gatewright.kernel import node as node_module
from gatewright.kernel.naming import Naming
from tests.unit.agent.clusters import pod, policy
from tests.unit.kernel.test_kernel_spares import DB, FROM_PEERS, Following, elements, isolating

MOVED = pod("peer-1", "10.0.1.99", node="other", app="peer")


@pytest.fixture(autouse=True)
def blocks_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every position is a block of its own, or so few pods were one, in which nothing is overlooked."""
    monkeypatch.setattr(PodSet, "blocks", property(list))


def test_a_class_that_moves_to_another_cell_is_found_there() -> None:
    """All pods of a cell get one more policy, while another pod comes under the old ones: its cell is a new one."""
    one = Following(isolating("db", FROM_PEERS))
    old = pod("db", "10.0.0.1", app="db", tier="old")
    one.step(old)
    second = policy("second", "", podSelector={"matchLabels": {"tier": "old"}}, ingress=[FROM_PEERS])
    one.step(second, pod("db-2", "10.0.0.9", app="db"))
    one.step(MOVED)
    names = {part.name for part in one.program.sets}
    assert len(names) == 2
    assert [elements(one, name) for name in names] == [{99, 2, 3, 4, 5, 6}] * 2


def test_what_is_forgotten_is_put_together_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_module, "MOST_FORGOTTEN", 0)
    one = Following(isolating("db", FROM_PEERS))
    for _ in range(5):
        one.step(isolating("web", FROM_PEERS), gone=(DB,))
        one.step(DB, gone=(isolating("web", FROM_PEERS),))
    one.step(MOVED)
    assert elements(one) == {99, 2, 3, 4, 5, 6}


def test_near_are_those_that_were_ever_told() -> None:
    naming = Naming([(7, PodSet.of([1, 200]))])
    naming.add(3, PodSet.of([200, 300]))
    assert naming.near(PodSet.of([200])) == [3, 7]
    assert naming.near(PodSet.of([1, 2])) == [7]
    assert naming.near(PodSet.of([400])) == []
    assert len(naming) == 2
