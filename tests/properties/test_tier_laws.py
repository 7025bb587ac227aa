"""Laws of the tiers: what a cluster-wide policy can and cannot change, whatever else there is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cluster_strategies import cluster_policies
from tests.properties.test_laws import ADDRESSES, MORE, answers
from tests.strategies import Cluster, clusters
from tests.vocabulary import Json

pytestmark = pytest.mark.timeout(600)
CLUSTER = "ClusterNetworkPolicy"
SPACE = clusters(max_pods=3, tiers=True)


def rules_with(policy: Json, action: str) -> Json:
    """The policy with that action in every rule."""
    spec = dict(policy["spec"])
    for direction in spec.keys() & {"ingress", "egress"}:
        spec[direction] = [{**rule, "action": action} for rule in spec[direction]]
    return {**policy, "spec": spec}


def ahead_of_all(cluster: Cluster, policy: Json) -> Cluster:
    """The cluster with the policy in the Admin tier before every other."""
    others = [later(obj) for obj in cluster.objects]
    return cluster.with_objects([*others, {**policy, "spec": {**policy["spec"], "tier": "Admin", "priority": 0}}])


def later(obj: Json) -> Json:
    """A policy with a priority that leaves 0 free; any other object as it is. The order among them stays."""
    priority = obj.get("spec", {}).get("priority")
    return obj if priority is None else {**obj, "spec": {**obj["spec"], "priority": priority + 1}}


def differences(before: Cluster, after: Cluster, questions_of: Cluster) -> list[tuple[Any, str, str]]:
    """The questions that the two clusters do not answer alike."""
    pairs = zip(answers(before, questions_of), answers(after, questions_of), strict=True)
    return [(question, old, new) for (question, old), (_, new) in pairs if old != new]


@given(SPACE, cluster_policies(CLUSTER, "added", ADDRESSES))
def test_an_accept_ahead_of_all_never_removes_a_connection(cluster: Cluster, policy: Json) -> None:
    more = ahead_of_all(cluster, rules_with(policy, "Accept"))
    changed = differences(cluster, more, more)
    assert [change for change in changed if MORE[change[1]] > MORE[change[2]]] == []


@given(SPACE, cluster_policies(CLUSTER, "added", ADDRESSES, domain_names=False))
def test_a_deny_ahead_of_all_never_adds_a_connection(cluster: Cluster, policy: Json) -> None:
    more = ahead_of_all(cluster, rules_with(policy, "Deny"))
    changed = differences(cluster, more, more)
    assert [change for change in changed if MORE[change[1]] < MORE[change[2]]] == []


@given(SPACE, cluster_policies(CLUSTER, "added", ADDRESSES))
def test_the_baseline_tier_changes_nothing_for_isolated_pods(cluster: Cluster, policy: Json) -> None:
    everywhere = [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "isolates", "namespace": namespace},
            "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}]},
        }
        for namespace in ("x", "y", "z")
    ]
    isolated = cluster.with_objects([*cluster.objects, *everywhere])
    more = isolated.with_objects([*isolated.objects, {**policy, "spec": {**policy["spec"], "tier": "Baseline"}}])
    assert differences(isolated, more, more) == []


@given(SPACE, cluster_policies(CLUSTER, "added", ADDRESSES), st.sampled_from(("Admin", "Baseline")))
def test_a_policy_without_rules_changes_nothing(cluster: Cluster, policy: Json, tier: str) -> None:
    bare = {key: value for key, value in policy["spec"].items() if key not in {"ingress", "egress"}}
    more = cluster.with_objects([*cluster.objects, {**policy, "spec": {**bare, "tier": tier}}])
    assert differences(cluster, more, more) == []


@given(SPACE, cluster_policies(CLUSTER, "added", ADDRESSES))
def test_each_direction_of_a_policy_is_a_policy_of_its_own(cluster: Cluster, policy: Json) -> None:
    def only(direction: str) -> Json:
        other = {"ingress": "egress", "egress": "ingress"}[direction]
        spec = {key: value for key, value in policy["spec"].items() if key != other}
        return {**policy, "metadata": {"name": f"{policy['metadata']['name']}-{direction}"}, "spec": spec}

    whole = ahead_of_all(cluster, {**policy, "spec": {**policy["spec"], "tier": "Admin"}})
    apart = ahead_of_all(cluster, only("ingress"))
    more = only("egress")
    apart = apart.with_objects([*apart.objects, {**more, "spec": {**more["spec"], "tier": "Admin", "priority": 0}}])
    assert differences(whole, apart, whole) == []


@given(SPACE)
def test_passing_everything_is_the_same_as_no_admin_rules_behind(cluster: Cluster) -> None:
    everyone: Json = {"subject": {"namespaces": {}}}
    blocks = {"networks": ["0.0.0.0/0", "::/0"]}
    for direction, side, peers in (("ingress", "from", [{"namespaces": {}}]), ("egress", "to", [blocks])):
        everyone[direction] = [{"action": "Pass", side: peers}]
    head = {"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": CLUSTER, "metadata": {"name": "passes"}}
    passed = ahead_of_all(cluster, {**head, "spec": everyone})
    without = passed.with_objects(emptied(obj) for obj in passed.objects)
    assert differences(passed, without, passed) == []


def emptied(obj: Json) -> Json:
    """An Admin policy without the rules that stand behind a Pass of all pods and addresses.

    On the way in a Pass can name pods alone, so rules of other peers would stay; but there are no others there.
    """
    admin = obj["kind"] == "AdminNetworkPolicy" or obj.get("spec", {}).get("tier") == "Admin"
    if not admin or obj["metadata"]["name"] == "passes":
        return obj
    return {**obj, "spec": {key: value for key, value in obj["spec"].items() if key not in {"ingress", "egress"}}}
