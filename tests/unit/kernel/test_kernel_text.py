"""The text of one program a case, as a person reads it."""

from __future__ import annotations

import pytest

from gatewright.engine.model import Action, Direction, DirectionRules, RuleOrigin, Tier, TierRules
from gatewright.engine.ports import ALL_TRAFFIC, PortSet, Protocol
from gatewright.kernel.delta import delta
from gatewright.kernel.node import node_program
from gatewright.kernel.options import Options
from gatewright.kernel.table import Chain, Foreign, Program, Rule
from gatewright.kernel.text import whole
from tests.golden import assert_golden
from tests.unit.kernel.cases import CLUSTER_POLICY, GUARDS, POLICY, World, accept, isolated, tcp, udp, world

IN, OUT = Direction.INGRESS, Direction.EGRESS
DENY, PASS = Action.DENY, Action.PASS
OTHER = RuleOrigin("NetworkPolicy", "default", "other")
SCTP = PortSet.of(Protocol.SCTP, (7, 7))

TIERS = (
    TierRules(
        Tier.ADMIN,
        (
            accept(tcp(22), pods=(1,), action=PASS),
            accept(tcp(22), action=DENY),
            accept(udp(53), blocks=("192.0.2.53/32",)),
        ),
    ),
    TierRules(Tier.NETWORK_POLICY, (accept(tcp(22), pods=(1, 2)),), (POLICY,)),
)
BASELINE = (TierRules(Tier.BASELINE, (accept(tcp(443)), accept(action=DENY, origin=CLUSTER_POLICY))),)

CASES: dict[str, World] = {
    "nothing-isolated": world(2),
    "deny-all": world(2, ingress={0: isolated(IN)}, egress={0: isolated(OUT)}),
    "pods-and-ports": world(4, ingress=dict.fromkeys((0, 1), isolated(IN, accept(tcp(80, 443) | SCTP, pods=(2, 3))))),
    "port-range": world(2, ingress={0: isolated(IN, accept(tcp((8000, 8080)), pods=(1,)))}),
    "every-port-of-a-protocol": world(2, ingress={0: isolated(IN, accept(udp((1, 65535)), pods=(1,)))}),
    "pods-without-ports": world(2, ingress={0: isolated(IN, accept(ALL_TRAFFIC, pods=(1,)))}),
    "blocks": world(
        1,
        egress={
            0: isolated(
                OUT,
                accept(tcp(443), blocks=("203.0.113.0/24", "2001:db8::/32")),
                accept(udp((5000, 5010)), blocks=("203.0.113.128/25",)),
                accept(ALL_TRAFFIC, blocks=("192.0.2.0/25",)),
            )
        },
    ),
    "everyone-on-ports": world(1, ingress={0: isolated(IN, accept(tcp(80, (8000, 8080)) | udp(53)))}),
    "everyone": world(1, ingress={0: isolated(IN, accept(ALL_TRAFFIC))}),
    "other-protocols": world(1, ingress={0: isolated(IN, accept(PortSet(other=True)))}),
    "tiers": world(3, ingress={0: DirectionRules(IN, TIERS)}, egress={1: DirectionRules(OUT, BASELINE)}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_text_of_a_program(name: str) -> None:
    where = CASES[name]
    assert_golden(f"nft/{name}.nft", whole(node_program(where, range(len(where.endpoints)))))


OPTIONS: dict[str, Options] = {
    "audit": Options(audit=True, log_group=100, counters=True),
    "audit-without-witness": Options(audit=True),
    "log": Options(log_group=100, log_rate=50, log_burst=20),
    "counters": Options(counters=True),
    "start-closed": Options(start_closed=True),
    "check-sources": Options(check_sources=True),
    "every-option": Options(log_group=0, counters=True, start_closed=True, check_sources=True),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_the_text_of_a_program_with_options(name: str) -> None:
    program = node_program(CASES["tiers"], range(3), options=OPTIONS[name], guards=GUARDS)
    assert_golden(f"nft/option-{name}.nft", whole(program))


def test_a_class_takes_its_counter_with_it() -> None:
    options = Options(counters=True)
    old = node_program(world(2, ingress={0: isolated(IN), 1: isolated(IN, origin=OTHER)}), range(2), options=options)
    new = node_program(world(2, ingress={1: isolated(IN, origin=OTHER)}), range(2), options=options)
    assert delta(old, new).splitlines()[-1] == "delete counter inet gatewright ingress/default/policy/policy"
    assert delta(new, old).splitlines()[0] == "add counter inet gatewright ingress/default/policy/policy"


def test_another_log_rate_is_another_table() -> None:
    where = CASES["deny-all"]
    old, new = (node_program(where, range(2), options=Options(log_group=1, log_rate=rate)) for rate in (1, 2))
    assert delta(old, new) == whole(new)


def test_the_text_of_a_difference() -> None:
    old = node_program(CASES["pods-and-ports"], range(4))
    new = node_program(world(4, ingress={1: isolated(IN, accept(tcp(80, (90, 99)), pods=(2,)))}), range(4))
    assert_golden("nft/difference.nft", delta(old, new))


def test_another_table_is_replaced_as_a_whole() -> None:
    where = CASES["deny-all"]
    new = node_program(where, range(2), options=Options(table="other"))
    assert delta(node_program(where, range(2)), new) == whole(new)


def test_what_was_not_understood_is_never_written() -> None:
    program = Program.of("gatewright", (), (), (Chain("forward", (Rule(None, Foreign("counter")),), "forward"),))
    with pytest.raises(ValueError, match="counter"):
        whole(program)


def test_a_difference_larger_than_the_program_is_the_whole_program() -> None:
    many = world(2, ingress={0: isolated(IN, accept(tcp(*range(1, 3000, 2)), pods=(1,)))})
    other = world(2, ingress={0: isolated(IN, accept(tcp(*range(2, 3000, 2)), pods=(1,)))})
    old, new = (node_program(where, range(2)) for where in (many, other))
    assert delta(old, new) == whole(new)
