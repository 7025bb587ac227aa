"""Random clusters on a real node: what the engine and the reference say of manifests is what packets do.

The whole chain is under test: objects, snapshot, compile, program, nftables, kernel. Every pair of pods is probed in
both families, over TCP and UDP, on every port where an answer can change; SCTP and traffic without ports go along as
crafted packets. The seed is fixed, so a failure repeats itself. Domain names are left out: nobody resolves them here.
"""

from __future__ import annotations

import time

import pytest
from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from hypothesis.strategies import SearchStrategy

from gatewright.kernel.apply import apply, read_back
from gatewright.kernel.nft import Nft
from gatewright.kernel.node import node_program
from tests.packets.netns import EXPERIMENT, SCTP, TCP, UDP, NodeNamespace, Probe, node
from tests.reference.evaluator import End, Reference
from tests.strategies import Cluster, Question, connections, lab_clusters
from tests.subjects import Engine

pytestmark = pytest.mark.packets
PODS = 4
CLUSTERS = 20
SECONDS = 90
TIERED = 10
TIERED_SECONDS = 60
NUMBER = {"TCP": TCP, "UDP": UDP, "SCTP": SCTP, "ICMP": EXPERIMENT}
ADDRESSES = [(f"10.77.0.{number}", f"fd77::{number:x}") for number in range(1, PODS + 1)]


def questions(cluster: Cluster) -> list[Question]:
    """Every question worth asking, but for those of a pod to itself, which no packet filter sees."""
    return [question for question in connections(cluster) if question[0] != question[1]]


def is_telling(cluster: Cluster) -> bool:
    """Whether something passes, something does not, and the protocol or the port matters to somebody."""
    reference = Reference(cluster.objects)
    answers: dict[tuple[End, End, int], set[str]] = {}
    for question in questions(cluster):
        source, destination, _, _, family = question
        answers.setdefault((source, destination, family), set()).add(reference.connection(*question))
    return any(len(found) > 1 for found in answers.values())


def probe(where: NodeNamespace, question: Question) -> Probe:
    """The packet that asks the question. Pods are numbered by their names, p0 and so on."""
    source, destination, protocol, port, family = question
    assert source[0] == destination[0] == "pod"
    address = where.pods[int(destination[2][1:])].addresses[family]
    return Probe(int(source[2][1:]), address, NUMBER[protocol], port or 0)


def differences(where: NodeNamespace, cluster: Cluster) -> list[str]:
    """The questions that the engine, the reference and the packets do not answer alike."""
    engine, reference = Engine(cluster.objects), Reference(cluster.objects)
    program = node_program(engine.compiled, range(PODS))
    where.namespace.run(lambda: apply(Nft(), program))
    assert where.namespace.run(lambda: read_back(Nft())) == program
    asked = questions(cluster)
    passed = where.passes([probe(where, question) for question in asked])
    answers = [
        (question, engine.connection(*question), reference.connection(*question), "allowed" if got else "denied")
        for question, got in zip(asked, passed, strict=True)
    ]
    return [
        f"{question}: engine {said}, reference {expected}, packets {seen}"
        for question, said, expected, seen in answers
        if not said == expected == seen
    ]


@pytest.mark.parametrize(
    ("space", "clusters", "seconds"),
    [(lab_clusters(ADDRESSES), CLUSTERS, SECONDS), (lab_clusters(ADDRESSES, tiers=True), TIERED, TIERED_SECONDS)],
    ids=["NetworkPolicy", "cluster tiers"],
)
def test_packets_do_what_engine_and_reference_say(
    namespaces: None, space: SearchStrategy[Cluster], clusters: int, seconds: int
) -> None:
    seen: list[Cluster] = []
    began = time.monotonic()
    with node(PODS) as where:

        @seed(20)
        @settings(
            max_examples=clusters,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        )
        @given(space)
        def every_pair(cluster: Cluster) -> None:
            assume(cluster not in seen and is_telling(cluster))
            seen.append(cluster)
            assert differences(where, cluster) == []

        every_pair()
    assert len(seen) >= clusters
    assert time.monotonic() - began < seconds
