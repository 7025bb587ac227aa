"""The scheduler's decision as tables: which node, or why none."""

from __future__ import annotations

from typing import Any

import pytest

from gatewright.lab.controllers.census import Census, placed
from gatewright.lab.controllers.placing import choose

Tree = dict[str, Any]
HOSTNAME = "kubernetes.io/hostname"


def node(name: str, *, ready: str = "True", pods: str = "110", cordoned: bool = False, **labels: str) -> Tree:
    condition = {"type": "Ready", "status": ready}
    spec: Tree = {"unschedulable": True} if cordoned else {}
    about = {"name": name, "labels": {HOSTNAME: name, **labels}}
    return {"metadata": about, "spec": spec, "status": {"allocatable": {"pods": pods}, "conditions": [condition]}}


def tainted(tree: Tree, *taints: str) -> Tree:
    """`key=value:effect`."""
    found = []
    for text in taints:
        pair, _, effect = text.partition(":")
        key, _, value = pair.partition("=")
        found.append({"key": key, "value": value, "effect": effect})
    return {**tree, "spec": {**tree["spec"], "taints": found}}


def pod(name: str = "new", namespace: str = "default", owner: str = "", labels: str = "", **spec: Any) -> Tree:
    references = [{"uid": owner, "name": owner, "kind": "ReplicaSet", "controller": True}] if owner else []
    pairs = dict(one.split("=") for one in labels.split(",") if one)
    about = {"name": name, "namespace": namespace, "uid": name, "labels": pairs, "ownerReferences": references}
    return {"metadata": about, "spec": {"containers": [], **spec}}


def spaces(namespace: str) -> dict[str, str]:
    return {"kubernetes.io/metadata.name": namespace, "tier": "front" if namespace == "web" else "back"}


def chosen(new: Tree, nodes: list[Tree], standing: dict[str, list[Tree]] | None = None) -> str:
    census = Census(spaces)
    for where, pods in (standing or {}).items():
        for one in pods:
            census.put(placed(one, where))
    found, why = choose(new, nodes, census, spaces)
    return found or why


def near(selector: Tree, kind: str = "podAffinity", topology: str = HOSTNAME, **more: Any) -> Tree:
    term = {"labelSelector": selector, "topologyKey": topology, **more}
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def on_nodes(*expressions: Tree, fields: tuple[Tree, ...] = ()) -> Tree:
    term = {"matchExpressions": list(expressions), "matchFields": list(fields)}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}


A, B, C = node("a"), node("b"), node("c")
WEB = {"matchLabels": {"app": "web"}}
NO_FIT = "0/{} nodes are available: {}."


def test_the_node_with_the_fewest_pods_of_the_owner_wins_then_the_emptiest_then_the_first() -> None:
    standing = {"a": [pod("1", owner="x")], "b": [pod("2"), pod("3")], "c": [pod("4"), pod("5")]}
    assert chosen(pod(owner="x"), [A, B, C], standing) == "b"
    assert chosen(pod(owner="y"), [A, B, C], standing) == "a"
    assert chosen(pod(), [B, A, C]) == "a"


def test_without_nodes_it_says_so() -> None:
    assert chosen(pod(), []) == "no nodes available to schedule pods"


def test_reasons_are_counted_and_sorted_as_the_scheduler_does() -> None:
    nodes = [node("a", cordoned=True), node("b", pods="0"), node("c", ready="Unknown"), node("d", pods="0")]
    wanted = (
        "0/4 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }, "
        "1 node(s) were unschedulable, 2 Too many pods."
    )
    assert chosen(pod(), nodes) == wanted


@pytest.mark.parametrize(
    ("taint", "toleration", "fits"),
    [
        ("k=v:NoSchedule", None, False),
        ("k=v:NoExecute", None, False),
        ("k=v:PreferNoSchedule", None, True),
        ("k=v:NoSchedule", {"key": "k", "value": "v"}, True),
        ("k=v:NoSchedule", {"key": "k", "operator": "Equal", "value": "w"}, False),
        ("k=v:NoSchedule", {"key": "k", "operator": "Exists", "effect": "NoSchedule"}, True),
        ("k=v:NoSchedule", {"key": "k", "operator": "Exists", "effect": "NoExecute"}, False),
        ("k=v:NoSchedule", {"operator": "Exists"}, True),
        ("k=v:NoSchedule", {"value": "v"}, False),
    ],
)
def test_taints_and_tolerations(taint: str, toleration: Tree | None, fits: bool) -> None:
    found = chosen(pod(tolerations=[toleration] if toleration else []), [tainted(A, taint)])
    assert found == ("a" if fits else NO_FIT.format(1, "1 node(s) had untolerated taint {k: v}"))


def test_a_taint_that_is_only_disliked_makes_a_node_the_last_choice() -> None:
    assert chosen(pod(), [tainted(A, "k=v:PreferNoSchedule"), B], {"b": [pod("1")]}) == "b"


