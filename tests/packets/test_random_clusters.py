"""Random clusters on a real node: what the engine and the reference say of manifests is what packets do.

The whole chain is under test: objects, snapshot, compile, program, nftables, kernel. The node goes from each cluster to
the next by what changed, as an agent's does, and the kernel is read back after each step. Every pair of pods is probed,
the node itself among them, in both families, over TCP and UDP, on every port where an answer can change; SCTP and
traffic without ports go along as crafted packets. The seed is fixed, so a failure repeats itself. Domain names are left
out: nobody resolves them here.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from hypothesis import strategies as st

from gatewright.engine.compile import Compiled, compile_snapshot
from gatewright.engine.model import Endpoint
from gatewright.engine.snapshot import Changes, Snapshot
from gatewright.kernel.apply import apply_change, replace
from gatewright.kernel.guards import NO_GUARDS, Guards
from gatewright.kernel.links import pod_links
from gatewright.kernel.nft import Nft
from gatewright.kernel.node import NodeProgram
from gatewright.kernel.options import Options
from gatewright.kernel.readback import read_back
from gatewright.objects.meta import Object
from gatewright.objects.read import decode
from tests.packets.netns import EXPERIMENT, NODE, SCTP, TCP, UDP, NodeNamespace, Probe, node
from tests.reference.evaluator import Reference
from tests.strategies import Cluster, Question, connections, lab_clusters, pod
from tests.subjects import Engine
from tests.vocabulary import labels

pytestmark = [pytest.mark.packets, pytest.mark.slow]
PODS = 4
NUMBER = {"TCP": TCP, "UDP": UDP, "SCTP": SCTP, "ICMP": EXPERIMENT}
FAMILIES = (slice(0, 2), slice(0, 2), slice(0, 2), slice(0, 1), slice(1, 2))
ADDRESSES: list[tuple[str, ...]] = [(f"10.77.0.{number}", f"fd77::{number:x}") for number in range(1, PODS + 1)]
RANGES = ("10.77.0.0/24", "fd77::/120")
HOST = "host"
"""A pod on the node's own network."""
PLAIN = Options()
EVERYTHING = Options(counters=True, log_group=99, log_rate=5, check_sources=True, start_closed=True)
AUDIT = Options(counters=True, log_group=99, audit=True)


@st.composite
def node_clusters(draw: st.DrawFn, tiers: bool) -> Cluster:
    """A cluster of one node, whose pods have both families or one, and perhaps a pod on the node's own network."""
    addresses = [each[draw(st.sampled_from(FAMILIES))] for each in ADDRESSES]
    cluster = draw(lab_clusters(addresses, tiers=tiers))
    if draw(st.booleans()):
        spec = {"nodeName": "n0", "hostNetwork": True, "containers": [{"name": "main", "image": "app"}]}
        ips = [{"ip": str(address)} for address in NODE.values()]
        status = {"phase": "Running", "podIP": ips[0]["ip"], "podIPs": ips}
        cluster = cluster.with_objects([*cluster.objects, pod("x", HOST, draw(labels), spec, status)])
    return cluster


def probe(where: NodeNamespace, question: Question) -> Probe:
    """The packet that asks the question. Pods are numbered by their names, p0 and so on."""
    source, destination, protocol, port, family = question
    address = NODE[family] if destination[-1] == HOST else where.pods[int(destination[-1][1:])].addresses[family]
    return Probe(-1 if source[-1] == HOST else int(source[-1][1:]), address, NUMBER[protocol], port or 0)


@dataclass
class Walk:
    """A node that goes from one cluster to the next by changes alone."""

    where: NodeNamespace
    options: Options
    objects: list[Object] = field(default_factory=list)
    compiled: Compiled | None = None
    program: NodeProgram | None = None

    def to(self, cluster: Cluster) -> None:
        """Go on to a cluster; the kernel holds what compiling it from the beginning gives."""
        objects = [item for item in map(decode, cluster.objects) if item is not None]
        compiled = compile_snapshot(Snapshot.of(objects), is_here)
        expected, program = NodeProgram.of(compiled, self.options, self.guards())
        if self.compiled is None or self.program is None:
            self.where.namespace.run(lambda: replace(Nft(), program))
            self.compiled, self.program = compiled, expected
        else:
            gone = {item.key for item in self.objects} - {item.key for item in objects}
            update = self.compiled.apply(Changes(tuple(objects), tuple(gone)))
            self.program, change = self.program.after(update)
            self.where.namespace.run(lambda: apply_change(Nft(), change))
            self.compiled = update.compiled
        self.objects = objects
        assert self.where.namespace.run(lambda: read_back(Nft())) == program

    def guards(self) -> Guards:
        """Every pod has its own addresses and link."""
        if not self.options.check_sources:
            return NO_GUARDS
        known = frozenset(address for each in self.where.pods for address in each.addresses.values())
        ranges = frozenset(map(ipaddress.ip_network, RANGES))
        return Guards(ranges, known, self.where.namespace.run(lambda: pod_links(known)))

    def differences(self, cluster: Cluster, asked: list[Question], said: list[str]) -> list[str]:
        """Where the reference or the packets say something else than the engine `said`."""
        reference = Reference(cluster.objects, RANGES)
        expected = [self.options.audit or answer == "allowed" for answer in said]
        probes = [probe(self.where, question) for question in asked]
        wanted = {one for one, passes in zip(probes, expected, strict=True) if passes}
        passed = self.where.passes(probes, wanted)
        others = [reference.connection(*question) for question in asked]
        return [
            f"{question}: engine {mine}, reference {other}, packets {'pass' if got else 'are dropped'}"
            for question, mine, other, got, passes in zip(asked, said, others, passed, expected, strict=True)
            if mine != other or got != passes
        ]


def is_here(one: Endpoint) -> bool:
    """What the node's program is about."""
    return not one.host_network


@pytest.mark.parametrize(
    ("tiers", "options", "clusters"),
    [(False, PLAIN, 40), (True, PLAIN, 40), (True, EVERYTHING, 15), (True, AUDIT, 10)],
    ids=["NetworkPolicy", "cluster tiers", "every option", "audit"],
)
def test_packets_do_what_engine_and_reference_say(
    namespaces: None, tiers: bool, options: Options, clusters: int
) -> None:
    """Clusters in which everything passes, or nothing does, are steps on the way, and are not asked."""
    done = 0
    with node(PODS) as where:
        walk = Walk(where, options)

        @seed(20)
        @settings(
            max_examples=clusters, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
        )
        @given(node_clusters(tiers))
        def every_pair(cluster: Cluster) -> None:
            nonlocal done
            walk.to(cluster)
            engine = Engine(cluster.objects)
            asked = [question for question in connections(cluster) if question[0] != question[1]]
            said = [engine.connection(*question) for question in asked]
            assume(len(set(said)) > 1)
            assert walk.differences(cluster, asked, said) == []
            done += 1

        every_pair()
    assert done >= clusters
