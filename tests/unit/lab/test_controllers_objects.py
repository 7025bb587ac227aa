"""What controllers ask of objects, and what is kept from changes: order, children, whose pods go first, nodes."""

from __future__ import annotations

import ipaddress
import random
from typing import Any, cast

import pytest

from gatewright.lab.api.resources import BY_PLURAL
from gatewright.lab.apiclient.following import Change
from gatewright.lab.apiclient.working import Cluster
from gatewright.lab.controllers import nodelife
from gatewright.lab.controllers.guard import Guarded
from gatewright.lab.controllers.objects import bare, hash_of, share, victims_first, with_condition
from gatewright.lab.controllers.owning import Children, Order
from gatewright.lab.controllers.podranges import free_ranges
from gatewright.lab.controllers.replicasets import ReplicaSets

Tree = dict[str, Any]
PODS = BY_PLURAL["", "pods"]
NOW = 100_000.0


def pod(name: str, version: int, owner: str = "", uid: str = "") -> Tree:
    about: Tree = {"name": name, "namespace": "default", "uid": uid or name, "resourceVersion": str(version)}
    if owner:
        about["ownerReferences"] = [{"uid": owner, "name": owner, "kind": "ReplicaSet", "controller": True}]
    return {"metadata": about, "spec": {}}


class Present:
    """As much of a Cluster as Children asks for."""

    def __init__(self, *trees: Tree) -> None:
        self.follower = self
        self._trees = {one["metadata"]["name"]: one for one in trees}

    def get(self, _: object, __: str, name: str) -> Tree | None:
        return self._trees.get(name)


def names(found: list[Tree]) -> list[str]:
    return [one["metadata"]["name"] for one in found]


def test_an_older_state_is_no_news_and_what_is_gone_stays_gone() -> None:
    order = Order()
    first, second = pod("a", 5), pod("a", 6)
    assert order.news(Change(PODS, first, second))
    assert not order.news(Change(PODS, None, first))
    assert not order.news(Change(PODS, first, second))
    assert order.news(Change(PODS, second, None))
    assert not order.news(Change(PODS, second, pod("a", 7)))
    assert order.news(Change(PODS, None, pod("a", 8, uid="another")))


def test_children_follow_their_owners_whatever_the_order_of_news() -> None:
    """The history free, owned by x, free, owned by y, told by two threads, ends the same in every order."""
    history = [pod("a", 1), pod("a", 2, "x"), pod("a", 3), pod("a", 4, "y")]
    changes = [Change(PODS, before, after) for before, after in zip([None, *history], history, strict=False)]
    cluster = cast("Cluster", Present(history[-1]))
    for seed in range(24):
        told = list(changes)
        random.Random(seed).shuffle(told)
        children = Children(PODS, "ReplicaSet")
        for one in told:
            children.heard(one)
        assert names(children.of(cluster, "y")) == ["a"]
        assert names(children.of(cluster, "x")) == names(children.free(cluster, "default")) == []
        children.heard(Change(PODS, history[-1], None))
        assert children.of(cluster, "y") == []
        assert children.count("y") == 0


def test_children_of_other_kinds_are_nobodys_business() -> None:
    children = Children(PODS, "DaemonSet")
    children.heard(Change(PODS, None, pod("a", 1, "x")))
    cluster = cast("Cluster", Present(pod("a", 1, "x")))
    assert children.of(cluster, "x") == children.free(cluster, "default") == []


class Paced:
    """A Cluster with a clock that is set by hand, which remembers what is written."""

    def __init__(self) -> None:
        self.at, self.written = NOW, 0
        self.writer = self

    def now(self) -> float:
        return self.at

    def update(self, *_: object) -> None:
        self.written += 1


def test_a_status_is_written_when_it_differs_and_not_more_often_than_its_pace() -> None:
    controller, fake = ReplicaSets(), Paced()
    cluster = cast("Cluster", fake)
    owner: Tree = {**pod("rs", 1), "status": {"replicas": 1}}
    assert controller.report(cluster, owner, {"replicas": 1}) is None
    assert fake.written == 0
    assert controller.report(cluster, owner, {"replicas": 2}) is None
    fake.at += 0.04
    assert controller.report(cluster, owner, {"replicas": 3}) == pytest.approx(0.06)
    assert fake.written == 1
    fake.at += 0.07
    assert controller.report(cluster, owner, {"replicas": 3}) is None
    assert fake.written == 2
    fake.at -= 3600
    assert controller.report(cluster, owner, {"replicas": 4}) is None
    assert fake.written == 3


