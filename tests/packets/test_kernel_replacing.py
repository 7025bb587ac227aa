"""A table with foreign parts is made anew under traffic, again and again, and no packet meets anything in between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gatewright.engine.model import Direction
from gatewright.engine.ports import PortSet, Protocol
from gatewright.kernel.apply import STANDING_IN, replace
from gatewright.kernel.nft import Nft
from gatewright.kernel.node import node_program
from gatewright.kernel.readback import read_back
from tests.packets.netns import NodeNamespace, node
from tests.packets.steady import Flow, steady_traffic
from tests.unit.kernel.cases import accept, isolated, world

pytestmark = pytest.mark.packets
TIMES = 40
TARGET = 1
"""p1 lets p0 in on some UDP ports, by a set with ranges; p2 not at all. p3 and p4 are nobody's business."""
PROGRAM = node_program(
    world(5, ingress={TARGET: isolated(Direction.INGRESS, accept(PortSet.of(Protocol.UDP, (100, 300)), pods=(0,)))}),
    range(5),
)
FOREIGN = "add chain inet gatewright other\nadd rule inet gatewright other counter\n"


@pytest.fixture
def where(namespaces: None) -> Iterator[NodeNamespace]:
    with node(5) as made:
        yield made


def test_no_packet_meets_neither_table(where: NodeNamespace, tmp_path: Path) -> None:
    addresses = [str(address) for address in where.pods[TARGET].addresses.values()]
    allowed = [Flow(0, address, port) for address in addresses for port in (100, 200)]
    forbidden = [Flow(2, address, port) for address in addresses for port in (100, 200)]
    flows = [one for pair in zip(allowed, forbidden, strict=True) for one in pair]

    def work() -> None:
        nft = Nft()
        for _ in range(TIMES):
            nft.run(FOREIGN)
            held = read_back(nft)
            assert held is not None
            assert held.has_foreign
            replace(nft, PROGRAM)
        assert read_back(nft) == PROGRAM
        assert nft.list_table(f"gatewright{STANDING_IN}") is None

    where.namespace.run(lambda: replace(Nft(), PROGRAM))
    with steady_traffic(where, flows, (3, 4), 4000, tmp_path) as traffic:
        where.namespace.run(work)
    met = [
        (flows[index], passed)
        for burst in traffic.seen.bursts
        for index, passed in zip(burst.flows, burst.passed, strict=True)
    ]
    assert len(met) > 1000
    assert traffic.seen.late == traffic.seen.lost == 0
    assert {one for one, passed in met if passed} == set(allowed)
    assert {one for one, passed in met if not passed} == set(forbidden)
