"""What an API server gives is read page by page, and what a newer server knows more fails closed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gatewright.engine.compile import compile_snapshot
from gatewright.engine.ports import Protocol
from gatewright.engine.snapshot import Snapshot
from gatewright.engine.verdict import verdict
from gatewright.objects.api import NotAList, Page, read_page
from gatewright.objects.kinds import KINDS
from gatewright.objects.meta import Object
from gatewright.objects.policy import NetworkPolicy

Json = dict[str, Any]
POLICY = KINDS["networking.k8s.io", "NetworkPolicy"]
CLUSTER_POLICY = KINDS["policy.networking.k8s.io", "ClusterNetworkPolicy"]
POD = KINDS["", "Pod"]


def policies(spec: Json) -> Page:
    item = {"metadata": {"name": "p", "namespace": "shop", "managedFields": [{}]}, "spec": spec}
    return read_page(json.dumps({"items": [item]}).encode(), "NetworkPolicy", POLICY, "networking.k8s.io/v1", "c")


def pods(*names: str) -> list[Object]:
    items = [
        {"metadata": {"name": name, "namespace": "shop", "labels": {"app": name}, "creationTimestamp": None},
         "spec": {"containers": [{"image": "x", "ports": None}]}} for name in names
    ]  # fmt: skip
    return list(read_page(json.dumps({"items": items}).encode(), "Pod", POD, "v1").objects)


def allowed(policy: Object, source: str, port: int = 80) -> bool:
    compiled = compile_snapshot(Snapshot.of([policy, *pods("a", "b", "db")]))
    by_name = {endpoint.name: endpoint for endpoint in compiled.endpoints}
    return verdict(compiled, by_name[source], by_name["db"], Protocol.TCP, port).allowed


def test_a_page_gives_named_objects_without_origin_and_the_next_token() -> None:
    data = {"kind": "PodList", "apiVersion": "v1", "metadata": {"continue": "abc"}, "items": [
        {"metadata": {"name": "a", "namespace": "n"}, "spec": {"containers": [{"image": "x"}], "newField": {}}}
    ]}  # fmt: skip
    page = read_page(json.dumps(data).encode(), "Pod", POD, "v1")
    [pod] = page.objects
    assert (pod.key, pod.api_version, pod.origin, page.following) == (("Pod", "n", "a"), "v1", None, "abc")
    assert (page.problems, page.warnings) == ((), ())


def test_nulls_and_empty_lists_are_what_go_means_by_them() -> None:
    assert read_page(b'{"items": null, "metadata": {"continue": null}}', "Pod", POD, "v1") == Page((), (), (), "")
    assert [pod.labels for pod in pods("x")] == [{"app": "x"}]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"<html>",
        b'{"items": {}}',
        b'{"items": [}',
        b"\xff",
        b"[" * 100_000,
        b'{"items": [{"a": "\\ud800"}]}',
    ],
)
def test_no_list(data: bytes) -> None:
    with pytest.raises(NotAList):
        read_page(data, "Pod", POD, "v1")


@pytest.mark.parametrize(
    "item",
    [
        "3",
        "[" * 600 + "]" * 600,
        "null",
        '{"metadata": 3}',
        '{"spec": {"containers": "x"}, "metadata": {}}',
    ],
)
def test_an_item_that_cannot_be_read_hides_no_other(item: str) -> None:
    good = '{"metadata": {"name": "a"}, "spec": {"containers": [{"image": "x"}]}}'
    page = read_page(f'{{"items": [{item}, {good}]}}'.encode(), "Pod", POD, "v1", "cluster c")
    assert [pod.name for pod in page.objects] == ["a"]
    assert {problem.where for problem in page.problems} == {"cluster c"}
    assert page.problems[0].what.startswith("Pod (unnamed): ")


DB = {"podSelector": {"matchLabels": {"app": "db"}}}
FROM_A = {"podSelector": {"matchLabels": {"app": "a"}}}
NEWER = {"podSelector": {}, "serviceAccount": "x"}
CLOSED: dict[str, tuple[Json, str, dict[str, bool]]] = {
    "a peer": (
        {"ingress": [{"from": [NEWER, FROM_A]}]}, "spec.ingress[0].from[0].serviceAccount", {"a": True, "b": False}
    ),
    "the only peer": ({"ingress": [{"from": [NEWER]}]}, "spec.ingress[0].from[0].serviceAccount", {"a": False}),
    "a selector in a peer": (
        {"ingress": [{"from": [{"podSelector": {"matchNames": ["a"]}}]}]},
        "spec.ingress[0].from[0].podSelector.matchNames",
        {"a": False},
    ),
    "the only port": ({"ingress": [{"ports": [{"portName": "x"}]}]}, "spec.ingress[0].ports[0].portName", {"a": False}),
    "a rule": ({"ingress": [{"when": "night"}, {"from": [FROM_A]}]}, "spec.ingress[0].when", {"a": True, "b": False}),
    "the spec": ({"ingress": [{}], "audit": True}, "spec.audit", {"a": False}),
    "the subject": ({"ingress": [{}], "podSelector": {"not": {}}}, "spec.podSelector.not", {"a": False}),
}  # fmt: skip


@pytest.mark.parametrize("name", CLOSED)
def test_a_newer_field_of_a_network_policy_fails_closed(name: str) -> None:
    spec, path, answers = CLOSED[name]
    page = policies({**DB, **spec})
    [warning] = page.warnings
    assert str(warning).startswith(f"c: NetworkPolicy shop/p: {path} is newer than this version of gatewright: ")
    [policy] = page.objects
    assert {source: allowed(policy, source) for source in answers} == answers


def test_what_is_taken_away_still_isolates() -> None:
    [policy] = policies({**DB, "egress": [{"to": [NEWER]}]}).objects
    assert isinstance(policy, NetworkPolicy)
    assert (policy.policy_types, policy.spec.egress) == (("Ingress", "Egress"), ())


def test_two_newer_fields_are_both_said() -> None:
    page = policies({**DB, "audit": 1, "ingress": [{"from": [NEWER]}, {"when": 2}]})
    assert len(page.warnings) == 3
    assert not allowed(page.objects[0], "a")


def cluster_policy(spec: Json) -> Page:
    data = json.dumps({"items": [{"metadata": {"name": "p"}, "spec": {"tier": "Admin", "priority": 1, **spec}}]})
    api_version = "policy.networking.k8s.io/v1alpha2"
    return read_page(data.encode(), "ClusterNetworkPolicy", CLUSTER_POLICY, api_version)


@pytest.mark.parametrize(("action", "left"), [("Accept", False), ("Deny", False)])
def test_a_newer_selector_of_a_cluster_policy_fails_closed(action: str, left: bool) -> None:
    rules = [{"action": action, "from": [{"namespaces": {"matchNames": ["x"]}}]},
             {"action": "Deny" if action == "Accept" else "Accept", "from": [{"namespaces": {}}]}]  # fmt: skip
    page = cluster_policy({"subject": {"namespaces": {}}, "ingress": rules})
    assert len(page.warnings) == 1
    assert allowed(page.objects[0], "a") is left


def test_a_cluster_policy_whose_subject_is_not_clear_is_a_problem() -> None:
    page = cluster_policy({"subject": {"namespaces": {"matchNames": []}}, "ingress": []})
    assert page.objects == ()
    assert [problem.what for problem in page.problems] == [
        'ClusterNetworkPolicy p: unknown field "spec.subject.namespaces.matchNames": whom it selects is not clear'
    ]


RECORDED = Path(__file__).parents[4] / "shared" / "apiserver" / "protocol.jsonl"


def recorded_lists() -> list[tuple[str, str]]:
    """(path, answer) of every list of pods that a real API server gave as JSON."""
    if not RECORDED.exists():
        return []
    exchanges = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    return [
        (one["path"], one["answer"])
        for one in exchanges
        if one["method"] == "GET" and one["status"] == 200 and one["answer"].startswith('{"kind":"PodList"')
    ]


@pytest.mark.skipif(not RECORDED.exists(), reason="the recorded answers are not beside this checkout")
def test_lists_of_a_real_server() -> None:
    lists = recorded_lists()
    assert len(lists) > 3
    for path, answer in lists:
        page = read_page(answer.encode(), "Pod", POD, "v1")
        told = json.loads(answer)
        assert (page.problems, page.warnings, page.following) == ((), (), told["metadata"].get("continue", "")), path
        assert [(pod.namespace, pod.name) for pod in page.objects] == [
            (item["metadata"]["namespace"], item["metadata"]["name"]) for item in told["items"]
        ]