class Picky:
    """A controller that needs a field."""

    name = "picky"
    resources = (PODS,)

    def keys(self, change: Change) -> list[tuple[str, str]]:
        return [("default", change.tree["spec"]["wanted"])]

    def reconcile(self, cluster: Cluster, key: tuple[str, str]) -> float | None:
        return float(key[1])


def test_an_unreadable_object_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    guarded, cluster = Guarded(Picky()), cast("Cluster", Present())
    good = {**pod("a", 1), "spec": {"wanted": "5"}}
    assert list(guarded.keys(Change(PODS, None, pod("b", 1)))) == []
    assert list(guarded.keys(Change(PODS, None, good))) == [("default", "5")]
    assert guarded.reconcile(cluster, ("default", "5")) == 5.0
    assert guarded.reconcile(cluster, ("default", "soon")) is None
    first, second = (one.getMessage() for one in caplog.records)
    assert first == "picky: default/b cannot be made sense of and is left alone (KeyError: 'wanted')"
    assert "default/soon" in second


def candidate(name: str, **given: Any) -> Tree:
    at = given.get("ready_since", 0)
    conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": stamp(at)}] if at else []
    about: Tree = {"name": name, "uid": name, "creationTimestamp": stamp(given.get("created", 1))}
    if "cost" in given:
        about["annotations"] = {"controller.kubernetes.io/pod-deletion-cost": given["cost"]}
    status: Tree = {"phase": given.get("phase", "Running"), "conditions": conditions}
    status["containerStatuses"] = [{"restartCount": given.get("restarts", 0)}]
    return {"metadata": about, "spec": {"nodeName": given.get("node", "n")}, "status": status}


def stamp(at: int) -> str:
    return f"1970-01-{1 + at // 86400:02}T{at // 3600 % 24:02}:{at // 60 % 60:02}:{at % 60:02}Z"


@pytest.mark.parametrize(
    ("goes", "stays"),
    [
        (candidate("a", node=""), candidate("b")),
        (candidate("a", phase="Pending"), candidate("b")),
        (candidate("a"), candidate("b", ready_since=10)),
        (candidate("a", ready_since=10, cost="-1"), candidate("b", ready_since=10)),
        (candidate("a", ready_since=10), candidate("b", ready_since=10, cost="5")),
        (candidate("a", ready_since=90_000), candidate("b", ready_since=10)),
        (candidate("a", ready_since=10, restarts=3), candidate("b", ready_since=10)),
        (candidate("a", ready_since=10, created=90_000), candidate("b", ready_since=10, created=10)),
        (candidate("a", ready_since=10, cost="odd"), candidate("b", ready_since=10)),
    ],
)
def test_which_pod_goes_first(goes: Tree, stays: Tree) -> None:
    assert victims_first(goes, 1, NOW) < victims_first(stays, 1, NOW)


def test_the_pod_on_the_more_crowded_node_goes_first() -> None:
    assert victims_first(candidate("b"), 3, NOW) < victims_first(candidate("a"), 2, NOW)


@pytest.mark.parametrize(
    ("value", "total", "up", "wanted"),
    [
        (3, 10, True, 3),
        ("25%", 10, True, 3),
        ("25%", 10, False, 2),
        ("x%", 10, True, 0),
        ("7", 10, True, 1),
        (None, 1, True, 0),
    ],
)
def test_shares(value: Any, total: int, up: bool, wanted: int) -> None:
    assert share(value, total, up=up) == wanted


def test_a_transition_time_moves_with_the_status_alone() -> None:
    first = with_condition([], {"type": "A", "status": "True"}, "1")
    second = with_condition(first, {"type": "A", "status": "True", "reason": "B"}, "2")
    third = with_condition(second, {"type": "A", "status": "False"}, "3")
    assert [one[0]["lastTransitionTime"] for one in (first, second, third)] == ["1", "1", "3"]


def test_hashes_do_not_depend_on_what_says_nothing() -> None:
    one: Tree = {"spec": {"a": {}, "b": [], "c": None, "d": [{"e": 1, "f": {}}]}}
    assert bare(one) == {"spec": {"d": [{"e": 1}]}}
    assert hash_of(bare(one)) == hash_of({"spec": {"d": [{"e": 1}]}})
    assert hash_of({"a": 1, "b": 2}) == hash_of({"b": 2, "a": 1}) != hash_of({"a": 1, "b": 3})


def node(ready: str, *taints: Tree, cordoned: bool = False, ranges: tuple[str, ...] = ()) -> Tree:
    spec: Tree = {"taints": list(taints), "podCIDRs": list(ranges)}
    if cordoned:
        spec["unschedulable"] = True
    return {"metadata": {"name": "n"}, "spec": spec, "status": {"conditions": [{"type": "Ready", "status": ready}]}}


