"""Real packets meet the program: what passes is exactly what the rules allow, for every pair, in both families."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, given, settings

from gatewright.engine.model import Direction
from gatewright.engine.ports import ALL_TRAFFIC, PortSet, Protocol
from gatewright.kernel.apply import apply
from gatewright.kernel.nft import Nft
from gatewright.kernel.node import node_program
from tests.packets.netns import NODE, NodeNamespace, Probe
from tests.unit.kernel import cases
from tests.unit.kernel.cases import World, accept, isolated, tcp, world

pytestmark = pytest.mark.packets
IN, OUT = Direction.INGRESS, Direction.EGRESS
COUNT = 4
FEW = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
PACKETS = tuple(
    traffic for traffic in cases.traffics() if traffic[0] not in (cases.TCP, cases.UDP) or traffic[1] not in (443, 8080)
)


def probes(traffics: tuple[cases.Traffic, ...] = PACKETS) -> list[Probe]:
    """Every pair of pods, both families."""
    pods = [cases.pod(index) for index in range(COUNT)]
    return [
        Probe(source.index, address, protocol, port)
        for source, destination in itertools.permutations(pods, 2)
        for address in destination.addresses
        for protocol, port in traffics
    ]


def wrong(where: NodeNamespace, rules: World, asked: list[Probe]) -> list[str]:
    """The probes whose packets did not do what the rules say."""
    program = node_program(rules, range(COUNT))
    where.namespace.run(lambda: apply(Nft(), program))
    found = where.passes(asked)
    result = []
    for probe, passed in zip(asked, found, strict=True):
        source = where.pods[probe.source].addresses[probe.destination.version]
        expected = cases.connects(rules, source, probe.destination, (probe.protocol, probe.port))
        if passed != expected:
            result.append(f"{source} => {probe.destination} {probe.protocol}/{probe.port}: expected {expected}")
    return result


def test_everything_passes_where_nothing_is_isolated(node_with_pods: NodeNamespace) -> None:
    assert wrong(node_with_pods, world(COUNT), probes()) == []


def test_nothing_passes_to_a_pod_without_rules(node_with_pods: NodeNamespace) -> None:
    assert wrong(node_with_pods, world(COUNT, ingress={0: isolated(IN)}, egress={1: isolated(OUT)}), probes()) == []


def test_each_kind_of_rule(node_with_pods: NodeNamespace) -> None:
    sctp = PortSet.of(Protocol.SCTP, (80, 80))
    ingress = {
        0: isolated(IN, accept(tcp(80), pods=(1,)), accept(ALL_TRAFFIC, pods=(2,))),
        1: isolated(IN, accept(tcp((79, 81)), blocks=("10.77.0.1/32", "fd77::2/127")), accept(sctp)),
        2: isolated(IN, accept(tcp((1, 65535)), pods=(0,)), accept(ALL_TRAFFIC, blocks=("10.77.0.2/31",))),
    }
    egress = {3: isolated(OUT, accept(tcp(65535) | PortSet(other=True)), accept(tcp(80), pods=(0, 1)))}
    assert wrong(node_with_pods, world(COUNT, ingress, egress), probes()) == []


@FEW
@given(cases.worlds(COUNT))
def test_packets_agree_with_random_rules(node_with_pods: NodeNamespace, rules: World) -> None:
    assert wrong(node_with_pods, rules, probes()) == []


def test_a_pod_s_traffic_to_its_own_node_meets_its_egress_rules(node_with_pods: NodeNamespace) -> None:
    rules = world(COUNT, egress={0: isolated(OUT, accept(ALL_TRAFFIC, blocks=("10.77.255.1/32",)))})
    program = node_program(rules, range(COUNT))
    node_with_pods.namespace.run(lambda: apply(Nft(), program))
    asked = [Probe(pod, address, cases.ICMP) for pod in (0, 1) for address in NODE.values()]
    assert node_with_pods.passes(asked) == [True, False, True, True]


def test_a_node_always_reaches_its_own_pods(node_with_pods: NodeNamespace) -> None:
    rules = world(COUNT, ingress=dict.fromkeys(range(COUNT), isolated(IN)), egress={0: isolated(OUT)})
    program = node_program(rules, range(COUNT))
    node_with_pods.namespace.run(lambda: apply(Nft(), program))
    assert node_with_pods.from_node(cases.pod(0).addresses) == [True, True]
