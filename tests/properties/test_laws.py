"""Laws that hold for every cluster, whatever its policies say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.reference.evaluator import policy_types
from tests.strategies import Cluster, clusters, connections, policies
from tests.subjects import Engine
from tests.vocabulary import NODES, POLICY_KINDS, pod_ips

Json = dict[str, Any]
pytestmark = pytest.mark.timeout(600)
ADDRESSES = (*pod_ips(0), *pod_ips(1), *NODES["n0"], "192.0.2.1")
MORE = {"denied": 0, "depends": 1, "allowed": 2}


def answers(cluster: Cluster, questions_of: Cluster) -> list[tuple[Any, str]]:
    """What the engine says of one cluster, to the questions worth asking of another."""
    engine = Engine(cluster.objects, cluster.pod_cidrs)
    return [(question, engine.connection(*question)) for question in connections(questions_of)]


@given(clusters(max_pods=3), policies("added", ADDRESSES), st.data())
def test_an_added_policy_for_isolated_pods_never_removes_a_connection(
    cluster: Cluster, extra: Json, data: st.DataObject
) -> None:
    assume(cluster.of_kind("NetworkPolicy"))
    present = data.draw(st.sampled_from(cluster.of_kind("NetworkPolicy")))
    extra["metadata"]["namespace"] = present["metadata"]["namespace"]
    extra["spec"] |= {"podSelector": present["spec"]["podSelector"], "policyTypes": policy_types(present)}
    more = cluster.with_objects([*cluster.objects, extra])
    for (question, before), (_, after) in zip(answers(cluster, more), answers(more, more), strict=True):
        assert MORE[before] <= MORE[after], question


@given(clusters(max_pods=3) | clusters(max_pods=3, tiers=True), st.data())
def test_the_order_of_the_input_means_nothing(cluster: Cluster, data: st.DataObject) -> None:
    shuffled = [turned(obj, data) for obj in data.draw(st.permutations(cluster.objects))]
    assert answers(cluster.with_objects(shuffled), cluster) == answers(cluster, cluster)


def turned(obj: Json, data: st.DataObject) -> Json:
    """A policy with the peers and ports of each rule in another order, and the rules too where their order is free."""
    if obj["kind"] not in POLICY_KINDS:
        return obj
    spec = dict(obj["spec"])
    for direction in spec.keys() & {"ingress", "egress"}:
        rules = data.draw(st.permutations(spec[direction])) if obj["kind"] == "NetworkPolicy" else spec[direction]
        spec[direction] = [
            {key: data.draw(st.permutations(part)) if isinstance(part, list) else part for key, part in rule.items()}
            for rule in rules
        ]
    return {**obj, "spec": spec}


@given(clusters(max_pods=3), policies("elsewhere", ADDRESSES))
def test_a_policy_that_selects_nothing_changes_nothing(cluster: Cluster, extra: Json) -> None:
    elsewhere = {**extra, "metadata": {"name": "elsewhere", "namespace": "without-pods"}}
    nobody = {**extra, "spec": {**extra["spec"], "podSelector": {"matchLabels": {"app": "nobody"}}}}
    more = cluster.with_objects([*cluster.objects, elsewhere, nobody])
    assert answers(more, more) == answers(cluster, more)


@given(clusters(max_pods=3))
def test_without_policies_everything_is_allowed(cluster: Cluster) -> None:
    bare = cluster.with_objects(obj for obj in cluster.objects if obj["kind"] != "NetworkPolicy")
    assert {answer for _, answer in answers(bare, cluster)} <= {"allowed"}


@given(clusters(max_pods=3))
def test_a_policy_is_the_sum_of_its_rules(cluster: Cluster) -> None:
    apart = [part for obj in cluster.objects for part in split(obj)]
    assert answers(cluster.with_objects(apart), cluster) == answers(cluster, cluster)


def split(obj: Json) -> list[Json]:
    """A policy as one policy for each of its rules, all of the same subjects and directions."""
    if obj["kind"] != "NetworkPolicy":
        return [obj]
    name, types = obj["metadata"]["name"], policy_types(obj)
    bare = {"podSelector": obj["spec"]["podSelector"], "policyTypes": types}
    specs = [bare, *({**bare, side: [rule]} for side in ("ingress", "egress") for rule in obj["spec"].get(side) or [])]
    return [
        {**obj, "metadata": {**obj["metadata"], "name": f"{name}-{number}"}, "spec": spec}
        for number, spec in enumerate(specs)
    ]