def test_a_cordoned_node_takes_who_tolerates_it() -> None:
    toleration = {"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}
    assert chosen(pod(tolerations=[toleration]), [node("a", cordoned=True)]) == "a"


@pytest.mark.parametrize(
    ("spec", "fits"),
    [
        ({"nodeSelector": {"zone": "1"}}, True),
        ({"nodeSelector": {"zone": "2"}}, False),
        ({"affinity": on_nodes({"key": "zone", "operator": "In", "values": ["1", "2"]})}, True),
        ({"affinity": on_nodes({"key": "zone", "operator": "NotIn", "values": ["1"]})}, False),
        ({"affinity": on_nodes({"key": "gone", "operator": "DoesNotExist"})}, True),
        ({"affinity": on_nodes({"key": "zone", "operator": "Gt", "values": ["0"]})}, True),
        ({"affinity": on_nodes({"key": "zone", "operator": "Lt", "values": ["1"]})}, False),
        ({"affinity": on_nodes({"key": "gone", "operator": "Gt", "values": ["0"]})}, False),
        ({"affinity": on_nodes()}, False),
        ({"affinity": on_nodes(fields=({"key": "metadata.name", "operator": "In", "values": ["a"]},))}, True),
        ({"affinity": on_nodes(fields=({"key": "metadata.name", "operator": "In", "values": ["b"]},))}, False),
    ],
)
def test_node_selectors_and_affinity(spec: Tree, fits: bool) -> None:
    reason = "1 node(s) didn't match Pod's node affinity/selector"
    assert chosen(pod(**spec), [node("a", zone="1")]) == ("a" if fits else NO_FIT.format(1, reason))


def test_preferred_node_affinity_decides_between_nodes_that_fit() -> None:
    preference = {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}
    affinity = {
        "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 5, "preference": preference}]}
    }
    assert chosen(pod(affinity=affinity), [A, node("b", disk="ssd")], {"b": [pod("1")]}) == "b"


def test_affinity_goes_where_the_others_are() -> None:
    standing = {"b": [pod("1", labels="app=web")]}
    assert chosen(pod(affinity=near(WEB)), [A, B], standing) == "b"
    assert chosen(pod(affinity=near(WEB)), [A, B]) == NO_FIT.format(2, "2 node(s) didn't match pod affinity rules")


def test_the_first_of_a_group_that_wants_to_be_together_may_go_anywhere() -> None:
    assert chosen(pod(labels="app=web", affinity=near(WEB)), [A, B]) == "a"


def test_affinity_looks_at_its_own_namespace_or_at_those_it_names() -> None:
    standing = {"b": [pod("1", namespace="web", labels="app=web")]}
    lost = NO_FIT.format(2, "2 node(s) didn't match pod affinity rules")
    assert chosen(pod(affinity=near(WEB)), [A, B], standing) == lost
    assert chosen(pod(affinity=near(WEB, namespaces=["web"])), [A, B], standing) == "b"
    assert chosen(pod(affinity=near(WEB, namespaceSelector={})), [A, B], standing) == "b"
    front, back = ({"matchLabels": {"tier": tier}} for tier in ("front", "back"))
    assert chosen(pod(affinity=near(WEB, namespaceSelector=front)), [A, B], standing) == "b"
    assert chosen(pod(affinity=near(WEB, namespaceSelector=back)), [A, B], standing) == lost


def test_anti_affinity_keeps_away_both_ways_and_by_place() -> None:
    apart = near(WEB, "podAntiAffinity", "zone")
    nodes = [node("a", zone="1"), node("b", zone="1"), node("c", zone="2")]
    standing = {"a": [pod("1", labels="app=web")]}
    assert chosen(pod(affinity=apart), nodes, standing) == "c"
    holders = {"a": [pod("1", affinity=apart)]}
    assert chosen(pod(labels="app=web"), nodes, holders) == "c"
    assert chosen(pod(labels="app=db"), nodes, holders) == "b"
    said = NO_FIT.format(2, "2 node(s) didn't satisfy existing pods anti-affinity rules")
    assert chosen(pod(labels="app=web"), nodes[:2], holders) == said


def test_labels_of_the_pod_itself_can_narrow_a_term() -> None:
    standing = {"a": [pod("1", labels="app=web,hash=old")]}
    apart = near(WEB, "podAntiAffinity", matchLabelKeys=["hash"])
    assert chosen(pod(labels="app=web,hash=old", affinity=apart), [A], standing).startswith("0/1")
    assert chosen(pod(labels="app=web,hash=new", affinity=apart), [A], standing) == "a"


def spread(skew: int = 1, **more: Any) -> list[Tree]:
    head = {"maxSkew": skew, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": WEB}
    return [{**head, **more}]


def test_topology_spread_constraints_bound_the_skew() -> None:
    nodes = [node("a", zone="1"), node("b", zone="2")]
    standing = {"a": [pod("1", labels="app=web")], "b": [pod("2"), pod("3")]}
    new = pod(labels="app=web", topologySpreadConstraints=spread())
    assert chosen(new, nodes, standing) == "b"
    assert chosen(pod(labels="app=web", topologySpreadConstraints=spread(2)), nodes, standing) == "a"
    soft = pod(labels="app=web", topologySpreadConstraints=spread(whenUnsatisfiable="ScheduleAnyway"))
    assert chosen(soft, nodes, standing) == "a"


def test_a_node_without_the_label_of_a_spread_constraint_does_not_fit() -> None:
    reason = "1 node(s) didn't match pod topology spread constraints (missing required label)"
    assert chosen(pod(labels="app=web", topologySpreadConstraints=spread()), [A]) == NO_FIT.format(1, reason)


def test_spreading_counts_only_nodes_the_pod_may_go_to() -> None:
    nodes = [node("a", zone="1", pool="x"), node("b", zone="2")]
    standing = {"a": [pod("1", labels="app=web")]}
    new = pod(labels="app=web", topologySpreadConstraints=spread(), nodeSelector={"pool": "x"})
    assert chosen(new, nodes, standing) == "a"
    ignored = pod(
        labels="app=web",
        topologySpreadConstraints=spread(nodeAffinityPolicy="Ignore"),
        nodeSelector={"pool": "x"},
    )
    assert chosen(ignored, nodes, standing).startswith("0/2 nodes are available")


def test_spreading_over_fewer_places_than_wanted_counts_from_zero() -> None:
    nodes = [node("a", zone="1")]
    standing = {"a": [pod("1", labels="app=web")]}
    new = pod(labels="app=web", topologySpreadConstraints=spread(minDomains=2))
    assert chosen(new, nodes, standing) == NO_FIT.format(1, "1 node(s) didn't match pod topology spread constraints")


@pytest.mark.parametrize(
    ("wanted", "taken", "fits"),
    [
        ({"hostPort": 80}, {"hostPort": 80}, False),
        ({"hostPort": 80}, {"hostPort": 81}, True),
        ({"hostPort": 80, "protocol": "UDP"}, {"hostPort": 80}, True),
        ({"hostPort": 80, "hostIP": "10.0.0.1"}, {"hostPort": 80, "hostIP": "10.0.0.2"}, True),
        ({"hostPort": 80, "hostIP": "10.0.0.1"}, {"hostPort": 80, "hostIP": "0.0.0.0"}, False),
        ({"containerPort": 80}, {"hostPort": 80}, True),
    ],
)
def test_ports_of_the_node(wanted: Tree, taken: Tree, fits: bool) -> None:
    new, old = (pod(name, containers=[{"ports": [port]}]) for name, port in (("new", wanted), ("old", taken)))
    reason = "1 node(s) didn't have free ports for the requested pod ports"
    assert chosen(new, [A], {"a": [old]}) == ("a" if fits else NO_FIT.format(1, reason))


def test_pods_in_the_network_of_the_node_take_all_their_ports_there() -> None:
    first, second = (pod(name, hostNetwork=True, containers=[{"ports": [{"containerPort": 80}]}]) for name in "12")
    assert chosen(second, [A, B], {"a": [first]}) == "b"


def test_terms_that_are_asked_for_no_longer_are_not_counted_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatewright.lab.controllers.census.MOST_TERMS", 2)
    census = Census(spaces)
    census.put(placed(pod("1", labels="app=a0"), "a"))
    for _ in range(2):
        for number in range(4):
            apart = near({"matchLabels": {"app": f"a{number}"}}, "podAntiAffinity")
            wanted = choose(pod(affinity=apart), [A], census, spaces)[0]
            assert wanted == (None if number == 0 else "a")
            assert len(census._terms) <= 2


def test_counts_follow_pods_that_come_change_and_go() -> None:
    census = Census(spaces)
    term_pod = pod("1", labels="app=web", affinity=near(WEB, "podAntiAffinity"))
    wanted = pod("2", labels="app=web", affinity=near(WEB, "podAntiAffinity"))
    assert choose(wanted, [A, B], census, spaces)[0] == "a"
    census.put(placed(term_pod, "a"))
    census.put(placed(term_pod, "a"))
    assert census.on("a").pods == 1
    assert choose(wanted, [A, B], census, spaces)[0] == "b"
    assert choose(wanted, [A], census, spaces)[0] is None
    changed = pod("1", labels="app=db")
    census.put(placed(changed, "a"))
    assert choose(wanted, [A], census, spaces)[0] == "a"
    assert census.remove("1")
    assert not census.remove("1")
    assert census.on("a").pods == 0