OTHER = {"key": "team", "value": "red", "effect": "NoSchedule"}
UNREACHABLE = "node.kubernetes.io/unreachable"


@pytest.mark.parametrize(
    ("tree", "wanted"),
    [
        (node("True"), []),
        (node("True", OTHER), ["team:NoSchedule"]),
        (node("Unknown", OTHER), ["team:NoSchedule", "unreachable:NoSchedule", "unreachable:NoExecute"]),
        (node("False"), ["not-ready:NoSchedule", "not-ready:NoExecute"]),
        (node("False", {"key": UNREACHABLE, "effect": "NoExecute"}), ["not-ready:NoSchedule", "not-ready:NoExecute"]),
        (node("True", {"key": UNREACHABLE, "effect": "NoExecute"}), []),
        (node("True", cordoned=True), ["unschedulable:NoSchedule"]),
    ],
)
def test_taints_say_what_conditions_say(tree: Tree, wanted: list[str]) -> None:
    found = nodelife.taints_for(tree, "now")
    assert [f"{one['key'].rpartition('/')[2]}:{one['effect']}" for one in found] == wanted


def test_a_taint_that_stays_keeps_its_time() -> None:
    first = nodelife.taints_for(node("Unknown"), "1")
    assert nodelife.taints_for(node("Unknown", *first), "2") == first


def test_nothing_is_known_of_a_silent_node() -> None:
    tree = node("True")
    tree["status"]["conditions"].append({"type": "MemoryPressure", "status": "False"})
    found = nodelife.silent(tree, "now")
    assert {one["type"]: (one["status"], one["reason"]) for one in found} == {
        "Ready": ("Unknown", "NodeStatusUnknown"),
        "MemoryPressure": ("Unknown", "NodeStatusUnknown"),
    }
    assert [one["type"] for one in nodelife.silent({"metadata": {}, "status": {}}, "now")] == ["Ready"]


def tolerating(*seconds: int | None) -> Tree:
    whole: Tree = {"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute"}
    tolerations = [whole if one is None else {**whole, "tolerationSeconds": one} for one in seconds]
    return {"spec": {"tolerations": tolerations}}


@pytest.mark.parametrize(
    ("tree", "left"),
    [
        (tolerating(), 0.0),
        (tolerating(None), None),
        (tolerating(300), 290.0),
        (tolerating(300, 20), 10.0),
        (tolerating(5), 0.0),
        (tolerating(-1), 0.0),
        (tolerating(None, 300), 290.0),
    ],
)
def test_how_long_a_pod_may_stay(tree: Tree, left: float | None) -> None:
    taint = {"key": UNREACHABLE, "effect": "NoExecute"}
    assert nodelife.leaves_in(tree, [(taint, 100.0)], 110.0) == left


def test_of_several_taints_the_first_that_ends_a_stay_counts() -> None:
    taints = [({"key": UNREACHABLE, "effect": "NoExecute"}, 100.0), ({"key": "x", "effect": "NoExecute"}, 100.0)]
    assert nodelife.leaves_in(tolerating(300), taints, 110.0) == 0.0


CLUSTER = (ipaddress.ip_network("10.244.0.0/16"), ipaddress.ip_network("fd00:10:244::/56"))


@pytest.mark.parametrize(
    ("taken", "wanted"),
    [
        ((), ["10.244.0.0/24", "fd00:10:244::/64"]),
        (("10.244.0.0/24", "fd00:10:244::/64"), ["10.244.1.0/24", "fd00:10:244:1::/64"]),
        (("10.244.1.0/24", "fd00:10:244::/64"), ["10.244.0.0/24", "fd00:10:244:1::/64"]),
        (("10.244.0.0/22",), ["10.244.4.0/24", "fd00:10:244::/64"]),
        (("nonsense",), ["10.244.0.0/24", "fd00:10:244::/64"]),
        (("10.244.0.0/16",), None),
    ],
)
def test_ranges_of_a_new_node(taken: tuple[str, ...], wanted: list[str] | None) -> None:
    assert free_ranges(CLUSTER, [node("True", ranges=taken)]) == wanted


def test_a_small_range_is_one_nodes_alone() -> None:
    small = (ipaddress.ip_network("10.244.0.0/26"),)
    assert free_ranges(small, []) == ["10.244.0.0/26"]
    assert free_ranges(small, [node("True", ranges=("10.244.0.0/26",))]) is None
