"""Which connections are told as one: by owner, by rules, by what the other side's rules match, and by node."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import pytest

from gatewright.engine.alike import Block, ask_alike
from gatewright.engine.compile import Compiled, compile_snapshot
from gatewright.engine.snapshot import Snapshot
from gatewright.objects.read import decode

Json = dict[str, Any]


def pods(owner: str, count: int, *, node: str = "", host: bool = False, first: int = 0, **labels: str) -> list[Json]:
    """Pods of a StatefulSet, dual-stack, numbered from `first`."""
    number = sum(map(ord, owner)) % 200
    made = []
    for index in range(first, first + count):
        ips = [f"10.{number}.{index // 250}.{index % 250 + 1}", f"fd00:{number}::{index + 1:x}"]
        if host:
            ips = [f"192.168.0.{node[-1]}"]
        own: Json = {"app": owner, **labels}
        made.append({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{owner}-{index}",
                "namespace": "n",
                "labels": own,
                "ownerReferences": [{"kind": "StatefulSet", "name": owner, "controller": True}],
            },
            "spec": {"containers": [{"image": "i"}], "nodeName": node, "hostNetwork": host},
            "status": {"podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips]},
        })  # fmt: skip
    return made


def policy(app: str, *peers: Json) -> Json:
    """Pods of an app let in these peers only."""
    spec: Json = {"podSelector": {"matchLabels": {"app": app}}, "ingress": [{"from": list(peers)}] if peers else []}
    metadata = {"name": app, "namespace": "n"}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def compiled(*objects: Iterable[Json] | Json) -> Compiled:
    items = [item for one in objects for item in ([one] if isinstance(one, dict) else one)]
    return compile_snapshot(Snapshot.of(item for item in map(decode, items) if item is not None))


def told(cluster: Compiled, source: str, destination: str) -> list[str]:
    return [line(block) for block in ask_alike(cluster, source, destination, "80", "n")]


def line(block: Block) -> str:
    near = {None: "", True: " same node", False: " other nodes"}[block.same_node]
    ends = [f"{len(one.members)}/{one.asked} {one}" for one in (block.sources, block.destinations)]
    return f"{block.verdict.outcome} {ends[0]} => {ends[1]}{near}"


def test_all_pods_of_two_owners_are_one_block() -> None:
    cluster = compiled(pods("a", 3), pods("b", 2), policy("b", {"podSelector": {"matchLabels": {"app": "a"}}}))
    assert told(cluster, "sts/a", "sts/b") == ["allowed 3/3 n/a[StatefulSet] => 2/2 n/b[StatefulSet]"]
    assert told(cluster, "sts/b", "pod/a-0") == ["allowed 2/2 n/b[StatefulSet] => 1/1 n/a-0[Pod]"]


def test_a_label_that_a_rule_wants_tells_pods_apart() -> None:
    peer = {"podSelector": {"matchLabels": {"track": "canary"}}}
    cluster = compiled(pods("a", 2), pods("a", 1, first=2, track="canary"), pods("b", 2), policy("b", peer))
    assert told(cluster, "sts/a", "sts/b") == [
        "denied 2/3 n/a[StatefulSet] => 2/2 n/b[StatefulSet]",
        "allowed 1/3 n/a[StatefulSet] => 2/2 n/b[StatefulSet]",
    ]


@pytest.mark.parametrize("block", ["10.97.0.1/32", "fd00:97::1/128"])
def test_an_address_in_either_family_tells_pods_apart(block: str) -> None:
    cluster = compiled(pods("a", 2), pods("b", 2), policy("b", {"ipBlock": {"cidr": block}}))
    first, second = told(cluster, "sts/a", "sts/b")
    assert (first, second) == (
        "depends 1/2 n/a[StatefulSet] => 2/2 n/b[StatefulSet]",
        "denied 1/2 n/a[StatefulSet] => 2/2 n/b[StatefulSet]",
    )


def test_rules_of_their_own_tell_pods_apart() -> None:
    canary = policy("b")
    canary["spec"]["podSelector"] = {"matchLabels": {"track": "canary"}}
    cluster = compiled(pods("a", 2), pods("b", 2), pods("b", 2, first=2, track="canary"), canary)
    assert told(cluster, "sts/a", "sts/b") == [
        "allowed 2/2 n/a[StatefulSet] => 2/4 n/b[StatefulSet]",
        "denied 2/2 n/a[StatefulSet] => 2/4 n/b[StatefulSet]",
    ]


def test_a_pods_own_node_tells_pairs_apart() -> None:
    agents = [*pods("agent", 1, node="n1", host=True), *pods("agent", 1, first=1, node="n2", host=True)]
    cluster = compiled(agents, pods("b", 2, node="n1"), policy("b"))
    assert told(cluster, "sts/agent", "sts/b") == [
        "allowed 2/2 n/agent[StatefulSet] => 2/2 n/b[StatefulSet] same node",
        "denied 2/2 n/agent[StatefulSet] => 2/2 n/b[StatefulSet] other nodes",
    ]
    assert told(cluster, "pod/agent-0", "sts/b") == ["allowed 1/1 n/agent-0[Pod] => 2/2 n/b[StatefulSet]"]


def test_replicas_ask_each_other_and_not_themselves() -> None:
    cluster = compiled(pods("a", 3), policy("a"))
    assert told(cluster, "sts/a", "sts/a") == ["denied 3/3 n/a[StatefulSet] => 3/3 n/a[StatefulSet]"]
    assert told(cluster, "pod/a-0", "pod/a-0") == ["allowed 1/1 n/a-0[Pod] => 1/1 n/a-0[Pod]"]


def test_addresses_stand_alone() -> None:
    cluster = compiled(pods("b", 2), policy("b"))
    assert told(cluster, "203.0.113.7", "sts/b") == ["denied 1/1 203.0.113.7 => 2/2 n/b[StatefulSet]"]
    assert told(cluster, "10.98.0.1", "sts/b") == ["denied 1/1 n/b-0[Pod] => 2/2 n/b[StatefulSet]"]


def test_a_thousand_pods_on_each_side_are_answered_at_once() -> None:
    peer = {"podSelector": {"matchLabels": {"app": "a"}}}
    cluster = compiled(pods("a", 1000), pods("b", 1000), policy("b", peer, {"ipBlock": {"cidr": "10.0.0.0/8"}}))
    begin = time.perf_counter()
    assert told(cluster, "sts/a", "sts/b") == ["allowed 1000/1000 n/a[StatefulSet] => 1000/1000 n/b[StatefulSet]"]
    assert time.perf_counter() - begin < 20, "a million pairs one by one take minutes"
