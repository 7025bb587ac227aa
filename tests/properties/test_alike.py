"""What is answered once for many pairs of pods is what each pair is answered on its own, and no pair is left out."""

from __future__ import annotations

import copy
import ipaddress
from collections import Counter

from hypothesis import event, given
from hypothesis import strategies as st

from gatewright.engine.alike import Block, blocks
from gatewright.engine.ask import Question
from gatewright.engine.compile import Compiled
from gatewright.engine.model import Endpoint
from gatewright.engine.ports import Protocol
from gatewright.engine.verdict import Party, Verdict, verdict
from tests.properties.test_views import owned_clusters
from tests.strategies import Cluster, telling_ports
from tests.subjects import Engine
from tests.vocabulary import labels

Pair = tuple[int, int]


@st.composite
def replicated_clusters(draw: st.DrawFn) -> Cluster:
    """A cluster with a second replica of some pods: of other labels, of no known address, or of one further on."""
    cluster = draw(owned_clusters())
    objects = copy.deepcopy(list(cluster.objects))
    for item in [item for item in objects if item["kind"] == "Pod" and draw(st.booleans())]:
        replica = copy.deepcopy(item)
        replica["metadata"]["name"] += "-2"
        if draw(st.booleans()):
            replica["metadata"]["labels"] = draw(labels)
        if not replica["spec"].get("hostNetwork"):
            known = [one["ip"] for one in replica.get("status", {}).get("podIPs", ()) if draw(st.booleans())]
            addresses = [str(ipaddress.ip_address(text) + 100) for text in known]
            replica["status"] = {"phase": "Running"}
            if addresses:
                replica["status"] |= {"podIP": addresses[0], "podIPs": [{"ip": one} for one in addresses]}
        if "nodeName" in replica["spec"] and draw(st.booleans()):
            replica["spec"]["nodeName"] = "n2"
        objects.append(replica)
    return cluster.with_objects(objects)


def pairs(block: Block) -> list[Pair]:
    """The pairs of endpoints that a block speaks of."""
    return [
        (source.index, destination.index)
        for source in block.sources.members
        for destination in block.destinations.members
        if isinstance(source, Endpoint) and isinstance(destination, Endpoint)
        if source is not destination or source.many
        if block.same_node is None or block.same_node is (source.host_network and source.node == destination.node)
    ]


def answer(one: Verdict) -> object:
    return [(each.family, each.egress, each.ingress) for each in one.families]


def asked_of_all(compiled: Compiled, protocol: Protocol | None, port: int) -> Question:
    everyone: tuple[Party, ...] = compiled.endpoints
    return Question(protocol, everyone, tuple((one, port) for one in everyone))


@given(replicated_clusters(), st.data())
def test_a_block_says_what_each_of_its_pairs_is_answered(cluster: Cluster, data: st.DataObject) -> None:
    compiled = Engine(cluster.objects, cluster.pod_cidrs).compiled
    protocol = data.draw(st.sampled_from((*Protocol, None)))
    port = data.draw(st.sampled_from(telling_ports(cluster) or [80]))
    question = asked_of_all(compiled, protocol, port)
    found = blocks(compiled, question)
    every = [(left, right) for left in compiled.endpoints for right in compiled.endpoints]
    wanted = [(left.index, right.index) for left, right in every if left is not right or left.many]
    told = Counter(pair for block in found for pair in pairs(block))
    if wanted:
        event("fewer blocks than pairs" if len(found) < len(wanted) else "a block a pair")
        assert told == Counter(wanted)
    for block in found:
        for source, destination in pairs(block):
            ends = compiled.at(source), compiled.at(destination)
            assert answer(block.verdict) == answer(verdict(compiled, *ends, protocol, port))
