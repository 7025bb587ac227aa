"""The program means what the rules say; it is deterministic, and small changes leave names alone."""

from __future__ import annotations

import dataclasses
import ipaddress
import itertools

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gatewright.engine.model import Action, Direction, DirectionRules, RuleOrigin, Tier, TierRules
from gatewright.engine.ports import ALL_TRAFFIC, NO_TRAFFIC, PortSet, normalize
from gatewright.kernel.cover import cover, reach
from gatewright.kernel.node import node_program
from gatewright.kernel.options import Options
from gatewright.kernel.segments import Segment, disjoint, patched
from gatewright.kernel.table import Program
from tests.unit.kernel import cases
from tests.unit.kernel.cases import World, accept, isolated, tcp, udp, world

IN, OUT = Direction.INGRESS, Direction.EGRESS
COUNT = 4


def chain_names(program: Program) -> set[str]:
    return {chain.name for chain in program.chains}


def map_entries(program: Program, name: str) -> dict[int, str]:
    return dict(next(part.elements for part in program.maps if part.name == name))


@given(
    cases.worlds(COUNT),
    cases.all_options,
    st.lists(st.sampled_from(tuple(cases.traffics())), min_size=1, max_size=5),
)
def test_the_program_decides_as_the_rules_do(where: World, options: Options, asked: list[cases.Traffic]) -> None:
    """Whatever is logged and counted beside; an audit lets everything through."""
    program = node_program(where, range(COUNT), options=options)
    outside = tuple(ipaddress.ip_address(text) for text in ("192.0.2.9", "203.0.113.1", "2001:db8::1"))
    addresses = [address for endpoint in where.endpoints for address in endpoint.addresses]
    for source, destination in itertools.permutations((*addresses, *outside, *cases.NODE), 2):
        if source.version != destination.version:
            continue
        for traffic in asked:
            expected = options.audit or cases.connects(where, source, destination, traffic)
            found = cases.outcome(program, source, destination, traffic)
            assert found == expected, (source, destination, traffic)


@given(cases.worlds(COUNT))
def test_elements_of_interval_sets_never_overlap(where: World) -> None:
    for part in node_program(where, range(COUNT)).sets:
        if part.interval:
            for left, right in itertools.combinations(part.elements, 2):
                spans = zip(left[::2], left[1::2], right[::2], right[1::2], strict=True)
                assert not all(a <= d and c <= b for a, b, c, d in spans), part.name


@given(cases.worlds(COUNT))
def test_equal_input_gives_an_equal_program(where: World) -> None:
    again = World(where.endpoints, tuple(map(copy, where.ingress)), tuple(map(copy, where.egress)))
    program = node_program(where, range(COUNT))
    assert node_program(again, reversed(range(COUNT))) == program
    assert len({part.name for part in program.sets}) == len(program.sets)
    assert len(chain_names(program)) == len(program.chains)


def copy(rules: DirectionRules) -> DirectionRules:
    """Equal content, another instance."""
    return DirectionRules(rules.direction, tuple(map(msgspec.structs.replace, rules.tiers)))


def test_disjoint_segments_carry_the_union_of_their_ports() -> None:
    segments = disjoint({tcp(80): ((0, 9), (20, 29)), udp(53): ((5, 24),)})
    both = tcp(80) | udp(53)
    assert segments == [(0, 4, tcp(80)), (5, 9, both), (10, 19, udp(53)), (20, 24, both), (25, 29, tcp(80))]


PLACES = range(6)
SOME_TRAFFIC = (NO_TRAFFIC, tcp((80, 90)), udp((53, 54)), tcp((80, 90)) | udp((53, 54)))


@given(
    st.lists(st.sampled_from(SOME_TRAFFIC), min_size=len(PLACES), max_size=len(PLACES)),
    st.dictionaries(st.sampled_from(PLACES), st.sampled_from(SOME_TRAFFIC), max_size=3),
)
def test_patched_segments_are_those_made_anew(covered: list[PortSet], changes: dict[int, PortSet]) -> None:
    def segments(ports: list[PortSet]) -> list[Segment]:
        return disjoint({one: normalize((n, n) for n in PLACES if ports[n] == one) for one in SOME_TRAFFIC if one})

    old = segments(covered)
    new = segments([changes.get(place, ports) for place, ports in enumerate(covered)])
    assert patched(old, changes) == (new, set(old) - set(new), set(new) - set(old))
    assert old == segments(covered)


def test_a_pod_that_nothing_restricts_stands_in_no_map() -> None:
    program = node_program(world(2, ingress={0: isolated(IN)}), range(2))
    assert len(map_entries(program, "ingress4")) == 1
    assert not map_entries(program, "egress4")


