"""Live pods under the name of their workload: who owns them, what is said once, and what is told apart."""

from __future__ import annotations

import pytest

from gatewright.engine.connectivity import connections
from gatewright.engine.model import Direction
from gatewright.engine.owners import owner
from gatewright.engine.targets import find
from gatewright.engine.view import Answer, by_pod, by_workload
from tests.unit.engine.live import Json, compiled, only_from, pod, policy, view, workload

RS = ("ReplicaSet", "web-6d4f")


def names(objects: list[Json]) -> list[str]:
    return [str(group) for group in view(objects).groups]


def lines(objects: list[Json]) -> set[str]:
    rows = view(objects).rows
    return {f"{row.source} => {row.destination} : {row.access.ports}" for row in rows}


@pytest.mark.parametrize(
    ("objects", "found"),
    [
        ([pod("web-0")], "x/web-0[Pod]"),
        ([pod("web-0", RS), workload("ReplicaSet", "web-6d4f", ("Deployment", "web"))], "x/web[Deployment]"),
        ([pod("web-0", RS), workload("ReplicaSet", "web-6d4f", ("Rollout", "web"))], "x/web[Rollout]"),
        ([pod("web-0", RS), workload("ReplicaSet", "web-6d4f")], "x/web-6d4f[ReplicaSet]"),
        ([pod("web-0", RS, pod__template__hash="6d4f")], "x/web[Deployment]"),
        ([pod("web-0", RS, pod__template__hash="other")], "x/web-6d4f[ReplicaSet]"),
        ([pod("web-0", RS)], "x/web-6d4f[ReplicaSet]"),
        ([pod("db-0", ("StatefulSet", "db"))], "x/db[StatefulSet]"),
        ([pod("run-0", ("Job", "run-1")), workload("Job", "run-1", ("CronJob", "run"))], "x/run[CronJob]"),
        ([pod("etcd-0", ("Node", "n0"))], "x/etcd-0[Pod]"),
        ([pod("a-0", ("ReplicaSet", "a")), workload("ReplicaSet", "a", ("ReplicaSet", "a"))], "x/a[ReplicaSet]"),
    ],
)
def test_owners(objects: list[Json], found: str) -> None:
    cluster = compiled(objects)
    (first,) = (one for one in cluster.endpoints if one.kind == "Pod")
    kind, namespace, name = owner(cluster.snapshot, first)
    assert f"{namespace}/{name}[{kind}]" == found
    assert names(objects) == [found]


def test_live_pods_stand_for_the_template_that_made_them() -> None:
    objects = [
        workload("Deployment", "web", app="web"),
        workload("ReplicaSet", "web-6d4f", ("Deployment", "web"), app="web"),
        workload("ReplicaSet", "web-old", ("Deployment", "web"), app="web"),
    ]
    assert names(objects) == ["x/web[Deployment]"]
    objects += [pod("web-0", RS, app="web"), pod("web-1", RS, app="web")]
    (group,) = view(objects).groups
    assert [member.name for member in group.members] == ["web-0", "web-1"]
    assert "x/web[Deployment] => x/web[Deployment] : All Connections" in lines(objects)


def test_replicas_that_may_do_the_same_are_one_whatever_their_labels() -> None:
    objects = [pod("web-0", ("StatefulSet", "web"), v="1"), pod("web-1", ("StatefulSet", "web"), v="2"), pod("db")]
    assert names(objects) == ["x/db[Pod]", "x/web[StatefulSet]"]
    assert "x/web[StatefulSet] => x/db[Pod] : All Connections" in lines(objects)


def test_replicas_that_may_not_are_told_apart_by_the_label_that_says_why() -> None:
    objects = [
        pod("web-0", RS, pod__template__hash="6d4f", app="web", v="1"),
        pod("web-1", RS, pod__template__hash="6d4f", app="web", v="2"),
        pod("web-2", RS, pod__template__hash="6d4f", app="web", v="2"),
        pod("db", app="db"),
        policy("db", only_from({"matchLabels": {"app": "db"}}, v="2")),
    ]
    assert names(objects) == ["x/db[Pod]", "x/web[Deployment] (labels v=1)", "x/web[Deployment] (labels v=2)"]
    assert "x/web[Deployment] (labels v=2) => x/db[Pod] : TCP 80" in lines(objects)
    assert not any(line.startswith("x/web[Deployment] (labels v=1) => x/db[Pod]") for line in lines(objects))


def test_labels_that_controllers_write_tell_apart_only_where_no_other_does() -> None:
    owner = ("StatefulSet", "db")
    for labels, told in (({}, "controller-revision-hash"), ({"role": "primary"}, "role")):
        objects = [
            pod("db-0", owner, controller__revision__hash="a", **labels),
            pod("db-1", owner, controller__revision__hash="b"),
            policy("a", {"podSelector": {"matchLabels": {"controller-revision-hash": "a"}}}),
        ]
        assert {key for group in view(objects).groups for key, _ in group.labels} == {told}


def test_a_label_that_is_not_there_tells_apart_too() -> None:
    objects = [
        pod("web-0", ("DaemonSet", "web"), canary="yes"),
        pod("web-1", ("DaemonSet", "web")),
        policy("canary", {"podSelector": {"matchLabels": {"canary": "yes"}}}),
    ]
    assert names(objects) == ["x/web[DaemonSet] (labels !canary)", "x/web[DaemonSet] (labels canary=yes)"]


def test_what_no_label_tells_apart_stands_under_its_own_name() -> None:
    by_address = {
        "podSelector": {"matchLabels": {"app": "db"}},
        "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.1/32"}}]}],
    }
    objects = [pod("web-0", ("StatefulSet", "web")), pod("web-1", ("StatefulSet", "web")), pod("db", app="db")]
    objects.append(policy("db", by_address))
    assert names(objects) == ["x/db[Pod]", "x/web-0[Pod]", "x/web-1[Pod]"]
    assert "x/web-0[Pod] => x/db[Pod] : All Connections" in lines(objects)


def test_pods_stand_alone_when_asked_to() -> None:
    cluster = compiled([pod("web-0", ("StatefulSet", "web")), pod("web-1", ("StatefulSet", "web"))])
    assert [str(one) for one in by_pod(cluster, connections(cluster)).groups] == ["x/web-0[Pod]", "x/web-1[Pod]"]


def test_the_policies_of_a_side() -> None:
    objects = [pod("web-0", app="web"), policy("web", only_from({}, app="none")), pod("db", namespace="y")]
    cluster = compiled(objects)
    answer = Answer(cluster, by_workload(cluster))
    web, db = (next(one for one in answer.view.groups if one.namespace == where) for where in "xy")
    assert [one.policy for one in answer.policies(web, Direction.INGRESS)] == ["NetworkPolicy x/web"]
    assert answer.policies(web, Direction.EGRESS) == answer.policies(db, Direction.INGRESS) == ()


def test_a_workload_s_name_means_its_live_pods() -> None:
    objects = [workload("Deployment", "web", app="web"), pod("web-0", RS, pod__template__hash="6d4f", app="web")]
    cluster = compiled([*objects, pod("web-1", RS, pod__template__hash="6d4f", app="web")])
    for text in ("web", "deploy/web", "app=web", "app in (web,api)"):
        assert [str(party) for party in find(cluster, text, "x").parties] == ["x/web-0[Pod]", "x/web-1[Pod]"]
