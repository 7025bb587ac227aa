"""The comparison of benchmarks/side_by_side.py: it reads what each program prints, and it would see a difference."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
import yaml

from benchmarks import reference_map
from benchmarks.clusters import Shape, manifests, objects
from benchmarks.connection_lines import Answer, analyzer_traffic, differences, gatewright_traffic, parse
from benchmarks.side_by_side import POD_RANGE, QUESTIONS, published
from gatewright.engine.compile import compile_snapshot
from gatewright.engine.ports import ALL_TRAFFIC, EVERY_PORT, PortSet, Protocol
from gatewright.engine.snapshot import Snapshot
from gatewright.engine.view import by_workload
from gatewright.objects import read
from gatewright.objects.meta import Object
from gatewright.report.connections import to_text

TCP_80 = PortSet.of(Protocol.TCP, (80, 80))
DNS = PortSet.of(Protocol.TCP, (53, 53)) | PortSet.of(Protocol.UDP, (53, 53))
SMALL = Shape(pods=24, namespaces=2, policies=16, seed=3)
REPLICAS = Shape(pods=96, namespaces=4, policies=24, seed=3)


@pytest.mark.parametrize(
    ("words", "traffic"),
    [
        ("All connections", ALL_TRAFFIC),
        ("{protocols:TCP,dst_ports:80}", TCP_80),
        ("{protocols:TCP,dst_ports:80,8000-8100}", TCP_80 | PortSet.of(Protocol.TCP, (8000, 8100))),
        ("{protocols:TCP, UDP,dst_ports:53}", DNS),
        ("{protocols:SCTP}", PortSet.of(Protocol.SCTP, *EVERY_PORT)),
        ("{protocols:TCP,dst_ports:80},{protocols:SCTP}", TCP_80 | PortSet.of(Protocol.SCTP, *EVERY_PORT)),
        ("All but {protocols:TCP,dst_ports:80}", ALL_TRAFFIC - TCP_80),
    ],
)
def test_the_analyzers_words_for_traffic(words: str, traffic: PortSet) -> None:
    assert analyzer_traffic(words) == traffic


@pytest.mark.parametrize("words", ["", "No connections", "{protocols:all but TCP}", "{methods:GET}", "{src_ports:80}"])
def test_traffic_in_unknown_words_is_refused(words: str) -> None:
    with pytest.raises(ValueError, match="not known here"):
        analyzer_traffic(words)


@pytest.mark.parametrize(
    "traffic",
    [ALL_TRAFFIC, TCP_80, DNS, ALL_TRAFFIC - DNS, PortSet(other=True), PortSet.of(Protocol.SCTP, *EVERY_PORT)],
)
def test_gatewrights_words_for_traffic_are_read_back(traffic: PortSet) -> None:
    assert gatewright_traffic(str(traffic)) == traffic


def test_both_ways_of_writing_one_answer_are_equal() -> None:
    ours = """\
n/a[Pod] => n/b[Pod] : TCP 53; UDP 53
n/b[Pod] => n/b[Pod] : All Connections
n/b[Pod] => n/a[Pod] : TCP 80 (depends on addresses that are not known yet)
0.0.0.0-10.0.0.255[External] => n/b[Pod] : TCP 53; UDP 53
"""
    theirs = """\
global: cluster has 2 unique endpoints, 1 namespaces
0.0.0.0-9.255.255.255 => n/b[Pod] : {protocols:TCP, UDP,dst_ports:53}
10.0.0.0-10.0.0.255 => n/b[Pod] : {protocols:UDP,dst_ports:53}
10.0.0.0-10.0.0.255 => n/b[Pod] : {protocols:TCP,dst_ports:53}
n/a[Pod] => n/b[Pod] : {protocols:TCP,dst_ports:53}
n/a[Pod] => n/b[Pod] : {protocols:UDP,dst_ports:53}
n/a[Pod] => kube-system/kube-dns-livesim[Pod] : All connections
::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff => n/b[Pod] : All connections
"""
    left, right = (
        parse(text.splitlines(keepends=True), words)
        for text, words in ((ours, gatewright_traffic), (theirs, analyzer_traffic))
    )
    assert left == right
    assert left.pairs == {("n/a[Pod]", "n/b[Pod]"): DNS}
    assert left.outside == {("n/b[Pod]", "from"): (((0, 0x0A0000FF), DNS),)}


def test_every_kind_of_difference_is_seen() -> None:
    pair, outside = ("a", "b"), ("a", "from")
    answer = Answer({pair: DNS}, {outside: (((0, 9), DNS),)})
    assert differences(answer, answer) == set()
    assert differences(answer, replace(answer, pairs={pair: TCP_80})) == {pair}
    assert differences(answer, replace(answer, pairs={})) == {pair}
    assert differences(answer, replace(answer, outside={outside: (((0, 8), DNS),)})) == {outside}
    assert differences(answer, Answer()) == {pair, outside} == differences(Answer(), answer)


def test_a_generated_cluster_reads_back_as_it_was_made() -> None:
    def bare(item: Object) -> Object:
        return msgspec.structs.replace(item, origin=None)

    written = read.parse(manifests(SMALL), "cluster.yaml").require()
    assert [bare(one) for one in written] == objects(SMALL)


def test_as_deployments_no_pod_is_lost() -> None:
    written = [one for one in yaml.safe_load_all(manifests(REPLICAS, workloads=True)) if one["kind"] == "Deployment"]
    assert sum(one["spec"]["replicas"] for one in written) == REPLICAS.pods
    assert len({(one["metadata"]["namespace"], one["metadata"]["name"]) for one in written}) == len(written)


@pytest.mark.parametrize(
    "text",
    [manifests(SMALL), manifests(REPLICAS, workloads=True), published(QUESTIONS)],
    ids=["pods", "deployments", "questions"],
)
def test_the_reference_asked_pair_by_pair_gives_the_engines_answer(text: str) -> None:
    engine = lines(Snapshot.of(read.parse(text, "cluster.yaml").require(), pod_cidrs=[POD_RANGE]))
    reference = list(reference_map.lines(list(yaml.safe_load_all(text)), [POD_RANGE]))
    ours, theirs = (parse(each, gatewright_traffic) for each in (engine, reference))
    assert len(ours) > 20
    assert differences(ours, theirs) == set()


def lines(snapshot: Snapshot) -> list[str]:
    compiled = compile_snapshot(snapshot)
    return to_text(by_workload(compiled).rows).splitlines()