def test_only_local_pods_stand_in_the_maps() -> None:
    where = world(3, ingress=dict.fromkeys(range(3), isolated(IN)))
    assert set(map_entries(node_program(where, [1]), "ingress4")) == {int(where.endpoints[1].addresses[0])}


def test_a_host_network_pod_and_one_without_address_are_no_subjects() -> None:
    where = world(2, ingress={0: isolated(IN), 1: isolated(IN)})
    pods = (cases.pod(0, host_network=True), cases.pod(1, v4=False, v6=False))
    program = node_program(dataclasses.replace(where, endpoints=pods), range(2))
    assert not map_entries(program, "ingress4")
    assert not map_entries(program, "ingress6")


def test_a_peer_without_address_contributes_nothing() -> None:
    pods = (cases.pod(0), cases.pod(1, v4=False, v6=False))
    assert cover(reach([accept(tcp(80), pods=(1,))]), pods.__getitem__).elements == {}


def test_a_single_stack_pod_stands_in_the_map_of_its_family_only() -> None:
    where = world(1, ingress={0: isolated(IN)})
    program = node_program(dataclasses.replace(where, endpoints=(cases.pod(0, v6=False),)), [0])
    assert map_entries(program, "ingress4")
    assert not map_entries(program, "ingress6")


def test_pods_of_equal_rules_share_one_chain() -> None:
    rule = accept(tcp(80), pods=(2,))
    program = node_program(world(3, ingress={0: isolated(IN, rule), 1: isolated(IN, rule)}), range(3))
    assert set(map_entries(program, "ingress4").values()) == {"ingress/default/policy"}


def test_ports_of_pods_are_one_set_however_many_rules_there_are() -> None:
    rules = [accept(tcp(port), pods=(peer,)) for port in range(1, 500, 2) for peer in (1, 2)]
    program = node_program(world(3, ingress={0: isolated(IN, *rules)}), range(3))
    assert [part.name for part in program.sets] == ["ingress/default/policy/ports4", "ingress/default/policy/ports6"]
    assert len(program.sets[0].elements) == 500


def test_another_policy_elsewhere_renames_nothing() -> None:
    other = RuleOrigin("NetworkPolicy", "a", "other")
    before = node_program(world(3, ingress={1: isolated(IN, accept(tcp(80), pods=(2,)))}), range(3))
    both = {0: isolated(IN, origin=other), 1: isolated(IN, accept(tcp(81), pods=(0, 2)))}
    after = node_program(world(3, ingress=both), range(3))
    assert chain_names(after) - chain_names(before) == {"ingress/a/other"}
    assert chain_names(before) <= chain_names(after)


def test_classes_of_the_same_policies_with_different_numbers_have_different_names() -> None:
    classes = {0: isolated(IN, accept(tcp(80))), 1: isolated(IN, accept(tcp(81)))}
    names = set(map_entries(node_program(world(2, ingress=classes), range(2)), "ingress4").values())
    assert len(names) == 2
    assert all(name.startswith("ingress/default/policy/") for name in names)


def test_a_policy_name_of_any_length_makes_a_name_the_kernel_takes() -> None:
    origin = RuleOrigin("NetworkPolicy", "n" * 63, "p" * 253)
    program = node_program(world(1, ingress={0: isolated(IN, accept(tcp(1), pods=(0,)), origin=origin)}), [0])
    assert max(len(part.name) for part in program.sets) < 255


def test_an_admin_tier_that_passes_hands_on_to_the_next_tier() -> None:
    admin = TierRules(
        Tier.ADMIN,
        (accept(tcp(80), action=Action.PASS), accept(tcp((1, 100)), action=Action.DENY)),
    )
    policy = TierRules(Tier.NETWORK_POLICY, (accept(tcp(80), pods=(1,)),), (cases.POLICY,))
    where = world(3, ingress={0: DirectionRules(IN, (admin, policy))})
    program = node_program(where, range(3))
    target, friend, stranger = (endpoint.addresses[0] for endpoint in where.endpoints)
    assert cases.outcome(program, friend, target, (cases.TCP, 80))
    assert not cases.outcome(program, stranger, target, (cases.TCP, 80))
    assert not cases.outcome(program, friend, target, (cases.TCP, 81))


def test_everyone_on_everything_needs_no_set() -> None:
    program = node_program(world(1, egress={0: isolated(OUT, accept(ALL_TRAFFIC))}), [0])
    assert program.sets == ()


def test_a_rule_that_covers_no_traffic_makes_no_set() -> None:
    rule = accept(NO_TRAFFIC, pods=(0,), blocks=("10.0.0.0/8",))
    assert cover(reach([rule]), (cases.pod(0),).__getitem__).elements == {}
