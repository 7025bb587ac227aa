"""Beside a service proxy in each of its modes, and on a bridge: policies hold, and nothing of others is disturbed."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator

import pytest

from gatewright.engine.model import Direction
from gatewright.kernel.apply import apply
from gatewright.kernel.guards import Guards
from gatewright.kernel.links import pod_links
from gatewright.kernel.monitor import Monitor
from gatewright.kernel.nft import Nft
from gatewright.kernel.node import node_program
from gatewright.kernel.options import Options
from gatewright.kernel.readback import read_back
from gatewright.kernel.table import Program
from tests.packets.netns import TCP, UDP, NodeNamespace, Probe, bridged_node
from tests.packets.proxies import KINDS, MARKED_FOR_DROP, SERVICE, proxy, take_away
from tests.unit.kernel import cases
from tests.unit.kernel.cases import World, accept, isolated, tcp, world

pytestmark = pytest.mark.packets
IN, OUT = Direction.INGRESS, Direction.EGRESS
COUNT = 4
BACKEND = cases.pod(0).addresses[0]
SERVICE_PORT = 8000
EVERYTHING = Options(log_group=100, counters=True, start_closed=True, check_sources=True)
CLOSED = world(COUNT, ingress={0: isolated(IN)})
FOR_POD_1 = world(COUNT, ingress={0: isolated(IN, accept(tcp(80), pods=(1,)))})


@pytest.fixture(params=KINDS)
def served(request: pytest.FixtureRequest, node_with_pods: NodeNamespace) -> Iterator[NodeNamespace]:
    """A node with a Service whose backend is pod 0, and whose pods no policy selects."""
    enforce(node_with_pods, world(COUNT))
    with proxy(request.param, node_with_pods.namespace, BACKEND):
        yield node_with_pods


def enforce(where: NodeNamespace, rules: World, options: Options = EVERYTHING) -> Program:
    def work() -> Program:
        pods = frozenset(address for index in range(COUNT) for address in cases.pod(index).addresses)
        program = node_program(rules, range(COUNT), options=options, guards=Guards(known=pods, links=pod_links(pods)))
        apply(Nft(), program)
        return program

    return where.namespace.run(work)


def through_service(where: NodeNamespace, *pods: int) -> list[bool]:
    return where.passes([Probe(pod, SERVICE, TCP, SERVICE_PORT) for pod in pods])


def test_a_service_works_where_nothing_is_isolated(served: NodeNamespace) -> None:
    assert through_service(served, 0, 1, 2) == [True, True, True]


def test_policies_see_the_backend_behind_the_service(served: NodeNamespace) -> None:
    enforce(served, FOR_POD_1)
    assert through_service(served, 0, 1, 2) == [False, True, False]
    enforce(served, CLOSED)
    assert through_service(served, 0, 1) == [False, False]


def test_egress_sees_the_backend_and_its_port(served: NodeNamespace) -> None:
    egress = {1: isolated(OUT, accept(tcp(80), pods=(0,))), 2: isolated(OUT, accept(tcp(SERVICE_PORT), pods=(0,)))}
    enforce(served, world(COUNT, egress=egress))
    assert through_service(served, 1, 2) == [True, False]


def test_a_pod_reaches_itself_through_its_service_where_a_policy_says_so(served: NodeNamespace) -> None:
    """The packet enters and leaves by one link, with the pod's own source until it has passed us."""
    enforce(served, world(COUNT, ingress={0: isolated(IN, accept(tcp(80), pods=(0,)))}))
    assert through_service(served, 0, 1) == [True, False]
    itself = {0: isolated(IN, accept(tcp(80), pods=(0,)))}, {0: isolated(OUT, accept(tcp(80), pods=(0,)))}
    enforce(served, world(COUNT, *itself))
    assert through_service(served, 0) == [True]
    enforce(served, world(COUNT, itself[0], {0: isolated(OUT)}))
    assert through_service(served, 0) == [False]


def test_the_mark_for_masquerading_is_kept(served: NodeNamespace) -> None:
    """Who reaches itself sees another address: only a packet with the mark gets one."""
    enforce(served, FOR_POD_1)
    enforce(served, world(COUNT, ingress={0: isolated(IN, accept(tcp(80), pods=(0,)))}))
    backend = served.pods[0].namespace
    with (
        backend.run(lambda: socket.create_server((str(BACKEND), 0))) as listener,
        backend.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as client,
    ):
        backend.run(lambda: Nft().run(_to_port(listener.getsockname()[1])))
        listener.settimeout(1)
        client.settimeout(1)
        client.connect((str(SERVICE), SERVICE_PORT))
        connection, (seen, _) = listener.accept()
        connection.close()
    backend.run(lambda: Nft().run("delete table ip here\n"))
    assert seen != str(BACKEND)


