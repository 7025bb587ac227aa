"""Workloads become the pods that a cluster's controllers would make, under names that stay."""

from __future__ import annotations

import re

import pytest

from gatewright.lab.workloads import not_started, pods_of
from tests.unit.lab.clusters import objects, pod

TEMPLATE = "template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: %s}]}}"


def workload(kind: str, *, image: str = "a", version: str = "apps/v1", spec: str = "replicas: 2, ") -> str:
    body = f"{spec}selector: {{matchLabels: {{app: web}}}}, {TEMPLATE % image}"
    return f"---\napiVersion: {version}\nkind: {kind}\nmetadata: {{name: web, namespace: shop}}\nspec: {{{body}}}\n"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (workload("Deployment"), [r"web-[a-z0-9]{10}-[a-z0-9]{5}"] * 2),
        (workload("StatefulSet"), ["web-0", "web-1"]),
        (workload("ReplicaSet"), [r"web-[a-z0-9]{5}"] * 2),
        (workload("DaemonSet", spec=""), [r"web-[a-z0-9]{5}"]),
        (workload("Deployment", spec="replicas: 0, "), []),
        (pod("web"), ["web"]),
    ],
    ids=["Deployment", "StatefulSet", "ReplicaSet", "DaemonSet: one node, one pod", "no replicas", "Pod"],
)
def test_names(text: str, names: list[str]) -> None:
    found = [plan.pod.name for plan in pods_of(objects(text))]
    assert len(found) == len(names) == len(set(found))
    assert all(re.fullmatch(pattern, name) for pattern, name in zip(names, found, strict=True)), found


def test_names_stay_until_the_template_changes() -> None:
    first, again, changed = (
        {plan.key for plan in pods_of(objects(text))}
        for text in (workload("Deployment"), workload("Deployment"), workload("Deployment", image="b"))
    )
    assert first == again
    assert not first & changed


def test_a_larger_deployment_keeps_the_pods_it_had() -> None:
    small = {plan.key for plan in pods_of(objects(workload("Deployment")))}
    large = {plan.key for plan in pods_of(objects(workload("Deployment", spec="replicas: 4, ")))}
    assert small < large


def test_pods_of_a_stateful_set_have_a_name_in_its_service() -> None:
    plan = pods_of(objects(workload("StatefulSet", spec="serviceName: peers, ")))[0]
    assert (plan.hostname, plan.pod.spec.subdomain, plan.owner) == ("web-0", "peers", "StatefulSet/web")
    assert plan.pod.labels["statefulset.kubernetes.io/pod-name"] == "web-0"


def test_a_schedule_is_not_kept_and_that_is_said() -> None:
    text = """
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, namespace: shop}
spec:
  schedule: "0 3 * * *"
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: a}]}}}}
"""
    assert pods_of(objects(text)) == ()
    assert not_started(objects(text)) == ("CronJob shop/nightly: not started (the lab keeps no schedule)",)