def _to_port(port: int) -> str:
    chain = "type nat hook prerouting priority dstnat - 1"
    return f"table ip here {{ chain prerouting {{ {chain}; tcp dport 80 redirect to :{port}; }}; }}\n"


def test_what_others_marked_for_dropping_is_dropped(served: NodeNamespace) -> None:
    """Our `accept` ends our table alone."""
    asked = [Probe(1, BACKEND, TCP, MARKED_FOR_DROP), Probe(1, BACKEND, TCP, MARKED_FOR_DROP + 1)]
    assert served.passes(asked) == [False, True]


@pytest.mark.parametrize("kind", KINDS)
def test_when_others_take_their_rules_away_ours_stay(node_with_pods: NodeNamespace, kind: str) -> None:
    program = enforce(node_with_pods, FOR_POD_1)
    with node_with_pods.namespace.run(lambda: Monitor(program.table)) as monitor:
        with proxy(kind, node_with_pods.namespace, BACKEND):
            assert through_service(node_with_pods, 1, 2) == [True, False]
            take_away(kind, node_with_pods.namespace)
            assert node_with_pods.namespace.run(lambda: read_back(Nft())) == program
        assert node_with_pods.passes([Probe(1, BACKEND, TCP, 80), Probe(2, BACKEND, TCP, 80)]) == [True, False]
        assert monitor.read() == []
        node_with_pods.namespace.run(lambda: Nft().run("flush ruleset\n"))
        assert [str(found).split(" by ")[0] for found in monitor.read()] == ["table removed"]


@pytest.fixture(scope="module")
def bridged(namespaces: None) -> Iterator[NodeNamespace]:
    """A node whose pods hang on a bridge."""
    with bridged_node(COUNT) as made:
        yield made


@pytest.mark.parametrize("filtered", [True, False], ids=["filtered", "not filtered"])
def test_between_pods_on_a_bridge_policies_hold_if_the_bridge_is_filtered(
    bridged: NodeNamespace, filtered: bool
) -> None:
    bridged.namespace.sysctl(**{f"bridge__bridge-nf-call-ip{six}tables": int(filtered) for six in ("", "6")})
    enforce(bridged, FOR_POD_1)
    probes = [Probe(pod, to, TCP, 80) for pod in (1, 2) for to in cases.pod(0).addresses]
    assert bridged.passes(probes) == [True, True, not filtered, not filtered]


def test_every_pair_on_a_bridge(bridged: NodeNamespace) -> None:
    bridged.namespace.sysctl(**{f"bridge__bridge-nf-call-ip{six}tables": 1 for six in ("", "6")})
    rules = world(
        COUNT,
        {0: isolated(IN, accept(tcp(80), pods=(1,))), 2: isolated(IN, accept(pods=(3,)))},
        {3: isolated(OUT, accept(pods=(0, 2)))},
    )
    enforce(bridged, rules)
    probes = [
        Probe(source, to, protocol, port)
        for source, target in itertools.permutations(range(COUNT), 2)
        for to in cases.pod(target).addresses
        for protocol, port in ((TCP, 80), (TCP, 81), (UDP, 53))
    ]
    expected = [
        cases.connects(
            rules, bridged.pods[p.source].addresses[p.destination.version], p.destination, (p.protocol, p.port)
        )
        for p in probes
    ]
    assert bridged.passes(probes) == expected
    assert bridged.from_node(cases.pod(0).addresses) == [True, True]


@pytest.mark.parametrize("kind", KINDS)
def test_a_service_on_a_bridge(bridged: NodeNamespace, kind: str) -> None:
    """Also to a backend on the same bridge, whose answers go past the node but for the filter."""
    bridged.namespace.sysctl(**{f"bridge__bridge-nf-call-ip{six}tables": 1 for six in ("", "6")})
    enforce(bridged, FOR_POD_1)
    with proxy(kind, bridged.namespace, BACKEND):
        assert through_service(bridged, 1, 2) == [True, False]
